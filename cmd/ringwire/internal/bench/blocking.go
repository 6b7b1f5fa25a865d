package bench

import "time"

// launchBlocking starts a goroutine per caller. Each waits at the gate.
func (l *load) launchBlocking() {
	l.ready.Add(len(l.callers))
	l.done.Add(len(l.callers))
	for i, c := range l.callers {
		go func() {
			defer l.done.Done()
			l.ready.Done()
			<-l.gate
			l.callInTurn(c, i)
		}()
	}
}

// callInTurn is the loop that is measured.
func (l *load) callInTurn(c *caller, i int) {
	var start time.Time
	for !l.stop.Load() {
		setNumber(c.req, c.number)
		timed := l.timed(c, i)
		if timed {
			start = time.Now()
		}
		reply, err := l.client.Call(c.dst[:0], &c.req)
		c.number++
		if err != nil {
			c.failed(err)
			time.Sleep(errorPause)
			continue
		}
		if timed {
			c.took(start)
		}
		l.check(c, reply)
		c.dst = reply
	}
}
