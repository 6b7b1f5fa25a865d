package engine

import (
	"context"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/taskid"
)

// lateTicks is how many ticks after its deadline a call has ended at the latest: six, and
// a scan.
const lateTicks = stepMax + 3

// limits are what may bound a call, whatever it waits for.
var limits = []struct {
	name    string
	request time.Duration // RequestTimeout
	ctx     time.Duration // until the context's deadline; 0: it has none
	call    Call
	want    time.Duration
	names   string
}{
	{"RequestTimeout", 2 * time.Second, 0, Call{}, 2 * time.Second, "RequestTimeout, 2s"},
	{"an earlier Timeout", 2 * time.Second, 0, Call{Timeout: time.Second}, time.Second, "Call.Timeout"},
	{"a later Timeout", time.Second, 0, Call{Timeout: 2 * time.Second}, 2 * time.Second, "Call.Timeout"},
	{"an earlier context", 2 * time.Second, time.Second, Call{}, time.Second, "the context's deadline"},
	{"a later context", time.Second, 2 * time.Second, Call{}, 2 * time.Second, "the context's deadline"},
	{
		"the context before Timeout",
		-1, time.Second, Call{Timeout: 2 * time.Second}, time.Second, "the context's deadline",
	},
	{"Timeout before the context", -1, 2 * time.Second, Call{Timeout: time.Second}, time.Second, "Call.Timeout"},
	{"no Timeout, a context", time.Second, 2 * time.Second, Call{Timeout: -1}, 2 * time.Second, "the context's deadline"},
}

// reasons are what a call may wait for until its deadline.
var reasons = []struct {
	name       string
	cfg        Config
	before     func(t *testing.T, b *Broker)
	idempotent bool
	unlessGo   bool // which never waits for it
}{
	{name: "a connection", cfg: Config{DialTimeout: -1, DialContext: dialInVain}},
	{
		name: "room, by WaitQueue", unlessGo: true,
		cfg: Config{MaxInFlight: 1, WaitQueue: true, ReadTimeout: -1, DialContext: pipeDial(drainOnly)},
		before: func(t *testing.T, b *Broker) {
			require.NoError(t, b.Go(bg, nil, func([]byte, error) {}, Call{Timeout: -1}))
		},
	},
	{name: "the socket", cfg: Config{WriteTimeout: -1, ReadTimeout: -1, DialContext: dialDeaf}},
	{
		name: "the request before it", cfg: Config{WriteTimeout: -1, ReadTimeout: -1, DialContext: dialDeaf},
		before: func(t *testing.T, b *Broker) {
			for range 3 {
				require.NoError(t, b.Go(bg, nil, func([]byte, error) {}, Call{Timeout: -1}))
			}
		},
	},
	{name: "the reply", cfg: Config{ReadTimeout: -1, DialContext: pipeDial(drainOnly)}},
	{
		name: "repetitions", idempotent: true,
		cfg: Config{ReadTimeout: 300 * time.Millisecond, MaxRetries: 1000, DialContext: pipeDial(drainOnly)},
	},
}

func TestACallHasOneDeadlineWhateverItWaitsFor(t *testing.T) {
	for _, r := range reasons {
		for _, l := range limits {
			t.Run(r.name+"/"+l.name, func(t *testing.T) {
				for i, w := range ways {
					if fewWays() && i != 0 && i != 3 {
						continue
					}
					if r.unlessGo && w.name[:2] == "Go" {
						continue
					}
					synctest.Test(t, func(t *testing.T) {
						cfg := r.cfg
						cfg.RequestTimeout = l.request
						b := bubbleBroker(t, cfg)
						synctest.Wait()
						if r.before != nil {
							r.before(t, b)
							synctest.Wait()
						}
						l.call.Idempotent = r.idempotent
						ctx, cancel := bg, func() {}
						if l.ctx > 0 {
							ctx, cancel = context.WithTimeout(bg, l.ctx)
						}
						defer cancel()
						began := time.Now()
						_, err := w.call(b, ctx, []byte("x"), l.call)
						took := time.Since(began)
						require.ErrorIs(t, err, ErrTimeout, w.name)
						require.ErrorContains(t, err, l.names, w.name)
						late := lateTicks * b.clock.tick
						if l.want == l.ctx {
							late = 0 // a context's own deadline is exact
						}
						require.GreaterOrEqual(t, took, l.want, w.name)
						require.LessOrEqual(t, took, l.want+late, w.name)
					})
				}
			})
		}
	}
}

