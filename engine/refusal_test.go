package engine

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/taskid"
)

// requireRefused checks the error of a call that a server has refused.
func requireRefused(t *testing.T, err error, code uint32) {
	t.Helper()
	require.ErrorIs(t, err, ErrRefused)
	var refused *RefusedError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, code, refused.Code)
	require.Equal(t, "no room", refused.Text)
	var op *OpError
	require.ErrorAs(t, err, &op)
	require.False(t, op.Written, "it was not executed")
	require.Equal(t, "wait", op.Op)
}

func TestAFailureAtTheServerIsTheCallsErrorAndNothingElse(t *testing.T) {
	eachWay(t, func(t *testing.T, call aWay) {
		var asked atomic.Int64
		s := counted(&asked, func(p *spoken, id taskid.ID, req []byte) {
			if string(req) == "bad" {
				p.deny(id, framing.StatusFailed, 77, "no such account")
				return
			}
			p.ok(id, req)
		})
		b := s.inBubble(t, Config{MaxInFlightBytes: 1}) // what is answered makes room
		for _, opts := range [][]Call{nil, {{Idempotent: true}}} {
			_, err := call(b, bg, []byte("bad"), opts...)
			var remote *RemoteError
			require.ErrorAs(t, err, &remote)
			require.Equal(t, RemoteError{Code: 77, Text: "no such account"}, *remote)
			require.EqualError(t, err, "engine: wait pipe:1: the request failed at the server: code 77: no such account")
			require.False(t, SafeToRetry(err), "it was executed")
			reply, err := call(b, bg, []byte("good"), opts...)
			require.NoError(t, err)
			require.Equal(t, "good", string(reply))
		}
		synctest.Wait()
		require.EqualValues(t, 4, asked.Load(), "nothing is repeated")
		stats := b.Stats()
		require.EqualValues(t, 4, stats.Replies)
		require.EqualValues(t, 4, stats.Accepted)
		require.EqualValues(t, 2, stats.RemoteErrors)
		require.EqualValues(t, 1, stats.Dials)
		require.Zero(t, stats.InFlight+stats.Orphans)
		require.Zero(t, stats.Failed+stats.Refused)
	})
}

func TestARefusedCallIsMadeAgainAtAnAddressThatHasNotRefusedIt(t *testing.T) {
	eachWay(t, func(t *testing.T, call aWay) {
		var full, free atomic.Int64
		b := speakersOnStage(t, Config{}, map[string]*speaker{
			"full:1": counted(&full, refusing(framing.RefusedOverloaded)),
			"free:1": counted(&free, spokenEcho),
		}, "full:1", "free:1")
		const n = 10
		for i := range n {
			// Go keeps what it sends only of an idempotent request.
			reply, err := call(b, bg, []byte("x"), Call{Idempotent: true})
			require.NoError(t, err, "call %d", i)
			require.Equal(t, "x", string(reply))
		}
		require.EqualValues(t, n, free.Load())
		require.NotZero(t, full.Load())
		require.EqualValues(t, full.Load(), b.Stats().Refused)
		require.EqualValues(t, full.Load(), b.Stats().Retries)
		require.EqualValues(t, 2, b.Stats().Dials, "the connections are fine")
	})
}

func TestSendAndBatchesAreMadeAgainWithoutBeingIdempotentAndGoIsTold(t *testing.T) {
	for name, call := range map[string]aWay{"Send": (*Broker).Send, "SendBatch": byBatch, "Go": byGo} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var full, free atomic.Int64
				b := speakersOnStage(t, Config{}, map[string]*speaker{
					"full:1": counted(&full, refusing(framing.RefusedOverloaded)),
					"free:1": counted(&free, spokenEcho),
				}, "full:1", "free:1")
				failed := 0
				for range 10 {
					if _, err := call(b, bg, []byte("x")); err != nil {
						requireRefused(t, err, framing.RefusedOverloaded)
						require.True(t, SafeToRetry(err))
						failed++
					}
				}
				if name == "Go" {
					require.EqualValues(t, 5, failed, "its request is not kept")
				} else {
					require.Zero(t, failed)
				}
			})
		})
	}
}

