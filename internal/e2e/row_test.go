package e2e

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/internal/epoll"
	"github.com/ringwire/ringwire/server"
	"github.com/ringwire/ringwire/taskid"
)

// The tests TestServerRow… are rows of docs/RELIABILITY.md, which has their numbers: what a
// server does with a fault, while other clients, the neighbours, go on. What the clients do
// is made of bare connections, so that the figures can be taken of any server of the frame.

// rowTimeout is the server's timeout that a row is about.
const rowTimeout = productTimeout / 2

// startServer starts a server that is closed with the test. Without a handler it echoes.
func startServer(t testing.TB, cfg server.Config) *server.Server {
	t.Helper()
	if cfg.Handler == nil {
		cfg.Handler = server.HandlerFunc(func(_ *server.Conn, dst, req []byte) ([]byte, error) {
			return append(dst, req...), nil
		})
	}
	cfg.Addr = cmp.Or(cfg.Addr, "127.0.0.1:0")
	cfg.Logger = slog.New(slog.DiscardHandler)
	s, err := server.New(cfg)
	require.NoError(t, err)
	require.NoError(t, s.Start())
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

// Neighbours are clients that do nothing wrong: each sends a request, waits for the reply and
// compares it.
type neighbours struct {
	stop chan struct{}
	wg   sync.WaitGroup
	each []atomic.Int64 // calls, by neighbour

	mu     sync.Mutex // guards the fields below
	took   []time.Duration
	failed int
	why    error // the first
}

// startNeighbours connects so many, each of which calls once in every.
func startNeighbours(addr string, n int, every time.Duration) (*neighbours, error) {
	b := &neighbours{stop: make(chan struct{}), each: make([]atomic.Int64, n)}
	for who := range n {
		c, err := net.DialTimeout("tcp", addr, testBound)
		if err != nil {
			b.end()
			return nil, err
		}
		b.wg.Go(func() {
			defer c.Close()
			tick := time.NewTicker(every)
			defer tick.Stop()
			in := framing.NewReader(c, framing.Format{})
			for id := uint32(1); ; id++ {
				select {
				case <-b.stop:
					return
				case <-tick.C:
				}
				began := time.Now()
				err := call(c, in, id, fmt.Appendf(nil, "neighbour %d, call %d", who, id))
				b.note(time.Since(began), err)
				if err != nil {
					return
				}
				b.each[who].Add(1)
			}
		})
	}
	return b, nil
}

// call makes one call on a connection that has no other under way.
func call(c net.Conn, in *framing.Reader, id uint32, req []byte) error {
	frame, err := framing.Append(nil, taskid.ID(id), req)
	if err != nil {
		return err
	}
	// So that one that gets no reply fails, whatever is the matter.
	if err := c.SetDeadline(time.Now().Add(5 * testBound)); err != nil {
		return err
	}
	if _, err := c.Write(frame); err != nil {
		return err
	}
	f, err := in.ReadFrame()
	if err == nil && (f.ID != taskid.ID(id) || string(f.Payload) != string(req)) {
		err = fmt.Errorf("call %d, %q, has the reply %d, %q", id, req, f.ID, f.Payload)
	}
	return err
}

func (b *neighbours) note(took time.Duration, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		b.failed++
		b.why = cmp.Or(b.why, err)
		return
	}
	b.took = append(b.took, took)
}

// A lap is what neighbours have done in a while.
type lap struct {
	calls    int
	p50, p99 time.Duration
}

// lap returns what was done since the last one.
func (b *neighbours) lap() lap {
	b.mu.Lock()
	took := b.took
	b.took = nil
	b.mu.Unlock()
	slices.Sort(took)
	l := lap{calls: len(took)}
	if l.calls > 0 {
		l.p50, l.p99 = took[l.calls/2], took[l.calls*99/100]
	}
	return l
}

// served waits until every neighbour has been served so often from now on.
func (b *neighbours) served(t testing.TB, times int64) {
	t.Helper()
	before := make([]int64, len(b.each))
	for i := range b.each {
		before[i] = b.each[i].Load()
	}
	require.Eventually(t, func() bool {
		if _, err := b.failures(); err != nil {
			return true // told at the end
		}
		for i := range b.each {
			if b.each[i].Load() < before[i]+times {
				return false
			}
		}
		return true
	}, 5*testBound, time.Millisecond, "neighbours are not served")
}

