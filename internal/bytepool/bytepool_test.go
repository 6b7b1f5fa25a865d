package bytepool

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGetLendsAnEmptyBuffer(t *testing.T) {
	for range 100 {
		b := Get(9)
		require.Empty(t, b.B)
		b.B = append(b.B, "something"...)
		Put(b)
	}
}

// putOfSize returns a buffer of this capacity to the pools.
func putOfSize(size int) {
	b := &Buffer{B: make([]byte, 0, size)}
	noteGet(b)
	Put(b)
}

// around are the sizes about 1<<c.
func around(c int) []int { return []int{1<<c - 1, 1 << c, 1<<c + 1, 1<<c + 1<<c/2} }

func TestGetLendsWhatWasAskedForAndNotMuchMore(t *testing.T) {
	for c := range maxClass + 2 { // something of every size lies in the pools
		for _, size := range around(c) {
			putOfSize(size)
		}
	}
	for c := range maxClass + 2 {
		for _, n := range around(c) {
			b := find(n)
			require.GreaterOrEqual(t, cap(b.B), n)
			require.LessOrEqual(t, cap(b.B), max(1<<(higher+1)*n-1, 1<<(minClass+higher)), n)
		}
	}
}

func TestAPoolSeesLengthsOfItsClassOnly(t *testing.T) {
	for c := minClass; c <= maxClass; c++ {
		most, least := 1<<c, 1<<(c-1)+1
		require.Equal(t, c, classOf(most))
		require.Equal(t, max(c, minClass), classOf(least))
	}
	require.Equal(t, minClass, classOf(0))
	require.Greater(t, classOf(MaxRetained+1), maxClass)
}

// The pool may drop any buffer, so only the negative can be asserted: what is too
// large or too small never comes back.
func TestBufferOfAnOddSizeIsNotKept(t *testing.T) {
	for _, size := range []int{0, 1<<minClass - 1, MaxRetained + 1} {
		seen := make(map[*Buffer]bool)
		for range 100 {
			b := Get(10)
			require.False(t, seen[b], "a buffer of %d bytes was lent again", size)
			seen[b] = true
			b.B = make([]byte, 0, size)
			Put(b)
		}
	}
}

func TestBufferHasOneBorrower(t *testing.T) {
	const borrowers, rounds = 8, 2000
	var wg sync.WaitGroup
	for who := range byte(borrowers) {
		wg.Go(func() {
			for range rounds {
				b := Get(100)
				for range 100 {
					b.B = append(b.B, who)
				}
				for _, got := range b.B {
					if got != who {
						t.Errorf("borrower %d found a byte of %d", who, got)
						return
					}
				}
				Put(b)
			}
		})
	}
	wg.Wait()
}

func TestABufferThatIsTooSmallForItsBorrowerIsReplaced(t *testing.T) {
	for c := minClass + 1; c <= maxClass; c++ {
		for range 3 {
			putOfSize(1<<(c-1) + 1) // of the same class
			require.GreaterOrEqual(t, cap(find(1<<c).B), 1<<c)
		}
	}
}
