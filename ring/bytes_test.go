package ring

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/internal/cacheline"
	"github.com/ringwire/ringwire/internal/invariant"
)

// bytesAt returns an empty queue whose next chunk has this number.
func bytesAt(number uint64) *Bytes {
	r := NewBytes()
	r.state.Store((number-1)<<chunkShift | sealedBit | 1)
	r.consumed.Store(number << chunkShift)
	return r
}

// everyNumber runs f from the first chunk on, and from where the numbers of chunks and
// the sign of positions wrap.
func everyNumber(t *testing.T, f func(t *testing.T, r *Bytes)) {
	const numbers = 1 << (64 - chunkShift)
	for _, number := range []uint64{1, numbers/2 - 2, numbers - 2, numbers - 1, numbers} {
		f(t, bytesAt(number))
	}
	f(t, NewBytes())
}

// put reserves room for a record, fills and publishes it.
func put(t *testing.T, r *Bytes, record string) Position {
	t.Helper()
	room, ok := r.Reserve(len(record))
	require.True(t, ok, "no room")
	require.Len(t, room.Bytes(), len(record))
	copy(room.Bytes(), record)
	room.Publish()
	return room.At
}

// requireTakes takes what should be there and gives it back.
func requireTakes(t *testing.T, r *Bytes, want string, records int, at Position) {
	t.Helper()
	require.True(t, r.Ready())
	b, n, first := r.Take()
	require.Equal(t, want, string(b))
	require.Equal(t, records, n)
	require.Equal(t, at, first)
	r.Done()
}

func requireTakesNothing(t *testing.T, r *Bytes) {
	t.Helper()
	require.False(t, r.Ready())
	b, n, at := r.Take()
	require.Nil(t, b)
	require.Zero(t, n)
	require.Zero(t, at)
}

// inCells counts the chunks that r has in its cells.
func inCells(r *Bytes) (n int) {
	for i := range r.chunks {
		if r.chunks[i].Load() != nil {
			n++
		}
	}
	return n
}

func TestRecordsOfBytesComeOutWholeAndInOrder(t *testing.T) {
	everyNumber(t, func(t *testing.T, r *Bytes) {
		rng := rand.New(rand.NewPCG(1, uint64(r.state.Load())))
		var queued []string
		var at []Position
		for round := range 60 {
			record := make([]byte, 1+rng.IntN([]int{9, 300, ChunkBytes}[round%3]))
			for i := range record {
				record[i] = byte(rng.Uint32())
			}
			if room, ok := r.Reserve(len(record)); ok {
				copy(room.Bytes(), record)
				room.Publish()
				queued, at = append(queued, string(record)), append(at, room.At)
				if rng.IntN(3) > 0 {
					continue
				}
			}
			b, n, first := r.Take()
			require.NotZero(t, n)
			for i := range n {
				offset := int(at[i] - first)
				require.Equal(t, queued[i], string(b[offset:offset+len(queued[i])]))
				if i == n-1 {
					require.Len(t, b, offset+len(queued[i]))
				}
			}
			queued, at = queued[n:], at[n:]
			r.Done()
		}
	})
}

func TestEmptyBytesHasNothingToTake(t *testing.T) {
	everyNumber(t, func(t *testing.T, r *Bytes) {
		requireTakesNothing(t, r)
		at := put(t, r, "a")
		requireTakes(t, r, "a", 1, at)
		requireTakesNothing(t, r)
	})
}

// The consumer's memory is the producers': between them nothing is copied.
func TestTakeOfBytesReturnsTheMemoryThatWasReserved(t *testing.T) {
	r := NewBytes()
	one, ok := r.Reserve(3)
	require.True(t, ok)
	two, ok := r.Reserve(5)
	require.True(t, ok)
	one.Publish()
	two.Publish()
	b, n, _ := r.Take()
	require.Equal(t, 2, n)
	require.Len(t, b, 8)
	assert.Same(t, &one.Bytes()[0], &b[0])
	assert.Same(t, &two.Bytes()[0], &b[3])
	r.Done()
}

