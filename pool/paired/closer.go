package paired

import (
	"crypto/tls"
	"net"
	"sync"
	"time"

	"github.com/ringwire/ringwire/internal/role"
)

const (
	// closersMax bounds the connections of a pool that are being closed at once.
	// Others queue.
	closersMax = 64
	// alertWait is how long a peer has to take the closing alert of TLS, from when
	// the pool threw the connection away.
	alertWait = time.Second
)

// closer closes what a pool throws away, on goroutines of its own: crypto/tls waits
// up to five seconds for a peer to take the closing alert, and what a user's Dial
// returned may wait for anything. So Put, Get and the manager wait for nobody.
//
// Every TLS connection is told its alert, since here that holds up nobody; this way
// the peer can tell an end from a cut. A peer that does not take the alert in time is cut
// off. The time in the queue counts, so that all sockets are closed soon, however
// many peers do not read. Only a user's Close that never returns keeps its goroutine.
type closer struct {
	mu      sync.Mutex
	queue   []closing
	running int           // goroutines
	idle    chan struct{} // closed when running gets zero; nil while nobody waits
}

// closing is a connection that is to be closed. The closer owns it.
type closing struct {
	nc    net.Conn
	until time.Time // when the peer must have taken the alert
}

// add takes connections over and returns at once.
func (c *closer) add(all ...net.Conn) {
	until := time.Now().Add(alertWait)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, nc := range all {
		c.queue = append(c.queue, closing{nc: nc, until: until})
	}
	for range min(len(all), closersMax-c.running) {
		c.running++
		go c.run()
	}
}

// run closes what is queued until there is no more.
func (c *closer) run() {
	role.Set("paired closer")
	for {
		first, ok := c.next()
		if !ok {
			return
		}
		first.close()
	}
}

// next takes the first of the queue. A goroutine that finds it empty must end.
func (c *closer) next() (first closing, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) > 0 {
		first, c.queue[0] = c.queue[0], closing{}
		c.queue = c.queue[1:]
		return first, true
	}
	c.queue = nil
	c.running--
	if c.running == 0 && c.idle != nil {
		close(c.idle)
		c.idle = nil
	}
	return first, false
}

// quiet returns a channel that is closed when all that was added has been closed.
func (c *closer) quiet() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle == nil {
		c.idle = make(chan struct{})
	}
	idle := c.idle
	if c.running == 0 {
		close(c.idle)
		c.idle = nil
	}
	return idle
}

func (c closing) close() {
	tc, secured := c.nc.(*tls.Conn)
	if !secured {
		c.nc.Close()
		return
	}
	wait := time.Until(c.until)
	if wait <= 0 {
		tc.NetConn().Close()
		return
	}
	// Close sets a write deadline of its own: only closing the socket ends it sooner.
	cut := time.AfterFunc(wait, func() { tc.NetConn().Close() })
	defer cut.Stop()
	tc.Close()
}
