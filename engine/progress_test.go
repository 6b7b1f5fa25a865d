package engine

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
)

// A large request or reply begins with large. Time is virtual in all tests here.
const large = 'L'

// largePayload has 4 MiB.
var largePayload = func() []byte {
	b := make([]byte, 4<<20)
	for i := range b {
		b[i] = byte(i * 7 >> 3)
	}
	b[0] = large
	return b
}()

func isLarge(payload []byte) bool { return len(payload) > 0 && payload[0] == large }

// repliesSlowly serves connections: the reply to a large request takes as long as total, in
// pieces with a pause before each. Other replies are queued behind it.
func repliesSlowly(total, pause time.Duration) func(net.Conn) {
	return farEnd(wide, func(p *far, f framing.Frame) {
		if !isLarge(f.Payload) {
			farEcho(p, f)
			return
		}
		frame, _ := wide.Append(nil, f.ID, largePayload)
		p.trickle(frame, len(frame)/int(total/pause)+1, pause)
	})
}

// slowReader pauses behind each 64 KiB that it has read.
type slowReader struct {
	net.Conn
	t     *testing.T
	pause time.Duration
	n     int
}

func (s *slowReader) Read(b []byte) (int, error) {
	if s.n >= writePiece {
		s.n -= writePiece
		select {
		case <-time.After(s.pause):
		case <-s.t.Context().Done():
		}
	}
	n, err := s.Conn.Read(b)
	s.n += n
	return n, err
}

// readsSlowly serves connections as farEnd does, and pauses behind each 64 KiB.
func readsSlowly(t *testing.T, pause time.Duration, got func(p *far, f framing.Frame)) func(net.Conn) {
	serve := farEnd(wide, got)
	return func(nc net.Conn) { serve(&slowReader{Conn: nc, t: t, pause: pause}) }
}

// sendSmall sends small requests, one each few seconds, and returns their outcomes.
func sendSmall(t *testing.T, b *Broker, n int, each time.Duration) <-chan error {
	outcomes := make(chan error, n)
	for i := range n {
		go func() {
			select {
			case <-time.After(time.Duration(i) * each):
			case <-t.Context().Done():
				return
			}
			reply, err := b.Send(bg, []byte("small"))
			if err == nil && string(reply) != "small" {
				err = fmt.Errorf("reply %q", reply)
			}
			outcomes <- err
		}()
	}
	return outcomes
}

func requireAllServed(t *testing.T, outcomes <-chan error) {
	t.Helper()
	for range cap(outcomes) {
		require.NoError(t, <-outcomes)
	}
}

// What arrives comes in bursts: one for each round trip, while a congestion window is what
// bounds it.
func TestALongReplyThatArrivesSteadilyMayTakeLongerThanReadTimeout(t *testing.T) {
	for _, pause := range []time.Duration{
		3 * time.Millisecond, 10 * time.Millisecond, 40 * time.Millisecond, 250 * time.Millisecond,
	} {
		t.Run(fmt.Sprintf("pauses of %v", pause), func(t *testing.T) {
			someWays(t, func(t *testing.T, call aWay) {
				const takes = 12 * time.Second
				b := bubbleBroker(t, Config{Framing: wide, DialContext: pipeDial(repliesSlowly(takes, pause))})
				synctest.Wait()
				small := sendSmall(t, b, 3, 7*time.Second)
				began := time.Now()
				reply, err := call(b, bg, []byte{large})
				require.NoError(t, err)
				require.True(t, string(largePayload) == string(reply), "%d bytes", len(reply))
				require.GreaterOrEqual(t, time.Since(began), takes-time.Second)
				requireAllServed(t, small)
				require.EqualValues(t, 1, b.Stats().Dials, "on the same connection")
			})
		})
	}
}

// Before the reply arrives, and when it has stopped, ReadTimeout counts.
func TestALongReplyThatStopsMeetsReadTimeout(t *testing.T) {
	someWays(t, func(t *testing.T, call aWay) {
		b := bubbleBroker(t, Config{
			Framing: wide, SilenceTimeout: -1,
			DialContext: pipeDial(farEnd(wide, func(p *far, f framing.Frame) {
				frame, _ := wide.Append(nil, f.ID, largePayload)
				p.after(3*time.Second, func() { p.trickle(frame[:2<<20], 2<<20/1000, 10*time.Millisecond) })
			})),
		})
		began := time.Now()
		_, err := call(b, bg, []byte{large})
		took := time.Since(began)
		require.ErrorContains(t, err, "ReadTimeout")
		require.GreaterOrEqual(t, took, (10+5)*time.Second)
		// As long again as a piece of the frame may take, and a sample of the standstill.
		require.LessOrEqual(t, took, (10+5+5+2)*time.Second)
	})
}

