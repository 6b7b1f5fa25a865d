package staging

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGetLendsAnEmptyBuffer(t *testing.T) {
	for range 100 {
		b := Get()
		require.Empty(t, b.B)
		b.B = append(b.B, "something"...)
		Put(b)
	}
}

// The pool may drop any buffer, so only the negative can be asserted: what is too
// large never comes back.
func TestOversizedBufferIsNotKept(t *testing.T) {
	seen := make(map[*Buffer]bool)
	for range 100 {
		b := Get()
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
				b := Get()
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
