package bench

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fakes are a client for each caller.
type fakes struct {
	*fake // whose Call nobody is to use
	all   []*fake
}

func (f *fakes) Caller(i int) Client { return f.all[i] }

func TestEachCallerHasItsOwnClientWhereThereAreMany(t *testing.T) {
	var dialled []*fakes
	target := Target{Name: Ringwire, APIs: []API{Blocking}, Dial: func(_ context.Context, callers int) (Client, error) {
		f := &fakes{fake: &fake{}}
		for range callers {
			f.all = append(f.all, &fake{record: true, seen: make(map[string]int)})
		}
		dialled = append(dialled, f)
		return f, nil
	}}
	c := Case{Target: &target, API: Blocking, Callers: 4, PayloadBytes: 16, Conns: 1}
	paced := c
	paced.Rate = 100_000
	result, err := RunPlan(t.Context(), Plan{Cases: []Case{c, paced}, Rounds: 1, Slice: 5 * time.Millisecond}, nil)
	require.NoError(t, err)
	require.Len(t, dialled, 2)
	for i, f := range dialled {
		assert.Zero(t, f.sent.Load(), "the client of all is not used")
		assert.True(t, f.closed.Load(), "and it is what is closed")
		assert.Positive(t, result.Rows[i].Requests)
		for caller, own := range f.all {
			for req := range own.seen {
				require.Equal(t, byte(caller), req[3], "a request of another caller's")
			}
			if i == 0 { // at a rate, any caller that is free sends
				assert.Positive(t, own.sent.Load())
			}
		}
	}
}

// failing fails the third call with the error.
type failing struct {
	fake
	err  error
	sent atomic.Int64
}

func (f *failing) Call(dst []byte, req *[]byte) ([]byte, error) {
	if f.sent.Add(1) == 3 {
		return nil, f.err
	}
	return f.fake.Call(dst, req)
}

func TestAWrongReplyThatAClientFindsEndsTheRun(t *testing.T) {
	for _, rate := range []float64{0, 100_000} {
		for err, ends := range map[error]bool{fmt.Errorf("%w: its frame", ErrWrongReply): true, errFake: false} {
			target := Target{Name: Ringwire, APIs: []API{Blocking}, Dial: func(context.Context, int) (Client, error) {
				return &failing{err: err}, nil
			}}
			c := Case{Target: &target, API: Blocking, Callers: 2, PayloadBytes: 16, Conns: 1, Rate: rate}
			_, got := RunPlan(t.Context(), Plan{Cases: []Case{c}, Rounds: 1, Slice: 5 * time.Millisecond}, nil)
			if ends {
				require.ErrorIs(t, got, ErrWrongReply)
			} else {
				require.NoError(t, got)
			}
		}
	}
}

func TestRowsOfOneHandlerAreComparedWithEachOther(t *testing.T) {
	cells := []*cell{rates(Ringwire, Blocking, 600), rates(Anet, Blocking, 100),
		rates(Ringwire, Blocking, 60), rates(Anet, Blocking, 20)}
	cells[2].Handler, cells[3].Handler = time.Millisecond, time.Millisecond
	r := summarize(cells, false)
	assert.InDelta(t, 6, *r.Rows[0].RatioToAnet, 1e-9)
	assert.InDelta(t, 3, *r.Rows[2].RatioToAnet, 1e-9)
	assert.Equal(t, time.Millisecond, r.Rows[2].Handler)
	assert.Zero(t, r.Rows[0].Handler)
	assert.Equal(t, "ringwire blocking with 16 callers, 1ms handlers", cells[2].String())
}