func TestRoomOfBytesCannotGrowIntoTheNext(t *testing.T) {
	r := NewBytes()
	one, _ := r.Reserve(3)
	two, _ := r.Reserve(3)
	assert.Equal(t, 3, cap(one.Bytes()), "the first record of a chunk")
	assert.Equal(t, 3, cap(two.Bytes()))
	copy(two.Bytes(), "two")
	assert.Equal(t, "one!", string(append(append(one.Bytes()[:0], "one"...), '!')))
	assert.Equal(t, "two", string(two.Bytes()))
}

func TestNothingOfBytesIsTakenWhileAProducerCopies(t *testing.T) {
	everyNumber(t, func(t *testing.T, r *Bytes) {
		slow, ok := r.Reserve(4)
		require.True(t, ok)
		requireTakesNothing(t, r)
		later := put(t, r, "later")
		put(t, r, "more")
		for range 2 {
			requireTakesNothing(t, r)
		}
		require.Greater(t, r.backlog(), 1, "what comes after Take does not delay it")
		copy(slow.Bytes(), "slow")
		slow.Publish()
		require.True(t, r.Ready(), "who publishes last finds what to do")
		requireTakes(t, r, "slow", 1, slow.At)
		requireTakes(t, r, "latermore", 2, later)
		requireTakesNothing(t, r)
	})
}

func TestReadyOfBytesWaitsForEveryRecordOfTheOldestChunk(t *testing.T) {
	everyNumber(t, func(t *testing.T, r *Bytes) {
		slow, _ := r.Reserve(2)
		put(t, r, "later")
		require.False(t, r.Ready(), "one is copying into a chunk that is not sealed")
		slow.Publish()
		_, n, _ := r.Take()
		require.Equal(t, 2, n)
		r.Done()

		one, _ := r.Reserve(ChunkBytes - 3)
		two, _ := r.Reserve(3)
		three, _ := r.Reserve(2) // seals the chunk of the first two
		three.Publish()
		require.False(t, r.Ready(), "only a later chunk is whole")
		two.Publish()
		require.False(t, r.Ready(), "only the second record is whole")
		one.Publish()
		require.True(t, r.Ready())
		_, n, at := r.Take()
		require.Equal(t, 2, n)
		require.Equal(t, one.At, at)
		r.Done()
		require.True(t, r.Ready())
		_, n, at = r.Take()
		require.Equal(t, 1, n)
		require.Equal(t, three.At, at)
		r.Done()
	})
}

func TestFullBytesRefusesUntilDone(t *testing.T) {
	for _, size := range []int{ChunkBytes, ChunkBytes/2 + 1} {
		everyNumber(t, func(t *testing.T, r *Bytes) {
			record := string(bytes.Repeat([]byte{'x'}, size))
			for range 3 {
				var at []Position
				for range Chunks {
					at = append(at, put(t, r, record))
				}
				require.Equal(t, Chunks, r.backlog())
				_, ok := r.Reserve(size)
				require.False(t, ok, "all chunks are in use")
				_, n, _ := r.Take()
				require.Equal(t, 1, n)
				_, ok = r.Reserve(size)
				require.False(t, ok, "what is taken still has its memory")
				r.Done()
				at = append(at, put(t, r, record))
				_, ok = r.Reserve(size)
				require.False(t, ok)
				for _, at := range at[1:] {
					requireTakes(t, r, record, 1, at)
				}
				requireTakesNothing(t, r)
			}
		})
	}
}

func TestSmallRecordGoesWhereALargeOneDidNotFit(t *testing.T) {
	r := NewBytes()
	for range Chunks {
		put(t, r, string(make([]byte, ChunkBytes-1)))
	}
	_, ok := r.Reserve(2)
	require.False(t, ok)
	put(t, r, "s")
	_, ok = r.Reserve(1)
	require.False(t, ok)
}

