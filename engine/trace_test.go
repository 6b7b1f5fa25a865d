package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
)

// stages are events as text: the stage, the server, and after how long it was reached.
func stages(began time.Time, events []Event) (all []string) {
	for _, e := range events {
		text := string(e.Stage)
		if e.Addr != "" {
			text += " " + e.Addr
		}
		all = append(all, fmt.Sprint(text, " ", e.At.Sub(began)))
	}
	return all
}

func TestTraceHasTheStagesOfACall(t *testing.T) {
	eachWay(t, func(t *testing.T, call aWay) {
		dial := pipeDial(farEnd(framing.Format{}, func(p *far, f framing.Frame) {
			p.after(time.Second, func() { p.reply(f.ID, f.Payload) })
		}))
		b := newBroker(t, Config{Addrs: []string{"far:1"}, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			time.Sleep(3 * time.Second) // virtual
			return dial(ctx, network, addr)
		}})
		began, trace := time.Now(), new(Trace)
		_, err := call(b, bg, []byte("x"), Call{Trace: trace})
		require.NoError(t, err)
		require.Equal(t, []string{"queued 0s", "placed far:1 3s", "written far:1 3s", "replied far:1 4s", "done 4s"}, stages(began, trace.Events()))

		began = time.Now()
		trace.Reset()
		_, err = call(b, bg, []byte("x"), Call{Trace: trace})
		require.NoError(t, err)
		_, err = call(b, bg, []byte("x"), Call{Timeout: 500 * time.Millisecond, Trace: trace})
		require.ErrorIs(t, err, ErrTimeout)
		events := trace.Events()
		late := events[len(events)-1]
		assert.Equal(t, StageDone, late.Stage)
		assert.Equal(t, "far:1", late.Addr)
		assert.ErrorIs(t, late.Err, ErrTimeout)
		assert.GreaterOrEqual(t, late.At.Sub(began), 1500*time.Millisecond)
		assert.Equal(t, []string{
			"placed far:1 0s", "written far:1 0s", "replied far:1 1s", "done 1s", "placed far:1 1s", "written far:1 1s",
		}, stages(began, events[:len(events)-1]), "one call after another")
		pass(5 * time.Second)
		assert.Equal(t, events, trace.Events(), "the late reply is not the call's")
	})
}

func TestTraceHasRepetitions(t *testing.T) {
	eachWay(t, func(t *testing.T, call aWay) {
		asked := 0
		b := newBroker(t, Config{Addrs: []string{"bad:1", "good:1"}, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if addr == "bad:1" {
				return pipeDial(hangsUp(&asked))(ctx, network, addr)
			}
			return pipeDial(farEnd(framing.Format{}, farEcho))(ctx, network, addr)
		}})
		synctest.Wait()
		trace := new(Trace)
		_, err := call(b, bg, []byte("x"), Call{Idempotent: true, Server: "bad:1", Trace: trace})
		require.NoError(t, err)
		var got []string
		for _, e := range trace.Events() {
			// A repetition of a callback goes through the queue. The peer hangs up maybe before the write
			// has returned.
			if e.Stage != StageQueued && (e.Stage != StageWritten || e.Addr != "bad:1") {
				got = append(got, string(e.Stage)+" "+e.Addr)
			}
			if e.Stage == StageRepeated {
				assert.ErrorIs(t, e.Err, ErrConnLost)
			}
		}
		assert.Equal(t, []string{"placed bad:1", "repeated ", "placed good:1", "written good:1", "replied good:1", "done "}, got)
	})
}

