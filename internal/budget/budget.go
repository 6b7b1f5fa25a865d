// Package budget bounds repetitions by a part of what is done anyway, so that repeating does
// not multiply the load on servers that fail because of it.
package budget

import "sync/atomic"

const (
	whole   = 100 // tokens of one repetition
	deposit = 20  // tokens that each request brings: repetitions are a fifth of the requests
	// initial is for those that have made few requests; most bounds what a quiet time saves up,
	// if nothing else is said.
	initial = 10 * whole
	most    = 100 * whole
)

// Budget is filled by requests and spent by repetitions. Make it with New or NewUpTo. It is
// safe for any number of goroutines.
type Budget struct {
	tokens atomic.Int64
	most   int64
}

// New returns a budget for ten repetitions, which may grow to a hundred.
func New() *Budget { return NewUpTo(most / whole) }

// NewUpTo is New for a budget that may grow to n repetitions, a hundred at least.
func NewUpTo(n int) *Budget {
	b := &Budget{most: max(int64(n)*whole, most)}
	b.tokens.Store(initial)
	return b
}

// Deposit counts a request.
func (b *Budget) Deposit() {
	if b.tokens.Load() < b.most { // overshot by as many as deposit at once
		b.tokens.Add(deposit)
	}
}

// DepositAll counts n requests.
func (b *Budget) DepositAll(n uint64) {
	more := int64(min(n, uint64(b.most/deposit))) * deposit
	for {
		tokens := b.tokens.Load()
		if b.tokens.CompareAndSwap(tokens, max(tokens, min(tokens+more, b.most))) {
			return
		}
	}
}

// Withdraw reports whether a repetition may be made, and counts it.
func (b *Budget) Withdraw() bool {
	for {
		n := b.tokens.Load()
		if n < whole {
			return false
		}
		if b.tokens.CompareAndSwap(n, n-whole) {
			return true
		}
	}
}
