package taskid

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"

	"github.com/ringwire/ringwire/internal/cacheline"
)

func TestHeadAndTailOfTheFreeListShareNoCacheLine(t *testing.T) {
	var f freeList
	assert.GreaterOrEqual(t, unsafe.Offsetof(f.head)-unsafe.Offsetof(f.mask), uintptr(cacheline.Size))
	assert.GreaterOrEqual(t, unsafe.Offsetof(f.tail)-unsafe.Offsetof(f.head), uintptr(cacheline.Size))
	assert.GreaterOrEqual(t, unsafe.Sizeof(f)-unsafe.Offsetof(f.tail), uintptr(cacheline.Size))
}

func TestSlotAddsOneWordToWhatItsUserKeeps(t *testing.T) {
	assert.EqualValues(t, 32, unsafe.Sizeof(Slot[[3]uint64]{}), "two in a cache line")
	assert.EqualValues(t, 8, unsafe.Sizeof(word{}))
}

func TestWordHasRoomForItsParts(t *testing.T) {
	assert.Zero(t, parties&tickMask)
	assert.Zero(t, (parties|tickMask)>>idShift)
	w := withTick(uint64(0xFFFFFFFF)<<idShift|parties, tickRange-1)
	assert.Equal(t, ID(0xFFFFFFFF), wordID(w))
	assert.Equal(t, Tick(tickRange-1), wordTick(w))
	assert.Equal(t, parties, w&parties)
}
