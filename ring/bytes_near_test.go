package ring

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// somewhere are places in a chunk.
var somewhere = []Position{0, 1, 255, 4096, ChunkBytes / 2, ChunkBytes - 1}

// everyShort is everyNumber, and from where the numbers of chunks in short form wrap.
func everyShort(t *testing.T, f func(t *testing.T, r *Bytes)) {
	everyNumber(t, f)
	for _, number := range []uint64{1<<shortChunkBits - 1, 1 << shortChunkBits, 5<<shortChunkBits - 2} {
		f(t, bytesAt(number))
	}
}

// fillOne publishes a record that fills a chunk, and returns where it begins.
func fillOne(t *testing.T, r *Bytes, mark byte) Position {
	t.Helper()
	room, ok := r.Reserve(ChunkBytes)
	require.True(t, ok)
	for i := range room.Bytes() {
		room.Bytes()[i] = mark
	}
	room.Publish()
	return room.At
}

func TestEveryPositionThatIsNotConsumedComesBackFromItsShortForm(t *testing.T) {
	everyShort(t, func(t *testing.T, r *Bytes) {
		var window []Position // where the chunks in the queue begin
		for round := range byte(12) {
			window = append(window, fillOne(t, r, round))
			if len(window) == Chunks || round%3 == 2 {
				r.Take()
				for _, p := range window { // what is taken is not consumed yet
					got, ok := r.Near(p.Short())
					require.True(t, ok)
					require.Equal(t, p, got)
				}
				r.Done()
				gone := window[0]
				window = window[1:]
				for _, at := range somewhere {
					_, ok := r.Near((gone + at).Short())
					require.False(t, ok, "%#x was consumed", gone+at)
				}
			}
			for i, p := range window {
				for _, at := range somewhere {
					require.Less(t, (p + at).Short(), uint64(1)<<ShortBits)
					got, ok := r.Near((p + at).Short())
					require.True(t, ok, "chunk %d of %d", i, len(window))
					require.Equal(t, p+at, got)
				}
			}
		}
	})
}

// In the window, and nowhere else, short forms are those of one position each.
func TestNearRefusesWhatIsNotInTheWindow(t *testing.T) {
	everyShort(t, func(t *testing.T, r *Bytes) {
		first := Position(r.consumed.Load())
		for chunk := -3; chunk < Chunks+3; chunk++ {
			p := first + Position(chunk)<<chunkShift
			got, ok := r.Near(p.Short())
			require.Equal(t, chunk >= 0 && chunk < Chunks, ok, "chunk %d", chunk)
			if ok {
				require.Equal(t, p, got)
			}
		}
	})
}

func TestFromReturnsWhatWasPublishedAtAPosition(t *testing.T) {
	everyShort(t, func(t *testing.T, r *Bytes) {
		rng := rand.New(rand.NewPCG(1, uint64(r.consumed.Load())))
		type record struct {
			at   Position
			data string
		}
		var queued []record
		for range 100 {
			data := make([]byte, 1+rng.IntN([]int{20, 3000, ChunkBytes}[rng.IntN(3)]))
			for i := range data {
				data[i] = byte(rng.Uint32())
			}
			room, ok := r.Reserve(len(data))
			if ok {
				copy(room.Bytes(), data)
				room.Publish()
				queued = append(queued, record{room.At, string(data)})
			}
			for _, q := range queued {
				near, known := r.Near(q.at.Short())
				require.True(t, known)
				require.Equal(t, q.at, near)
				got := r.From(near)
				require.GreaterOrEqual(t, len(got), len(q.data), "at %#x", q.at)
				require.True(t, q.data == string(got[:len(q.data)]), "at %#x", q.at)
			}
			if !ok || rng.IntN(8) == 0 {
				_, n, _ := r.Take()
				r.Done()
				for _, q := range queued[:n] {
					require.Nil(t, r.From(q.at), "%#x was given back", q.at)
				}
				queued = queued[n:]
			}
		}
	})
}

func TestFromKnowsNothingOfChunksThatThereAreNot(t *testing.T) {
	everyShort(t, func(t *testing.T, r *Bytes) {
		at := put(t, r, "abc")
		require.Equal(t, "abc", string(r.From(at)[:3]))
		require.Equal(t, "c", string(r.From(at + 2)[:1]))
		require.Len(t, r.From(at+1), ChunkBytes-1)
		for chunk := Position(1); chunk < 2*Chunks; chunk++ {
			require.Nil(t, r.From(at+chunk<<chunkShift), "chunk %d ahead", chunk)
			require.Nil(t, r.From(at-chunk<<chunkShift), "chunk %d before", chunk)
		}
	})
}

func TestPositionsHaveAnOrder(t *testing.T) {
	everyShort(t, func(t *testing.T, r *Bytes) {
		last := Position(r.consumed.Load()) - 1
		for round := range byte(3 * Chunks) {
			at := fillOne(t, r, round)
			require.True(t, last.Before(at))
			require.False(t, at.Before(last))
			require.False(t, at.Before(at))
			last = at + ChunkBytes - 1
			r.Take()
			r.Done()
		}
	})
}
