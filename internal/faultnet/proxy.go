package faultnet

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Range is an inclusive range from which a byte count is drawn uniformly. The
// zero Range means never.
type Range struct{ Min, Max int64 }

func (r Range) off() bool { return r.Max == 0 }

// Config describes a proxy. The zero value of everything but Target forwards
// faithfully. Rates are probabilities from 0 to 1, drawn once for each segment
// of the stream (see plan.go).
type Config struct {
	// Target is where connections are forwarded to: "host:port", or
	// "unix:///path" for a stream socket in the file system.
	Target string
	// Seed makes the decisions. Print it where a test fails.
	Seed uint64

	// SplitRate is how often a segment is 1 to SplitMax bytes (default 16)
	// that are written on their own.
	SplitRate float64
	SplitMax  int
	// MergeRate is how often up to MergeMax bytes (default 16 KiB, limit 32
	// KiB) are held back and written at once. MergeWait (default 1 ms) bounds
	// how long the proxy waits for more of them.
	MergeRate float64
	MergeMax  int
	MergeWait time.Duration
	// DelayRate is how often a segment waits for up to DelayMax (default 2 ms).
	DelayRate float64
	DelayMax  time.Duration
	// BytesPerSecond throttles each direction of each connection. Zero: off.
	BytesPerSecond int

	// ResetAfter draws, per direction, the bytes after which the connection is
	// reset both ways (RST). Up to DropTail of the last bytes before it are
	// read but not forwarded.
	ResetAfter Range
	DropTail   int64
	// HalfCloseAfter draws, per direction, the bytes after which the direction
	// is shut down (FIN) and what still comes is discarded. HalfCloseLinger
	// (default 1 s) bounds how long the other direction may go on.
	HalfCloseAfter  Range
	HalfCloseLinger time.Duration

	// HangAfter draws the bytes, counted over all connections and both directions,
	// after which the proxy hangs, as a process does that is stopped: nothing is
	// forwarded, nothing is closed, and connections are still accepted. It goes on
	// after half of HangMax (default 1 s) to all of it, and hangs again when as many
	// bytes have been forwarded as it draws next.
	HangAfter Range
	HangMax   time.Duration

	// MaxConns bounds the connections open at once; more are reset at accept.
	// Default 1024.
	MaxConns int
	// DialTimeout bounds the connect to Target. Default 1 s.
	DialTimeout time.Duration
}

func (c Config) withDefaults() Config {
	orInt := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	orDur := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	orInt(&c.SplitMax, 16)
	orInt(&c.MergeMax, 16<<10)
	orDur(&c.MergeWait, time.Millisecond)
	orDur(&c.DelayMax, 2*time.Millisecond)
	orDur(&c.HalfCloseLinger, time.Second)
	orDur(&c.HangMax, time.Second)
	orInt(&c.MaxConns, 1024)
	orDur(&c.DialTimeout, time.Second)
	return c
}

func (c Config) validate() error {
	if c.Target == "" {
		return errors.New(`faultnet: Target is empty: give "host:port" or "unix:///path"`)
	}
	for _, f := range []struct {
		name        string
		v, min, max float64
	}{
		{"SplitRate", c.SplitRate, 0, 1},
		{"MergeRate", c.MergeRate, 0, 1 - c.SplitRate},
		{"DelayRate", c.DelayRate, 0, 1},
		{"SplitMax", float64(c.SplitMax), 1, bufferSize},
		{"MergeMax", float64(c.MergeMax), 1, bufferSize},
		{"MergeWait (s)", c.MergeWait.Seconds(), 0, 10},
		{"DelayMax (s)", c.DelayMax.Seconds(), 0, 10},
		{"BytesPerSecond", float64(c.BytesPerSecond), 0, 1 << 40},
		{"ResetAfter.Min", float64(c.ResetAfter.Min), 0, float64(c.ResetAfter.Max)},
		{"HalfCloseAfter.Min", float64(c.HalfCloseAfter.Min), 0, float64(c.HalfCloseAfter.Max)},
		{"HalfCloseLinger (s)", c.HalfCloseLinger.Seconds(), 0, 60},
		{"HangAfter.Min", float64(c.HangAfter.Min), 0, float64(c.HangAfter.Max)},
		{"HangMax (s)", c.HangMax.Seconds(), 0, 60},
		{"DropTail", float64(c.DropTail), 0, 1 << 40},
		{"MaxConns", float64(c.MaxConns), 1, 1 << 16},
		{"DialTimeout (s)", c.DialTimeout.Seconds(), 0, 60},
	} {
		if !(f.v >= f.min && f.v <= f.max) { // refuses NaN too
			return fmt.Errorf("faultnet: %s is %v: want %v to %v", f.name, f.v, f.min, f.max)
		}
	}
	return nil
}

// Stats counts what a proxy did since New. A value snapshot.
type Stats struct {
	Conns      uint64 // accepted and connected to the target
	Refused    uint64 // reset at accept: over MaxConns
	DialErrors uint64 // reset at accept: the target could not be reached
	Resets     uint64 // connections reset by decision or ResetAll
	HalfCloses uint64 // directions shut down by decision
	Hangs      uint64 // by decision
	Splits     uint64 // segments written on their own
	Merges     uint64 // segments held back to be written at once
	Delays     uint64
	BytesUp    uint64 // written towards the target
	BytesDown  uint64 // written towards the client
	Active     int    // connections open now
	// Held are directions with bytes, and connections not led on, that wait now for the end of a pause
	// or hang.
	Held int
}

