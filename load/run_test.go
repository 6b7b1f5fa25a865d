package load

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/load/request"
	"github.com/ringwire/ringwire/load/schedule"
	"github.com/ringwire/ringwire/load/wire"
)

func TestClosedLoopSendsExactlyAsManyAsAsked(t *testing.T) {
	for _, c := range []struct {
		requests        int64
		conns, inFlight int
	}{{1, 1, 1}, {1, 8, 16}, {7, 3, 2}, {1000, 1, 1}, {1000, 4, 32}, {20_000, 2, 500}} {
		b := serve(t, "anet", nil)
		cfg := to(t, b, "anet", c.requests)
		cfg.Conns, cfg.InFlight = c.conns, c.inFlight
		res := result(t, cfg)
		assert.EqualValues(t, c.requests, b.requests.Load(), "%+v", c)
		assert.Equal(t, Counts{Sent: uint64(c.requests), Replied: uint64(c.requests)}, res.Total.Counts, "%+v", c)
		assert.Equal(t, Conns{Opened: uint64(c.conns), Errors: map[string]uint64{}}, res.Conns)
		assert.Zero(t, res.Replies)
		assert.False(t, res.Interrupted)
		assert.Empty(t, res.Broke)
		assert.Equal(t, res.Total.Response.Max(), res.Total.Service.Max(), "due when sent")
	}
}

func TestOpenLoopSendsExactlyTheSchedule(t *testing.T) {
	b := serve(t, "anet", nil)
	cfg := atRate(to(t, b, "anet", 0), 5000, 200*time.Millisecond)
	cfg.Conns = 3
	res := result(t, cfg)
	assert.EqualValues(t, 1000, b.requests.Load())
	assert.Equal(t, Counts{Sent: 1000, Replied: 1000}, res.Total.Counts)
	assert.Zero(t, res.Unsent)
	require.Len(t, res.Stages, 1)
	assert.Equal(t, "200ms at 5000/s", res.Stages[0].Name)
	assert.GreaterOrEqual(t, res.Elapsed, 199*time.Millisecond)

	cfg.Schedule.N = 17
	res = result(t, cfg)
	assert.EqualValues(t, 17, res.Total.Counts.Sent)
	assert.Less(t, res.Elapsed, 190*time.Millisecond, "it does not wait for the stage's end")
}

// Where no request waits for a slot, what is left of the response is the service.
func TestTheLagCanBeLeftOutOfTheResponse(t *testing.T) {
	cfg := atRate(to(t, serve(t, "anet", nil), "anet", 0), 5000, 200*time.Millisecond)
	cfg.InFlight = 1000
	for _, leave := range []bool{true, false} {
		cfg.LeaveOutLag = leave
		res := result(t, cfg)
		assert.Positive(t, res.Total.Lag.Max())
		assert.Equal(t, leave, res.Total.Response.Mean() == res.Total.Service.Mean())
	}
}

func TestEveryPresetIsAnsweredByAServerOfItsOwnForm(t *testing.T) {
	for _, preset := range wire.PresetNames() {
		b := serve(t, preset, func(c *peer, _ int, f wire.Frame) {
			payload := c.b.codec.Payload(nil, f.Bytes)
			b, err := c.b.codec.Append(nil, f.ID, payload)
			if err != nil {
				panic(err)
			}
			if mark := codecOf(t, preset).Spec().Reply; mark.Mask != 0 {
				b[mark.Offset] = b[mark.Offset]&^mark.Mask | mark.Value
			}
			c.write(b)
		})
		cfg := to(t, b, preset, 2000)
		cfg.Mix = mixOf(t, "a payload long enough for all", "any")
		if probe := wire.Probe(preset); strings.HasPrefix(preset, "iso8583") {
			cfg.Mix = mixOf(t, string(probe), "any")
		}
		cfg.Conns = 2
		res := result(t, cfg)
		assert.Equal(t, Counts{Sent: 2000, Replied: 2000}, res.Total.Counts, preset)
		assert.Zero(t, res.Replies, preset)
	}
}

