package faultnet

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// bufferSize is what one direction of a connection holds at most.
const bufferSize = 32 << 10

// A link is one proxied connection: run owns it, two pumps forward.
type link struct {
	proxy  *Proxy
	client net.Conn
	done   chan struct{} // closed by kill

	mu     sync.Mutex  // guards the fields below; held for no call that blocks
	target net.Conn    // nil until dialled
	linger *time.Timer // not nil once a direction was half-closed
	killed bool
}

func (l *link) run(number uint64) {
	defer l.proxy.remove(l)
	defer l.kill(over)
	if !l.waitOpen() {
		return
	}
	target, err := l.proxy.dial()
	if err != nil {
		l.proxy.counts.dialErrors.Add(1)
		l.kill(broken)
		return
	}
	if !l.adopt(target) {
		return
	}
	l.proxy.counts.conns.Add(1)
	cfg, counts := &l.proxy.cfg, &l.proxy.counts
	pumps := [2]*pump{
		{link: l, src: l.client, dst: target, plan: newPlan(cfg, number, up), bytes: &counts.bytesUp},
		{link: l, src: target, dst: l.client, plan: newPlan(cfg, number, down), bytes: &counts.bytesDown},
	}
	var wg sync.WaitGroup
	for _, p := range pumps {
		wg.Go(p.run)
	}
	wg.Wait()
}

// adopt hands the dialled connection to the link, or closes it when the link
// was killed in the meantime.
func (l *link) adopt(target net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.killed {
		_ = target.Close()
		return false
	}
	l.target = target
	return true
}

// A cause says why a link ends, and so how.
type cause uint8

const (
	over   cause = iota // both directions ended: plain close
	broken              // one end failed: the other sees a RST
	fault               // we reset it, and count it
)

// kill closes both connections and reports whether this call did it.
func (l *link) kill(why cause) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.killed {
		return false
	}
	l.killed = true
	if why == fault { // before the RST, so that a peer that saw it finds it in Stats
		l.proxy.counts.resets.Add(1)
	}
	if l.linger != nil {
		l.linger.Stop()
	}
	close(l.done)
	for _, c := range []net.Conn{l.client, l.target} {
		if c == nil {
			continue
		}
		if s, ok := c.(interface{ SetLinger(sec int) error }); ok && why != over {
			_ = s.SetLinger(0) // Close then sends RST and discards what is unsent
		}
		_ = c.Close()
	}
	return true
}

// lingerAtMost breaks the link d from now, unless it ended before.
func (l *link) lingerAtMost(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.killed && l.linger == nil {
		l.linger = time.AfterFunc(d, func() { l.kill(broken) })
	}
}

func (l *link) waitOpen() bool {
	gate := l.proxy.open()
	if gate == nil {
		return true
	}
	l.proxy.held.Add(1)
	defer l.proxy.held.Add(-1)
	for ; gate != nil; gate = l.proxy.open() {
		select {
		case <-gate:
		case <-l.done:
			return false
		}
	}
	return true
}

// A pump forwards one direction. Only its own goroutine touches it.
type pump struct {
	link     *link
	src, dst net.Conn
	plan     *plan
	bytes    *atomic.Uint64

	buf  [bufferSize]byte
	r, w int   // buf[r:w] was read and not forwarded
	pos  int64 // bytes taken from the stream: forwarded or dropped
	err  error // of the last read; sticky
}

var errLinkDead = errors.New("faultnet: link is dead")

func (p *pump) run() {
	err := p.forwardAll()
	switch {
	case err == nil:
		p.finish()
	case errors.Is(err, io.EOF):
		p.shut() // the other direction goes on until its own end
	default:
		p.link.kill(broken)
	}
}

// forwardAll returns nil when the plan's end is reached.
func (p *pump) forwardAll() error {
	for p.pos < p.plan.forward {
		s := p.plan.next()
		s.size = min(s.size, p.plan.forward-p.pos)
		if err := p.forward(s); err != nil {
			return err
		}
	}
	for p.pos < p.plan.endAt { // the tail: read, never forwarded
		if err := p.fill(); err != nil {
			return err
		}
		p.take(min(p.w-p.r, int(min(p.plan.endAt-p.pos, bufferSize))))
	}
	return nil
}

func (p *pump) forward(s segment) error {
	if err := p.fill(); err != nil {
		return err
	}
	counts := &p.link.proxy.counts
	switch s.mode {
	case split:
		counts.splits.Add(1)
	case merge:
		counts.merges.Add(1)
		p.collect(int(s.size))
	}
	if s.delay > 0 {
		counts.delays.Add(1)
		if !sleep(p.link.done, s.delay) {
			return errLinkDead
		}
	}
	for s.size > 0 {
		if err := p.fill(); err != nil {
			return err
		}
		n := p.throttle(min(p.w-p.r, int(s.size)))
		if !p.link.waitOpen() {
			return errLinkDead
		}
		p.bytes.Add(uint64(n)) // first, so that a peer that sees the bytes finds them in Stats
		if _, err := p.dst.Write(p.buf[p.r : p.r+n]); err != nil {
			return err
		}
		p.take(n)
		s.size -= int64(n)
		p.link.proxy.forwarded()
	}
	return nil
}

// throttle waits for the time that up to n bytes take and returns how many to
// write now: as many as a twentieth of a second carries, at least one.
func (p *pump) throttle(n int) int {
	rate := p.link.proxy.cfg.BytesPerSecond
	if rate == 0 {
		return n
	}
	n = min(n, max(1, rate/20))
	sleep(p.link.done, time.Duration(n)*time.Second/time.Duration(rate))
	return n
}

// fill returns with at least one byte in the buffer, or with the read's error
// once everything read before it was taken.
func (p *pump) fill() error {
	if p.r < p.w {
		return nil
	}
	p.r, p.w = 0, 0
	for p.err == nil && p.w == 0 {
		p.w, p.err = p.src.Read(p.buf[:])
	}
	if p.w > 0 {
		return nil
	}
	return p.err
}

// collect reads until size bytes are buffered or MergeWait has passed.
func (p *pump) collect(size int) {
	copy(p.buf[:], p.buf[p.r:p.w])
	p.r, p.w = 0, p.w-p.r
	_ = p.src.SetReadDeadline(time.Now().Add(p.link.proxy.cfg.MergeWait))
	for p.w < min(size, bufferSize) && p.err == nil {
		n, err := p.src.Read(p.buf[p.w:])
		p.w, p.err = p.w+n, err
	}
	_ = p.src.SetReadDeadline(time.Time{})
	if errors.Is(p.err, os.ErrDeadlineExceeded) {
		p.err = nil
	}
}

func (p *pump) take(n int) { p.r, p.pos = p.r+n, p.pos+int64(n) }

// finish does what the plan ends with.
func (p *pump) finish() {
	if p.plan.end == reset {
		p.link.kill(fault)
		return
	}
	p.link.proxy.counts.halfCloses.Add(1)
	p.shut()
	p.link.lingerAtMost(p.link.proxy.cfg.HalfCloseLinger)
	_, _ = io.Copy(io.Discard, struct{ io.Reader }{p.src})
}

func (p *pump) shut() {
	if c, ok := p.dst.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
}
