package bench

import "time"

// tick is how often the pacer begins requests: all those that have become due.
// A finer one would cost processor time that is then charged to every system.
const tick = time.Millisecond

// launchPaced begins requests at the load's rate, however long earlier ones
// take: a pacer hands out intended times, and whichever caller is free sends.
// With all callers busy the next requests wait, and their latency counts from
// when they were due, so a system that falls behind cannot hide it.
func (l *load) launchPaced() {
	due := make(chan time.Time, len(l.callers))
	l.ready.Add(1 + len(l.callers))
	l.done.Add(1 + len(l.callers))
	go func() {
		defer l.done.Done()
		defer close(due)
		l.ready.Done()
		<-l.gate
		l.pace(due)
	}()
	for i, c := range l.callers {
		go func() {
			defer l.done.Done()
			l.ready.Done()
			for intended := range due {
				l.callDue(c, i, intended)
			}
		}()
	}
}

// pace hands out the requests of every tick until the run ends; at least one.
// The channel is its bound: it waits while every caller is busy and as many
// requests again are due.
func (l *load) pace(due chan<- time.Time) {
	start := time.Now()
	issued := 0.0
	for at := start; ; at = at.Add(tick) {
		time.Sleep(time.Until(at))
		for wanted := max(1, at.Sub(start).Seconds()*l.rate); issued < wanted; issued++ {
			due <- at
			if l.stop.Load() {
				return
			}
		}
		if l.stop.Load() {
			return
		}
	}
}

// callDue is callInTurn's body with the latency from the intended time.
func (l *load) callDue(c *caller, i int, intended time.Time) {
	setNumber(c.req, c.number)
	timed := l.timed(c, i)
	reply, err := l.client.Call(c.dst[:0], &c.req)
	c.number++
	if err != nil {
		c.failed(err)
		return
	}
	if timed {
		c.took(intended)
	}
	l.check(c, reply)
	c.dst = reply
}
