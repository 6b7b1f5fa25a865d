package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/internal/rawio"
	"github.com/ringwire/ringwire/taskid"
)

// onlyConn returns the connection of a broker that has one.
func onlyConn(t *testing.T, b *Broker) *conn {
	t.Helper()
	ready(t, b)
	conns := b.conns()
	require.Len(t, conns, 1)
	return conns[0]
}

// patient is a broker whose pollers and leaders do not give up while a test looks on.
func patient(cfg Config) Config {
	cfg.BusyPoll = MaxBusyPoll
	return cfg
}

// goAlone sends lone requests until their caller reads the replies itself.
func goAlone(t *testing.T, b *Broker) *conn {
	t.Helper()
	if !rawio.Available {
		t.Skip("nobody polls on this system")
	}
	c := onlyConn(t, b)
	led := c.in.got.led.Load()
	until(func() bool {
		_, err := b.Send(bg, []byte("alone"))
		return err != nil || c.in.got.led.Load() > led
	})
	return c
}

// holding is a peer that echoes, except for requests that begin with "hold": their IDs
// it keeps in held.
func holding(t *testing.T) (p *peer, held chan func(reply []byte)) {
	held = make(chan func([]byte), 16)
	return newPeer(t, func(c *peerConn, id taskid.ID, req []byte) {
		if bytes.HasPrefix(req, []byte("hold")) {
			held <- func(reply []byte) { c.reply(id, reply) }
			return
		}
		c.reply(id, req)
	}), held
}

// sendHeld makes a caller lead and wait for a reply that the peer holds back. It leads
// for BusyPoll at most, and may have stopped by the time the test looks.
func sendHeld(t *testing.T, b *Broker, held <-chan func([]byte)) (answer func([]byte), result <-chan string) {
	t.Helper()
	goAlone(t, b)
	out := make(chan string, 1)
	go func() {
		reply, err := b.Send(bg, []byte("hold"))
		if err != nil {
			reply = []byte("error: " + err.Error())
		}
		out <- string(reply)
	}()
	return <-held, out
}

func TestLoneCallerReadsItsOwnReply(t *testing.T) {
	b := newBroker(t, Config{Addrs: []string{rawEcho(t)}})
	c := goAlone(t, b)
	counted := func() bool { s := b.Stats(); return s.Replies == s.Accepted && s.FramesIn == s.FramesOut }
	until(counted) // the reader counts after it has woken the caller
	before := b.Stats()
	for i := range 1000 {
		req := binary.BigEndian.AppendUint32(nil, uint32(i))
		reply, err := b.Send(bg, req)
		require.NoError(t, err)
		require.Equal(t, req, reply)
	}
	until(counted)
	s := b.Stats()
	assert.EqualValues(t, 1000, s.Replies-before.Replies)
	assert.Equal(t, s.BytesOut-before.BytesOut, s.BytesIn-before.BytesIn)
	goAlone(t, b)
	assert.Positive(t, c.in.got.led.Load())
}

func TestLoneCallerReadsItsOwnReplyUnderADeadline(t *testing.T) {
	b := newBroker(t, Config{Addrs: []string{rawEcho(t)}})
	c := goAlone(t, b)
	ctx, cancel := context.WithTimeout(bg, time.Hour)
	defer cancel()
	led := c.in.got.led.Load()
	until(func() bool {
		reply, err := b.Send(ctx, []byte("with a deadline"))
		require.NoError(t, err)
		require.Equal(t, "with a deadline", string(reply))
		return c.in.got.led.Load() > led
	})
}

func TestLeadingCallerTakesRepliesOfAnySize(t *testing.T) {
	b := newBroker(t, Config{Addrs: []string{rawEcho(t)}})
	for _, size := range []int{0, 1, readBytes / 2, framing.MaxPayload, 3} {
		goAlone(t, b)
		req := bytes.Repeat([]byte{7}, size)
		reply, err := b.Send(bg, req)
		require.NoError(t, err)
		require.Equal(t, req, reply)
	}
}

