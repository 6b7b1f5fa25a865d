package engine

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/internal/testca"
)

// What these tests hold is that a request of which no byte was written outlives its
// connection, in its order, and one that may have been written is not sent again.

// wideFrames has room for large ones.
var wideFrames = framing.Format{LengthSize: 4}

// clogged is a server whose first connections get stuck: it reads some requests of each
// and then nothing, until they are reset. The later ones are served.
type clogged struct {
	t      *testing.T
	ln     net.Listener
	format framing.Format
	stuck  int // so many connections get stuck
	reads  int // so many requests of each are read, and not answered
	wrap   bool
	secure *configs // nil: plain
	dials  atomic.Int64
	wg     sync.WaitGroup

	mu       sync.Mutex
	conns    []net.Conn
	executed map[uint64]int
	served   []uint64 // numbers of the requests that were answered, in their order
	mangled  int
}

// newClogged listens.
func newClogged(t *testing.T, format framing.Format, stuck, reads int) *clogged {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &clogged{t: t, ln: ln, format: format, stuck: stuck, reads: reads, executed: map[uint64]int{}}
	s.wg.Go(func() {
		for n := 0; ; n++ {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, nc)
			s.mu.Unlock()
			if n < s.stuck {
				nc.(*net.TCPConn).SetReadBuffer(4 << 10)
			}
			s.wg.Go(func() { s.serve(s.secured(nc), n < s.stuck) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		s.reset()
		s.wg.Wait()
	})
	return s
}

// configs is what both ends of a secured connection need.
type configs struct{ server, client *tls.Config }

// overTLS has all connections secured.
func (s *clogged) overTLS() {
	ca := testca.New(s.t)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secure = &configs{
		server: &tls.Config{Certificates: []tls.Certificate{ca.Server(s.t, "server")}},
		client: &tls.Config{RootCAs: ca.Pool(), ServerName: "server"},
	}
}

func (s *clogged) secured(nc net.Conn) net.Conn {
	s.mu.Lock()
	secure := s.secure
	s.mu.Unlock()
	if secure == nil {
		return nc
	}
	tc := tls.Server(nc, secure.server)
	_ = tc.Handshake() // also if nothing is read then
	return tc
}

func (s *clogged) serve(nc net.Conn, stuck bool) {
	size := 64 << 10
	if stuck {
		size = 16 // what is not read stays with the client
	}
	r := framing.NewReader(bufio.NewReaderSize(nc, size), s.format)
	for n := 0; !stuck || n < s.reads; n++ {
		f, err := r.ReadFrame()
		if err != nil {
			return
		}
		i := binary.BigEndian.Uint64(f.Payload)
		s.mu.Lock()
		s.executed[i]++
		if !bytes.Equal(f.Payload, payload(i, len(f.Payload))) {
			s.mangled++
		}
		if !stuck {
			s.served = append(s.served, i)
		}
		s.mu.Unlock()
		if !stuck {
			frame, _ := s.format.Append(nil, f.ID, f.Payload[:8])
			nc.Write(frame)
		}
	}
}

// reset ends the connections there are with a RST.
func (s *clogged) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, nc := range s.conns {
		nc.(*net.TCPConn).SetLinger(0)
		nc.Close()
	}
	s.conns = nil
}

// dial connects, by a socket that takes few bytes if it is to get stuck.
func (s *clogged) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	nc, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.ln.Addr().String())
	if err != nil {
		return nil, err
	}
	if s.dials.Add(1) <= int64(s.stuck) {
		nc.(*net.TCPConn).SetWriteBuffer(4 << 10)
	}
	if s.wrap {
		return wrapped{nc}, nil
	}
	return nc, nil
}

// broker returns a broker whose calls end by what happens to connections alone.
func (s *clogged) broker() *Broker {
	s.t.Helper()
	cfg := Config{
		Addrs: []string{"server:1"}, DialContext: s.dial, Framing: s.format,
		QueueSize: 10_000, BackoffBase: time.Millisecond, BackoffMax: 10 * time.Millisecond,
		RequestTimeout: -1, ReadTimeout: -1, WriteTimeout: -1, ConnectWait: time.Minute, MaxRetries: -1,
	}
	if s.secure != nil {
		cfg.TLS = s.secure.client
	}
	b := newBroker(s.t, cfg)
	ready(s.t, b)
	return b
}