func TestWhenEveryAddressRefusesEachIsAskedOnce(t *testing.T) {
	for n := 1; n <= 4; n++ {
		conns := n%2 + 1
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			eachWay(t, func(t *testing.T, call aWay) {
				all, asked := map[string]*speaker{}, make([]atomic.Int64, n)
				var addrs []string
				for i := range n {
					addrs = append(addrs, fmt.Sprintf("full%d:1", i))
					all[addrs[i]] = counted(&asked[i], refusing(framing.RefusedOverloaded))
				}
				b := speakersOnStage(t, Config{ConnsPerAddr: conns}, all, addrs...)
				for round := range 3 { // what refused one call is not held against it in the next
					_, err := call(b, bg, []byte("x"), Call{Idempotent: true})
					requireRefused(t, err, framing.RefusedOverloaded)
					require.ErrorContains(t, err, "the server refuses the request: it is overloaded: no room")
					for i := range asked {
						require.EqualValues(t, round+1, asked[i].Load(), "address %d", i)
					}
				}
				require.EqualValues(t, 3*n, b.Stats().Refused)
			})
		})
	}
}

func TestARefusedCallIsRepeatedMaxRetriesTimesAtMost(t *testing.T) {
	for retries, want := range map[int]int64{-1: 1, 1: 2, 2: 3} {
		synctest.Test(t, func(t *testing.T) {
			var asked atomic.Int64
			s := counted(&asked, refusing(99)) // an unknown code is as good as overloaded
			all := map[string]*speaker{"a:1": s, "b:1": s, "c:1": s, "d:1": s, "e:1": s}
			b := speakersOnStage(t, Config{MaxRetries: retries}, all, "a:1", "b:1", "c:1", "d:1", "e:1")
			_, err := b.Send(bg, []byte("x"))
			requireRefused(t, err, 99)
			require.ErrorContains(t, err, "code 99: no room")
			require.Equal(t, want, asked.Load())
		})
	}
}

func TestARequestWhoseTimeHadPassedIsNotRepeated(t *testing.T) {
	eachWay(t, func(t *testing.T, call aWay) {
		var asked atomic.Int64
		s := counted(&asked, refusing(framing.RefusedExpired))
		b := speakersOnStage(t, Config{}, map[string]*speaker{"a:1": s, "b:1": s}, "a:1", "b:1")
		_, err := call(b, bg, []byte("x"), Call{Idempotent: true})
		requireRefused(t, err, framing.RefusedExpired)
		require.ErrorIs(t, err, ErrTimeout)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		var op *OpError
		require.ErrorAs(t, err, &op)
		require.True(t, op.Timeout())
		require.False(t, SafeToRetry(err), "a repetition meets the limit again")
		require.EqualValues(t, 1, asked.Load())
	})
}

// A refusal with "going away" is as good as a goaway: the call waits for the next connection.
func TestACallRefusedByAServerThatGoesAwayIsMadeOnTheNextConnection(t *testing.T) {
	someWays(t, func(t *testing.T, call aWay) {
		s := new(speaker)
		s.got = func(p *spoken, id taskid.ID, _ uint32, req []byte) {
			if p == s.all()[0] {
				p.deny(id, framing.StatusRefused, framing.RefusedGoingAway, "no room")
				return
			}
			p.ok(id, req)
		}
		b := s.inBubble(t, Config{})
		reply, err := call(b, bg, []byte("x"), Call{Idempotent: true})
		require.NoError(t, err)
		require.Equal(t, "x", string(reply))
		pass(time.Second)
		require.Len(t, s.all(), 2)
		require.Len(t, b.conns(), 1)
		require.Zero(t, b.Stats().ConnsLost)
	})
}

// A server that refuses so on each of its connections is asked MaxRetries times more.
func TestAServerThatAlwaysGoesAwayIsAskedAFewTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		b := counted(&asked, refusing(framing.RefusedGoingAway)).inBubble(t, Config{ConnectWait: time.Minute})
		_, err := b.Send(bg, []byte("x"))
		requireRefused(t, err, framing.RefusedGoingAway)
		require.EqualValues(t, 1+DefaultMaxRetries, asked.Load())
	})
}