func TestIdleBytesHoldsOneChunkAndUsesItAgain(t *testing.T) {
	everyNumber(t, func(t *testing.T, r *Bytes) {
		require.Zero(t, inCells(r))
		require.Nil(t, r.spare.Load(), "a queue that was never used holds none")
		for range Chunks {
			put(t, r, string(make([]byte, ChunkBytes)))
		}
		require.Equal(t, Chunks, inCells(r))
		for range Chunks {
			_, n, _ := r.Take()
			require.Equal(t, 1, n)
			r.Done()
		}
		require.Zero(t, inCells(r))
		warm := r.spare.Load()
		require.NotNil(t, warm)
		for range 2*Chunks + 1 {
			room, ok := r.Reserve(10)
			require.True(t, ok)
			require.Same(t, &warm.buf[0], &room.Bytes()[0])
			room.Publish()
			require.Nil(t, r.spare.Load())
			_, _, _ = r.Take()
			r.Done()
			require.Zero(t, inCells(r))
			require.Same(t, warm, r.spare.Load())
		}
	})
}

func TestTrimGivesBackTheMemoryOfAnEmptyBytesOnly(t *testing.T) {
	r := NewBytes()
	r.Trim()
	at := put(t, r, "kept")
	r.Trim()
	requireTakes(t, r, "kept", 1, at)
	require.NotNil(t, r.spare.Load())
	r.Trim()
	require.Nil(t, r.spare.Load())
	r.Trim()
	at = put(t, r, "again")
	requireTakes(t, r, "again", 1, at)
}

func TestPositionsOfBytesGrow(t *testing.T) {
	everyNumber(t, func(t *testing.T, r *Bytes) {
		last := Position(r.state.Load())
		for range 5 * Chunks {
			first := last
			for i := range 3 {
				at := put(t, r, string(make([]byte, ChunkBytes/3)))
				require.True(t, last.Before(at))
				require.False(t, at.Before(last))
				require.False(t, at.Before(at))
				last = at
				if i == 0 {
					first = at
				}
			}
			_, _, at := r.Take()
			require.Equal(t, first, at)
			r.Done()
		}
	})
}

func TestPublishAllCountsEveryRecord(t *testing.T) {
	r := NewBytes()
	room, ok := r.Reserve(9)
	require.True(t, ok)
	copy(room.Bytes(), "onetwosix")
	require.Zero(t, r.Records())
	room.PublishAll(3)
	require.Equal(t, 3, r.Records())
	put(t, r, "ten")
	require.Equal(t, 4, r.Records())
	requireTakes(t, r, "onetwosixten", 4, room.At)
	require.Zero(t, r.Records())
}

func TestChunkOfBytesTakesItsSizeAndNoByteMore(t *testing.T) {
	everyNumber(t, func(t *testing.T, r *Bytes) {
		whole := string(bytes.Repeat([]byte("w"), ChunkBytes))
		at := put(t, r, whole)
		requireTakes(t, r, whole, 1, at)

		at = put(t, r, "a")
		for range ChunkBytes - 1 {
			room, ok := r.Reserve(1)
			if !ok || len(room.Bytes()) != 1 || room.At>>chunkShift != at>>chunkShift {
				t.Fatal("a record of one byte that fits was refused, or turned to another chunk")
			}
			room.Bytes()[0] = 'b'
			room.Publish()
		}
		require.Equal(t, 1, r.backlog())
		next := put(t, r, "c")
		require.Equal(t, 2, r.backlog())
		require.Equal(t, ChunkBytes+1, r.Records())
		requireTakes(t, r, "a"+string(bytes.Repeat([]byte("b"), ChunkBytes-1)), ChunkBytes, at)
		requireTakes(t, r, "c", 1, next)
		require.Zero(t, r.backlog())
	})
}

// A producer that has slept since it saw an old state gets no room by it, and is not
// told that the queue is full.
func TestLateProducerOfBytesTriesAgain(t *testing.T) {
	everyNumber(t, func(t *testing.T, r *Bytes) {
		old := r.state.Load()
		for range 2*Chunks + 1 {
			at := put(t, r, "x")
			room, ok, full := r.extend(old, 1)
			require.False(t, ok)
			require.False(t, full)
			require.Zero(t, room)
			requireTakes(t, r, "x", 1, at)
		}
		requireTakesNothing(t, r)
	})
}