func (b *neighbours) failures() (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failed, b.why
}

// end has them finish their calls. It may be called twice.
func (b *neighbours) end() {
	select {
	case <-b.stop:
	default:
		close(b.stop)
	}
	b.wg.Wait()
}

// A misbehaviour is what a client does with its connection, until that is closed.
type misbehaviour func(c net.Conn)

// neverReads asks as much as is taken, and takes no reply.
func neverReads(c net.Conn) {
	frame, err := framing.Append(nil, 1, make([]byte, 16<<10))
	for err == nil {
		_, err = c.Write(frame)
	}
}

// readsSlowly does the same and takes one byte in every.
func readsSlowly(every time.Duration) misbehaviour {
	return func(c net.Conn) {
		var writer sync.WaitGroup
		writer.Go(func() { neverReads(c) })
		defer writer.Wait()
		defer c.Close()
		tick := time.NewTicker(every)
		defer tick.Stop()
		for range tick.C {
			if _, err := c.Read(make([]byte, 1)); err != nil {
				return
			}
		}
	}
}

// sendsSlowly sends a frame, one byte in every.
func sendsSlowly(every time.Duration) misbehaviour {
	return func(c net.Conn) {
		frame := binary.BigEndian.AppendUint16(nil, 40_000)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for i := 0; ; i++ {
			if _, err := c.Write(append(frame, 0)[min(i, 2):][:1]); err != nil {
				return
			}
			<-tick.C
		}
	}
}

// A mob is clients that misbehave.
type mob struct {
	conns []net.Conn
	wg    sync.WaitGroup
}

// newMob connects so many, with small buffers, and has them begin.
func newMob(addr string, n int, do misbehaviour) (*mob, error) {
	m := new(mob)
	d := net.Dialer{Timeout: testBound, Control: narrow}
	for range n {
		c, err := d.Dial("tcp", addr)
		if err != nil {
			m.disperse()
			return nil, err
		}
		m.conns = append(m.conns, c)
		m.wg.Go(func() { do(c) })
	}
	return m, nil
}

// disperse resets what is still connected.
func (m *mob) disperse() {
	for _, c := range m.conns {
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}
	m.wg.Wait()
}

// A siege is a row: what some clients do until the server closes their connections.
type siege struct {
	do    misbehaviour
	cfg   server.Config
	limit time.Duration                // until all are gone, on a machine that does nothing else
	held  int64                        // bytes the server may hold for each; 0: not looked at
	count func(c server.Closed) uint64 // by reason
}

// withstand demands that the server closes all of the mob's connections, for the right
// reason, in time, and that no neighbour notices more than that it takes longer.
func (row siege) withstand(t *testing.T) {
	checkLeaks(t)
	n, healthy := sized(20, 300), sized(5, 50)
	s := startServer(t, row.cfg)
	b, err := startNeighbours(s.Addr().String(), healthy, 5*time.Millisecond)
	require.NoError(t, err)
	defer b.end()
	b.served(t, 1)
	m, err := newMob(s.Addr().String(), n, row.do)
	require.NoError(t, err)
	defer m.disperse()
	began, held := time.Now(), int64(0)
	assert.Eventually(t, func() bool {
		held = max(held, s.Stats().HeldBytes)
		return s.Stats().Conns == healthy
	}, 10*row.limit, time.Millisecond, "connections that should be gone")
	st := s.Stats()
	t.Logf("%d gone after %v, %d bytes held: %+v", n, time.Since(began).Round(time.Millisecond), held, st.Closed)
	b.served(t, 10)
	assert.EqualValues(t, n, row.count(st.Closed), "the reason: %+v", st.Closed)
	assert.EqualValues(t, n, st.Closed.Total(), "and nobody else: %+v", st.Closed)
	if row.held > 0 {
		assert.LessOrEqual(t, held, int64(n)*row.held, "bytes held")
	}
	b.end()
	failed, why := b.failures()
	assert.Zero(t, failed, "neighbours: %v", why)
}

