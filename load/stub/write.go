package stub

import (
	"net"
	"time"
)

const (
	// splitPause lets the client read the first part of a reply that is split.
	splitPause = 2 * time.Millisecond
	noiseBytes = 64
)

// write writes replies when they are due, until the connection's end.
func (c *conn) write() {
	defer close(c.written)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		next, over := c.collect(time.Now())
		if over {
			return
		}
		if len(c.batch) > 0 {
			if !c.send() {
				return
			}
			continue
		}
		var due <-chan time.Time
		if !next.IsZero() {
			timer.Reset(time.Until(next))
			due = timer.C
		}
		select {
		case <-due:
		case <-c.wake:
		case <-c.done:
			return
		}
	}
}

// collect takes what is due into the batch, and makes room.
func (c *conn) collect(now time.Time) (next time.Time, over bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all.free(c.batch)
	c.batch, next = c.all.due(now, c.batch[:0])
	for _, r := range c.batch {
		if r == c.held {
			c.held, r.fault = nil, None // no other has come in time
		}
	}
	signal(c.room)
	return next, c.over && len(c.batch) == 0 && len(c.all.queue) == 0
}

// send writes the batch. It reports false if the connection has ended with it.
func (c *conn) send() bool {
	for i, r := range c.batch {
		ok := true
		switch {
		case r.fault.ends():
			if ok = c.flush(); ok {
				c.server.counts.faults[r.fault].Add(1)
				c.server.counts.unanswered.Add(uint64(len(c.batch) - i - 1))
				c.breakOff(r.fault)
				return false
			}
		case r.fault == Split:
			ok = c.flush() && c.split(r)
		default:
			c.out = append(c.out, r.frame...)
			if r.fault == Duplicate {
				c.out = append(c.out, r.frame...)
			}
			c.sent = append(c.sent, r)
		}
		if !ok {
			c.server.counts.unanswered.Add(uint64(len(c.batch) - i))
			c.stop()
			return false
		}
	}
	if !c.flush() {
		c.stop()
		return false
	}
	return true
}

// flush writes what has gathered, and counts it.
func (c *conn) flush() bool {
	if len(c.out) == 0 {
		return true
	}
	now := time.Now()
	_, err := c.raw.Write(c.out)
	c.out = c.out[:0]
	if err != nil {
		c.server.counts.unanswered.Add(uint64(len(c.sent)))
	} else {
		c.shard.record(now, c.sent)
		c.server.counts.sent(c.sent)
	}
	clear(c.sent)
	c.sent = c.sent[:0]
	return err == nil
}

// split writes a reply in two parts.
func (c *conn) split(r *reply) bool {
	now := time.Now()
	at := 1 + c.noise.IntN(max(len(r.frame)-1, 1))
	if _, err := c.raw.Write(r.frame[:at]); err != nil {
		return false
	}
	if !c.server.pause(splitPause) {
		return false
	}
	if _, err := c.raw.Write(r.frame[at:]); err != nil {
		return false
	}
	c.shard.record(now, []*reply{r})
	c.server.counts.sent([]*reply{r})
	return true
}

// breakOff ends the connection with a fault. The reader waits until the client has closed
// it, so that what was written before arrives.
func (c *conn) breakOff(f Fault) {
	c.mu.Lock()
	c.broken = true
	c.mu.Unlock()
	_ = c.raw.SetReadDeadline(time.Now().Add(linger))
	switch f {
	case Oversize, Garbage:
		b := append([]byte(nil), c.server.broken[f]...)
		for range noiseBytes {
			b = append(b, byte(c.noise.Uint32()))
		}
		_, _ = c.raw.Write(b)
	case Close:
		if half, ok := c.raw.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
			c.stop()
		}
	case Reset:
		raw := c.raw
		if secured, ok := raw.(interface{ NetConn() net.Conn }); ok {
			raw = secured.NetConn()
		}
		if tcp, ok := raw.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
			_ = tcp.Close()
		}
		c.stop()
	}
}