// It may leave a chunk where there is none yet. That one serves the next lap.
func TestChunkThatALateProducerLeftIsUsed(t *testing.T) {
	everyNumber(t, func(t *testing.T, r *Bytes) {
		left := r.empty()
		require.True(t, r.cell(r.state.Load()+2*oneChunk).CompareAndSwap(nil, left))
		requireTakesNothing(t, r)
		for i := range 2 * Chunks {
			room, ok := r.Reserve(3)
			require.True(t, ok)
			if i <= 1 {
				require.Equal(t, i == 1, &left.buf[0] == &room.Bytes()[0], "chunk %d", i)
			}
			copy(room.Bytes(), "abc")
			room.Publish()
			requireTakes(t, r, "abc", 1, room.At)
		}
		require.Zero(t, inCells(r))
	})
}

func TestRecordThatFitsNoChunkIsTheCallersBug(t *testing.T) {
	if !invariant.Enabled {
		t.Skip("needs -tags invariant")
	}
	r := NewBytes()
	for _, n := range []int{-1, 0, ChunkBytes + 1} {
		assert.Panics(t, func() { r.Reserve(n) }, n)
	}
}

func TestMemoryThatWasGivenBackIsSpoilt(t *testing.T) {
	if !invariant.Enabled {
		t.Skip("needs -tags invariant")
	}
	r := NewBytes()
	put(t, r, "read me")
	b, _, _ := r.Take()
	r.Done()
	assert.Equal(t, bytes.Repeat([]byte{0xDB}, len(b)), b)
}

func TestBytesKeepsItsWritersApart(t *testing.T) {
	var r Bytes
	end := endOf(unsafe.Offsetof(r.state), unsafe.Sizeof(r.state))
	assert.GreaterOrEqual(t, unsafe.Offsetof(r.state), uintptr(cacheline.Size))
	assert.GreaterOrEqual(t, unsafe.Offsetof(r.chunks)-end, uintptr(cacheline.Size))
	end = endOf(unsafe.Offsetof(r.spare), unsafe.Sizeof(r.spare))
	assert.GreaterOrEqual(t, unsafe.Sizeof(r)-end, uintptr(cacheline.Size))

	var c chunk
	end = endOf(unsafe.Offsetof(c.buf), unsafe.Sizeof(c.buf))
	assert.GreaterOrEqual(t, unsafe.Offsetof(c.filled)-end, uintptr(cacheline.Size))
	end = endOf(unsafe.Offsetof(c.limit), unsafe.Sizeof(c.limit))
	assert.GreaterOrEqual(t, unsafe.Sizeof(c)-end, uintptr(cacheline.Size))
}

// A record's bytes and its flag must not leave the words that hold them.
func TestStateOfBytesHoldsAChunk(t *testing.T) {
	assert.LessOrEqual(t, uint64(ChunkBytes), uint64(bytesMask))
	assert.Zero(t, oneChunk&(sealedBit|bytesMask))
	assert.Zero(t, 1<<(64-chunkShift)%Chunks, "numbers that wrap go on with the next cell")
}

func TestFilledCountsWhatIsReservedUntilItIsTaken(t *testing.T) {
	r := NewBytes()
	require.Zero(t, r.Filled())
	for i := range 3 {
		room, ok := r.Reserve(10)
		require.True(t, ok)
		require.Equal(t, 10*(i+1), r.Filled())
		room.Publish()
	}
	b, _, _ := r.Take()
	require.Len(t, b, 30)
	require.Zero(t, r.Filled())
	r.Done()
	require.Zero(t, r.Filled())
}

// backlog returns about how many chunks hold bytes that the consumer has not given back.
func (r *Bytes) backlog() int {
	first := r.consumed.Load()
	return int(int64(r.state.Load()+oneChunk-first) >> chunkShift)
}
