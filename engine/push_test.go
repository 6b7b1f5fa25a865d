package engine

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/internal/goroutine"
	"github.com/ringwire/ringwire/taskid"
)

// pushedFrame is what OnPush was given.
type pushedFrame struct {
	addr    string
	id      uint32
	payload string
}

// A request "push n" gets n pushes before its reply and n after it, each with its number.
func pushing(ids []taskid.ID) func(net.Conn) {
	sent := 0
	return farEnd(framing.Format{}, func(p *far, f framing.Frame) {
		var n int
		_, _ = fmt.Sscanf(string(f.Payload), "push %d", &n)
		push := func() {
			for range n {
				p.reply(ids[sent%len(ids)], fmt.Appendf(nil, "%d", sent))
				sent++
			}
		}
		push()
		farEcho(p, f)
		push()
	})
}

// foreignIDs are IDs of no request: 0, those of slots that there are not, or not yet, and of
// slots in another generation.
var foreignIDs = []taskid.ID{taskid.None, taskid.Nobody, 2, 255, 1 << 12, 5<<13 + 1, 1 << 31, ^taskid.ID(0)}

func TestOnPushGetsWhatAnswersNothingInOrderBetweenReplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []pushedFrame // the reading goroutine's; read when all is quiet
		b := bubbleBroker(t, Config{
			DialContext: pipeDial(pushing(foreignIDs)),
			OnPush: func(addr string, id uint32, payload []byte) {
				got = append(got, pushedFrame{addr, id, string(payload)})
			},
		})
		want := 0
		for _, n := range []int{0, 1, 3, 100, 2000} {
			req := fmt.Sprintf("push %d", n)
			for _, w := range ways {
				reply, err := w.call(b, bg, []byte(req))
				require.NoError(t, err)
				require.Equal(t, req, string(reply))
				want += 2 * n
			}
		}
		synctest.Wait()
		require.Len(t, got, want)
		for i, f := range got {
			require.Equal(t, pushedFrame{"pipe:1", uint32(foreignIDs[i%len(foreignIDs)]), fmt.Sprint(i)}, f)
		}
		s := b.Stats()
		require.EqualValues(t, want, s.Pushes)
		require.Zero(t, s.UnknownReplies)
		require.EqualValues(t, 1, s.Dials)
		require.Equal(t, s.Accepted, s.Replies)
		require.Equal(t, s.Replies+s.Pushes, s.FramesIn)
	})
}

// Over a socket, where a lone caller finds a push before its reply, or half of one.
func TestPushesDoNotDisturbALoneCaller(t *testing.T) {
	p := newPeer(t, func(c *peerConn, id taskid.ID, req []byte) {
		push, _ := framing.Append(nil, 0, req)
		c.mu.Lock()
		_, _ = c.Write(push[:3])
		_, _ = c.Write(push[3:])
		c.mu.Unlock()
		c.reply(id, req)
	})
	var next, wrong atomic.Int64
	b := newBroker(t, Config{Addrs: []string{p.addr()}, OnPush: func(_ string, id uint32, payload []byte) {
		if id != 0 || binary.BigEndian.Uint64(payload) != uint64(next.Add(1)) {
			wrong.Add(1)
		}
	}})
	const n = 3000
	for i := range n {
		req := binary.BigEndian.AppendUint64(nil, uint64(i+1))
		reply, err := b.Send(bg, req)
		require.NoError(t, err)
		require.Equal(t, req, reply)
	}
	mustCome(t, "the last push", func() bool { return next.Load() == n })
	require.Zero(t, wrong.Load())
	mustCome(t, "their count", func() bool { return b.Stats().Pushes == n })
}

// A push may bear the ID of a request that was given up: then it is its late reply.
func TestALateReplyIsNoPush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pushes := make(chan string, 10)
		b := bubbleBroker(t, Config{
			OnPush: func(_ string, _ uint32, payload []byte) { pushes <- string(payload) },
			DialContext: pipeDial(farEnd(framing.Format{}, func(p *far, f framing.Frame) {
				p.after(3*time.Second, func() {
					p.reply(f.ID, []byte("late"))
					p.reply(f.ID, []byte("twice"))
				})
			})),
		})
		_, err := b.Send(bg, nil, Call{Timeout: time.Second})
		require.ErrorIs(t, err, ErrTimeout)
		require.Equal(t, "twice", <-pushes, "nobody waits for that one any more")
		require.Empty(t, pushes)
		require.EqualValues(t, 1, b.Stats().LateReplies)
	})
}

func TestASlowOnPushHoldsUpNoReplyAndKeepsItsPayload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &journal{}
		g := newTurnstile()
		t.Cleanup(g.release)
		kept := make(chan string, 100)
		var calls atomic.Int64
		b := bubbleBroker(t, Config{
			Logger: slog.New(log), DialContext: pipeDial(pushing(foreignIDs)),
			OnPush: func(_ string, _ uint32, payload []byte) {
				if calls.Add(1) == 1 {
					<-g.open
				}
				kept <- string(payload)
			},
		})
		ready(t, b)
		began := time.Now()
		reply, err := b.Send(bg, []byte("push 3"))
		require.NoError(t, err)
		require.Equal(t, "push 3", string(reply))
		require.GreaterOrEqual(t, time.Since(began), callbackPatience)
		require.Less(t, time.Since(began), 2*callbackPatience)
		for _, want := range []string{"1", "2", "3", "4", "5"} {
			require.Equal(t, want, <-kept, "others go on, in their order")
		}
		began = time.Now()
		for range 100 {
			_, err = b.Send(bg, []byte("push 0"))
			require.NoError(t, err)
		}
		require.Less(t, time.Since(began), callbackPatience)
		synctest.Wait() // the log has a goroutine of its own
		require.Equal(t, 1, log.about(slog.LevelWarn, "callback"))
		_, err = b.Send(bg, []byte("push 40"))
		require.NoError(t, err)
		synctest.Wait()
		g.release()
		synctest.Wait()
		require.Len(t, kept, 81)
		for range 80 {
			require.NotEqual(t, "0", <-kept)
		}
		require.Equal(t, "0", <-kept, "its payload is its own until it returns")
		require.EqualValues(t, 1, b.Stats().Dials)
	})
}

