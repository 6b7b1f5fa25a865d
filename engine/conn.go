package engine

import (
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ringwire/ringwire/internal/cacheline"
	"github.com/ringwire/ringwire/internal/rawio"
	"github.com/ringwire/ringwire/ring"
	"github.com/ringwire/ringwire/taskid"
)

// The write token.
const (
	idle uint32 = iota
	busy
)

// orphanShare is the fraction of a table, as a divisor, that may be in
// quarantine before the connection is replaced.
const orphanShare = 4

// drainAtLeast is how long a connection that is being replaced may go on for the
// sake of requests still unanswered, if ReadTimeout is not longer.
const drainAtLeast = time.Second

// conn is one multiplexed connection, from before it is dialled to its end.
//
// Invariants:
//   - only who has the right to read touches the read buffer and reads from the
//     socket (lead.go); only the reader lends it;
//   - only the holder of the token pops the queue, touches the fields of writer
//     and writes to the socket;
//   - who pushes looks at the token afterwards, who lets go of the token looks at
//     the queue afterwards: no request stays behind, and likewise with the right to
//     read: no reply stays unread;
//   - each request is completed once, by who takes it from the table;
//   - the reader never waits for the token, the queue or a slot;
//   - a connection that ended never becomes usable again.
type conn struct {
	b    *Broker
	link *link

	table *taskid.Table[call]
	queue *ring.MPSC[taskid.ID]

	net    net.Conn        // set once, by start, before the token is first let go
	raw    syscall.RawConn // to write; nil if the connection has no descriptor of its own
	in     syscall.RawConn // to poll; nil if it must not be read so
	wake   chan struct{}   // hands the token to the flusher; capacity 1
	dead   chan struct{}   // closed by fail
	retire chan struct{}   // closed when the connection shall be replaced
	room   chan struct{}   // wakes a submitter that waits for room; capacity 1

	mu    sync.Mutex // guards the setting of net, op and cause; nothing is called under it
	op    string     // what failed; set before dead is closed, constant afterwards
	cause error

	readWake  chan struct{} // gives the right to read to the reader; capacity 1
	leadable  bool          // reads can be interrupted, so a caller may read
	leadsSeen uint32        // at the last sweep; the sweeper's

	retiring sync.Once
	errFull  *OpError

	up       atomic.Bool
	over     atomic.Bool  // the connection has ended; set just before dead is closed
	finished atomic.Bool  // table closed, reader and flusher gone
	drainBy  atomic.Int64 // retired: ticks left until it is closed; counted by the sweeper
	waiters  atomic.Int32
	parts    atomic.Int32  // reader, flusher and link that still use the connection
	reading  atomic.Uint32 // who has the right to read: standing, free or led

	timeouts  atomic.Uint64
	cancelled atomic.Uint64
	failed    atomic.Uint64

	_     cacheline.Pad
	token atomic.Uint32
	// gathering is set while the reader runs callbacks, wakes a crowd or polls: it will
	// look at the queue, so nobody else needs to.
	gathering atomic.Bool
	// holder is the goroutine that holds the token and submits under it; 0 if none
	// does. See direct.go.
	holder atomic.Uintptr
	// writing is the tick at which a write began that waits for the peer, 0 if none.
	writing atomic.Uint32
	_       cacheline.Pad
	writer
	_ cacheline.Pad
	reader
	_ cacheline.Pad
}

// writer is the state that belongs to the holder of the token.
type writer struct {
	out     []byte              // frames to be written
	written int                 // how much of out has been
	ids     [popBatch]taskid.ID // taken from the queue; ids[nextID:endID] are still to be framed
	nextID  int
	endID   int
	gone    bool // the flusher has ended: the token must not be handed to it
	attempt func(fd uintptr) bool
	tryN    int
	tryErr  error

	stash     *taskid.Stash[call] // empty while nobody submits under the token
	held      uint64              // requests submitted under the token and not yet counted
	unwritten int                 // frames that entered out since it was last empty
	clogged   bool                // the socket has not taken all it was offered last

	bytesOut, writes, framesOut, acceptedHeld atomic.Uint64 // stored by the holder, read by Stats
}

