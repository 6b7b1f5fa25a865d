package server

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/ringwire/ringwire/internal/list"
	"github.com/ringwire/ringwire/internal/role"
)

const (
	// sweepEvery is the resolution of every timeout, unless one is so short that
	// a quarter of it is less.
	sweepEvery    = 100 * time.Millisecond
	sweepEveryMin = 5 * time.Millisecond
	// heldMin is what a connection may hold although the server holds too much
	// and the connection grows.
	heldMin = 256 << 10
	// A blocked connection is looked at again after resumeMin, and after twice as
	// long each time that nothing has moved, up to resumeMax. An event loop does
	// not tell when a peer has read.
	resumeMin = time.Millisecond
	resumeMax = 64 * time.Millisecond
	// shedShare is by which part of MaxHeld, as a divisor, and shedMin by how many bytes at
	// least, more than that may be held where reading can be paused: connections that are
	// blocked take no more, but for what was on its way.
	shedShare = 4
	shedMin   = 4 << 20
	// deskIdle is how long a connection keeps its desk without using it.
	deskIdle = 10 * time.Second
)

// settle ends a turn: what the connection holds and what it waits for is made
// known, and its bounds are applied.
func (c *Conn) settle() {
	if c.at() >= phaseBroken {
		return
	}
	l := c.loop
	c.served = c.served || l.frames > 0
	if !c.spoke {
		c.meet()
	}
	advanced := c.measureProgress()
	c.account()
	c.timeFrame()
	if p := c.at(); p > phaseUp && p < phaseLingering {
		c.sayGoaway()
		c.tryFinish()
	}
	if c.block != blockNone && (c.input != nil || c.inflight > 0) && c.at() < phaseDoomed {
		if c.watch.Load()&watchPaused == 0 {
			l.event.Pauses++
		}
		c.armResume(advanced || l.frames > 0)
	}
	c.regulate()
	c.publishWatch()
}

// progressBytes is how much a peer must take within WriteTimeout, or all there is.
const progressBytes = 64 << 10

// measureProgress reports whether the peer has taken bytes since the last turn,
// and fails the connection when they were too few for WriteTimeout.
func (c *Conn) measureProgress() (advanced bool) {
	s, now := c.srv, c.loop.now
	taken := c.handed - uint64(c.unsent)
	advanced = taken != c.taken
	c.taken = taken
	if c.unsent == 0 || taken-c.marked >= progressBytes {
		c.marked, c.progress = taken, now
		return advanced
	}
	if limit := s.cfg.WriteTimeout; limit > 0 && c.overdue(c.progress, now, s.patience(limit)) {
		c.fail(reasonSlowReader)
	}
	return advanced
}

// account updates what the connection and the server hold. A connection that
// grows while the server holds too much has to go, unless its reading is paused.
func (c *Conn) account() {
	s := c.srv
	held := int64(c.unsent)
	if c.input != nil {
		held += int64(c.input.held)
	}
	before := c.held.Load()
	if held == before {
		return
	}
	c.held.Store(held)
	all := s.held.Add(held - before)
	switch {
	case all <= s.cfg.MaxHeld || held <= before || held <= heldMin:
	case c.loop.pauses && c.block != blockNone:
	case c.loop.pauses && c.unsent > 0:
		c.block = blockUnsent
	default:
		c.fail(reasonMemory)
	}
}

const (
	// framePiece is the part of a frame that has FrameTimeout to itself, in bytes.
	framePiece = 64 << 10
	// pieceBits is how many bits of Conn.frameSince hold the number of pieces; the others
	// hold the clock. A frame has at most a GiB.
	pieceBits = 16
)

// timeFrame notes since when a frame is incomplete, for the sweep, and looks at
// the first bytes of a connection that has not sent a whole frame.
func (c *Conn) timeFrame() {
	l := c.loop
	complete := l.frames > 0
	since := c.frameSince.Load()
	switch partial := c.input != nil && c.input.part != nil && c.block == blockNone; {
	case !partial:
		if since != 0 {
			c.frameSince.Store(0)
		}
		return
	default:
		if complete || since == 0 {
			since = l.now << pieceBits
		}
		size, _ := c.srv.format.FrameSize(c.input.part.B) // a bad length has been refused
		c.frameSince.Store(since&^(1<<pieceBits-1) | int64(size/framePiece+1))
	}
	if !c.spoke {
		if why := foreign(c.input.part.B); why != reasonNone {
			c.fail(why)
		}
	}
}

// publishWatch tells the sweep what to look at.
func (c *Conn) publishWatch() {
	var bits uint32
	if c.unsent > 0 {
		bits |= watchUnsent
	}
	if c.inflight > 0 {
		bits |= watchBusy
	}
	if c.block != blockNone && (c.input != nil || c.inflight > 0) {
		bits |= watchPaused
	}
	if c.desk.Load() != nil {
		bits |= watchDesk
		if c.inflight == 0 && c.loop.now-c.lastRead.Load() > deskIdle.Milliseconds() {
			c.desk.Store(nil)
			bits &^= watchDesk
		}
	}
	if c.watch.Load() != bits {
		c.watch.Store(bits)
	}
}

