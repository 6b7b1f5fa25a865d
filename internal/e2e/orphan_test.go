package e2e

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/framing"
)

const (
	// usable is how many of orphanFlight requests must be possible at once, whatever the
	// server leaves unanswered: 75 %.
	orphanFlight = 64
	usable       = orphanFlight * 3 / 4
	// unansweredEach is how many requests there are for each that gets no reply.
	unansweredEach = 100
)

// A silentServer answers all requests but each hundredth, by the number a request begins
// with. Those that say hold are answered when as many have come as shall be in flight at
// once.
type silentServer struct {
	unanswered func(number uint64) // called for each request that gets no reply

	orphans atomic.Int64 // unanswered on connections that are open

	mu    sync.Mutex // guards what follows
	ended []int      // unanswered on each connection that has ended
	held  []func()
}

const holdNumber = 1 << 63

func (s *silentServer) serve(c net.Conn) {
	var writing sync.Mutex
	reply := func(f framing.Frame) {
		out, _ := framing.Append(nil, f.ID, f.Payload)
		writing.Lock()
		defer writing.Unlock()
		_, _ = c.Write(out) // the client may be gone
	}
	unanswered := 0
	in := framing.NewReader(c, framing.Format{})
	for {
		f, err := in.ReadFrame()
		if err != nil {
			break
		}
		f.Payload = append([]byte(nil), f.Payload...)
		switch number := binary.BigEndian.Uint64(f.Payload); {
		case number == holdNumber:
			s.hold(func() { reply(f) })
		case number%unansweredEach == 0:
			unanswered++
			s.orphans.Add(1)
			s.unanswered(number)
		default:
			reply(f)
		}
	}
	s.orphans.Add(-int64(unanswered))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = append(s.ended, unanswered)
}

// hold keeps a reply until the replies of all that can be in flight are held.
func (s *silentServer) hold(reply func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held = append(s.held, reply); len(s.held) < usable {
		return
	}
	for _, reply := range s.held {
		go reply()
	}
	s.held = nil
}

// An orphanRun sends requests, of which some get no reply, over one connection at a time.
type orphanRun struct {
	t      *testing.T
	b      *engine.Broker
	server *silentServer
	// context is of the request with a number; giveUp is called when it gets no reply.
	context func(number uint64) (context.Context, context.CancelFunc)

	number  atomic.Uint64
	refused atomic.Int64 // with ErrQueueFull
	longest atomic.Int64 // time for which a caller was refused
}

// load has as many callers as shall be in flight at once send n requests.
func (r *orphanRun) load(n uint64) {
	last := r.number.Load() + n
	var wg sync.WaitGroup
	for range usable {
		wg.Go(func() {
			for !r.t.Failed() {
				number := r.number.Add(1)
				if number > last {
					r.number.Add(^uint64(0))
					return
				}
				r.one(number)
			}
		})
	}
	wg.Wait()
}

func (r *orphanRun) one(number uint64) {
	req := binary.BigEndian.AppendUint64(nil, number)
	ctx, cancel := r.context(number)
	defer cancel()
	reply, err := r.patiently(func() ([]byte, error) { return r.b.Send(ctx, req) })
	switch {
	case number%unansweredEach == 0:
		assert.True(r.t, errors.Is(err, engine.ErrTimeout) || errors.Is(err, context.Canceled), "%d: %v", number, err)
	case err != nil:
		r.t.Errorf("request %d: %v", number, err)
	default:
		assert.Equal(r.t, req, reply)
	}
}

// patiently repeats what is refused for a full queue, and notes for how long.
func (r *orphanRun) patiently(call func() ([]byte, error)) ([]byte, error) {
	began := time.Now()
	for {
		reply, err := call()
		if !errors.Is(err, engine.ErrQueueFull) || r.longest.Load() > int64(testBound) {
			return reply, err
		}
		r.refused.Add(1)
		<-time.After(time.Millisecond)
		r.note(int64(time.Since(began)))
	}
}

// note keeps the longest time for which a call was refused.
func (r *orphanRun) note(d int64) {
	for longest := r.longest.Load(); d > longest; longest = r.longest.Load() {
		r.longest.CompareAndSwap(longest, d)
	}
}

// fill has 75 % of the table in flight at once: none of them is answered before all are
// with the server.
func (r *orphanRun) fill() {
	ctx, cancel := context.WithTimeout(context.Background(), testBound)
	defer cancel()
	var wg sync.WaitGroup
	var failed atomic.Int64
	req := binary.BigEndian.AppendUint64(nil, holdNumber)
	for range usable {
		wg.Go(func() {
			_, err := r.patiently(func() ([]byte, error) { return r.b.Send(ctx, req) })
			if err != nil {
				failed.Add(1)
			}
		})
	}
	wg.Wait()
	require.Zero(r.t, failed.Load(), "requests of %d that cannot all be in flight", usable)
}