// clog waits until the connection takes no more, and resets it.
func (s *clogged) clog(b *Broker, hop int) {
	s.t.Helper()
	mustCome(s.t, "a connection that takes no more", func() bool {
		conns := b.routes.Load().conns
		return b.Stats().Dials > uint64(hop) && len(conns) == 1 && (conns[0].out.stalled.Load() || s.wrap && conns[0].out.writing.Load() != 0) &&
			b.backlog.len() > 0 && s.accepted() > 0 && s.counted() >= (hop+1)*s.reads
	})
	s.reset()
}

// accepted returns how many connections there are.
func (s *clogged) accepted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// counted returns how many requests were read.
func (s *clogged) counted() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, times := range s.executed {
		n += times
	}
	return n
}

// pattern is every byte twice.
var pattern = func() (p [512]byte) {
	for i := range p {
		p[i] = byte(i)
	}
	return p
}()

// payload is what request i carries.
func payload(i uint64, size int) []byte {
	b := make([]byte, max(size, 8))
	for at := 0; at < len(b); at += 256 {
		copy(b[at:], pattern[byte(i):])
	}
	binary.BigEndian.PutUint64(b, i)
	return b
}

// outcomes are what callers were told, by number.
type outcomes struct {
	all  []atomic.Pointer[error]
	told []atomic.Int32
	left sync.WaitGroup
}

func newOutcomes(n int) *outcomes {
	o := &outcomes{all: make([]atomic.Pointer[error], n), told: make([]atomic.Int32, n)}
	o.left.Add(n)
	return o
}

func (o *outcomes) note(i int, err error) {
	o.all[i].Store(&err)
	if o.told[i].Add(1) == 1 {
		o.left.Done()
	}
}

// wait waits for all.
func (o *outcomes) wait(t *testing.T) {
	t.Helper()
	mustReturn(t, "all outcomes", func() bool { o.left.Wait(); return true })
}

// checkMoved checks that each request was either carried out once by the server that answered it, or
// failed as one that may have been written; and those before those. It returns how many
// failed.
func (s *clogged) checkMoved(o *outcomes) (failed int) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	answered := map[uint64]bool{}
	for _, i := range s.served {
		answered[i] = true
	}
	require.Zero(s.t, s.mangled, "requests that came with the bytes of others")
	for i := range o.all {
		require.EqualValues(s.t, 1, o.told[i].Load(), "request %d", i)
		require.LessOrEqual(s.t, s.executed[uint64(i)], 1, "request %d was carried out twice", i)
		err := *o.all[i].Load()
		switch {
		case err == nil:
			require.True(s.t, answered[uint64(i)], "request %d", i)
		case errors.Is(err, context.Canceled):
		default:
			failed++
			var op *OpError
			require.ErrorAs(s.t, err, &op)
			require.ErrorIs(s.t, err, ErrConnLost)
			require.True(s.t, op.Written, "request %d was not written and did not move: %v", i, err)
			require.False(s.t, SafeToRetry(err))
			require.False(s.t, answered[uint64(i)], "request %d was written before", i)
		}
	}
	return failed
}

func TestWhatWasNotWrittenMovesInItsOrderWhenTheConnectionEnds(t *testing.T) {
	const n = 1500
	for _, c := range []struct {
		name         string
		format       framing.Format
		size, count  int
		stuck, reads int
		wrap         bool
		secure       bool
	}{
		{name: "small", size: 1000, count: n, stuck: 1},
		{name: "small, partly read", size: 1000, count: n, stuck: 1, reads: 10},
		{name: "small, three times", size: 1000, count: n, stuck: 3, reads: 3},
		{name: "not of package net", size: 1000, count: n, stuck: 2, reads: 3, wrap: true},
		{name: "secured, partly read", size: 1000, count: n, stuck: 1, reads: 10, secure: true},
		{name: "secured, three times", size: 1000, count: n, stuck: 3, reads: 3, secure: true},
		{name: "secured, large", format: wideFrames, size: 200_000, count: 40, stuck: 2, secure: true},
		{name: "large", format: wideFrames, size: 200_000, count: 40, stuck: 1},
		{name: "large, three times", format: wideFrames, size: 200_000, count: 40, stuck: 3},
		{name: "wide", format: wideFrames, size: 1000, count: n, stuck: 3, reads: 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newClogged(t, c.format, c.stuck, c.reads)
			s.wrap = c.wrap
			if c.secure {
				s.overTLS()
			}
			b := s.broker()
			o := newOutcomes(c.count)
			for i := range c.count {
				require.NoError(t, b.Go(bg, payload(uint64(i), c.size), func(_ []byte, err error) { o.note(i, err) }))
			}
			for hop := range c.stuck {
				s.clog(b, hop)
			}
			o.wait(t)
			failed := s.checkMoved(o)
			assert.Len(t, s.served, c.count-failed)
			assert.Less(t, failed, c.count/2)
			assert.GreaterOrEqual(t, failed, s.counted()-len(s.served))
			assert.True(t, slices.IsSorted(s.served), "their order")
			assert.EqualValues(t, failed, b.Stats().Failed)
			for i := range failed {
				require.Error(t, *o.all[i].Load(), "those written are the first ones")
			}
		})
	}
}

