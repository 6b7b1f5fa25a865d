package engine

import (
	"math"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ringwire/ringwire/internal/baton"
	"github.com/ringwire/ringwire/internal/rawio"
	"github.com/ringwire/ringwire/ring"
	"github.com/ringwire/ringwire/taskid"
)

// phase is how far a connection is in its life. It only grows.
type phase uint32

const (
	phaseUp       phase = iota
	phaseRetiring       // it takes no more requests; replies may still come
	phaseEnded          // nothing is written any more; waiting callers are told
	phaseGone           // nothing of it runs; it may be forgotten
)

// life holds a phase.
type life struct{ v atomic.Uint32 }

func (l *life) Load() phase { return phase(l.v.Load()) }

// reach moves on to a later phase. It reports false when that or a later one has been
// reached before.
func (l *life) reach(p phase) bool {
	for {
		now := l.v.Load()
		if phase(now) >= p {
			return false
		}
		if l.v.CompareAndSwap(now, uint32(p)) {
			return true
		}
	}
}

// conn is one multiplexed connection, from the moment it is up.
//
// A request comes in by submit: it gets a slot in the table, which names it, and its
// frame goes into the outbox. From then on exactly one of four completes it, the one
// that takes it out of the table: the reply, read into the inbox (dispatch); the clock,
// when its time is up; its caller, by giving it up; the end of the connection (finish).
//
// Three parties run for it: the reader, the flusher and the link that made it. The
// reader and the flusher are the keepers of the rights to read and to write, and sleep
// while somebody else has them: the broker's poller, a lone caller, a submitter.
//
//	submitter ──▶ table, outbox ──right to write──▶ socket
//	                                                   │
//	caller ◀── waiter or callback ◀── table ◀── inbox ◀┘ right to read
//
// No lock is held on this way. The reading never waits for the writing, for the table or
// for callers, so both ends can never stop reading in order to write.
//
// The rejected design: one type for all of this, where the right to write was a token
// with a flag for the goroutines that gather requests, another for the one that submits
// under it, and a request waited in a buffer of its own until the holder copied it. It
// took seventy fields and was slower (docs/EXPERIMENTS.md).
type conn struct {
	b    *Broker
	link *link

	table *table
	out   outbox
	in    inbox

	sock   socket
	poller *poller // that polls it; nil: nobody does

	made     birth
	standing standing
	phase    life
	dead     chan struct{} // closed when it has ended
	finished chan struct{} // closed when nobody needs what the outbox holds any more
	op       string        // what failed; set before dead is closed
	cause    error
	parts    atomic.Int32 // link, reader, flusher, and the closing of the socket
	// forgotten says that its counts are among those of the past. Guarded by Broker.mu.
	forgotten bool

	watch  watch // the clock's
	ends   ends
	oneWay atomic.Uint64 // requests that nobody waits for
}

// birth is what is known of a connection from when it came up.
type birth struct {
	dialled time.Time // when its dial began, for its judge
	at      time.Time // when it came up,
	until   time.Time // and when it is to be replaced; zero: never
}

// standing is how much a connection is trusted, see address.
type standing struct {
	news    atomic.Uint32 // which frames are news for the address: newsFrame, newsReply
	suspect atomic.Bool   // it has been silent for too long
	aged    atomic.Bool   // it shall be replaced
	tried   atomic.Bool   // while its address is on trial: it has had its request
	leaving atomic.Bool   // its server is going away
	done    atomic.Bool   // its server has said done: what has no reply was not executed
}

// ends counts requests by what completed them, if it was not a reply.
type ends struct{ timeouts, cancelled, failed atomic.Uint64 }

// newConn puts a dialled socket to use.
func newConn(l *link, d dialled) *conn {
	b, nc, now := l.b, d.nc, time.Now()
	c := &conn{
		b:        b,
		link:     l,
		table:    taskid.NewTable[flight](b.cfg.MaxInFlight),
		dead:     make(chan struct{}),
		finished: make(chan struct{}),
		made:     birth{dialled: d.began, at: now, until: lifetime(&b.cfg, now)},
	}
	c.standing.news.Store(newsFrame)
	if c.sock.init(nc); c.sock.triesReads() {
		c.poller = l.poller
	}
	c.out.ring = ring.NewBytes()
	c.out.credit.limit = math.MaxInt64
	if b.cfg.MaxInFlightBytes > 0 {
		c.out.credit.limit = uint64(b.cfg.MaxInFlightBytes)
	}
	c.out.right.Init()
	c.in.right.Init()
	c.in.buf.init()
	c.in.turn.Store(new(turn))
	c.watch.still.init(max(b.timeouts.request, 8*b.timeouts.read), b.clock.now())
	c.in.right.Take()
	c.in.right.Keep()
	return c
}