// Proxy is a running proxy. All methods may be called from any goroutine.
type Proxy struct {
	cfg    Config
	ln     net.Listener
	ctx    context.Context // ends with Close; bounds dials and waits
	cancel context.CancelFunc
	wg     sync.WaitGroup // the accept loop and every link

	hangAt atomic.Int64 // bytes forwarded when it hangs next
	held   atomic.Int64 // how many goroutines wait at the gate

	mu    sync.Mutex // guards the fields below; held for no call that blocks
	links map[*link]struct{}
	gate  chan struct{} // not nil while nothing is forwarded; closed when it goes on
	hang  *time.Timer   // ends a hang; nil while there is none
	hangs *rand.Rand    // draws when and for how long

	counts struct {
		conns, refused, dialErrors, resets, halfCloses    atomic.Uint64
		splits, merges, delays, hangs, bytesUp, bytesDown atomic.Uint64
	}
}

// New listens on a free loopback port and starts to forward. It fails when cfg
// is invalid or the port cannot be had.
func New(cfg Config) (*Proxy, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("faultnet: listen: %w", err)
	}
	p := &Proxy{
		cfg: cfg, ln: ln, links: make(map[*link]struct{}),
		hangs: rand.New(rand.NewPCG(cfg.Seed, math.MaxUint64)), // no connection has this number
	}
	p.planHang()
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.wg.Add(1)
	go p.accept()
	return p, nil
}

// Addr is the "host:port" clients connect to.
func (p *Proxy) Addr() string { return p.ln.Addr().String() }

// Close resets every connection and returns when no goroutine or descriptor of
// the proxy is left. Further calls return nil.
func (p *Proxy) Close() error {
	p.cancel()
	_ = p.ln.Close()
	for _, l := range p.snapshot() {
		l.kill(broken)
	}
	p.Resume()
	p.wg.Wait()
	return nil
}

// ResetAll resets every open connection both ways and returns how many.
func (p *Proxy) ResetAll() int {
	n := 0
	for _, l := range p.snapshot() {
		if l.kill(fault) {
			n++
		}
	}
	return n
}

// Pause stops forwarding in both directions without closing anything, as a
// partition does: bytes in transit wait, and so do connections accepted later.
func (p *Proxy) Pause() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endHang() // a pause ends with Resume only
	if p.gate == nil && p.ctx.Err() == nil {
		p.gate = make(chan struct{})
	}
}

// Resume ends a pause, and a hang. What waited is forwarded, in order.
func (p *Proxy) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endHang()
	p.openGate()
}

// openGate lets bytes pass. p.mu is held.
func (p *Proxy) openGate() {
	if p.gate != nil {
		close(p.gate)
		p.gate = nil
	}
}

// Stats returns the counts so far.
func (p *Proxy) Stats() Stats {
	c := &p.counts
	p.mu.Lock()
	active := len(p.links)
	p.mu.Unlock()
	return Stats{
		Conns: c.conns.Load(), Refused: c.refused.Load(), DialErrors: c.dialErrors.Load(),
		Resets: c.resets.Load(), HalfCloses: c.halfCloses.Load(),
		Hangs: c.hangs.Load(), Splits: c.splits.Load(), Merges: c.merges.Load(), Delays: c.delays.Load(),
		BytesUp: c.bytesUp.Load(), BytesDown: c.bytesDown.Load(), Active: active, Held: int(p.held.Load()),
	}
}

func (p *Proxy) snapshot() []*link {
	p.mu.Lock()
	defer p.mu.Unlock()
	links := make([]*link, 0, len(p.links))
	for l := range p.links {
		links = append(links, l)
	}
	return links
}

// accept numbers connections in the order they arrive; the number seeds their
// decisions.
func (p *Proxy) accept() {
	defer p.wg.Done()
	for number := uint64(0); ; number++ {
		conn, err := p.ln.Accept()
		if err != nil {
			if p.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of descriptors, most likely: some come back as links end.
			if !sleep(p.ctx.Done(), 5*time.Millisecond) {
				return
			}
			continue
		}
		l := &link{proxy: p, client: conn, done: make(chan struct{})}
		if !p.add(l) {
			p.counts.refused.Add(1)
			l.kill(broken)
			continue
		}
		go l.run(number)
	}
}

// add registers a link unless the proxy is full or closing. A link in the map
// is always found by Close.
func (p *Proxy) add(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.links) >= p.cfg.MaxConns || p.ctx.Err() != nil {
		return false
	}
	p.links[l] = struct{}{}
	p.wg.Add(1)
	return true
}

func (p *Proxy) remove(l *link) {
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
	p.wg.Done()
}

// open reports the gate to wait for, nil when the proxy is not paused.
func (p *Proxy) open() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gate
}

func (p *Proxy) dial() (net.Conn, error) {
	network, addr := "tcp", p.cfg.Target
	if path, ok := strings.CutPrefix(addr, "unix://"); ok {
		network, addr = "unix", path
	}
	d := net.Dialer{Timeout: p.cfg.DialTimeout}
	return d.DialContext(p.ctx, network, addr)
}

// sleep waits for d, or returns false at once when done is closed.
func sleep(done <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-done:
		return false
	}
}
