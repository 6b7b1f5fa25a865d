package chaos

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testSeed = 0xc0ffee

// runFake runs cfg against a fake and returns what was found.
func runFake(t *testing.T, cfg Config, broken func(n int) fault) (Report, *fake) {
	t.Helper()
	cfg.Seed = testSeed
	h, err := New(cfg)
	require.NoError(t, err)
	f := newFake(h, broken)
	h.Run(context.Background(), f)
	f.stop()
	return h.Report(), f
}

// from makes every request from the nth on go wrong.
func from(first int, what fault) func(int) fault {
	return func(n int) fault {
		if n >= first {
			return what
		}
		return none
	}
}

// at makes one request go wrong.
func at(place int, what fault) func(int) fault {
	return func(n int) fault {
		if n == place {
			return what
		}
		return none
	}
}

func TestHonestClientHasNoViolations(t *testing.T) {
	r, f := runFake(t, Config{Requests: 30_000, Callers: 16}, nil)
	require.NoError(t, r.Err())
	assert.EqualValues(t, 30_000, r.Requests)
	assert.EqualValues(t, 30_000, r.OK)
	assert.EqualValues(t, 30_000, f.n, "each call reached the client")
	for a, n := range f.apis {
		assert.Greater(t, n, 1000, "api %d", a)
	}
	assert.Contains(t, r.String(), "seed=0xc0ffee requests=30000 ok=30000")
}

func TestMethodsTheClientLacksAreReplaced(t *testing.T) {
	h, err := New(Config{Seed: testSeed, Requests: 1000})
	require.NoError(t, err)
	f := newFake(h, nil)
	h.Run(context.Background(), struct{ Client }{f})
	f.stop()
	require.NoError(t, h.Report().Err())
	assert.Equal(t, [4]int{1000, 0, 0, 0}, f.apis)
}

// TestEachCheckerFires breaks a promise in each way and wants exactly that
// violation.
func TestEachCheckerFires(t *testing.T) {
	send, into, goes, batch := Mix{Send: 1}, Mix{SendInto: 1}, Mix{Go: 1}, Mix{SendBatch: 1}
	for _, tc := range []struct {
		name   string
		mix    Mix
		broken func(int) fault
		count  func(Report) int64
		want   int64 // 0: at least one
	}{
		{"two replies swapped", Mix{}, from(50, swapReply), func(r Report) int64 { return r.Misdelivered }, 0},
		{"another's empty reply", send, at(50, emptyReply), func(r Report) int64 { return r.Misdelivered }, 1},
		{"bit flipped, Send", send, at(50, flipBit), func(r Report) int64 { return r.Corrupt }, 1},
		{"bit flipped, SendInto", into, at(50, flipBit), func(r Report) int64 { return r.Corrupt }, 1},
		{"bit flipped, Go", goes, at(50, flipBit), func(r Report) int64 { return r.Corrupt }, 1},
		{"bit flipped, SendBatch", batch, at(50, flipBit), func(r Report) int64 { return r.Corrupt }, 1},
		{"reply cut short", goes, at(50, cutReply), func(r Report) int64 { return r.Corrupt }, 1},
		{"reply of a wrong size", send, at(50, longReply), func(r Report) int64 { return r.Corrupt }, 1},
		{"reply changed later", send, at(50, changeLater), func(r Report) int64 { return r.Corrupt }, 1},
		{"dst spoiled", into, at(50, spoilDst), func(r Report) int64 { return r.Corrupt }, 0},
		{"request damaged", send, at(50, damageReq), func(r Report) int64 { return r.BadRequests }, 1},
		{"Send never returns", send, at(50, hang), func(r Report) int64 { return r.Lost }, 1},
		{"SendInto never returns", into, at(50, hang), func(r Report) int64 { return r.Lost }, 1},
		{"callback never comes", goes, at(50, hang), func(r Report) int64 { return r.Lost }, 1},
		{"all callbacks from one on never come", goes, from(190, hang), func(r Report) int64 { return r.Lost }, 11},
		{"Go never returns", goes, at(50, hangInGo), func(r Report) int64 { return r.Lost }, 1},
		{"SendBatch forgets one", batch, at(50, hang), func(r Report) int64 { return r.Lost }, 1},
		{"callback twice", goes, at(50, twice), func(r Report) int64 { return r.Duplicates }, 1},
		{"batch callback twice", batch, at(50, twice), func(r Report) int64 { return r.Duplicates }, 1},
		{"callback and error", goes, at(50, failAndCall), func(r Report) int64 { return r.Duplicates }, 1},
		{"executed twice", send, at(50, execTwice), func(r Report) int64 { return r.ExecutedTwice }, 1},
		{"unwritten, but executed", Mix{}, at(50, failExecuted), func(r Report) int64 { return r.ExecutedUnwritten }, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r, _ := runFake(t, Config{
				Requests: 200, Callers: 1, Timeout: 50 * time.Millisecond, Mix: tc.mix,
				Unwritten: func(err error) bool { return errors.Is(err, errFake) },
			}, tc.broken)
			require.Error(t, r.Err())
			assert.NotEmpty(t, r.Notes)
			if tc.want == 0 {
				assert.Positive(t, tc.count(r), r.String())
			} else {
				assert.Equal(t, tc.want, tc.count(r), r.String())
			}
			assert.Equal(t, r.violations(), tc.count(r), "no other checker: %v", r.Err())
			assert.Equal(t, r.Requests, r.OK+r.Failed+r.Timeouts+r.Cancelled+r.Lost)
		})
	}
}