func TestReadTimeoutBoundsOnlyCallsThatBringNoDeadline(t *testing.T) {
	const late = 20 * time.Second
	for _, c := range []struct {
		name string
		ctx  time.Duration
		call Call
		ok   bool
	}{
		{"nothing", 0, Call{}, false},
		{"a context", 30 * time.Second, Call{}, true},
		{"Timeout", 0, Call{Timeout: 30 * time.Second}, true},
		{"both", 40 * time.Second, Call{Timeout: 30 * time.Second}, true},
		{"no Timeout", 0, Call{Timeout: -1}, false},
		{"no Timeout, a context", 30 * time.Second, Call{Timeout: -1}, true},
		{"an idempotent one, a context", 30 * time.Second, Call{Idempotent: true}, false},
		{"an idempotent one, Timeout", 0, Call{Idempotent: true, Timeout: 30 * time.Second}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachWay(t, func(t *testing.T, call aWay) {
				b := bubbleBroker(t, Config{
					MaxRetries: -1,
					DialContext: pipeDial(farEnd(framing.Format{}, func(p *far, f framing.Frame) {
						p.after(late, func() { farEcho(p, f) })
					})),
				})
				ctx, cancel := bg, func() {}
				if c.ctx > 0 {
					ctx, cancel = context.WithTimeout(bg, c.ctx)
				}
				defer cancel()
				began := time.Now()
				reply, err := call(b, ctx, []byte("late"), c.call)
				took := time.Since(began)
				if c.ok {
					require.NoError(t, err)
					require.Equal(t, "late", string(reply))
					require.Equal(t, late, took)
					return
				}
				require.ErrorIs(t, err, ErrTimeout)
				require.ErrorContains(t, err, "ReadTimeout, 5s")
				require.GreaterOrEqual(t, took, DefaultReadTimeout)
				require.LessOrEqual(t, took, DefaultReadTimeout+lateTicks*b.clock.tick)
			})
		})
	}
}

func TestWithoutAnyTimeoutACallWaitsForItsReply(t *testing.T) {
	eachWay(t, func(t *testing.T, call aWay) {
		for _, c := range []struct {
			request time.Duration
			call    Call
		}{{-1, Call{}}, {-1, Call{Timeout: -1}}, {time.Second, Call{Timeout: -1}}} {
			b := bubbleBroker(t, Config{
				RequestTimeout: c.request, ReadTimeout: -1,
				DialContext: pipeDial(farEnd(framing.Format{}, func(p *far, f framing.Frame) {
					p.after(DefaultRequestTimeout+time.Second, func() { farEcho(p, f) })
				})),
			})
			reply, err := call(b, bg, []byte("late"), c.call)
			require.NoError(t, err, "%+v", c)
			require.Equal(t, "late", string(reply))
		}
	})
}

// The longest Call.Timeout is one that the slot of a request can hold.
func TestCallTimeoutCountsAsTwoHoursAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, cfg := range []Config{{}, {RequestTimeout: time.Millisecond, ReadTimeout: time.Millisecond}} {
			cfg.DialContext = dialInVain
			b := bubbleBroker(t, cfg)
			for _, d := range []time.Duration{2 * time.Hour, 3 * time.Hour, 1e6 * time.Hour, 1<<63 - 1} {
				var r request
				b.limit(&r, bg, Call{Timeout: d})
				want := b.clock.ticks(2*time.Hour) + 1 + stepMax
				assert.Equal(t, want, r.deadline.Since(b.clock.now()), "%v", d)
				assert.LessOrEqual(t, want, uint32(taskid.MaxTicks))
			}
		}
	})
}

// Probe.Timeout and BackoffMax may be longer than what a tick can tell, if that is short.
func TestTheClockTakesAnyTimeout(t *testing.T) {
	k := newClock(&Config{WriteTimeout: time.Millisecond})
	require.Equal(t, time.Millisecond, k.tick)
	for _, d := range []time.Duration{1, time.Second, 2 * time.Hour, 3 * time.Hour, MaxTimeout, math.MaxInt64} {
		at := k.after(k.ticks(d))
		assert.False(t, at.Due(k.now()), d)
		assert.GreaterOrEqual(t, time.Duration(at.Since(k.now()))*k.tick, min(d, timeoutMost), d)
	}
}

