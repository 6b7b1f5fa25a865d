package load

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/ringwire/ringwire/load/wire"
)

// Each request is held for a while, so that Little's law says how many there are.
func TestTheFiguresAgreeByLittlesLaw(t *testing.T) {
	hold := func(d time.Duration) func(c *peer, n int, f wire.Frame) {
		return func(c *peer, n int, f wire.Frame) {
			payload := c.b.codec.Payload(nil, f.Bytes)
			c.b.wg.Go(func() {
				time.Sleep(d) // what the test is about
				c.reply(f.ID, payload)
			})
		}
	}
	cfg := to(t, serve(t, "anet", hold(50*time.Millisecond)), "anet", 0)
	cfg.InFlight, cfg.Timeout, cfg.Warmup = 64, time.Second, 200*time.Millisecond
	var l Little
	for d := time.Second; l.Samples <= littleSamples && d <= 16*time.Second; d *= 2 { // on a busy machine the clock samples seldom
		l = result(t, atRate(cfg, 400, d)).Little
	}
	assert.Greater(t, l.Samples, littleSamples)
	assert.Greater(t, l.ByLaw, 15.0, "400 a second of 50 ms, with the drain")
	assert.Greater(t, l.Sampled, 12.0)
	assert.True(t, l.Agrees(), "%+v", l)

	cfg = to(t, serve(t, "anet", silent), "anet", 40) // time-outs are in flight, too
	cfg.InFlight, cfg.Timeout, cfg.Drain = 10, 128*time.Millisecond, 10*time.Millisecond
	l = result(t, cfg).Little
	assert.InDelta(t, 10, l.ByLaw, 3)
	assert.InDelta(t, 10, l.Sampled, 3)
	assert.True(t, l.Agrees(), "%+v", l)
}

func TestFiguresThatDifferDoNotAgree(t *testing.T) {
	for _, c := range []struct {
		seen, law float64
		samples   int
		spread    float64
		agrees    bool
	}{
		{100, 101, 400, 10, true},
		{100, 140, 400, 10, false},
		{140, 100, 400, 10, false},
		{100, 140, 29, 10, true}, // says nothing
		{100, 140, 100, 100, true},
		{0.2, 1.1, 400, 0.1, true},
		{0.2, 2.5, 400, 0.1, false},
	} {
		l := Little{c.seen, c.law, c.samples, c.spread}
		assert.Equal(t, c.agrees, l.Agrees(), "%+v", c)
	}
}
