package server

import (
	"net"
	"runtime"
	"sync"
)

// streams is the front of the connections that gnet cannot watch, because they are secured or
// are no sockets, or because gnet does not run on the system. Each has goroutines of its own:
// see stream. What a turn needs of a loop is lent to it.
type streams struct {
	srv  *Server
	all  sync.WaitGroup // goroutines of connections
	keep int            // how many loops are kept that nobody uses

	mu    sync.Mutex // guards what follows, held for a few instructions
	spare []*loop
	lent  map[*loop]struct{}
	past  tally // what loops have counted that are not kept any more
}

// sparesPerProcessor is how many loops are kept for each processor. As many turns as there are
// processors run at a time; more only while handlers block.
const sparesPerProcessor = 4

// streamOutBytes is the size the output buffer of a lent loop begins with. While handlers block
// there may be as many as connections.
const streamOutBytes = 4 << 10

func newStreams(s *Server) *streams {
	return &streams{srv: s, keep: sparesPerProcessor * runtime.GOMAXPROCS(0), lent: map[*loop]struct{}{}}
}

// lend returns a loop for a turn.
func (f *streams) lend() *loop {
	f.mu.Lock()
	defer f.mu.Unlock()
	var l *loop
	if n := len(f.spare); n > 0 {
		l, f.spare = f.spare[n-1], f.spare[:n-1]
	} else {
		l = newLoop()
		l.pauses, l.out = true, make([]byte, 0, streamOutBytes)
	}
	f.lent[l] = struct{}{}
	return l
}

// giveBack ends the use of a loop. One that a turn has left in the middle is not used again.
func (f *streams) giveBack(l *loop, whole bool) {
	l.holder.Store(nil)
	l.cameBack.Store(0)
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.lent, l)
	if whole && len(f.spare) < f.keep {
		f.spare = append(f.spare, l)
		return
	}
	t := l.counted()
	f.past.add(&t)
}

// counted returns what was counted on all connections that ever were. f may be nil.
func (f *streams) counted() (all tally) {
	if f == nil {
		return all
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	all = f.past
	add := func(l *loop) {
		t := l.counted()
		all.add(&t)
	}
	for _, l := range f.spare {
		add(l)
	}
	for l := range f.lent {
		add(l)
	}
	return all
}

// turns returns how many connections have their turn. f may be nil.
func (f *streams) turns() int {
	if f == nil {
		return 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.lent)
}

// take has nc run by goroutines: start begins that.
func (f *streams) take(nc net.Conn, c *Conn) { c.link = newStream(f, nc, c) }

// start serves a connection from now on that take has taken.
func (f *streams) start(c *Conn) {
	f.all.Add(1)
	s := c.link.(*stream)
	// Before start returns, so that a stop which comes afterwards finds it.
	s.awaitTurn()
	s.turn(func(l *loop) bool { c.begin(s, l); return true })
	go s.run()
}

// stop waits until all connections have ended, which were cut.
func (f *streams) stop() { f.all.Wait() }