// The first connection takes no byte. What was not offered to it moves on when it ends.
func TestTraceHasWhatMoved(t *testing.T) {
	eachWay(t, func(t *testing.T, call aWay) {
		deaf, far := net.Pipe()
		var dials atomic.Int32
		b := newBroker(t, Config{Addrs: []string{"far:1"}, SilenceTimeout: -1, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if dials.Add(1) == 1 {
				return deaf, nil
			}
			return pipeDial(farEnd(framing.Format{}, farEcho))(ctx, network, addr)
		}})
		ready(t, b)
		require.NoError(t, b.Go(bg, []byte("before it"), func([]byte, error) {}))
		synctest.Wait()
		time.AfterFunc(time.Second, func() { far.Close() })
		trace := new(Trace)
		_, err := call(b, bg, []byte("x"), Call{Trace: trace})
		require.NoError(t, err)
		var got []Stage
		for _, e := range trace.Events() {
			if e.Addr == "" {
				assert.Contains(t, []Stage{StageQueued, StageDone}, e.Stage)
			}
			got = append(got, e.Stage)
		}
		assert.Equal(t, []Stage{StagePlaced, StageMoved, StagePlaced, StageWritten, StageReplied, StageDone}, got)
	})
}

// A call that hangs can be looked at. What is written later, when it is over, is not said of it.
func TestTraceTellsWhereACallHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		b := newBroker(t, Config{Addrs: []string{"far:1"}, WriteTimeout: -1, SilenceTimeout: -1,
			DialContext: func(context.Context, string, string) (net.Conn, error) { return near, nil }})
		ready(t, b)
		ctx, cancel := context.WithCancel(bg)
		trace, failed := new(Trace), make(chan error, 1)
		go func() {
			_, err := b.Send(ctx, []byte("x"), Call{Trace: trace})
			failed <- err
		}()
		synctest.Wait()
		events := trace.Events()
		require.Len(t, events, 1)
		assert.Equal(t, StagePlaced, events[0].Stage)
		cancel()
		require.ErrorIs(t, <-failed, context.Canceled)
		events = trace.Events()
		require.Len(t, events, 2)
		assert.Equal(t, StageDone, events[1].Stage)
		assert.ErrorIs(t, events[1].Err, context.Canceled)
		require.EqualValues(t, 1, b.conns()[0].out.traced.n.Load())
		go drainOnly(far)
		synctest.Wait()
		require.Zero(t, b.conns()[0].out.traced.n.Load())
		assert.Equal(t, events, trace.Events())
	})
}

func TestTraceHasWhatIsRefused(t *testing.T) {
	b := newBroker(t, Config{Addrs: []string{"far:1"}, QueueSize: 1, DialContext: dialInVain, ShutdownTimeout: -1})
	require.NoError(t, b.Go(bg, nil, func([]byte, error) {}))
	for _, ctx := range []context.Context{bg, t.Context()} {
		trace := new(Trace)
		require.ErrorIs(t, b.Go(ctx, nil, func([]byte, error) {}, Call{Trace: trace}), ErrQueueFull)
		_, err := b.Send(ctx, nil, Call{Trace: trace})
		require.ErrorIs(t, err, ErrQueueFull)
		events := trace.Events()
		require.Len(t, events, 2)
		for _, e := range events {
			assert.Equal(t, StageDone, e.Stage)
			assert.ErrorIs(t, e.Err, ErrQueueFull)
		}
	}
}

func TestTraceOfABatchHasEachRequest(t *testing.T) {
	b := newBroker(t, Config{Addrs: []string{rawEcho(t)}, Framing: framing.Format{}})
	ready(t, b)
	trace := new(Trace)
	const n = 300
	require.NoError(t, b.SendBatch(bg, make([][]byte, n), func(int, []byte, error) {}, Call{Trace: trace}))
	byRequest := make(map[int][]Stage)
	for _, e := range trace.Events() {
		byRequest[e.Index] = append(byRequest[e.Index], e.Stage)
	}
	require.Len(t, byRequest, n)
	for i, got := range byRequest {
		require.Equal(t, []Stage{StagePlaced, StageWritten, StageReplied, StageDone}, got, i)
	}
	assert.Zero(t, trace.Lost())
	require.NoError(t, b.SendBatch(bg, make([][]byte, 1000), func(int, []byte, error) {}, Call{Trace: trace}))
	assert.Len(t, trace.Events(), traceMost)
	assert.Equal(t, 4*(n+1000)-traceMost, trace.Lost())
	trace.Reset()
	assert.Zero(t, trace.Lost())
	assert.Empty(t, trace.Events())
}

