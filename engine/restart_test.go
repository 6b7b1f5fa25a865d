package engine

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/taskid"
)

// worker is a server that is restarted under load. Of its requests it begins some at once,
// has some wait, and when it goes away it refuses some.
type worker struct {
	t    *testing.T
	addr string

	mu       sync.Mutex
	executed map[uint64]int
	life     *lifetimeOf
	wg       sync.WaitGroup
}

// lifetimeOf is a worker's process from one start to the next.
type lifetimeOf struct {
	ln     net.Listener
	s      *speaker
	served atomic.Int64

	mu      sync.Mutex
	leaving bool
	over    bool
	begun   int      // and not answered
	waiting []func() // not begun
}

// startWorker starts a worker that stops with the test.
func startWorker(t *testing.T) *worker {
	t.Helper()
	w := &worker{t: t, addr: "127.0.0.1:0", executed: map[uint64]int{}}
	w.start()
	t.Cleanup(func() {
		w.life.ln.Close()
		for _, p := range w.life.s.all() {
			p.Close()
		}
		w.wg.Wait()
	})
	return w
}

func (w *worker) start() {
	ln, err := net.Listen("tcp", w.addr)
	require.NoError(w.t, err)
	l := &lifetimeOf{ln: ln}
	l.s = &speaker{got: func(p *spoken, id taskid.ID, _ uint32, req []byte) { w.got(l, p, id, req) }}
	w.addr, w.life = ln.Addr().String(), l
	w.wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			w.wg.Go(func() { l.s.serve(nc) })
		}
	})
}

// got deals with a request.
func (w *worker) got(l *lifetimeOf, p *spoken, id taskid.ID, req []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return
	}
	if l.leaving && rand.IntN(2) == 0 {
		p.deny(id, framing.StatusRefused, framing.RefusedGoingAway, "")
		return
	}
	begin := func() {
		l.begun++
		go func() {
			if rand.IntN(4) == 0 {
				time.Sleep(time.Duration(rand.IntN(1000)) * time.Microsecond) // a handler at work
			}
			w.mu.Lock()
			w.executed[binary.BigEndian.Uint64(req)]++
			w.mu.Unlock()
			l.served.Add(1)
			l.mu.Lock()
			defer l.mu.Unlock()
			p.ok(id, req)
			l.begun--
			if !l.leaving {
				l.beginOne()
			}
		}()
	}
	l.waiting = append(l.waiting, begin)
	if l.begun < 4 && !l.leaving {
		l.beginOne()
	}
}

// beginOne begins a request that waits. The lock is held.
func (l *lifetimeOf) beginOne() {
	if len(l.waiting) > 0 {
		l.waiting[0]()
		l.waiting = l.waiting[1:]
	}
}

// restart goes away and comes back: what waits is not begun any more.
func (w *worker) restart() {
	l := w.life
	l.ln.Close()
	l.mu.Lock()
	l.leaving = true
	for _, p := range l.s.all() {
		p.goaway()
	}
	l.mu.Unlock()
	mustCome(w.t, "the end of what was begun", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.over = l.begun == 0
		return l.over
	})
	for _, p := range l.s.all() {
		p.done()
		p.work <- func() { _ = p.Conn.(*net.TCPConn).CloseWrite() } // and reads until we close
	}
	w.start()
}

// numberedWays are ways to make calls with the next numbers, of which the one that fails is
// told of.
func numberedWays(b *Broker, next *atomic.Uint64, fail func(error)) []func() {
	request := func() []byte { return binary.BigEndian.AppendUint64(nil, next.Add(1)) }
	note := func(req, reply []byte, err error) {
		if err == nil && string(reply) != string(req) {
			err = errors.New("another's reply")
		}
		if err != nil {
			fail(err)
		}
	}
	return []func(){
		func() {
			req := request()
			reply, err := b.Send(bg, req)
			note(req, reply, err)
		},
		func() {
			reqs := [][]byte{request(), request(), request()}
			_ = b.SendBatch(bg, reqs, func(i int, reply []byte, err error) { note(reqs[i], reply, err) })
		},
		func() { // a call of Go is repeated by its caller
			req := request()
			reply, err := byGo(b, bg, req)
			for err != nil && SafeToRetry(err) {
				reply, err = byGo(b, bg, req)
			}
			note(req, reply, err)
		},
	}
}

func TestServersThatRestartUnderLoadLoseNothing(t *testing.T) {
	one, two := startWorker(t), startWorker(t)
	b, err := New(Config{ // the servers' goroutines change, so nobody looks for leaks
		Addrs: []string{one.addr, two.addr}, ConnsPerAddr: 2, Extensions: true,
		MaxRetries: 20, BackoffMax: 50 * time.Millisecond, ConnectWait: time.Minute, RequestTimeout: time.Minute,
		ReadTimeout: time.Minute,
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	var next atomic.Uint64
	var failed atomic.Pointer[error]
	stop := make(chan struct{})
	calls := numberedWays(b, &next, func(err error) { failed.CompareAndSwap(nil, &err) })
	var wg sync.WaitGroup
	for c := range 24 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					calls[c%len(calls)]()
				}
			}
		})
	}
	for round := range 20 {
		w := []*worker{one, two}[round%2]
		mustCome(t, "both servers at work", func() bool {
			return failed.Load() != nil || one.life.served.Load() > 100 && two.life.served.Load() > 100
		})
		w.restart()
	}
	close(stop)
	wg.Wait()
	if err := failed.Load(); err != nil {
		t.Fatal(*err)
	}
	mustCome(t, "quiet", func() bool { return b.Stats().InFlight == 0 })
	stats := b.Stats()
	require.Equal(t, stats.Accepted, stats.Replies+stats.Failed+stats.Timeouts+stats.Cancelled)
	require.GreaterOrEqual(t, stats.Goaways, uint64(20))
	require.NotZero(t, stats.Retries, "something had to be made again")
	require.Zero(t, stats.ConnsLost)
	for n := range next.Load() {
		if times := one.executed[n+1] + two.executed[n+1]; times != 1 {
			t.Fatalf("request %d was executed %d times", n+1, times)
		}
	}
}
