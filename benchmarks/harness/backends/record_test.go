package backends

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/engine"
)

// counted returns a record in which each second's steps have these replies of servers 0, 1 and so on.
func counted(seconds ...[]int) *record {
	r := newRecord()
	for _, counts := range seconds {
		for range windowSteps {
			r.grow(len(r.replies))
			for s, n := range counts {
				r.replies[len(r.replies)-1][s] = n
			}
		}
	}
	return r
}

func TestTrafficIsEvenWhenEachHasItsShareForASecond(t *testing.T) {
	r := counted([]int{10, 0, 10}, []int{10, 2, 10}, []int{10, 9, 11})
	after, ok := r.even(0, 0, 1, 2)
	require.True(t, ok)
	assert.InDelta(t, 1.8, after.Seconds(), 0.3)
	after, ok = r.even(time.Second, 0, 2)
	require.True(t, ok)
	assert.Zero(t, after)
	_, ok = r.even(0, 0, 1, 2, 3)
	assert.False(t, ok, "one never gets any")
	_, ok = counted([]int{1, 0}).even(0, 0, 1)
	assert.False(t, ok, "there are too few to tell")
}

func TestFailuresAreCountedByClassAndTime(t *testing.T) {
	r := newRecord()
	for range 2 {
		r.note(outcome{due: r.began, class: safeFailed, err: engine.ErrQueueFull})
	}
	r.note(outcome{due: r.began, class: writtenFailed, err: engine.ErrConnLost})
	r.note(outcome{due: r.began, server: 1})
	assert.Equal(t, 2, r.total(safeFailed, 0, time.Hour))
	assert.Equal(t, 3, r.total("", 0, time.Hour))
	assert.Equal(t, 0, r.total("", time.Minute, time.Hour))
	assert.Equal(t, []string{"2 times: broker queue full"}, r.unexpected())
	p99 := r.quantile(0.99, 0, time.Hour, func(s int) bool { return s == 1 })
	assert.Greater(t, p99, 0.0)
	assert.True(t, math.IsNaN(r.quantile(0.99, 0, time.Hour, func(s int) bool { return s == 0 })))
}

func TestWhatIsSafeToRepeatIsToldFromWhatIsNot(t *testing.T) {
	written, not := &engine.OpError{Written: true, Err: engine.ErrConnLost}, &engine.OpError{Err: engine.ErrConnLost}
	assert.Equal(t, writtenFailed, classOf(written, false))
	assert.Equal(t, safeFailed, classOf(written, true), "idempotent")
	assert.Equal(t, safeFailed, classOf(not, false), "nothing was written")
	assert.Equal(t, safeFailed, classOf(errors.New("other"), false))
}

func TestDrivingMakesTheCallsThatAreDue(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	calls := make(chan time.Time, 1000)
	made := drive(ctx, 1000, func(_ int, due time.Time) { calls <- due })
	require.Len(t, calls, made)
	require.Greater(t, made, 1)
	first := <-calls
	for range made - 1 {
		at := <-calls
		assert.WithinDuration(t, first, at, 10*time.Second)
	}
}
