package ring

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"

	"github.com/ringwire/ringwire/internal/cacheline"
)

func TestSPSCKeepsItsTwoSidesApart(t *testing.T) {
	var r SPSC[uint32]
	assert.GreaterOrEqual(t, unsafe.Offsetof(r.producer)-unsafe.Offsetof(r.mask), uintptr(cacheline.Size))
	assert.GreaterOrEqual(t, unsafe.Offsetof(r.consumer)-endOf(unsafe.Offsetof(r.producer), unsafe.Sizeof(r.producer)), uintptr(cacheline.Size))
	assert.GreaterOrEqual(t, unsafe.Sizeof(r)-endOf(unsafe.Offsetof(r.consumer), unsafe.Sizeof(r.consumer)), uintptr(cacheline.Size))
}

func TestMPSCKeepsProducersAndConsumerApart(t *testing.T) {
	var r MPSC[uint32]
	assert.GreaterOrEqual(t, unsafe.Offsetof(r.producers)-unsafe.Offsetof(r.first), uintptr(cacheline.Size))
	assert.GreaterOrEqual(t, unsafe.Offsetof(r.consumer)-endOf(unsafe.Offsetof(r.producers), unsafe.Sizeof(r.producers)), uintptr(cacheline.Size))
	assert.GreaterOrEqual(t, unsafe.Sizeof(r)-endOf(unsafe.Offsetof(r.consumer), unsafe.Sizeof(r.consumer)), uintptr(cacheline.Size))
}

func endOf(offset, size uintptr) uintptr { return offset + size }

// A queued task ID costs no more than two words: padding the cells would make the
// consumer miss once for each value, not once for four.
func TestMPSCCellsOfIDsFillWholeLines(t *testing.T) {
	assert.EqualValues(t, 16, unsafe.Sizeof(cell[uint32]{}))
	assert.EqualValues(t, 16, unsafe.Sizeof(cell[uint64]{}))
}

func TestCounterStripesDoNotShareLines(t *testing.T) {
	assert.EqualValues(t, cacheline.Size, unsafe.Sizeof(stripe{}))
}
