package engine

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/ringwire/ringwire/health"
	"github.com/ringwire/ringwire/internal/greeting"
	"github.com/ringwire/ringwire/taskid"
)

const (
	// orphanShare is the fraction of a table, as a divisor, that may be in quarantine
	// before the connection is replaced.
	orphanShare = 4
	// silenceMax is the longest silence in ticks.
	silenceMax = taskid.MaxTicks / 2
	// frameTimeLeast is how long the peer may take at least for each framePiece of a frame
	// that it has begun.
	frameTimeLeast = time.Second
	// framePiece is the part of a frame that has a timeout to itself.
	framePiece = 64 << 10
)

// errSilent is why a connection is suspect.
var errSilent = errors.New("no reply")

// watch is what the clock keeps of a connection from sweep to sweep. Only the clock
// touches it.
type watch struct {
	reads      uint64      // at the last sweep
	readAt     taskid.Tick // last sweep that saw more of them
	askedAt    taskid.Tick // first sweep that saw something unanswered written after the last read
	answered   uint64      // bytes of requests with a reply, while requests are held back,
	answeredAt taskid.Tick // and the last sweep that saw more of them

	partial uint32      // as inbox.partial at the last sweep,
	frames  uint64      // and the frames read so far,
	partAt  taskid.Tick // and when that was first seen

	callback      uint64    // the callback that ran at the last sweep,
	callbackSince time.Time // and when it was first seen

	vain    bool        // a trial was under way at the last sweep, and nothing was in flight
	triedAt taskid.Tick // first sweep that saw the trial that is under way

	late int // attempts that this sweep has found beyond ReadTimeout

	still standstill
}

// sweep looks after one connection.
func (c *conn) sweep(now taskid.Tick, steps uint32, real time.Time) {
	c.watchCallback(real)
	if c.phase.Load() >= phaseEnded {
		return
	}
	reads := c.in.got.reads.Load()
	read := reads != c.watch.reads
	c.watch.reads = reads
	c.watchStill(now, steps, read)
	c.table.ExpireIf(now, c.overdue, c.expire)
	c.watchFailures(now, real)
	c.reclaim(read)
	c.watchWrite(now)
	c.watchFrame(now)
	c.watchSilence(now, read)
	c.watchOrphans(now)
}

// expire completes a request whose time is up.
func (c *conn) expire(s *slot, id taskid.ID) {
	to, limit := s.V.to, c.limitOf(s)
	if errors.Is(limit, c.b.timeouts.readErr) {
		c.watch.late++
	}
	c.giveBack(s.V.at.length())
	c.table.Release(id)
	c.ends.timeouts.Add(1)
	err := &OpError{Op: "wait", Addr: c.link.addr.name, Written: true, Err: limit}
	c.b.callbacks.fail(c.link, to, err)
}

// watchFailures tells the address of attempts that had no reply within ReadTimeout. On a
// connection where nothing at all was read meanwhile, the silence is told, if that is soon.
func (c *conn) watchFailures(now taskid.Tick, real time.Time) {
	late := c.watch.late
	if c.watch.late = 0; late == 0 {
		return
	}
	patience, ticks := c.link.addr.patience(), c.b.timeouts.read
	if patience == 0 || patience > ticks || now.Since(c.watch.readAt) < ticks {
		c.link.addr.failed(late, real.Add(-time.Duration(ticks)*c.b.clock.tick), c.b.timeouts.readErr)
	}
}

// reclaim gives the right to read to the reader when nobody has used it since the last
// sweep, so that the end of an idle connection is noticed.
func (c *conn) reclaim(read bool) {
	if !read {
		c.in.right.Assign()
	}
}

// watchStill has the time of the attempts stand still while the socket is slow.
func (c *conn) watchStill(now taskid.Tick, steps uint32, read bool) {
	o := &c.out
	if read {
		c.watch.readAt = now
	}
	// What arrives comes in bursts. If none comes for as long as a piece may take it has
	// stopped.
	arriving := c.in.partial.Load() > 1 && now.Since(c.watch.readAt) <= c.b.timeouts.frame
	waiting := o.stalled.Load() || o.writing.Load() != 0 || c.watchHeld(now)
	c.watch.still.note(now, steps, arriving, waiting, !waiting && !o.ready())
}

// watchHeld reports whether the outbox waits for replies. If none has come for ReadTimeout
// it does not: a peer that hangs answers nothing until what it has times out, which must not
// wait for what is held back.
func (c *conn) watchHeld(now taskid.Tick) bool {
	k, w := &c.out.credit, &c.watch
	held, answered := k.held.Load(), k.answered.Load()
	if !held || answered != w.answered {
		w.answered, w.answeredAt = answered, now
	}
	return held && now.Since(w.answeredAt) <= c.b.timeouts.read
}

