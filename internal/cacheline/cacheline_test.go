package cacheline_test

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"

	"github.com/ringwire/ringwire/internal/cacheline"
)

func TestPadKeepsNeighboursAPairOfLinesApart(t *testing.T) {
	var s struct {
		a uint64
		_ cacheline.Pad
		b uint32
	}
	assert.Zero(t, cacheline.Size%128, "pairs of 64-byte lines")
	gap := unsafe.Offsetof(s.b) - (unsafe.Offsetof(s.a) + unsafe.Sizeof(s.a))
	assert.EqualValues(t, cacheline.Size, gap)
}