func TestAStallIsInTheResponseOfAllThatFellDue(t *testing.T) {
	const stall = 800 * time.Millisecond // what a busy machine takes beside is less than a third of it
	stalled := make(chan struct{})
	b := serve(t, "anet", func(c *peer, n int, f wire.Frame) {
		if n == 100 {
			close(stalled)
			time.Sleep(stall) // what the test is about
		}
		c.echo(f)
	})
	cfg := atRate(to(t, b, "anet", 0), 250, 2*stall)
	cfg.InFlight = 4
	res := result(t, cfg)
	<-stalled
	require.Equal(t, Counts{Sent: 400, Replied: 400}, res.Total.Counts)
	// Requests 100 to 299 fell due while nothing was answered: half of all waited, those in
	// the backlog as well as those in flight.
	over := func(h interface{ ValueAtQuantile(float64) int64 }, q float64) time.Duration {
		return time.Duration(h.ValueAtQuantile(q))
	}
	assert.Greater(t, over(res.Total.Response, 75), stall/3, "response")
	assert.Greater(t, over(res.Total.Queue, 75), stall/3, "queue")
	assert.Less(t, over(res.Total.Service, 75), stall/3, "service: only those in flight")
	assert.Greater(t, time.Duration(res.Total.Service.Max()), stall-10*time.Millisecond)
	assert.Less(t, over(res.Total.Lag, 75), stall/3, "it is not the generator's fault")
}

func TestTimeoutsAreRecordedAtTheirAge(t *testing.T) {
	b := serve(t, "anet", silent)
	cfg := to(t, b, "anet", 20)
	cfg.Timeout, cfg.InFlight, cfg.Drain = 50*time.Millisecond, 10, 300*time.Millisecond
	res := result(t, cfg)
	assert.Equal(t, Counts{Sent: 20, Timeouts: 20}, res.Total.Counts)
	assert.EqualValues(t, 20, res.Total.Counts.Lost())
	assert.GreaterOrEqual(t, res.Total.Response.Min(), int64(40*time.Millisecond), "the timeout counts from when the connection had it, a little before the write")
	assert.EqualValues(t, 20, b.requests.Load())
}

func TestAFullBacklogIsUnsentAndCounted(t *testing.T) {
	b := serve(t, "anet", silent)
	cfg := atRate(to(t, b, "anet", 0), 1000, 100*time.Millisecond)
	cfg.InFlight, cfg.Backlog, cfg.Drain = 4, 10, 10*time.Millisecond
	res := result(t, cfg)
	assert.Equal(t, Counts{Sent: 4, Abandoned: 4}, res.Total.Counts)
	assert.EqualValues(t, 96, res.Unsent.Backlog, "the schedule's other requests")
	assert.Zero(t, res.Unsent.Early)
}

func TestTheBacklogIsSentInItsOrderWhenSlotsBecomeFree(t *testing.T) {
	var r *run
	var order []uint64
	b := serve(t, "anet", func(c *peer, n int, f wire.Frame) {
		if n == 0 {
			assert.Eventually(t, func() bool { return r.backlog.len.Load() == 199 }, 10*time.Second, time.Millisecond, "all are due")
		}
		order = append(order, f.ID)
		c.echo(f)
	})
	cfg := atRate(to(t, b, "anet", 0), 2000, 100*time.Millisecond)
	cfg.InFlight = 1
	cfg.Drain = 20 * time.Second
	r = newRun(cfg.withDefaults())
	res := r.result(t.Context())
	holds(t, res)
	assert.Equal(t, Counts{Sent: 200, Replied: 200}, res.Total.Counts)
	assert.Zero(t, res.Unsent)
	assert.GreaterOrEqual(t, res.Total.Queue.Max(), int64(98*time.Millisecond), "of the second request: it waited for the last")
	require.Len(t, order, 200)
	for i, id := range order {
		require.EqualValues(t, i, id)
	}
}

func TestWarmupIsSentAndNotInTheFigures(t *testing.T) {
	b := serve(t, "anet", nil)
	cfg := atRate(to(t, b, "anet", 0), 1000, 200*time.Millisecond)
	cfg.Warmup = 100 * time.Millisecond
	res := result(t, cfg)
	assert.EqualValues(t, 200, b.requests.Load())
	assert.EqualValues(t, 100, res.Total.Counts.Sent)
	assert.EqualValues(t, 200, res.Violations.Sent)

	cfg = to(t, b, "anet", 0)
	cfg.Duration, cfg.Warmup = 200*time.Millisecond, 100*time.Millisecond
	res = result(t, cfg)
	assert.Less(t, res.Total.Counts.Sent, res.Violations.Sent)
	assert.EqualValues(t, 200+res.Violations.Sent, b.requests.Load())
}

