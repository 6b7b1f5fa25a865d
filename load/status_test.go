package load

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/load/request"
	"github.com/ringwire/ringwire/load/schedule"
	"github.com/ringwire/ringwire/load/wire"
)

// counted is what a Status says of a Result.
func counted(res *Result) Result {
	c := Result{Total: Figures{Counts: res.Total.Counts}, Unsent: res.Unsent, Replies: res.Replies, Conns: res.Conns,
		Bytes: res.Bytes, Violations: res.Violations}
	c.Beats = Heartbeats{Sent: res.Beats.Sent, Answered: res.Beats.Answered, Missed: res.Beats.Missed}
	for _, k := range res.Kinds {
		c.Kinds = append(c.Kinds, Figures{Name: k.Name, Counts: k.Counts})
	}
	for _, code := range res.Codes {
		c.Codes = append(c.Codes, Code{Name: code.Name, OK: code.OK, Count: code.Count})
	}
	return c
}

func TestTheLastStatusHasTheCountsOfTheResult(t *testing.T) {
	b := serve(t, "anet", func(c *peer, n int, f wire.Frame) {
		payload := c.b.codec.Payload(nil, f.Bytes)
		switch {
		case n%50 == 7: // never answered
		case n%50 == 9:
			time.AfterFunc(250*time.Millisecond, func() { c.reply(f.ID, payload) }) // late
		case n%50 == 11:
			c.reply(f.ID, []byte("68"))
		case n%50 == 13:
			c.echo(f)
			c.echo(f) // a duplicate
		case n%500 == 15:
			_ = c.conn.Close()
		default:
			c.echo(f)
		}
	})
	cfg := atRate(to(t, b, "anet", 0), 1000, 1300*time.Millisecond)
	cfg.Mix = twoKinds(t)
	for i := range cfg.Mix.Kinds {
		cfg.Mix.Kinds[i].Expect = request.Expect{}
		cfg.Mix.Kinds[i].Status = request.Status{Offset: 6, Len: 2, OK: [][]byte{[]byte("pa")}}
	}
	cfg.Conns, cfg.InFlight, cfg.Timeout, cfg.Drain, cfg.Warmup = 3, 64, 100*time.Millisecond, 500*time.Millisecond, 200*time.Millisecond
	cfg.RequestsPerConn = 100
	cfg.Heartbeat = Heartbeat{Every: 50 * time.Millisecond, Kind: mixOf(t, "beat", "any").Kinds[0]}
	var last *Status
	var before Counts
	cfg.Log = func(in *Interval) {
		last = in.Status()
		n := last.SoFar.Total.Counts
		assert.GreaterOrEqual(t, n.Replied, before.Replied)
		assert.LessOrEqual(t, n.Sent, uint64(1100), "none counts twice")
		before = n
	}
	res := result(t, cfg)
	require.NotNil(t, last)
	assert.Equal(t, counted(res), counted(&last.SoFar))
	assert.Equal(t, counted(&last.SoFar), last.SoFar, "no histograms")
	assert.True(t, last.Draining)
	assert.Zero(t, last.Conns+last.InFlight+last.Backlog)
	assert.Zero(t, last.Rate)
	n := res.Total.Counts
	for what, seen := range map[string]uint64{"late": n.Late, "refused": n.Refused, "timeouts": n.Timeouts, "connections lost": res.Conns.Lost,
		"replaced": res.Conns.Replaced, "duplicates": res.Replies.Duplicate, "heartbeats": res.Beats.Answered, "warm-up": res.Violations.Sent - n.Sent} {
		assert.Positive(t, seen, what)
	}
	assert.Len(t, res.Codes, 2)
}

func TestAStatusTellsWhatIsUnderWay(t *testing.T) {
	b := serve(t, "anet", silent)
	cfg := to(t, b, "anet", 0)
	cfg.Conns, cfg.InFlight, cfg.Timeout, cfg.Drain, cfg.Backlog = 3, 2, time.Minute, time.Millisecond, 10
	cfg.Warmup = 500 * time.Millisecond
	cfg.Schedule = &schedule.Config{Stages: []schedule.Stage{{For: 10 * time.Second, From: 0, To: 1000}}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var first *Status
	cfg.Log = func(in *Interval) {
		if first == nil {
			first = in.Status()
			assert.InDelta(t, in.To.Seconds()*100, first.Rate, 1e-6)
			cancel()
		}
	}
	res, err := Run(ctx, cfg)
	require.NoError(t, err)
	require.NotNil(t, first)
	assert.Equal(t, 3, first.Conns)
	assert.Equal(t, 6, first.InFlight)
	assert.Equal(t, 10, first.Backlog)
	assert.False(t, first.Warmup)
	assert.False(t, first.Draining)
	assert.Positive(t, first.SoFar.Unsent.Backlog, "the backlog was full")
	assert.LessOrEqual(t, first.SoFar.Unsent.Backlog, res.Unsent.Backlog)
	assert.EqualValues(t, 6, first.SoFar.Violations.Sent)
	assert.Zero(t, first.SoFar.Total.Counts.Sent, "of the warm-up")
}

func TestBytesAreCountedBothWays(t *testing.T) {
	b := serve(t, "anet", func(c *peer, _ int, f wire.Frame) { c.reply(f.ID, []byte("abc")) })
	cfg := to(t, b, "anet", 1000)
	cfg.Mix, cfg.Conns = mixOf(t, "seven b", "any"), 2
	res := result(t, cfg)
	assert.Equal(t, Bytes{Sent: 1000 * (6 + 7), Received: 1000 * (6 + 3)}, res.Bytes)

	// What comes behind the reply that opened the connection counts; the opening does not.
	b = serve(t, "anet", func(c *peer, n int, f wire.Frame) {
		if n == 0 {
			one, err := c.b.codec.Append(nil, f.ID, []byte("open"))
			if err != nil {
				panic(err)
			}
			two, err := c.b.codec.Append(one, 1<<31, []byte("nobody asked"))
			if err != nil {
				panic(err)
			}
			c.write(two)
			return
		}
		c.echo(f)
	})
	cfg = to(t, b, "anet", 1)
	cfg.Mix, cfg.Open = mixOf(t, "seven b", "echo"), mixOf(t, "open", "any").Kinds
	res = result(t, cfg)
	assert.EqualValues(t, 1, res.Replies.UnknownID)
	assert.Equal(t, Bytes{Sent: 6 + 7, Received: 6 + 7 + 6 + 12}, res.Bytes)
}
