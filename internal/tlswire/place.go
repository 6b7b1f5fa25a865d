package tlswire

import (
	"errors"
	"net"
	"runtime"
)

// Layer lies between crypto/tls and a connection, and knows when the goroutine of a handshake
// computes, and when it waits. One goroutine uses it until the handshake is over.
type Layer interface {
	net.Conn
	// NetConn returns the connection below.
	NetConn() net.Conn
	// Compute has the goroutine hold a place of places while it does not wait for the peer; nil ends
	// that. It is for handshakes, which compute for long. Who waits for a place waits until done is
	// closed; from then on Compute and Read fail.
	Compute(places chan struct{}, done <-chan struct{}) error
	// Aside calls f, which may wait for something else than the peer, without a place.
	Aside(f func())
	// Release gives the memory back that the layer holds. Nobody may read or write at the time, or
	// later.
	Release()
}

// Over returns a layer over nc: a Wire where there can be one, else one that knows of places and
// nothing else.
func Over(nc net.Conn) Layer {
	if w, ok := New(nc); ok {
		return w
	}
	return &gate{Conn: nc}
}

// errNoPlace is that of a Read whose time was up before there was a place to compute in.
var errNoPlace = errors.New("tlswire: there was no time left: too many handshakes at once")

// place is what a goroutine holds while it computes. Without Compute it costs a look at two
// fields, which nobody writes then.
type place struct {
	places chan struct{}   // see Compute
	done   <-chan struct{} // nobody waits for a place any more
	placed bool            // one of places is taken
}

// Compute is described at Layer.
func (h *place) Compute(places chan struct{}, done <-chan struct{}) error {
	h.leavePlace()
	h.places, h.done = places, done
	return h.takePlace()
}

// Aside is described at Layer.
func (h *place) Aside(f func()) {
	h.leavePlace()
	f()
	_ = h.takePlace() // if there is none in time Read says so
}

// takePlace takes a place to compute in, if that is asked for.
func (h *place) takePlace() error {
	if h.places == nil || h.placed {
		return nil
	}
	select {
	case h.places <- struct{}{}:
		h.placed = true
		// Go runs a goroutine that was woken before all others of its processor, so a chain of
		// handshakes that hand on their place would keep event loops waiting to its end.
		runtime.Gosched()
		return nil
	case <-h.done:
		return errNoPlace
	}
}

// leavePlace gives the place up, if there is one.
func (h *place) leavePlace() {
	if h.placed {
		<-h.places
		h.placed = false
	}
}

// gate is the layer over a connection that has no socket to ask, or one that only its owner may
// read: one in memory, one that speaks the PROXY protocol, any on Windows. Whether a Read or a
// Write of it waits cannot be known, so the place is given up around each.
type gate struct {
	net.Conn
	place
}

// NetConn returns the connection below.
func (g *gate) NetConn() net.Conn { return g.Conn }

// Release has nothing to give back.
func (g *gate) Release() {}

// Read implements net.Conn for crypto/tls.
func (g *gate) Read(p []byte) (int, error) {
	g.leavePlace()
	n, err := g.Conn.Read(p)
	if n == 0 && err != nil {
		return 0, err // nothing to compute with
	}
	if none := g.takePlace(); none != nil {
		return 0, none
	}
	return n, err
}

// Write implements net.Conn for crypto/tls. It takes no place again: what comes after the writes of
// a handshake is the wait for the peer, or its end, and Read takes one.
func (g *gate) Write(p []byte) (int, error) {
	g.leavePlace()
	return g.Conn.Write(p)
}