func TestAMixIsToldApartByKindAndCode(t *testing.T) {
	b := serve(t, "payshield", func(c *peer, n int, f wire.Frame) {
		status := "00"
		if string(f.Bytes[6:8]) == "CA" && n%2 == 0 {
			status = "68"
		}
		if n == 0 {
			status = "0"
		}
		c.reply(f.ID, append([]byte("XX"), status...))
	})
	cfg := to(t, b, "payshield", 1000)
	status := request.Status{Offset: 8, Len: 2, OK: [][]byte{[]byte("00")}}
	var err error
	cfg.Mix, err = request.NewMix([]request.Kind{
		{Name: "echo", Weight: 1, Source: request.Bytes("NC"), Status: status},
		{Name: "CA", Weight: 3, Source: request.Bytes("CAxx"), Status: status},
	})
	require.NoError(t, err)
	cfg.InFlight = 1 // so that the backend's order is ours
	res := result(t, cfg)
	require.Len(t, res.Kinds, 2)
	assert.EqualValues(t, 250, res.Kinds[0].Counts.Sent)
	assert.EqualValues(t, 750, res.Kinds[1].Counts.Sent)
	n := res.Total.Counts
	assert.EqualValues(t, 1, n.Truncated)
	require.Len(t, res.Codes, 2)
	assert.Equal(t, []any{"00", true, n.OK()}, []any{res.Codes[0].Name, res.Codes[0].OK, res.Codes[0].Count})
	assert.Equal(t, []any{"68", false, n.Refused}, []any{res.Codes[1].Name, res.Codes[1].OK, res.Codes[1].Count})
	assert.EqualValues(t, 1000, n.OK()+n.Refused+n.Truncated)
	assert.Greater(t, n.Refused, uint64(300))
}

func TestAUniqueSourceEndsTheRun(t *testing.T) {
	rows, err := request.NewTable([]byte("a\n1\n2\n3\n"), request.Unique, 0)
	require.NoError(t, err)
	tp, err := request.Compile("${csv.a}", map[string]*request.Table{"": rows}, 0)
	require.NoError(t, err)
	mix, err := request.NewMix([]request.Kind{{Name: "r", Weight: 1, Source: tp}})
	require.NoError(t, err)
	b := serve(t, "anet", nil)
	cfg := to(t, b, "anet", 0)
	cfg.Mix = mix
	assert.EqualValues(t, 3, result(t, cfg).Total.Counts.Sent)
	assert.EqualValues(t, 3, result(t, atRate(cfg, 1000, time.Second)).Total.Counts.Sent)
	assert.EqualValues(t, 6, b.requests.Load())
}

func TestUnixSocketsAndWeights(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	a := serveOn(t, l, "anet", nil)
	b := serve(t, "anet", nil)
	cfg := to(t, b, "anet", 4000)
	cfg.Targets = nil
	for _, s := range []string{"unix://" + path + "=3", b.addr()} {
		target, err := ParseTarget(s)
		require.NoError(t, err)
		cfg.Targets = append(cfg.Targets, target)
	}
	cfg = atRate(cfg, 20_000, time.Second)
	cfg.Conns = 8
	cfg.InFlight = 1000
	res := result(t, cfg)
	assert.EqualValues(t, 4000, res.Total.Counts.Replied)
	assert.EqualValues(t, 6, a.conns.Load())
	assert.EqualValues(t, 2, b.conns.Load())
	assert.EqualValues(t, 3000, a.requests.Load())
	assert.EqualValues(t, 1000, b.requests.Load())
}

func TestInterruptedRunsSaySoAndAddUp(t *testing.T) {
	for name, loop := range map[string]func(Config) Config{
		"closed": func(c Config) Config { c.Requests = 1 << 40; return c },
		"open":   func(c Config) Config { return atRate(c, 1000, time.Hour) },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		b := serve(t, "anet", func(c *peer, n int, f wire.Frame) {
			c.echo(f)
			if n == 49 {
				cancel()
			}
		})
		res, err := Run(ctx, loop(to(t, b, "anet", 0)))
		cancel()
		require.NoError(t, err)
		holds(t, res)
		assert.Zero(t, res.Unsent.Backlog, name)
		assert.True(t, res.Interrupted, name)
		assert.GreaterOrEqual(t, res.Total.Counts.Replied, uint64(50), name)
	}
}