func TestOthersAreServedWhileACallerLeads(t *testing.T) {
	p, held := holding(t)
	b := newBroker(t, patient(Config{Addrs: []string{p.addr()}}))
	ended, cancel := context.WithCancel(bg)
	defer cancel()
	for name, other := range map[string]func() error{
		"Send":                func() error { _, err := b.Send(bg, []byte("x")); return err },
		"Send with a context": func() error { _, err := b.Send(ended, []byte("x")); return err },
		"Go":                  func() error { return goAndWait(b, bg) },
		"Go with a context":   func() error { return goAndWait(b, ended) },
		"SendBatch": func() error {
			return b.SendBatch(bg, [][]byte{[]byte("x"), []byte("y")}, func(int, []byte, error) {})
		},
	} {
		t.Run(name, func(t *testing.T) {
			answer, result := sendHeld(t, b, held)
			require.NoError(t, other())
			answer([]byte("mine"))
			require.Equal(t, "mine", <-result)
		})
	}
}

func TestTimeoutReachesTheCallerThatLeads(t *testing.T) {
	p, held := holding(t)
	b := newBroker(t, Config{Addrs: []string{p.addr()}, RequestTimeout: 200 * time.Millisecond})
	for range 3 {
		late := b.Stats().LateReplies
		answer, result := sendHeld(t, b, held)
		require.Contains(t, <-result, ErrTimeout.Error())
		answer([]byte("too late"))
		reply, err := b.Send(bg, []byte("next"))
		require.NoError(t, err)
		require.Equal(t, "next", string(reply))
		require.Equal(t, late+1, b.Stats().LateReplies)
	}
	require.EqualValues(t, 1, b.Stats().Dials)
}

func TestContextEndsACallerThatLeads(t *testing.T) {
	p, held := holding(t)
	b := newBroker(t, patient(Config{Addrs: []string{p.addr()}}))
	for range 10 {
		goAlone(t, b)
		ctx, cancel := context.WithCancel(bg)
		out := make(chan error, 1)
		go func() { _, err := b.Send(ctx, []byte("hold")); out <- err }()
		answer := <-held
		cancel()
		require.ErrorIs(t, <-out, context.Canceled)
		answer(nil)
	}
}

func TestLossReachesTheCallerThatLeads(t *testing.T) {
	p, held := holding(t)
	b := newBroker(t, patient(Config{Addrs: []string{p.addr()}}))
	c := goAlone(t, b)
	_, result := sendHeld(t, b, held)
	p.reset()
	require.Contains(t, <-result, ErrConnLost.Error())

	until(func() bool { conns := b.conns(); return len(conns) == 1 && conns[0] != c })
	_, result = sendHeld(t, b, held)
	p.mu.Lock()
	for pc := range p.conns {
		require.NoError(t, pc.Conn.(*net.TCPConn).CloseWrite())
	}
	p.mu.Unlock()
	require.Contains(t, <-result, errPeerClosed.Error())
}

func TestEndOfAnIdleConnectionThatNobodyReadsIsNoticed(t *testing.T) {
	p := newPeer(t, echo)
	b := newBroker(t, Config{Addrs: []string{p.addr()}})
	c := goAlone(t, b)
	p.reset()
	until(func() bool { return c.phase.Load() >= phaseEnded })
}

func TestCloseAndShutdownWhileACallerLeads(t *testing.T) {
	t.Run("close", func(t *testing.T) {
		p, held := holding(t)
		b := newBroker(t, patient(Config{Addrs: []string{p.addr()}}))
		_, result := sendHeld(t, b, held)
		require.NoError(t, b.Close())
		require.Contains(t, <-result, "error: ")
	})
	t.Run("shutdown", func(t *testing.T) {
		p, held := holding(t)
		b := newBroker(t, patient(Config{Addrs: []string{p.addr()}}))
		answer, result := sendHeld(t, b, held)
		down := make(chan error, 1)
		go func() { down <- b.Shutdown(bg) }()
		answer([]byte("last"))
		require.Equal(t, "last", <-result)
		require.NoError(t, <-down)
	})
}