// check compares what the client holds for orphans with what the server has not answered.
func (r *orphanRun) check() {
	same := func() bool {
		orphans := r.b.Stats().Orphans
		return int64(orphans) == r.server.orphans.Load() && orphans*4 < orphanFlight
	}
	require.Eventually(r.t, same, testBound, time.Millisecond, "IDs in quarantine")
}

// run sends n requests and looks ten times at what is left of the connection.
func (r *orphanRun) run(n uint64) {
	for range 10 {
		r.load(n / 10)
		r.check()
		r.fill()
	}
	unanswered := n / unansweredEach
	assert.Eventually(r.t, func() bool { // a caller is woken before its reply is counted
		return r.b.Stats().Replies == n-unanswered+10*usable
	}, testBound, time.Millisecond, "replies")
	s := r.b.Stats()
	r.t.Logf("refused %d times, for %v at most; broker %+v", r.refused.Load(), time.Duration(r.longest.Load()), s)
	assert.EqualValues(r.t, unanswered, s.Timeouts+s.Cancelled)
	assert.Zero(r.t, s.Failed)
	assert.Zero(r.t, s.LateReplies+s.UnknownReplies)
	// A connection is replaced when a quarter of its IDs is in quarantine, not before.
	var ended []int
	assert.Eventually(r.t, func() bool {
		r.server.mu.Lock()
		defer r.server.mu.Unlock()
		ended = append([]int(nil), r.server.ended...)
		return len(ended) == int(s.Dials)-1
	}, testBound, time.Millisecond, "connections replaced")
	assert.GreaterOrEqual(r.t, len(ended), int(unanswered)/orphanFlight)
	for _, unanswered := range ended {
		assert.GreaterOrEqual(r.t, unanswered, orphanFlight/4)
	}
}

// TestRequestsThatAreNeverAnsweredDoNotUseUpConnections: one request in a hundred gets no
// reply. Its ID stays in quarantine, and a connection with too many of them is replaced,
// so that at any time three quarters of MaxInFlight can be used.
func TestRequestsThatAreNeverAnsweredDoNotUseUpConnections(t *testing.T) {
	n := sized[uint64](10_000, 1_000_000)
	cfg := engine.Config{ConnsPerAddr: 1, MaxInFlight: orphanFlight, SilenceTimeout: -1}

	t.Run("timed out, in virtual time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &silentServer{unanswered: func(uint64) {}}
			cfg := cfg
			cfg.ReadTimeout, cfg.RequestTimeout = 200*time.Millisecond, time.Minute
			cfg.Addrs = []string{"pipe:1"}
			cfg.DialContext = func(context.Context, string, string) (net.Conn, error) {
				client, server := net.Pipe()
				go s.serve(server)
				return client, nil
			}
			r := &orphanRun{t: t, b: newBroker(t, cfg), server: s}
			r.context = func(uint64) (context.Context, context.CancelFunc) { return context.Background(), func() {} }
			r.run(n)
			assert.Less(t, time.Duration(r.longest.Load()), 100*time.Millisecond, "ErrQueueFull must not last")
			require.NoError(t, r.b.Close())
			synctest.Wait()
		})
	})
	t.Run("cancelled, over sockets", func(t *testing.T) {
		checkLeaks(t)
		// A caller that waits for a reply that will not come gives up when the server has
		// the request, so that no time has to be waited for.
		var waiting sync.Map // number to cancel
		s := &silentServer{unanswered: func(number uint64) {
			cancel, _ := waiting.Load(number)
			cancel.(context.CancelFunc)()
		}}
		cfg := cfg
		cfg.Addrs = []string{newPeer(t, s.serve).addr()}
		cfg.ReadTimeout, cfg.RequestTimeout = -1, 5*testBound // what takes that long is lost
		r := &orphanRun{t: t, b: newBroker(t, cfg), server: s}
		r.context = func(number uint64) (context.Context, context.CancelFunc) {
			if number%unansweredEach != 0 {
				return context.Background(), func() {}
			}
			ctx, cancel := context.WithCancel(context.Background())
			waiting.Store(number, cancel)
			return ctx, cancel
		}
		r.run(n)
		assert.Less(t, time.Duration(r.longest.Load()), testBound, "ErrQueueFull must not last")
		require.NoError(t, r.b.Close())
	})
}