// Rows S1, S2 and S10.
func TestServerRowClientsThatHoldOnAreEnded(t *testing.T) {
	bounded := server.Config{WriteTimeout: rowTimeout, MaxUnsent: 64 << 10, MaxUnparsed: 1 << 20}
	// MaxUnsent, which one turn and one reply may exceed; a sixteenth of MaxUnparsed, and one read.
	const held = 64<<10 + 256<<10 + 16<<10 + 1<<20/16 + 64<<10
	// Peer: when a write has met TCP's timeout, the event loop now and then finds an end only.
	unread := func(c server.Closed) uint64 { return c.SlowReader + c.Dead + c.Peer }
	for name, row := range map[string]siege{
		"S1, who never reads":      {neverReads, bounded, 3*rowTimeout + time.Second, held, unread},
		"S2, who reads too little": {readsSlowly(rowTimeout / 10), bounded, 3*rowTimeout + time.Second, held, unread},
		"S10, whose frame does not end": {sendsSlowly(rowTimeout / 10), server.Config{FrameTimeout: rowTimeout},
			3*rowTimeout + time.Second, 48 << 10, func(c server.Closed) uint64 { return c.FrameTimeout }},
	} {
		t.Run(name, row.withstand)
	}
}

// A flooder is a client that sends the smallest frames as fast as it can, and reads.
type flooder struct {
	sent, got int64
	order     bool // the replies came in the order of the requests
	err       error
}

// run floods until stop is closed and every reply is there.
func (f *flooder) run(c net.Conn, stop <-chan struct{}) {
	const batch = 1024
	var total atomic.Int64 // when known
	var writer sync.WaitGroup
	writer.Go(func() {
		var b []byte
		for last := false; !last; {
			select {
			case <-stop:
				last = true
			default:
			}
			b = b[:0]
			for range batch {
				f.sent++
				b, _ = framing.Append(b, taskid.ID(f.sent), nil) // an empty payload fits
			}
			if last {
				total.Store(f.sent)
			}
			if _, err := c.Write(b); err != nil {
				return // the reader tells
			}
		}
	})
	f.order = true
	for in := framing.NewReader(c, framing.Format{}); f.got == 0 || f.got != total.Load(); {
		frame, err := in.ReadFrame()
		if err != nil {
			f.err = err
			break
		}
		f.got++
		f.order = f.order && frame.ID == taskid.ID(f.got)
	}
	_ = c.Close()
	writer.Wait()
}

// startFloods connects so many; end stops them and waits for their replies.
func startFloods(addr string, n int) (floods []*flooder, end func(), err error) {
	stop := make(chan struct{})
	var wg sync.WaitGroup
	end = sync.OnceFunc(func() { close(stop); wg.Wait() })
	// Buffers so small that at the end it is soon answered what they hold.
	d := net.Dialer{Timeout: testBound, Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = shrinkBuffers(fd, 64<<10) })
	}}
	for range n {
		c, err := d.Dial("tcp", addr)
		if err != nil {
			end()
			return nil, nil, err
		}
		_ = c.SetDeadline(time.Now().Add(20 * testBound))
		f := new(flooder)
		floods = append(floods, f)
		wg.Go(func() { f.run(c, stop) })
	}
	return floods, end, nil
}

// Row S3.
func TestServerRowFloodsAreSlowedAndTheirNeighboursServed(t *testing.T) {
	if !epoll.Available {
		t.Skip("reading cannot be paused on " + runtime.GOOS)
	}
	for name, workers := range map[string]int{"in place": 0, "workers": 2} {
		t.Run(name, func(t *testing.T) {
			checkLeaks(t)
			s := startServer(t, server.Config{Loops: 1, Workers: workers, MaxUnparsed: 1 << 20})
			b, err := startNeighbours(s.Addr().String(), 5, time.Millisecond)
			require.NoError(t, err)
			defer b.end()
			b.served(t, 1)
			floods, end, err := startFloods(s.Addr().String(), 3)
			require.NoError(t, err)
			defer end()
			b.served(t, sized[int64](2, 100))
			end()
			b.end()
			failed, why := b.failures()
			assert.Zero(t, failed, "neighbours: %v", why)
			for _, f := range floods {
				assert.NoError(t, f.err, "it reads, so it is not cut")
				assert.Equal(t, f.sent, f.got, "each request has one reply")
				assert.True(t, f.order || workers > 0, "in order")
			}
			st := s.Stats()
			t.Logf("floods' requests %d, neighbours' calls %d, closed %+v", st.Requests, b.lap().calls, st.Closed)
			assert.Zero(t, st.Closed.Input+st.Closed.Memory+st.Closed.SlowReader, "%+v", st.Closed)
			assert.Equal(t, st.Requests, st.Replies)
		})
	}
}
