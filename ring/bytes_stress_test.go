package ring

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/internal/baton"
	"github.com/ringwire/ringwire/internal/racedetector"
)

// bytesHammer is one stress run: producers pass the right to consume among themselves,
// and nobody else ever consumes. A record is its length, its producer, its number from 1
// on, a piece of pattern, and a sum over all of it.
type bytesHammer struct {
	r         *Bytes
	right     baton.Right
	producers int
	each      int
	large     int // one record in so many is large
	stop      atomic.Bool

	// The rest belongs to the holder of the right.
	last   []int // of each producer
	turns  int
	next   Position
	out    []byte // where the bytes leave to
	failed string
}

const (
	recordHead = 12
	recordSum  = 4
)

func fillRecord(b []byte, producer, number int) {
	binary.LittleEndian.PutUint32(b, uint32(len(b)))
	binary.LittleEndian.PutUint32(b[4:], uint32(producer))
	binary.LittleEndian.PutUint32(b[8:], uint32(number))
	end := len(b) - recordSum
	copy(b[recordHead:end], pattern[number%256:])
	binary.LittleEndian.PutUint32(b[end:], crc32.ChecksumIEEE(b[:end]))
}

// size returns the size of a record.
func (h *bytesHammer) size(rng *rand.Rand) int {
	const least = recordHead + recordSum
	if rng.IntN(h.large) == 0 {
		return least + rng.IntN(ChunkBytes-least+1)
	}
	return least + rng.IntN(200)
}

func (h *bytesHammer) produce(producer int) {
	rng := rand.New(rand.NewPCG(uint64(producer), uint64(h.producers)))
	for number := 1; number <= h.each; number++ {
		room, ok := h.r.Reserve(h.size(rng))
		for ; !ok; room, ok = h.r.Reserve(h.size(rng)) {
			if h.stop.Load() {
				return
			}
			h.look()
			runtime.Gosched()
		}
		if rng.IntN(16) == 0 {
			runtime.Gosched() // others meet room that is not filled
		}
		fillRecord(room.Bytes(), producer, number)
		room.Publish()
		h.look()
	}
}

// look is what a producer that has published does.
func (h *bytesHammer) look() {
	if h.right.State() == baton.Free && h.right.Take() {
		h.consume()
		for h.right.Release(h.r.Ready) {
			h.consume()
		}
	}
}

func (h *bytesHammer) consume() {
	for b, records, at := h.r.Take(); b != nil; b, records, at = h.r.Take() {
		h.out = append(h.out[:0], b...)
		if problem := h.digest(records, at); problem != "" && !h.stop.Swap(true) {
			h.failed = problem
		}
		h.r.Done()
	}
	if h.turns++; h.turns%4 == 0 {
		runtime.Gosched() // others publish when it is too late for Take
	}
}

// digest looks at what came out.
func (h *bytesHammer) digest(records int, at Position) string {
	if at.Before(h.next) {
		return fmt.Sprintf("%#x after %#x", at, h.next)
	}
	h.next = at + Position(len(h.out))
	b := h.out
	for ; records > 0; records-- {
		if len(b) < recordHead+recordSum {
			return fmt.Sprintf("%d bytes and %d records are left", len(b), records)
		}
		n := int(binary.LittleEndian.Uint32(b))
		if n < recordHead+recordSum || n > len(b) {
			return fmt.Sprintf("a record of %d bytes where %d are left", n, len(b))
		}
		end := n - recordSum
		if binary.LittleEndian.Uint32(b[end:]) != crc32.ChecksumIEEE(b[:end]) {
			return fmt.Sprintf("a torn record %x", b[:recordHead])
		}
		p, number := binary.LittleEndian.Uint32(b[4:]), int(binary.LittleEndian.Uint32(b[8:]))
		if number != h.last[p]+1 {
			return fmt.Sprintf("record %d of producer %d after %d", number, p, h.last[p])
		}
		h.last[p] = number
		b = b[n:]
	}
	if len(b) > 0 {
		return fmt.Sprintf("%d bytes of no record", len(b))
	}
	return ""
}

func newBytesHammer(producers, each, large int) *bytesHammer {
	r := bytesAt(1<<(64-chunkShift) - 10)
	h := &bytesHammer{r: r, producers: producers, each: each, large: large}
	h.next = Position(r.consumed.Load())
	h.right.Init()
	return h
}

// round has every producer produce. Nobody looks when they have gone: what was left
// would stay.
func (h *bytesHammer) round(t *testing.T) {
	h.last = make([]int, h.producers)
	var wg sync.WaitGroup
	for p := range h.producers {
		wg.Go(func() { h.produce(p) })
	}
	wg.Wait()
	require.Empty(t, h.failed)
	require.False(t, h.stop.Load(), "stalled")
	for p, number := range h.last {
		require.Equal(t, h.each, number, "records of producer %d were left or lost", p)
	}
	require.Equal(t, baton.Free, h.right.State())
	requireTakesNothing(t, h.r)
	require.Zero(t, h.r.backlog())
	require.Zero(t, h.r.Records())
	if h.producers == 1 {
		require.Zero(t, inCells(h.r), "nobody was late")
	}
}

// run does so many rounds while somebody asks what anybody may ask.
func (h *bytesHammer) run(t *testing.T, rounds int) {
	dog := time.AfterFunc(stallLimit, func() { h.stop.Store(true) })
	defer dog.Stop()
	quit, watched := make(chan struct{}), make(chan struct{})
	go func() { defer close(watched); watchBytes(t, h.r, quit) }()
	defer func() { close(quit); <-watched }()
	for range rounds {
		h.round(t)
	}
}

func watchBytes(t *testing.T, r *Bytes, quit <-chan struct{}) {
	for {
		select {
		case <-quit:
			return
		default:
		}
		r.Ready()
		r.Trim()
		if n := r.backlog(); n < 0 {
			t.Errorf("Backlog = %d", n)
			return
		}
		if n := r.Records(); n < 0 || n > Chunks*ChunkBytes {
			t.Errorf("Records = %d", n)
			return
		}
		runtime.Gosched()
	}
}

func TestStressBytesDeliversEachRecordOnceWholeInOrder(t *testing.T) {
	each := 100_000
	switch {
	case *pushes > 0:
		each = *pushes
	case testing.Short(), racedetector.On:
		each = 5_000
	}
	for _, procs := range []int{1, 2, 4, 8} {
		for _, producers := range []int{1, 2, 8} {
			for _, large := range []int{4, 200} {
				name := fmt.Sprintf("procs=%d/producers=%d/large=%d", procs, producers, large)
				passed := t.Run(name, func(t *testing.T) {
					setProcs(t, procs)
					each := each * min(large, 50) / 50 / producers
					newBytesHammer(producers, each, large).run(t, 1)
				})
				if !passed {
					return // a broken queue may stall in every other case too
				}
			}
		}
	}
}

// In many short rounds there are many ends at which something could be left.
func TestStressBytesLeavesNothingBehind(t *testing.T) {
	rounds := 5_000
	switch {
	case *pushes > 0:
		rounds = *pushes
	case testing.Short(), racedetector.On:
		rounds = 500
	}
	for _, procs := range []int{1, 2, 4, 8} {
		for _, each := range []int{1, 4} {
			passed := t.Run(fmt.Sprintf("procs=%d/each=%d", procs, each), func(t *testing.T) {
				setProcs(t, procs)
				newBytesHammer(3, each, 100).run(t, rounds)
			})
			if !passed {
				return
			}
		}
	}
}