// armResume has a blocked connection woken later. One that waits for its own
// requests is woken by them.
func (c *Conn) armResume(moved bool) {
	switch c.block {
	case blockFlight:
		return
	case blockTurn:
		c.loop.cutShort(c)
		return
	}
	if moved {
		c.waits = 0
	}
	delay := resumeMin << c.waits
	if delay < resumeMax {
		c.waits++
	}
	if c.resume == nil {
		c.resume = time.AfterFunc(delay, func() { c.srv.wake(c) })
		return
	}
	c.resume.Reset(delay)
}

// patience returns a timeout in ticks of the clock. The clock may be late by one
// interval when something begins, so one is added: never early.
func (s *Server) patience(timeout time.Duration) int64 {
	return (timeout + s.interval).Milliseconds()
}

// overdue reports whether what the peer does, or does not, has taken longer than most since then,
// and for as long its loop would have seen an end of it.
func (c *Conn) overdue(since, now, most int64) bool {
	return now-since > most && now-c.link.back(now) > most
}

// registry holds the open connections.
type registry struct {
	mu        sync.Mutex // held for a few instructions, or one chunk of a scan
	conns     []*Conn
	newcomers []*newcomer         // each is that of the connection with its index, or nil
	queue     list.List[newcomer] // those that have not been told to go, the oldest first
}

func (r *registry) add(c *Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.slot = int32(len(r.conns))
	r.conns, r.newcomers = append(r.conns, c), append(r.newcomers, nil)
}

func (r *registry) remove(c *Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropLocked(c)
	last := len(r.conns) - 1
	moved := r.conns[last]
	r.conns[c.slot], r.newcomers[c.slot], moved.slot = moved, r.newcomers[last], c.slot
	r.conns[last], r.newcomers[last] = nil, nil
	r.conns, r.newcomers = r.conns[:last], r.newcomers[:last]
}

// of returns the connections of one event loop.
func (r *registry) of(l *loop) (all []*Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		if _, lent := c.link.(*stream); !lent && c.loop == l {
			all = append(all, c)
		}
	}
	return all
}

func (r *registry) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.conns)
}

// scanChunk is how many connections are copied under one hold of the mutex: a
// loop that opens or closes a connection waits for no more.
const scanChunk = 512

// scan calls fn for the connections, outside the mutex. One that comes, goes or
// is moved meanwhile may be missed or seen after its end; scans are repeated.
func (r *registry) scan(fn func(*Conn)) {
	var chunk [scanChunk]*Conn
	for from := 0; ; from += scanChunk {
		r.mu.Lock()
		n := copy(chunk[:], r.conns[min(from, len(r.conns)):])
		r.mu.Unlock()
		for _, c := range chunk[:n] {
			fn(c)
		}
		if n < scanChunk {
			return
		}
	}
}

// sweep advances the clock and applies the timeouts and the server's bound, until
// the server stops.
func (s *Server) sweep() {
	defer s.background.Done()
	role.Set("sweep")
	ticker := time.NewTicker(s.interval)
	defer ticker.Stop()
	for {
		select {
		case <-s.stopSweep:
			return
		case <-ticker.C:
		}
		now := s.tick()
		s.conns.scan(func(c *Conn) { s.inspect(c, now) })
		s.expire(now)
		if t := s.door.sources; t != nil {
			t.sweep(time.Since(s.epoch))
		}
		if f, _, _ := s.parts(); f != nil {
			f.watch()
		}
		if s.held.Load() > s.shedAt {
			s.shed()
		}
	}
}

// tick reads the time into the clock: milliseconds since New, from 1 on.
func (s *Server) tick() int64 {
	now := s.time()
	s.clock.Store(now)
	return now
}

// time is what the clock shows when it is right.
func (s *Server) time() int64 { return time.Since(s.epoch).Milliseconds() + 1 }

// inspect applies the timeouts to one connection. It runs beside the loop, so a
// frame may be completed while it is found too late.
func (s *Server) inspect(c *Conn, now int64) {
	watch := c.watch.Load()
	begun, quiet := c.frameSince.Load(), now-c.lastRead.Load()
	since, pieces := begun>>pieceBits, begun&(1<<pieceBits-1)
	frame, idle := s.cfg.FrameTimeout, s.cfg.IdleTimeout
	switch at := c.cutAt.Load(); {
	case at != 0 && now >= at:
		s.cut(c, reasonShutdown)
	case frame > 0 && since != 0 && c.overdue(since, now, s.patience(frame)*pieces):
		s.cut(c, reasonFrameTime)
	case idle > 0 && since == 0 && watch&(watchUnsent|watchBusy|watchPaused) == 0 && c.overdue(now-quiet, now, s.patience(idle)):
		s.cut(c, reasonIdle)
	case watch&watchBusy != 0 && c.heldUp():
		s.wake(c)
	case watch&watchUnsent != 0, watch&watchPaused != 0 && c.ext.Load() != nil,
		watch&(watchDesk|watchBusy) == watchDesk && quiet > deskIdle.Milliseconds():
		s.wake(c)
	}
}

// shed closes the connections that hold most until what remains is within the
// bound.
func (s *Server) shed() {
	type holder struct {
		conn *Conn
		held int64
	}
	var all []holder
	excess := s.held.Load() - s.cfg.MaxHeld
	s.conns.scan(func(c *Conn) {
		if held := c.held.Load(); held > 0 {
			all = append(all, holder{c, held})
		}
	})
	slices.SortFunc(all, func(a, b holder) int { return cmp.Compare(b.held, a.held) })
	for _, h := range all {
		if excess <= 0 {
			return
		}
		s.cut(h.conn, reasonMemory)
		excess -= h.held
	}
}
