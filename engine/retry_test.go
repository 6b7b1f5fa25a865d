package engine

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/internal/budget"
)

// hangsUp reads one request and ends the connection, so that it was written and lost.
func hangsUp(asked *int) func(net.Conn) {
	return answerWith(func(nc net.Conn, _ framing.Frame) {
		*asked++
		nc.Close()
	})
}

func TestRepetitionsAreAFifthOfWhatIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		b := bubbleBroker(t, Config{
			Addrs: []string{"bad:1", "good:1"}, MaxInFlight: 200, BackoffBase: time.Millisecond, BackoffMax: time.Millisecond,
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				if addr == "bad:1" {
					return pipeDial(hangsUp(&asked))(ctx, network, addr)
				}
				return pipeDial(farEnd(framing.Format{}, farEcho))(ctx, network, addr)
			},
		})
		synctest.Wait()
		// Each goes to the bad one, which is on trial after the first.
		fails := func(n int) (failed int) {
			for range n {
				pass(10 * time.Millisecond)
				if _, err := b.Send(bg, []byte("x"), Call{Idempotent: true, Server: "bad:1"}); err != nil {
					require.ErrorIs(t, err, ErrConnLost)
					failed++
				}
			}
			return failed
		}
		serve := func(n int) {
			for range n {
				_, err := b.Send(bg, []byte("x"), Call{Server: "good:1"})
				require.NoError(t, err)
			}
		}
		require.Zero(t, fails(10), "ten at first")
		require.Zero(t, b.Stats().RetriesDenied)
		require.Equal(t, 8, fails(10), "the ten were answered elsewhere, and pay two more")
		require.EqualValues(t, 8, b.Stats().RetriesDenied)
		require.EqualValues(t, 12, b.Stats().Retries)
		serve(3000)
		require.Zero(t, fails(200), "as many as may be in flight are saved up, and not 600")
		require.Positive(t, fails(60))
		require.Equal(t, b.Stats().Retries+b.Stats().RetriesDenied, uint64(asked))
	})
}

// affords returns a broker that has been asked nothing.
func affords() *Broker {
	b := &Broker{budget: budget.New()}
	b.live.Store(new([]*conn))
	return b
}

// What costs no server anything is repeated without end, but for MaxRetries.
func TestRepetitionsOfWhatNoServerHasBegunCostNothing(t *testing.T) {
	b := affords()
	for _, free := range []error{
		&OpError{Op: "close", Err: lost(errReplaced)},
		&OpError{Op: "close", Err: lost(errDone)},
		&OpError{Op: "wait", Err: &RefusedError{Code: framing.RefusedGoingAway}},
	} {
		for range 100 {
			require.True(t, b.affordable(free), "%v", free)
		}
	}
	for _, paid := range []error{
		&OpError{Op: "read", Written: true, Err: lost(errPeerClosed)},
		&OpError{Op: "wait", Written: true, Err: limited("ReadTimeout", time.Second)},
		&OpError{Op: "wait", Err: &RefusedError{Code: framing.RefusedOverloaded}},
		errors.New("foreign"),
	} {
		b, n := affords(), 0
		for b.affordable(paid) {
			n++
		}
		assert.Equal(t, 10, n, "%v", paid)
		assert.EqualValues(t, 1, b.retriesDenied.Load())
	}
}

// Calls that all are lost on the way: the server gets hardly more than there are.
func TestWhenAllFailTheLoadIsNotMultiplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		b := bubbleBroker(t, Config{
			BackoffBase: time.Microsecond, BackoffMax: time.Microsecond,
			DialContext: pipeDial(hangsUp(&asked)),
		})
		const calls = 200
		for range calls {
			pass(10 * time.Millisecond)
			_, err := b.Send(bg, []byte("x"), Call{Idempotent: true})
			require.Error(t, err)
		}
		assert.LessOrEqual(t, asked, calls+10)
		assert.GreaterOrEqual(t, asked, calls)
	})
}

// All of several servers take requests and lose them, after a good time has saved repetitions
// up: what they get beyond one attempt for each call is bounded by what was saved up.
func TestWhenAllServersFailTheLoadGrowsByAFifthAtMost(t *testing.T) {
	for name, call := range waysToRepeat {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var asked atomic.Int64
				var ill atomic.Bool
				b := bubbleBroker(t, Config{
					Addrs: []string{"one:1", "two:1", "three:1"}, MaxInFlight: 100,
					BackoffBase: time.Microsecond, BackoffMax: time.Microsecond,
					DialContext: pipeDial(answerWith(func(nc net.Conn, f framing.Frame) {
						if asked.Add(1); ill.Load() {
							nc.Close()
							return
						}
						frame, _ := framing.Append(nil, f.ID, f.Payload)
						nc.Write(frame)
					})),
				})
				synctest.Wait()
				requireServed(t, b, 1000)
				ill.Store(true)
				asked.Store(0)
				const calls = 1000
				done := make(chan error, 10)
				for range calls / cap(done) {
					for range cap(done) {
						require.NoError(t, call(bg, b, Call{Idempotent: true}, func(err error) { done <- err }))
					}
					for range cap(done) {
						require.Error(t, <-done)
					}
					pass(10 * time.Millisecond)
				}
				assert.LessOrEqual(t, asked.Load(), int64(calls*12/10))
				assert.Positive(t, b.Stats().RetriesDenied)
			})
		})
	}
}