func TestALongRequestThatLeavesSteadilyMayTakeLongerThanAllTimeouts(t *testing.T) {
	someWays(t, func(t *testing.T, call aWay) {
		const pause = 500 * time.Millisecond
		b := bubbleBroker(t, Config{
			Framing: wide, WriteTimeout: time.Second, RequestTimeout: time.Hour,
			DialContext: pipeDial(readsSlowly(t, pause, func(p *far, f framing.Frame) {
				p.after(4500*time.Millisecond, func() { farEcho(p, f) })
			})),
		})
		synctest.Wait()
		began := time.Now()
		small := sendSmall(t, b, 3, 7*time.Second)
		reply, err := call(b, bg, largePayload)
		require.NoError(t, err)
		require.True(t, string(largePayload) == string(reply), "%d bytes", len(reply))
		require.Greater(t, time.Since(began), 64*pause)
		requireAllServed(t, small)
		require.EqualValues(t, 1, b.Stats().Dials, "on the same connection")
	})
}

func TestASocketThatTakes64KiBInMoreThanWriteTimeoutIsGivenUp(t *testing.T) {
	someWays(t, func(t *testing.T, call aWay) {
		b := bubbleBroker(t, Config{
			Framing: wide, WriteTimeout: time.Second, RequestTimeout: time.Hour,
			DialContext: pipeDial(readsSlowly(t, 1500*time.Millisecond, farEcho)),
		})
		_, err := call(b, bg, largePayload)
		require.ErrorIs(t, err, ErrConnLost)
		require.ErrorContains(t, err, "WriteTimeout")
	})
}

// Requests that come behind a slow one have ReadTimeout from when the socket has taken them,
// in whichever tick they come, those with a sample of the standstill among them.
func TestWhatWaitsBehindASlowRequestHasAllOfReadTimeout(t *testing.T) {
	const request, read, tick = 16 * time.Second, time.Second, 10 * time.Millisecond
	for offset := range int(request/tick)/(stillSamples-2) + 2 {
		synctest.Test(t, func(t *testing.T) {
			var taken atomic.Pointer[time.Time]
			b := bubbleBroker(t, Config{
				Framing: wide, RequestTimeout: request, ReadTimeout: read, SilenceTimeout: -1,
				DialContext: pipeDial(readsSlowly(t, 150*time.Millisecond, func(p *far, f framing.Frame) {
					now := time.Now()
					taken.Store(&now)
					if isLarge(f.Payload) {
						farEcho(p, f)
					}
				})),
			})
			require.Equal(t, tick, b.clock.tick)
			synctest.Wait()
			ctx, cancel := context.WithTimeout(bg, time.Hour)
			defer cancel()
			require.NoError(t, b.Go(ctx, nil, func([]byte, error) {})) // keeps the clock awake
			<-time.After(time.Duration(offset) * tick)
			done := make(chan error, 2)
			fn := func(_ []byte, err error) { done <- err }
			require.NoError(t, b.Go(bg, largePayload[:1<<20], fn))
			require.NoError(t, b.Go(bg, []byte("small"), fn))
			require.NoError(t, <-done, "offset %d", offset)
			require.ErrorContains(t, <-done, "ReadTimeout")
			require.GreaterOrEqual(t, time.Since(*taken.Load()), read, "offset %d", offset)
			require.LessOrEqual(t, time.Since(*taken.Load()), 2*read, "offset %d", offset)
		})
	}
}

// slowly are calls that make progress all the time, and need a minute and more for it.
var slowly = map[string]struct {
	serve func(t *testing.T) func(net.Conn)
	req   []byte
}{
	"reply": {
		func(*testing.T) func(net.Conn) { return repliesSlowly(2*time.Minute, 5*time.Millisecond) },
		[]byte{large},
	},
	"request": {
		func(t *testing.T) func(net.Conn) { return readsSlowly(t, 2*time.Second, farEcho) },
		largePayload,
	},
}

