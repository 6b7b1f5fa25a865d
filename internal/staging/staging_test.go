package staging

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

func TestGetLendsWhatWasAskedForAndNotMuchMore(t *testing.T) {
	for c := range maxClass + 2 { // something of every size lies in the pools
		for _, size := range []int{1<<c - 1, 1 << c, 1<<c + 1} {
			b := &Buffer{B: make([]byte, 0, size)}
			noteGet(b)
			Put(b)
		}
	}
	for c := range maxClass + 2 {
		for _, n := range []int{1<<c - 1, 1 << c, 1<<c + 1, 1<<c + 1<<c/2} {
			b := find(n)
			require.GreaterOrEqual(t, cap(b.B), n)
			require.Less(t, cap(b.B), max(1<<(higher+2)*n, 1<<(minClass+higher+1)), n)
		}
	}
}

// The pool may drop any buffer, so only the negative can be asserted: what is too
// large never comes back.
func TestOversizedBufferIsNotKept(t *testing.T) {
	seen := make(map[*Buffer]bool)
	for range 100 {
		b := Get(10)
		require.False(t, seen[b], "a buffer above the cap was lent again")
		seen[b] = true
		b.B = make([]byte, 10, MaxRetained+1)
		Put(b)
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
