//go:build invariant

package bytepool

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestReturnedBufferIsPoisonedAndCounted(t *testing.T) {
	before := Outstanding()
	b := Get(7)
	assert.Equal(t, before+1, Outstanding())
	b.B = append(b.B, "payload"...)
	stale := b.B
	Put(b)
	assert.Equal(t, before, Outstanding())
	for _, got := range stale {
		assert.Equal(t, byte(mark), got)
	}
	assert.Panics(t, func() { Put(b) }, "second return")
}