func TestARunThatEndsBeforeItsTimeSendsNoMore(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var r *run
	b := serve(t, "anet", func(c *peer, n int, f wire.Frame) {
		if n == 20 { // nobody takes from the backlog while this has no reply
			waiting := func() int64 { return int64(r.backlog.len.Load()) }
			assert.Eventually(t, func() bool { return waiting() >= 100 }, 10*time.Second, time.Millisecond, "a backlog")
			cancel()
			assert.Eventually(t, func() bool { return waiting() == 0 }, 10*time.Second, time.Millisecond, "it is dropped")
		}
		c.echo(f)
	})
	cfg := atRate(to(t, b, "anet", 0), 1000, time.Hour)
	cfg.InFlight = 1
	r = newRun(cfg.withDefaults())
	res := r.result(ctx)
	holds(t, res)
	assert.GreaterOrEqual(t, res.Unsent.Early, uint64(100))
	assert.Zero(t, res.Unsent.Backlog)
	assert.EqualValues(t, 21, b.requests.Load(), "the backlog was dropped, not sent")
}

func TestStartAtIsWaitedFor(t *testing.T) {
	b := serve(t, "anet", nil)
	cfg := to(t, b, "anet", 1)
	cfg.StartAt = time.Now().Add(150 * time.Millisecond)
	res := result(t, cfg)
	assert.False(t, res.Started.Before(cfg.StartAt))
	assert.EqualValues(t, 1, res.Total.Counts.Replied)
}

func TestObserveSeesTheRun(t *testing.T) {
	b := serve(t, "anet", nil)
	cfg := atRate(to(t, b, "anet", 0), 200, 1200*time.Millisecond)
	seen := make(chan Snapshot, 8)
	cfg.Observe = func(s Snapshot) { seen <- s }
	result(t, cfg)
	s := <-seen
	assert.Greater(t, s.Counts.Replied, uint64(50))
	assert.Equal(t, 1, s.Conns)
	assert.GreaterOrEqual(t, s.At, time.Second)
}

func TestConfigsThatMakeNoSenseAreRefusedBeforeADial(t *testing.T) {
	b := serve(t, "anet", nil)
	for want, change := range map[string]func(*Config){
		"no target":                                      func(c *Config) { c.Targets = nil },
		"no framing":                                     func(c *Config) { c.Codec = nil },
		"no request":                                     func(c *Config) { c.Mix = nil },
		"connections 0: must be 1, one for each":         func(c *Config) { c.Conns = 0 },
		"in flight 0: must be 1 to 65536":                func(c *Config) { c.InFlight = 0 },
		"backlog -1: must be 1 to 16777216":              func(c *Config) { c.Backlog = -1 },
		"timeout 2h0m0s: must be 1ms to 1h0m0s":          func(c *Config) { c.Timeout = 2 * time.Hour },
		"warm-up -1s: must be 0s to":                     func(c *Config) { c.Warmup = -time.Second },
		"warm-up 2s: must be shorter than the run of 1s": func(c *Config) { c.Duration, c.Warmup = time.Second, 2*time.Second },
		"no end: give a number of requests or a":         func(c *Config) { c.Requests = 0 },
		"connect rate -1: must be above 0":               func(c *Config) { c.ConnectRate = -1 },
		"weight 0: must be 1 to 1000":                    func(c *Config) { c.Targets[0].Weight = 0 },
		"rate 0: must be above 0":                        func(c *Config) { c.Schedule = &schedule.Config{Stages: []schedule.Stage{{For: 1}}} },
		"payload of 70000 bytes: must have 65531":        func(c *Config) { c.Mix = mixOf(t, "${hex:"+string(make70k())+"}", "any") },
	} {
		cfg := to(t, b, "anet", 1)
		change(&cfg)
		_, err := Run(t.Context(), cfg)
		assert.ErrorContains(t, err, want)
	}
	assert.Zero(t, b.conns.Load())
	for s, want := range map[string]string{
		"host":       "must be host:port",
		"host:99999": "must lie in 0 to 65535",
		"host:1=0":   `weight "0": must be 1 to 1000`,
		":80":        "must name a host and a port",
		"unix://":    "has no path",
		"tls://host": "must be host:port",
	} {
		_, err := ParseTarget(s)
		assert.ErrorContains(t, err, want, s)
	}
}

func make70k() []byte {
	b := make([]byte, 140_000)
	for i := range b {
		b[i] = '0'
	}
	return b
}

// A connection may come up while the run's clock is set to its start, and have read a time before it.
func TestNoRequestIsOfTheWarmUpThatThereIsNot(t *testing.T) {
	r := newRun(to(t, serve(t, "anet", nil), "anet", 10).withDefaults())
	defer r.cancel()
	r.state.Store(sending)
	d, n := r.take(3, -time.Millisecond)
	require.Equal(t, 3, n)
	assert.EqualValues(t, 1, d.phase)
	assert.Zero(t, d.intended)
}