// reader is the state that belongs to who has the right to read.
type reader struct {
	buf     []byte // buf[:end] was read and is not used yet
	end     int
	readErr error // what ended reading

	poller
	alone      int // replies in a row, to the one request of the connection
	forgiven   uint32
	interrupts atomic.Uint32 // stored by who interrupts
	leads      atomic.Uint32 // replies that callers set out to read

	callbacks bool // the last read completed requests of Go or SendBatch
	crowded   bool // the last read woke a crowd of callers
	holding   bool // the reader submits under the token

	strangeAt taskid.Tick // start of the window in which strange is counted
	strange   int

	bytesIn, reads, polled, yields, framesIn, replies, late, unknown atomic.Uint64
}

// newConn returns a connection that takes requests and is not yet dialled. Its
// token is held by the link.
func newConn(l *link) *conn {
	cfg := &l.b.cfg
	c := &conn{
		b:        l.b,
		link:     l,
		table:    taskid.NewTable[call](cfg.MaxInFlight),
		queue:    ring.NewMPSC[taskid.ID](cfg.MaxInFlight),
		wake:     make(chan struct{}, 1),
		dead:     make(chan struct{}),
		readWake: make(chan struct{}, 1),
		retire:   make(chan struct{}),
		room:     make(chan struct{}, 1),
		errFull:  &OpError{Op: "submit", Addr: l.addr, Err: ErrQueueFull},
	}
	c.stash = c.table.NewStash()
	if cfg.startGeneration != 0 {
		c.table.StartGeneration(cfg.startGeneration)
	}
	c.attempt = c.writeOnce
	c.look = c.lookOnce
	c.pollFor = cfg.BusyPoll
	c.token.Store(busy)
	c.parts.Store(1)
	return c
}

// start puts the dialled socket to use and lets the token go. It reports false,
// and closes the socket, when the connection was ended before.
func (c *conn) start(nc net.Conn) bool {
	c.mu.Lock()
	over := c.over.Load()
	if !over {
		c.net = nc
	}
	c.mu.Unlock()
	if over {
		nc.Close()
		return false
	}
	c.raw = rawConn(nc)
	if c.pollFor > 0 {
		c.in = descriptor(nc)
	}
	c.leadable = nc.SetReadDeadline(time.Time{}) == nil
	c.buf = make([]byte, readBytes)
	c.parts.Add(2)
	c.b.wg.Add(2)
	go c.read()
	go c.flush()
	c.up.Store(true)
	c.handOver()
	return true
}

// plain is a connection that says what it writes to, unchanged. See
// Config.DialContext.
type plain interface{ PlainConn() net.Conn }

// rawConn returns the descriptor for non-blocking writes, nil where bytes written
// to it would bypass a layer (TLS) or there is none (net.Pipe).
func rawConn(nc net.Conn) syscall.RawConn {
	if p, ok := nc.(plain); ok {
		nc = p.PlainConn()
	}
	return descriptor(nc)
}

// descriptor returns the descriptor of a connection of package net, nil of others.
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

// fail ends the connection; the first cause counts. It only closes: the link
// completes the requests, so that no callback runs inside a submitter.
func (c *conn) fail(op string, cause error) {
	c.mu.Lock()
	first := !c.over.Load()
	if first {
		c.op, c.cause = op, cause
		c.over.Store(true)
	}
	nc := c.net
	c.mu.Unlock()
	if !first {
		return
	}
	c.up.Store(false)
	close(c.dead)
	if nc != nil {
		nc.Close()
	}
}

// lostError is the error of a request that the connection took with it.
func (c *conn) lostError(sent bool) error {
	<-c.dead // orders us after op and cause
	return &OpError{Op: c.op, Addr: c.link.addr, Written: sent, Err: c.cause}
}

// finish completes what the connection left open. Only the link calls it, after
// fail.
func (c *conn) finish() {
	unsent, sent := c.lostError(false), c.lostError(true)
	c.table.Close(func(s *slot, wasSent bool) {
		c.failed.Add(1)
		if wasSent {
			c.complete(s, nil, sent)
		} else {
			c.complete(s, nil, unsent)
		}
	})
	c.leave()
}

// leave is called by each of the link, the reader and the flusher when it is done
// with the connection.
func (c *conn) leave() {
	if c.parts.Add(-1) == 0 {
		c.finished.Store(true)
	}
}

// replace asks the link for a new connection; this one takes no more requests,
// and ends when its last one does.
func (c *conn) replace() {
	c.retiring.Do(func() {
		c.drainBy.Store(int64(max(c.b.readTicks, c.b.clock.ticks(drainAtLeast))) + 2)
		close(c.retire)
	})
}

// open returns the number of requests whose outcome is open.
func (c *conn) open() int { return c.table.InUse() - c.table.Orphans() }