func TestALateReplyOfAnyStatusIsALateReply(t *testing.T) {
	for name, answer := range map[string]func(p *spoken, id taskid.ID){
		"ok":      func(p *spoken, id taskid.ID) { p.ok(id, []byte("late")) },
		"refused": func(p *spoken, id taskid.ID) { p.deny(id, framing.StatusRefused, 1, "late") },
		"failed":  func(p *spoken, id taskid.ID) { p.deny(id, framing.StatusFailed, 1, "late") },
	} {
		t.Run(name, func(t *testing.T) {
			eachWay(t, func(t *testing.T, call aWay) {
				s := &speaker{got: func(p *spoken, id taskid.ID, _ uint32, _ []byte) {
					p.after(2*time.Second, func() { answer(p, id) })
				}}
				b := s.inBubble(t, Config{})
				_, err := call(b, bg, []byte("x"), Call{Timeout: time.Second})
				require.ErrorIs(t, err, ErrTimeout)
				require.NotErrorIs(t, err, ErrRefused)
				require.EqualValues(t, 1, b.Stats().Orphans)
				pass(2 * time.Second)
				stats := b.Stats()
				require.EqualValues(t, 1, stats.LateReplies)
				require.Zero(t, stats.Orphans, "its ID has left quarantine")
				require.Zero(t, stats.Refused+stats.RemoteErrors+stats.UnknownReplies)
			})
		})
	}
}

func TestAStatusWithoutARequestIsUnknownAndOnlyAReplyIsPushed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &speaker{got: func(p *spoken, id taskid.ID, _ uint32, req []byte) {
			p.ok(1<<20, []byte("pushed"))
			p.deny(1<<20, framing.StatusRefused, 1, "nobody's")
			p.deny(1<<20, framing.StatusFailed, 1, "nobody's")
			p.ok(id, req)
			p.deny(id, framing.StatusFailed, 1, "a second reply")
			p.ok(id, []byte("a third"))
		}}
		var got []string
		b := s.inBubble(t, Config{OnPush: func(_ string, id uint32, payload []byte) {
			got = append(got, fmt.Sprint(id, string(payload)))
		}})
		for range 3 {
			requireServed(t, b, 1)
			synctest.Wait()
		}
		require.Len(t, got, 6)
		require.Equal(t, "1048576pushed", got[0])
		require.EqualValues(t, 6, b.Stats().Pushes)
		require.EqualValues(t, 9, b.Stats().UnknownReplies)
	})
}

// A callback that is told of a refusal runs where those run that are told of errors, and
// what it holds counts.
func TestCallbacksOfRefusedRequestsCountUntilTheyReturn(t *testing.T) {
	s := &speaker{got: func(p *spoken, id taskid.ID, _ uint32, req []byte) {
		if string(req) == "no" {
			p.deny(id, framing.StatusFailed, 1, "")
			return
		}
		p.ok(id, req)
	}}
	b := newBroker(t, Config{Addrs: []string{s.listen(t)}, Extensions: true, MaxInFlight: 4})
	ready(t, b)
	gate := make(chan struct{})
	var inside atomic.Int64
	for range 4 {
		require.NoError(t, b.Go(bg, []byte("no"), func([]byte, error) {
			inside.Add(1)
			<-gate
		}))
	}
	mustCome(t, "four callbacks", func() bool { return inside.Load() == 4 })
	assert.ErrorIs(t, b.Go(bg, []byte("x"), func([]byte, error) {}), ErrQueueFull)
	close(gate)
	mustCome(t, "room", func() bool { return goAndWait(b, bg) == nil })
}

// A dial function may fail with what another broker was told.
func TestARefusalOfAnotherBrokersIsAFailedDial(t *testing.T) {
	for name, foreign := range map[string]error{
		"made by a user": &RefusedError{Code: framing.RefusedOverloaded},
		"of a broker":    &RefusedError{Code: framing.RefusedOverloaded, by: &address{b: new(Broker), bit: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := bubbleBroker(t, Config{Extensions: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
					return nil, foreign
				}})
				_, err := b.Send(bg, []byte("x"))
				require.ErrorIs(t, err, ErrDial)
				r := request{}
				require.True(t, b.mayRepeat(&r, &OpError{Op: "dial", Err: joinErrors(ErrDial, foreign)}, false))
				require.Zero(t, r.shun)
			})
		})
	}
}