// run starts the reader and the flusher.
func (c *conn) run() {
	c.parts.Store(3) // with the link
	c.b.wg.Add(2)
	go c.read(false)
	go c.flush()
}

// plain is a connection that says what it writes to, unchanged. See Config.DialContext.
type plain interface{ PlainConn() net.Conn }

func plainOf(nc net.Conn) net.Conn {
	if p, ok := nc.(plain); ok {
		return p.PlainConn()
	}
	return nc
}

// descriptor returns the descriptor of a connection of package net, nil of others: their
// reads and writes may do more than move bytes.
func descriptor(nc net.Conn) syscall.RawConn {
	if !rawio.Available {
		return nil
	}
	switch nc := nc.(type) {
	case *net.TCPConn:
		raw, _ := nc.SyscallConn()
		return raw
	case *net.UnixConn:
		raw, _ := nc.SyscallConn()
		return raw
	}
	return nil
}

// unanswered returns the number of requests that have no reply, given up or not.
func (c *conn) unanswered() int { return c.table.InUse() - int(c.in.detained.Load()) }

// open returns the number of requests whose outcome is open.
func (c *conn) open() int { return c.unanswered() - c.table.Orphans() }

// fail ends the connection; the first cause counts. It only says so, and has the socket
// closed on a goroutine of its own, since that may be a function of the user's: the link
// completes the requests.
func (c *conn) fail(op string, cause error) {
	if !c.phase.reach(phaseEnded) {
		return
	}
	c.out.over.Store(true)
	c.op, c.cause = op, cause
	close(c.dead)
	c.parts.Add(1)
	c.b.wg.Add(1)
	go func() {
		defer c.b.wg.Done()
		_ = c.link.addr.pool.Release(c.sock.net)
		c.leave()
	}()
}

// leave is called by each party when it is done with the connection. The last one has
// it forgotten.
func (c *conn) leave() {
	if c.parts.Add(-1) == 0 && c.phase.reach(phaseGone) {
		c.sock.release()
		c.b.forget(c)
	}
}

// The bits of standing.news.
const (
	newsFrame uint32 = 1 << iota // any frame: the server was not reached
	newsReply                    // a reply in time: its calls fail
)

// heard tells the address that a frame was read, and whether a reply in time was, if that is
// news.
func (c *conn) heard(reply bool) {
	e, known := eventHeard, newsFrame
	if reply {
		e, known = eventAnswered, newsFrame|newsReply
	}
	// What asks for news from now on is told by our report, or by the next one.
	if c.standing.news.And(^known)&known == 0 {
		return
	}
	c.standing.suspect.Store(false)
	c.standing.tried.Store(false) // the next time that it is on trial is another one
	c.link.addr.report(e, time.Time{}, 0, nil)
	c.b.reroute()
}

// cancel gives a request up. It reports whether the caller delivers the outcome.
func (c *conn) cancel(id taskid.ID) bool {
	s, won := c.table.Cancel(id)
	if won {
		c.giveBack(s.V.at.length())
		c.table.Release(id)
		c.ends.cancelled.Add(1)
	}
	return won
}

// call sees to it that somebody reads, if nobody does: a goroutine that reads now will look
// for replies that are due when it stops.
func (c *conn) call() {
	if c.in.right.State() != baton.Free {
		return
	}
	if c.poller != nil {
		c.poller.wake()
		return
	}
	c.in.right.Assign()
}

// stopReading frees the right to read, and calls somebody if replies are due. If none is, the clock
// gives the right to the reader when nobody has used it for a while; it may sleep, since something
// came that nobody was waiting for.
func (c *conn) stopReading() {
	c.in.by = nil
	c.in.right.Release(never)
	if c.due() {
		c.call()
	} else {
		c.b.clock.rouse()
	}
}

func never() bool { return false }
