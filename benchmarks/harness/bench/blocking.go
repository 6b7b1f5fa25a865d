package bench

import "time"

// launchEach starts a goroutine per caller. Each waits at the gate, and then runs loop.
func (l *load) launchEach(loop func(c *caller, i int)) {
	l.ready.Add(len(l.callers))
	l.done.Add(len(l.callers))
	for i, c := range l.callers {
		go func() {
			defer l.done.Done()
			l.ready.Done()
			<-l.gate
			loop(c, i)
		}()
	}
}

func (l *load) launchBlocking() { l.launchEach(l.callInTurn) }

// callInTurn is the loop that is measured. A caller sends at least once: on a
// busy machine it may get its first turn when the slice is over.
func (l *load) callInTurn(c *caller, i int) {
	for {
		l.call(c, i)
		if l.stop.Load() {
			return
		}
	}
}

func (l *load) call(c *caller, i int) {
	setNumber(c.req, c.number)
	var start time.Time
	timed := l.timed(c, i)
	if timed {
		start = time.Now()
	}
	reply, err := c.client.Call(c.dst[:0], &c.req)
	c.number++
	if err != nil {
		l.failed(c, err)
		time.Sleep(errorPause)
		return
	}
	if timed {
		c.took(start)
	}
	l.check(c, reply)
	c.dst = reply
}