// A caller that leads never runs somebody's callback, or a callback that waits for that
// caller would wait for ever.
func TestCallbackMayWaitForTheCallerThatLeads(t *testing.T) {
	p, held := holding(t)
	b := newBroker(t, patient(Config{Addrs: []string{p.addr()}}))
	answer, result := sendHeld(t, b, held)
	got := make(chan string, 1)
	require.NoError(t, b.Go(bg, []byte("x"), func([]byte, error) {
		answer([]byte("mine")) // arrives while the callback still runs
		got <- "called"
	}))
	require.Equal(t, "called", <-got)
	require.Equal(t, "mine", <-result)
}

func TestConnThatIsNotOfPackageNetIsNotPolled(t *testing.T) {
	p := newPeer(t, echo)
	b := newBroker(t, Config{Addrs: []string{p.addr()}, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		nc, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		return wrapped{nc}, err
	}})
	manyCallers(t, b, 10, 3*loneReplies)
	for range 3 * loneReplies {
		_, err := b.Send(bg, []byte("x"))
		require.NoError(t, err)
	}
	require.Zero(t, b.Stats().Led)
	require.Zero(t, b.Stats().Polled)
}

// Lone and not so lone phases, timeouts, callbacks and batches mixed: every request
// completes, with its own reply.
func TestRightToReadUnderMixedTraffic(t *testing.T) {
	const rounds = 150
	var n atomic.Uint32
	p := newPeer(t, func(c *peerConn, id taskid.ID, req []byte) {
		if n.Add(1)%97 != 0 { // else never: its caller times out
			c.reply(id, req)
		}
	})
	b := newBroker(t, Config{Addrs: []string{p.addr()}, RequestTimeout: 20 * time.Millisecond, MaxInFlight: 4096})
	ready(t, b)
	var wg sync.WaitGroup
	check := func(req, reply []byte, err error) {
		if err == nil && !bytes.Equal(req, reply) {
			t.Errorf("%x answered with %x", req, reply)
		}
	}
	for who := range 3 {
		wg.Go(func() {
			for i := range rounds {
				req := []byte(fmt.Sprint(who, "/", i))
				for range i % 50 { // alone, if the others are not here
					reply, err := b.Send(bg, req)
					check(req, reply, err)
				}
				switch {
				case who == 1 && i%3 == 0:
					done := make(chan struct{})
					if b.Go(bg, req, func(reply []byte, err error) { check(req, reply, err); close(done) }) == nil {
						<-done
					}
				case who == 2 && i%5 == 0:
					b.SendBatch(bg, [][]byte{req, req}, func(_ int, reply []byte, err error) { check(req, reply, err) })
				case who == 2 && i%5 == 1:
					ctx, cancel := context.WithTimeout(bg, time.Millisecond)
					reply, err := b.Send(ctx, req)
					check(req, reply, err)
					cancel()
				}
			}
		})
	}
	wg.Wait()
	s := b.Stats()
	require.EqualValues(t, 1, s.Dials)
	require.Zero(t, s.UnknownReplies)
}

// echoPipe is a broker in a bubble whose peer echoes. Time there moves only when
// everybody waits: if it has moved, a reply stayed unread until the clock came.
func echoPipe(t *testing.T) *Broker {
	return bubbleBroker(t, Config{DialContext: pipeDial(answerWith(func(c net.Conn, f framing.Frame) {
		out, err := framing.Append(nil, f.ID, f.Payload)
		if err == nil {
			c.Write(out)
		}
	}))})
}

func goAndWait(b *Broker, ctx context.Context) error {
	out := make(chan error, 1)
	if err := b.Go(ctx, []byte("x"), func(_ []byte, err error) { out <- err }); err != nil {
		return err
	}
	return <-out
}

// Callers that are alone and not alone by turns, as chance has it.
func TestNoReplyStaysUnreadWhenCallersMeet(t *testing.T) {
	b := newBroker(t, Config{Addrs: []string{newPeer(t, echo).addr()}})
	goAlone(t, b)
	for range 300 {
		var meet sync.WaitGroup
		for who := range 3 {
			meet.Go(func() {
				for range who {
					runtime.Gosched()
				}
				if who == 2 {
					assert.NoError(t, goAndWait(b, bg))
					return
				}
				for range 2 {
					_, err := b.Send(bg, []byte("x"))
					assert.NoError(t, err)
				}
			})
		}
		meet.Wait()
	}
}