// Slots are used in turn and begin again: their order is not that of the requests.
func TestRequestsMoveInTheirOrderWhateverTheirSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := onStage(t, Config{MaxInFlight: 16, ConnectWait: time.Minute}, "one:1")
		requireServed(t, b, 10)
		one := s["one:1"]
		one.forget()
		c := onlyConn(t, b)
		pass(time.Second)
		require.True(t, c.out.right.Take(), "nobody writes")
		calls := numberedCalls(b)
		calls.call(t, 12)
		one.cut()
		<-c.dead
		c.out.right.Keep()
		pass(2 * time.Second)
		require.Equal(t, numbers(12), one.asked())
		require.Zero(t, calls.open())
		n, err := calls.failed()
		require.Zero(t, n, "%v", err)
	})
}

func TestSmallAndLargeRequestsMoveEachInTheirOrder(t *testing.T) {
	s := newClogged(t, wideFrames, 2, 0)
	b := s.broker()
	const n = 300
	o := newOutcomes(n)
	for i := range n {
		size := 1000
		if i%10 == 9 {
			size = 100_000
		}
		require.NoError(t, b.Go(bg, payload(uint64(i), size), func(_ []byte, err error) { o.note(i, err) }))
	}
	s.clog(b, 0)
	s.clog(b, 1)
	o.wait(t)
	failed := s.checkMoved(o)
	assert.Len(t, s.served, n-failed)
	var small, large []uint64
	for _, i := range s.served {
		if i%10 == 9 {
			large = append(large, i)
		} else {
			small = append(small, i)
		}
	}
	assert.True(t, slices.IsSorted(small), "%v", small)
	assert.True(t, slices.IsSorted(large), "%v", large)
}

// A goroutine that gives a request up while it moves finds it in one of the two places.
func TestRequestsThatMoveCanBeGivenUp(t *testing.T) {
	const n = 900 // what is left after the first hop is more than a connection takes
	for round := range 4 {
		s := newClogged(t, framing.Format{}, 2, 3)
		b := s.broker()
		o := newOutcomes(n)
		cancels := make([]context.CancelFunc, n)
		for i := range n {
			ctx := bg
			if i%3 != 0 {
				ctx, cancels[i] = context.WithCancel(bg)
				defer cancels[i]()
			}
			require.NoError(t, b.Go(ctx, payload(uint64(i), 1000), func(_ []byte, err error) { o.note(i, err) }))
		}
		var wg sync.WaitGroup
		for hop := range 2 {
			s.clog(b, hop)
			for part := range 4 {
				wg.Go(func() {
					for i := part; i < n; i += 4 {
						if (i+round+hop)%3 == 1 && cancels[i] != nil {
							cancels[i]()
						}
					}
				})
			}
		}
		wg.Wait()
		o.wait(t)
		failed := s.checkMoved(o)
		cancelled := 0
		for i := range o.all {
			if errors.Is(*o.all[i].Load(), context.Canceled) {
				cancelled++
				require.NotNil(t, cancels[i], "request %d was given up by nobody", i)
			}
		}
		require.GreaterOrEqual(t, len(s.served), n-failed-cancelled)
		require.NoError(t, b.Close())
	}
}

// callsThatMove makes n calls at once that block, with and without contexts, and whose
// payloads are used again as soon as they may be.
func callsThatMove(b *Broker, o *outcomes, first, n, size int) {
	for i := first; i < first+n; i++ {
		go func() {
			ctx, cancel := bg, context.CancelFunc(func() {})
			if i%2 == 0 {
				ctx, cancel = context.WithCancel(bg)
			}
			defer cancel()
			req := payload(uint64(i), size)
			_, err := b.Send(ctx, req)
			clear(req)
			o.note(i, err)
		}()
	}
}