// A probe with such a timeout waits for its reply like another one.
func TestAProbeMayTakeLongerThanTheClockCanTell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bubbleBroker(t, Config{
			DialContext: pipeDial(drainOnly), WriteTimeout: time.Millisecond,
			ReadTimeout: -1, SilenceTimeout: -1, RequestTimeout: -1,
			Probe: &Probe{Interval: time.Millisecond, Timeout: 3 * time.Hour},
		})
		time.Sleep(time.Second)
		require.Equal(t, 1, b.Stats().InFlight)
		assert.Zero(t, b.Stats().ProbesFailed)
	})
}

// The last of several options counts, as with a function's other arguments that are
// overwritten: code that wraps a Client can put its own behind the caller's.
func TestTheLastCallCounts(t *testing.T) {
	eachWay(t, func(t *testing.T, call aWay) {
		b := bubbleBroker(t, Config{DialContext: pipeDial(drainOnly)})
		began := time.Now()
		_, err := call(b, bg, nil, Call{Timeout: time.Second}, Call{Timeout: 3 * time.Second})
		require.ErrorContains(t, err, "Call.Timeout")
		require.GreaterOrEqual(t, time.Since(began), 3*time.Second)
	})
}

func TestTheErrorOfAWriteThatTakesTooLongNamesWriteTimeout(t *testing.T) {
	eachWay(t, func(t *testing.T, call aWay) {
		b := bubbleBroker(t, Config{WriteTimeout: time.Second, DialContext: dialDeaf})
		began := time.Now()
		_, err := call(b, bg, nil)
		took := time.Since(began)
		require.ErrorIs(t, err, ErrConnLost)
		require.ErrorIs(t, err, ErrTimeout)
		require.ErrorContains(t, err, "WriteTimeout, 1s")
		var op *OpError
		require.ErrorAs(t, err, &op)
		assert.Equal(t, "write", op.Op)
		assert.True(t, op.Written)
		require.GreaterOrEqual(t, took, time.Second)
		require.LessOrEqual(t, took, time.Second+lateTicks*b.clock.tick)
	})
}

// What a slot holds back of two deadlines must never be earlier than they are.
func TestTwoDeadlinesComeBackFromOneTickAndItsNote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, cfg := range []Config{
			{}, {RequestTimeout: time.Hour}, {RequestTimeout: MaxTimeout}, {ReadTimeout: time.Second, RequestTimeout: time.Second},
			{ReadTimeout: 10 * time.Second, RequestTimeout: 9 * time.Second},
		} {
			cfg.DialContext = dialInVain
			b := bubbleBroker(t, cfg)
			now, unit := b.clock.now(), uint32(1)<<b.timeouts.slackShift
			attempt := now.After(b.attemptTicks())
			most := min(b.timeouts.request+2*b.attemptTicks(), taskid.MaxTicks)
			for n := uint32(1); n <= most; n += 1 + n/50 {
				call := now.After(n)
				tick, slack := b.attemptDeadline(call, false)
				back, attempts := b.wholeDeadline(tick, slack)
				require.Equal(t, call.Earlier(attempt), tick)
				require.Equal(t, !call.Due(attempt), attempts, "ReadTimeout is the one that counts")
				if n <= b.timeouts.request+1+stepMax {
					require.NotEqual(t, taskid.NoTick, back)
				}
				if back == taskid.NoTick {
					continue
				}
				require.LessOrEqual(t, back.Since(now), uint32(taskid.MaxTicks), "it can be compared")
				require.True(t, call.Due(back), "it is not early")
				late := unit
				if n > b.timeouts.request+1+stepMax && attempts { // as only Call.Timeout can be
					late = max(unit, call.Since(attempt))
				}
				require.Less(t, back.Since(call), late, "%d ticks", n)
			}
			tick, slack := b.attemptDeadline(taskid.NoTick, false)
			back, attempts := b.wholeDeadline(tick, slack)
			require.Equal(t, attempt, tick)
			require.Equal(t, taskid.NoTick, back)
			require.True(t, attempts)
		}
	})
}
