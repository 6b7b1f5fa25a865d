package bench

import (
	"time"

	"github.com/ringwire/ringwire/internal/pace"
)

// launchPaced begins requests at the load's rate, however long earlier ones take:
// whichever caller is free sends the next when it is due. With all callers busy the
// next requests wait, and their latency counts from when they were due, so a system
// that falls behind cannot hide it.
func (l *load) launchPaced() {
	l.launchEach(func(c *caller, i int) {
		for l.failure.Load() == nil {
			r, due := l.pacer.Next()
			if !due {
				return
			}
			l.callDue(c, i, r)
		}
	})
}

// launchTicking is for rates so low that a caller of its own is always free: each
// sends when its timer says so, and the latency counts from then.
func (l *load) launchTicking() {
	every := time.Duration(float64(len(l.callers)) * float64(time.Second) / l.ticks)
	l.launchEach(func(c *caller, i int) {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for range ticker.C {
			l.call(c, i)
			if l.stop.Load() {
				return
			}
		}
	})
}

// callDue is callInTurn's body with the latency from the intended time.
func (l *load) callDue(c *caller, i int, r pace.Request) {
	setNumber(c.req, c.number)
	timed := l.timed(c, i)
	reply, err := c.client.Call(c.dst[:0], &c.req)
	c.number++
	if err != nil {
		l.failed(c, err)
		return
	}
	if timed {
		c.tookPaced(l.pacer.Now()-r.Intended, r.Lag)
	}
	l.check(c, reply)
	c.dst = reply
}

// tookPaced keeps a latency and the pacer's part in it while there is room.
func (c *caller) tookPaced(latency, lag time.Duration) {
	if len(c.latencies) < cap(c.latencies) {
		c.latencies = append(c.latencies, int64(latency))
		c.lags = append(c.lags, int64(lag))
	}
}
