package load

import (
	"context"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/load/request"
	"github.com/ringwire/ringwire/load/wire"
)

// sum adds up what a run logs.
type sum struct {
	all   map[string]*hdrhistogram.Histogram
	calls int
	to    time.Duration
}

func (s *sum) add(t *testing.T) func(*Interval) {
	s.all = make(map[string]*hdrhistogram.Histogram)
	add := func(name string, h *hdrhistogram.Histogram) {
		if s.all[name] == nil {
			s.all[name] = latency{}.filled()
		}
		s.all[name].Merge(h)
	}
	return func(in *Interval) {
		s.calls++
		assert.Equal(t, s.to, in.From, "no time is left out")
		assert.Greater(t, in.To, in.From)
		s.to = in.To
		add("response", in.Total.Response)
		add("service", in.Total.Service)
		add("queue", in.Total.Queue)
		add("lag", in.Total.Lag)
		add("late", in.Total.Late)
		for _, k := range in.Kinds {
			add(k.Name+".response", k.Response)
			add(k.Name+".service", k.Service)
		}
	}
}

func twoKinds(t *testing.T) *request.Mix {
	t.Helper()
	m := mixOf(t, "payload", "echo")
	kinds := []request.Kind{m.Kinds[0], m.Kinds[0]}
	kinds[0].Name, kinds[1].Name, kinds[1].Weight = "one", "two", 3
	m, err := request.NewMix(kinds)
	require.NoError(t, err)
	return m
}

func TestTheIntervalsOfARunAreAllOfIt(t *testing.T) {
	b := serve(t, "anet", func(c *peer, n int, f wire.Frame) {
		switch {
		case n%50 == 7: // never answered
		case n%50 == 9:
			payload := c.b.codec.Payload(nil, f.Bytes)
			time.AfterFunc(250*time.Millisecond, func() { c.reply(f.ID, payload) }) // late
		default:
			c.echo(f)
		}
	})
	for name, change := range map[string]func(*Config){
		"one kind":  func(*Config) {},
		"two kinds": func(c *Config) { c.Mix = twoKinds(t) },
		"warm-up":   func(c *Config) { c.Warmup = 600 * time.Millisecond },
	} {
		var got sum
		cfg := atRate(to(t, b, "anet", 0), 1000, 1300*time.Millisecond)
		cfg.Conns, cfg.InFlight, cfg.Timeout, cfg.Drain = 3, 64, 100*time.Millisecond, 500*time.Millisecond
		change(&cfg)
		cfg.Log = got.add(t)
		res := result(t, cfg)
		require.Positive(t, res.Total.Late.TotalCount(), name)
		require.Positive(t, res.Total.Counts.Lost(), name)
		for of, h := range map[string]*hdrhistogram.Histogram{"response": res.Total.Response, "service": res.Total.Service,
			"queue": res.Total.Queue, "lag": res.Total.Lag, "late": res.Total.Late} {
			assert.True(t, h.Equals(got.all[of]), "%s: %s: %d of %d", name, of, got.all[of].TotalCount(), h.TotalCount())
		}
		for _, k := range res.Kinds {
			assert.True(t, k.Response.Equals(got.all[k.Name+".response"]), "%s: %s", name, k.Name)
			assert.True(t, k.Service.Equals(got.all[k.Name+".service"]), "%s: %s", name, k.Name)
		}
		assert.GreaterOrEqual(t, got.calls, 2, name)
	}
}

func TestTheLastSecondIsObservedDuringTheWarmUpToo(t *testing.T) {
	b := serve(t, "anet", nil)
	cfg := atRate(to(t, b, "anet", 0), 1000, time.Hour)
	cfg.Warmup = time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var seen []int64
	cfg.Observe = func(s Snapshot) {
		if seen = append(seen, s.Response.TotalCount()); len(seen) == 2 {
			cancel()
		}
	}
	res, err := Run(ctx, cfg)
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(seen), 2)
	assert.Positive(t, seen[0])
	assert.Positive(t, seen[1])
	assert.LessOrEqual(t, seen[0]+seen[1], int64(res.Violations.Replied), "none is in two")
	assert.Zero(t, res.Total.Counts.Replied)
}

func TestNobodyIsToldOfARunThatDidNotBegin(t *testing.T) {
	b := serve(t, "anet", nil)
	cfg := to(t, b, "anet", 1)
	b.close()
	cfg.Log = func(*Interval) { t.Error("told") }
	res := result(t, cfg)
	assert.True(t, res.Started.IsZero())
}