// watchWrite ends a connection whose peer takes nothing for WriteTimeout.
func (c *conn) watchWrite(now taskid.Tick) {
	began := taskid.Tick(c.out.writing.Load())
	limit := c.b.timeouts.write
	if began != 0 && limit != 0 && now.Since(began) > limit+stepMax {
		c.fail("write", lost(c.b.timeouts.writeErr))
	}
}

// watchFrame ends a connection whose peer has begun a frame and does not end it.
func (c *conn) watchFrame(now taskid.Tick) {
	w := &c.watch
	partial, frames := c.in.partial.Load(), c.in.got.frames.Load()
	if partial == 0 || partial != w.partial || frames != w.frames {
		w.partial, w.frames, w.partAt = partial, frames, now
		return
	}
	if limit := uint64(c.b.timeouts.frame) * uint64(partial); uint64(now.Since(w.partAt)) <= limit+stepMax {
		return
	}
	c.fail("read", lost(fmt.Errorf("the peer has sent a part of a frame and not the rest, for %v%s",
		time.Duration(partial)*c.b.timeouts.frameTime, speaks(greeting.Kind(c.in.kind.Load())))))
}

// speaks says what the peer looks like, if it looks like anything.
func speaks(kind greeting.Kind) string {
	if kind == greeting.Unknown {
		return "; is it a ringwire or anet server, and are both set to the same frame format?"
	}
	if kind == greeting.TLS {
		return "; it looks like " + kind.String() + ": set Config.TLS if it is yours"
	}
	return "; it looks like " + kind.String() + ", which speaks another protocol"
}

// hinted adds to an error what the peer may be that has never answered.
func (c *conn) hinted(err error) error {
	if c.link.addr.known.Load() {
		return err
	}
	return fmt.Errorf("%w; it has never answered%s", err, speaks(greeting.Kind(c.in.kind.Load())))
}

// watchSilence makes a connection suspect on which something was asked and nothing at all
// has been read since. It is a matter of what was sent and read: that callers have given
// up proves nothing, nor that they have not. A suspect connection gets no more requests
// and costs nobody one that it has. With the extension a ping is sent in time, while anything
// is open, so a server that is only slow is not taken for one that hangs.
func (c *conn) watchSilence(now taskid.Tick, read bool) {
	w, patience := &c.watch, c.link.addr.patience()
	written := c.out.requests() > c.in.sentWhenRead.Load()
	asked := c.unanswered() > 0 && written || c.b.extended && c.open() > 0
	if read || !asked || patience == 0 || c.standing.suspect.Load() || c.phase.Load() != phaseUp {
		w.askedAt = taskid.NoTick // which also lets the clock sleep
		return
	}
	if w.askedAt == taskid.NoTick {
		w.askedAt = now
		return
	}
	quiet := now.Since(w.askedAt)
	if c.b.extended && quiet > patience/2 && c.out.control.ping() {
		c.out.right.Assign()
	}
	if quiet <= patience+stepMax || !written && !c.out.control.awaited() {
		return
	}
	c.standing.suspect.Store(true)
	c.link.addr.silent(c, time.Duration(patience)*c.b.clock.tick)
}

// watchTrial has a trial made again that was given up before it was sent. It looks twice,
// since a submitter sets tried before it has submitted the request. One whose caller was
// too impatient to prove anything is followed by another after ReadTimeout, or its default if that
// is off: a server may leave out one reply and be well. Where silence is watched, that does so for
// one that was lost and is back.
func (c *conn) watchTrial(now taskid.Tick) {
	w, addr := &c.watch, c.link.addr
	state := addr.judge.State()
	onTrial := state == health.Trial || state == health.Down && addr.patience() == 0
	switch {
	case !c.standing.tried.Load() || !onTrial:
		w.triedAt = taskid.NoTick
	case w.triedAt == taskid.NoTick:
		w.triedAt = now
	case now.Since(w.triedAt) > cmp.Or(c.b.timeouts.read, c.b.timeouts.frame):
		w.triedAt = taskid.NoTick
		c.standing.tried.Store(false)
	}
	vain := c.standing.tried.Load() && c.unanswered() == 0
	if vain && w.vain {
		c.standing.tried.Store(false)
		vain = false
	}
	w.vain = vain
}

// watchOrphans has a connection replaced on which too many requests were given up, and
// ends one that has been replaced with its last request.
func (c *conn) watchOrphans(now taskid.Tick) {
	if c.phase.Load() == phaseRetiring {
		if c.open() == 0 && !c.out.ready() {
			c.fail("close", lost(c.whyRetired()))
		}
		return
	}
	c.watchTrial(now)
	orphans := c.table.Orphans()
	if orphans > 0 && orphans*orphanShare >= c.table.Cap() && !c.standing.aged.Swap(true) {
		c.link.wakeUp()
	}
}

// whyRetired tells why a connection takes no more requests.
func (c *conn) whyRetired() error {
	if c.standing.leaving.Load() {
		return errGoingAway
	}
	return errReplaced
}