func TestAnOnPushThatPanicsOrExitsCostsOnlyItself(t *testing.T) {
	for how, end := range callbackEndings {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := &journal{}
				var calls atomic.Int64
				b := bubbleBroker(t, Config{
					Logger: slog.New(log), DialContext: pipeDial(pushing(foreignIDs)),
					OnPush: func(string, uint32, []byte) {
						if calls.Add(1)%4 == 0 {
							end()
						}
					},
				})
				ready(t, b)
				for range 10 {
					for _, w := range ways {
						reply, err := w.call(b, bg, []byte("push 4"))
						require.NoError(t, err)
						require.Equal(t, "push 4", string(reply))
					}
				}
				synctest.Wait()
				s := b.Stats()
				require.EqualValues(t, 10*len(ways)*8, calls.Load())
				require.EqualValues(t, calls.Load(), s.Pushes)
				require.EqualValues(t, calls.Load()/4, s.Panics)
				require.EqualValues(t, 1, s.Dials)
				require.Equal(t, s.Accepted, s.Replies)
			})
		})
	}
}

// OnPush is a callback: what would block fails in it, and Go does not.
func TestOnPushMayGoAndMustNotWait(t *testing.T) {
	if goroutine.Self() == 0 {
		t.Skip("goroutines cannot be told apart here: what blocks in OnPush blocks")
	}
	synctest.Test(t, func(t *testing.T) {
		var b *Broker
		made := make(chan struct{})
		waited, went, oneWay := make(chan error, 10), make(chan error, 10), make(chan error, 10)
		b = bubbleBroker(t, Config{
			DialContext: pipeDial(pushing(foreignIDs[:1])),
			OnPush: func(string, uint32, []byte) {
				<-made
				_, err := b.Send(bg, nil)
				waited <- err
				waited <- b.SendBatch(bg, [][]byte{nil}, func(int, []byte, error) {})
				oneWay <- b.SendOneWay(bg, nil)
				if err := b.Go(bg, nil, func(_ []byte, err error) { went <- err }); err != nil {
					went <- err
				}
			},
		})
		close(made)
		_, err := b.Send(bg, []byte("push 1"))
		require.NoError(t, err)
		synctest.Wait()
		for range 2 {
			require.ErrorIs(t, <-waited, ErrInCallback)
			require.ErrorIs(t, <-waited, ErrInCallback)
			require.NoError(t, <-oneWay)
			require.NoError(t, <-went)
		}
		require.Zero(t, b.Stats().Panics)
	})
}

// pushesAt sends n frames that answer nothing, at a rate per second, 0 for all at once.
func pushesAt(t *testing.T, rate, n int, ended chan<- struct{}) func(net.Conn) {
	return func(nc net.Conn) {
		defer nc.Close()
		frame, _ := framing.Append(nil, 0, []byte("push"))
		for range n {
			if rate > 0 {
				select {
				case <-time.After(time.Second / time.Duration(rate)): // virtual
				case <-t.Context().Done():
				}
			}
			if _, err := nc.Write(frame); err != nil {
				return
			}
		}
		ended <- struct{}{}
		drainOnly(nc)
	}
}

func TestAnIdleBrokerWithoutOnPushEndsAConnectionOnlyForAFlood(t *testing.T) {
	for _, c := range []struct {
		rate, n int
		lives   bool
	}{
		{5, 5 * 3600, true},
		{900, 900 * 10, true},
		{0, 900, true},
		{0, 2000, false},
		{2000, 4000, false},
	} {
		t.Run(fmt.Sprintf("%d, %d a second", c.n, c.rate), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ended, lost := make(chan struct{}, 10), make(chan error, 10)
				b := bubbleBroker(t, Config{
					DialContext: pipeDial(pushesAt(t, c.rate, c.n, ended)), BackoffBase: 1e6 * time.Hour,
					BackoffMax: 1e6 * time.Hour, OnDisconnect: func(_ string, cause error) { lost <- cause },
				})
				select {
				case <-ended:
					synctest.Wait()
					require.True(t, c.lives)
					require.EqualValues(t, c.n, b.Stats().UnknownReplies)
					require.EqualValues(t, 1, b.Stats().Conns)
				case cause := <-lost:
					require.False(t, c.lives, "%v", cause)
					require.ErrorIs(t, cause, errUnmatchedReplies)
					require.Greater(t, b.Stats().UnknownReplies, uint64(unmatchedMax))
				}
			})
		})
	}
}

// With OnPush there is no such bound.
func TestABrokerWithOnPushMayBeFlooded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan struct{}, 1)
		var got atomic.Int64
		b := bubbleBroker(t, Config{
			DialContext: pipeDial(pushesAt(t, 0, 20_000, ended)),
			OnPush:      func(string, uint32, []byte) { got.Add(1) },
		})
		<-ended
		synctest.Wait()
		assert.EqualValues(t, 20_000, got.Load())
		assert.EqualValues(t, 20_000, b.Stats().Pushes)
		assert.EqualValues(t, 1, b.Stats().Conns)
	})
}