// Large frames do not go through the ring. No reply tells that they were written.
func TestTraceHasWhenALargeFrameWasWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, Config{Addrs: []string{"far:1"}, Framing: wide, SilenceTimeout: -1, DialContext: pipeDial(drainOnly)})
		ready(t, b)
		for _, size := range []int{200 << 10, 8, 1 << 20} {
			trace := new(Trace)
			_, err := b.Send(bg, make([]byte, size), Call{Trace: trace, Timeout: time.Second})
			require.ErrorIs(t, err, ErrTimeout)
			var got []Stage
			for _, e := range trace.Events() {
				got = append(got, e.Stage)
			}
			require.Equal(t, []Stage{StagePlaced, StageWritten, StageDone}, got, size)
		}
	})
}

// A lone caller reads its reply itself.
func TestTraceOfALoneCallerHasItsReply(t *testing.T) {
	b := newBroker(t, Config{Addrs: []string{rawEcho(t)}})
	ready(t, b)
	for range 2000 { // on one processor nobody polls, so nobody leads
		trace := new(Trace)
		_, err := b.Send(bg, []byte("x"), Call{Trace: trace})
		require.NoError(t, err)
		require.Len(t, trace.Events(), 4)
	}
}

// Resetting forgets what is under way, too.
func TestResetForgetsACallUnderWay(t *testing.T) {
	p := newPeer(t, silent)
	b := newBroker(t, Config{Addrs: []string{p.addr()}})
	ready(t, b)
	trace, done := new(Trace), make(chan error, 1)
	ctx, cancel := context.WithCancel(bg)
	require.NoError(t, b.Go(ctx, nil, func(_ []byte, err error) { done <- err }, Call{Trace: trace}))
	until(func() bool { return len(trace.Events()) == 2 })
	trace.Reset()
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	assert.Empty(t, trace.Events())
}

// By every way of reading and writing there is, beside connections that end: each call's events are its
// own, rise in time, and end with its outcome.
func TestTracesAreTheirCallsOwn(t *testing.T) {
	p := newPeer(t, echo)
	b := newBroker(t, Config{Addrs: []string{p.addr()}, ConnsPerAddr: 2, BackoffBase: time.Millisecond, BackoffMax: time.Millisecond, ConnectWait: 10 * time.Second})
	ready(t, b)
	check := func(trace *Trace, err error) {
		events := trace.Events()
		for i, e := range events {
			if last := i == len(events)-1; last != (e.Stage == StageDone) || i > 0 && e.At.Before(events[i-1].At) {
				t.Errorf("%v of %+v", i, events)
			}
		}
		if end := events[len(events)-1]; !errors.Is(err, end.Err) || err == nil && events[len(events)-2].Stage != StageReplied {
			t.Errorf("%v, and %+v", err, events)
		}
		trace.Reset()
	}
	ctx, cancel := context.WithCancel(bg)
	defer cancel()
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() {
			trace, opts := new(Trace), Call{Idempotent: i%2 == 0}
			opts.Trace = trace
			for range 300 {
				within := bg
				if i%3 == 0 {
					within = ctx
				}
				switch {
				case i%4 < 2:
					_, err := b.Send(within, []byte("x"), opts)
					check(trace, err)
				default:
					_, err := byGo(b, within, []byte("x"), opts)
					check(trace, err)
				}
			}
		})
	}
	for range 10 {
		until(func() bool { return b.Stats().Conns > 0 })
		before := b.Stats().Replies
		until(func() bool { return b.Stats().Replies > before+20 || b.Stats().InFlight == 0 })
		p.reset()
	}
	all.Wait()
	for _, c := range b.conns() {
		until(func() bool { return c.out.traced.n.Load() == 0 || c.phase.Load() >= phaseEnded }) // its last write returns
	}
}