func TestProgressDoesNotPutTheDeadlineOfACallOff(t *testing.T) {
	for name, c := range slowly {
		for _, l := range []struct {
			cfg  Config
			call Call
			want time.Duration
		}{
			{Config{}, Call{}, DefaultRequestTimeout},
			{Config{RequestTimeout: 4 * time.Second}, Call{}, 4 * time.Second},
			{Config{}, Call{Timeout: 4 * time.Second, Idempotent: true}, 4 * time.Second},
			{Config{RequestTimeout: 4 * time.Second}, Call{Timeout: 12 * time.Second, Idempotent: true}, 12 * time.Second},
			{Config{RequestTimeout: -1}, Call{Timeout: 4 * time.Second, Idempotent: true}, 4 * time.Second},
		} {
			t.Run(fmt.Sprintf("%s/RequestTimeout=%v/%+v", name, l.cfg.RequestTimeout, l.call), func(t *testing.T) {
				someWays(t, func(t *testing.T, call aWay) {
					cfg := l.cfg
					cfg.Framing, cfg.DialContext, cfg.MaxRetries = wide, pipeDial(c.serve(t)), -1
					b := bubbleBroker(t, cfg)
					began := time.Now()
					_, err := call(b, bg, c.req, l.call)
					took := time.Since(began)
					require.ErrorIs(t, err, ErrTimeout)
					names := "RequestTimeout"
					if l.call.Timeout > 0 {
						names = "Call.Timeout"
					}
					require.ErrorContains(t, err, names)
					require.GreaterOrEqual(t, took, l.want)
					// What the slot knows of the later of two deadlines is coarse, above all of a
					// Call.Timeout that is longer than RequestTimeout.
					late := b.clock.tick << b.timeouts.slackShift
					if l.cfg.RequestTimeout > 0 && l.call.Timeout > l.cfg.RequestTimeout {
						late = l.want / 4
					}
					require.LessOrEqual(t, took, l.want+late+lateTicks*b.clock.tick)
				})
			})
		}
	}
}

func TestAFrameThatStopsHalfWayEndsTheConnectionInItsTime(t *testing.T) {
	for _, c := range []struct {
		size, sent, pieces int
		drip               bool // a byte each second
	}{
		{0, 3, 1, false}, // not even a header
		{100, 50, 1, false},
		{100, 20, 1, true},
		{60 << 10, 50 << 10, 1, false},
		{200 << 10, 100, 4, false},
		{400 << 10, 300 << 10, 7, false},
		{400 << 10, 20, 7, true},
	} {
		for _, timeout := range []time.Duration{0, 100 * time.Millisecond, 1500 * time.Millisecond, -1} {
			t.Run(fmt.Sprintf("%+v, ReadTimeout=%v", c, timeout), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					piece := max(timeout, time.Second)
					if timeout <= 0 {
						piece = DefaultReadTimeout
					}
					lost := make(chan error, 10)
					b := bubbleBroker(t, Config{
						Framing: wide, ReadTimeout: timeout, SilenceTimeout: -1, RequestTimeout: -1,
						BackoffBase: 1e6 * time.Hour, BackoffMax: 1e6 * time.Hour,
						OnDisconnect: func(_ string, cause error) { lost <- cause },
						DialContext: pipeDial(farEnd(wide, func(p *far, f framing.Frame) {
							frame, _ := wide.Append(nil, f.ID, make([]byte, c.size))
							p.work <- func() { _, _ = p.Write(frame[:c.sent]) }
							if c.drip {
								p.trickle(frame[c.sent:], 1, time.Second)
							}
						})),
					})
					began := time.Now()
					require.NoError(t, b.Go(bg, nil, func([]byte, error) {}))
					cause := <-lost
					took := time.Since(began)
					require.ErrorIs(t, cause, ErrConnLost)
					require.ErrorContains(t, cause, "a part of a frame and not the rest")
					require.GreaterOrEqual(t, took, time.Duration(c.pieces)*piece)
					require.LessOrEqual(t, took, time.Duration(c.pieces)*piece+3*lateTicks*b.clock.tick)
				})
			})
		}
	}
}