// batchesThatMove makes n calls in batches.
func batchesThatMove(b *Broker, o *outcomes, first, n, size int) {
	const each = 100
	for at := first; at < first+n; at += each {
		go func() {
			ctx, cancel := bg, context.CancelFunc(func() {})
			if at/each%2 == 0 {
				ctx, cancel = context.WithCancel(bg)
			}
			defer cancel()
			reqs := make([][]byte, each)
			for i := range reqs {
				reqs[i] = payload(uint64(at+i), size)
			}
			_ = b.SendBatch(ctx, reqs, func(i int, _ []byte, err error) { o.note(at+i, err) })
			for _, req := range reqs {
				clear(req)
			}
		}()
	}
}

func TestRequestsOfBlockedCallersMoveToo(t *testing.T) {
	for name, c := range map[string]struct {
		format         framing.Format
		size, n, reads int
	}{
		"small": {framing.Format{}, 1000, 500, 2},
		"large": {wideFrames, 100_000, 100, 0}, // a small window takes them slowly
	} {
		t.Run(name, func(t *testing.T) {
			s := newClogged(t, c.format, 3, c.reads)
			b := s.broker()
			o := newOutcomes(3 * c.n)
			callsThatMove(b, o, 0, c.n, c.size)
			batchesThatMove(b, o, c.n, c.n, c.size)
			for i := range c.n {
				at := 2*c.n + i
				require.NoError(t, b.Go(bg, payload(uint64(at), c.size), func(_ []byte, err error) { o.note(at, err) }))
			}
			for hop := range 3 {
				s.clog(b, hop)
			}
			o.wait(t)
			failed := s.checkMoved(o)
			assert.Len(t, s.served, 3*c.n-failed)
			assert.Less(t, failed, 3*c.n/2)
		})
	}
}

// A call whose request has moved to another connection is still given up when its context ends.
func TestWhatHasMovedEndsWithItsContext(t *testing.T) {
	const n = 20
	calls := map[string]func(b *Broker, ctx context.Context, told func(error)){
		"Send": func(b *Broker, ctx context.Context, told func(error)) {
			for range n {
				go func() {
					_, err := b.Send(ctx, []byte("x"))
					told(err)
				}()
			}
		},
		"Go": func(b *Broker, ctx context.Context, told func(error)) {
			for range n {
				require.NoError(t, b.Go(ctx, []byte("x"), func(_ []byte, err error) { told(err) }))
			}
		},
		"SendBatch": func(b *Broker, ctx context.Context, told func(error)) {
			reqs := slices.Repeat([][]byte{[]byte("x")}, n)
			go b.SendBatch(ctx, reqs, func(_ int, _ []byte, err error) { told(err) })
		},
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ends := make(chan net.Conn, 2)
				b, err := New(oneConn(Config{
					Addrs: []string{"one:1"}, WriteTimeout: -1, ReadTimeout: -1, RequestTimeout: -1,
					DialContext: pipeDial(func(nc net.Conn) { ends <- nc }), // and reads nothing
				}))
				require.NoError(t, err)
				defer b.Close()
				synctest.Wait()
				ctx, cancel := context.WithCancel(bg)
				defer cancel()
				// Its write does not return, and the others wait behind it.
				require.NoError(t, b.Go(bg, []byte("first"), func([]byte, error) {}))
				synctest.Wait()
				var cancelled atomic.Int64
				call(b, ctx, func(err error) {
					assert.ErrorIs(t, err, context.Canceled)
					cancelled.Add(1)
				})
				synctest.Wait()
				(<-ends).Close()
				second := <-ends // which may take a pause
				defer second.Close()
				synctest.Wait()
				cancel()
				synctest.Wait()
				require.EqualValues(t, n, cancelled.Load())
			})
		})
	}
}

// What is about to move when the broker closes has its outcome as well.
func TestWhatMovesWhileTheBrokerClosesIsNotLost(t *testing.T) {
	for range 300 {
		synctest.Test(t, func(t *testing.T) {
			var end net.Conn
			b, err := New(oneConn(Config{
				Addrs: []string{"one:1"}, WriteTimeout: -1, ReadTimeout: -1, RequestTimeout: -1,
				DialContext: pipeDial(func(nc net.Conn) { end = nc }), // and reads nothing
			}))
			require.NoError(t, err)
			synctest.Wait()
			var told atomic.Int64
			for range 20 {
				require.NoError(t, b.Go(bg, []byte("x"), func(_ []byte, err error) {
					if err != nil {
						told.Add(1)
					}
				}))
			}
			synctest.Wait()
			end.Close()
			for range rand.IntN(40) {
				runtime.Gosched()
			}
			require.NoError(t, b.Close())
			synctest.Wait()
			require.EqualValues(t, 20, told.Load())
			require.Zero(t, b.Stats().InFlight)
		})
	}
}
