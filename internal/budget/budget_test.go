package budget_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/internal/budget"
)

func spend(b *budget.Budget) (n int) {
	for b.Withdraw() {
		n++
	}
	return n
}

func TestRepetitionsAreAFifthOfTheRequests(t *testing.T) {
	b := budget.New()
	require.Equal(t, 10, spend(b))
	for range 50 {
		b.Deposit()
	}
	require.Equal(t, 10, spend(b))
	for range 4 {
		b.Deposit()
	}
	require.False(t, b.Withdraw())
	b.Deposit()
	require.True(t, b.Withdraw())
}

func TestQuietTimesSaveUpNoMoreThanAHundred(t *testing.T) {
	b := budget.New()
	for range 100_000 {
		b.Deposit()
	}
	assert.Equal(t, 100, spend(b))
}

func TestNothingIsSpentTwice(t *testing.T) {
	b := budget.New()
	var spent atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				b.Deposit()
				if b.Withdraw() {
					spent.Add(1)
				}
			}
		})
	}
	wg.Wait()
	assert.LessOrEqual(t, spent.Load(), int64(10+8000/5))
	assert.GreaterOrEqual(t, spent.Load()+int64(spend(b)), int64(8000/5), "what was saved is bounded, but not reached here")
}

func TestManyRequestsAreCountedAtOnceUpToWhatMayBeSaved(t *testing.T) {
	for n, b := range map[int]*budget.Budget{100: budget.New(), 300: budget.NewUpTo(300)} {
		b.DepositAll(5)
		assert.Equal(t, 11, spend(b))
		b.DepositAll(1 << 62)
		b.DepositAll(1 << 62)
		assert.Equal(t, n, spend(b))
		for range 1000 {
			b.DepositAll(1)
		}
		assert.Equal(t, min(n, 200), spend(b))
	}
}