// TestReplyThatChangesWhileItsCallbackRunsIsCorrupt has a client reuse the memory of a
// reply before the callback has returned.
func TestReplyThatChangesWhileItsCallbackRunsIsCorrupt(t *testing.T) {
	var f *inline
	calls := 0
	h, err := New(Config{
		Seed: testSeed, Requests: 200, Callers: 1, Window: 1, Mix: Mix{Go: 1},
		Callback: func(uint64) {
			if calls++; calls == 50 {
				scribble(f.lent)
			}
		},
	})
	require.NoError(t, err)
	f = &inline{fake: newFake(h, nil)}
	h.Run(context.Background(), f)
	f.stop()
	r := h.Report()
	assert.EqualValues(t, 1, r.Corrupt)
	assert.EqualValues(t, 1, r.violations())
	assert.Contains(t, r.Err().Error(), "while its callback ran")
}

func TestCallbacksMayPanicAndEndTheirGoroutine(t *testing.T) {
	var ran atomic.Int64
	r, _ := runFake(t, Config{Requests: 3000, Callers: 8, Mix: Mix{Go: 1}, Callback: func(nonce uint64) {
		ran.Add(1)
		switch nonce >> 8 % 4 {
		case 0:
			panic("on purpose")
		case 1:
			runtime.Goexit()
		}
	}}, nil)
	require.NoError(t, r.Err())
	assert.EqualValues(t, 3000, r.OK)
	assert.EqualValues(t, 3000, ran.Load())
}

func TestSwapBetweenCallersIsMisdelivered(t *testing.T) {
	r, _ := runFake(t, Config{Requests: 5000, Callers: 32}, func(n int) fault {
		if n%100 < 2 {
			return swapReply
		}
		return none
	})
	assert.Positive(t, r.Misdelivered)
	assert.Contains(t, r.Err().Error(), "got the reply of client 0 caller")
	assert.Len(t, r.Notes, maxNotes)
}

func TestFailuresThatAreToldAreNoViolation(t *testing.T) {
	r, _ := runFake(t, Config{
		Requests: 2000, Callers: 8,
		Unwritten: func(err error) bool { return errors.Is(err, errFake) },
	}, func(n int) fault {
		if n%10 == 0 {
			return fail
		}
		return none
	})
	require.NoError(t, r.Err())
	assert.EqualValues(t, 200, r.Failed)
	assert.EqualValues(t, 200, r.Unwritten)
	assert.EqualValues(t, 1800, r.OK)
	assert.Equal(t, []string{"     200  " + errFake.Error()}, r.CauseLines())
}

func TestErrorsAreSortedByTheirMeaning(t *testing.T) {
	ended := func(err error) func(context.Context, uint64) (context.Context, context.CancelFunc) {
		return func(ctx context.Context, _ uint64) (context.Context, context.CancelFunc) {
			if errors.Is(err, context.Canceled) {
				ctx, cancel := context.WithCancel(ctx)
				cancel()
				return ctx, cancel
			}
			return context.WithDeadline(ctx, time.Unix(0, 0))
		}
	}
	r, _ := runFake(t, Config{Requests: 100, Context: ended(context.Canceled)}, nil)
	require.NoError(t, r.Err())
	assert.EqualValues(t, 100, r.Cancelled)
	r, _ = runFake(t, Config{Requests: 100, Context: ended(context.DeadlineExceeded)}, nil)
	require.NoError(t, r.Err())
	assert.EqualValues(t, 100, r.Timeouts)
}

func TestRunEndsWithItsContext(t *testing.T) {
	h, err := New(Config{Seed: testSeed, Requests: maxSeq})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	f := newFake(h, func(n int) fault {
		if n == 1000 {
			cancel()
		}
		return none
	})
	h.Run(ctx, f)
	f.stop()
	r := h.Report()
	require.NoError(t, r.Err())
	assert.Less(t, r.Requests, int64(10_000))
}

func TestStopAtMisdeliveryEndsTheRun(t *testing.T) {
	r, _ := runFake(t, Config{Requests: 1_000_000, StopAtMisdelivery: true}, func(n int) fault {
		switch {
		case n == 100:
			return flipBit // goes on
		case n > 500:
			return emptyReply
		}
		return none
	})
	assert.Positive(t, r.Misdelivered)
	assert.Greater(t, r.Requests, int64(400))
	assert.Less(t, r.Requests, int64(100_000))
}

// TestRequestsAreAFunctionOfTheSeed compares what two servers see.
func TestRequestsAreAFunctionOfTheSeed(t *testing.T) {
	shapes := func(seed uint64) (all []string) {
		h, err := New(Config{Seed: seed})
		require.NoError(t, err)
		for seq := range uint32(500) {
			all = append(all, fmt.Sprintf("%+v", h.shapeOf(seq%7, seq)))
		}
		return all
	}
	assert.Equal(t, shapes(1), shapes(1))
	assert.NotEqual(t, shapes(1)[0], shapes(2)[0])
}

func TestBadConfigIsRefusedByName(t *testing.T) {
	for name, cfg := range map[string]Config{
		"Callers":       {Callers: -1},
		"Requests":      {Requests: maxSeq + 1},
		"Timeout":       {Timeout: -time.Second},
		"Window":        {Window: -1},
		"BatchMax":      {BatchMax: 1 << 20},
		"MaxPayload":    {MaxPayload: 10},
		"Mix.SendBatch": {Mix: Mix{SendBatch: -1}},
	} {
		_, err := New(cfg)
		require.ErrorContains(t, err, "Config."+name)
	}
}
