package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
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

// attempt is one time that a request reached a peer.
type madeAt struct {
	addr    string
	payload string
}

// fickle are peers that fail the first attempts of each request that is not other.
type fickle struct {
	cut   bool // they end the connection; else they are silent
	fails int

	mu  sync.Mutex
	got []madeAt
}

// other is a request that any peer answers at once.
var other = []byte("other")

func (k *fickle) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return pipeDial(farEnd(framing.Format{}, func(p *far, f framing.Frame) {
		if string(f.Payload) == string(other) {
			farEcho(p, f)
			return
		}
		k.mu.Lock()
		k.got = append(k.got, madeAt{addr, string(f.Payload)})
		n := len(k.got)
		k.mu.Unlock()
		switch {
		case n > k.fails:
			farEcho(p, f)
		case k.cut:
			p.Close()
		}
	}))(ctx, network, addr)
}

// attempts returns what has come.
func (k *fickle) attempts() []madeAt {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]madeAt(nil), k.got...)
}

// twoUp is a broker with a connection to each of two addresses that are never suspect.
func twoUp(t *testing.T, cfg Config) *Broker {
	t.Helper()
	cfg.Addrs = []string{"pipe:1", "pipe:2"}
	cfg.SilenceTimeout = -1
	b := bubbleBroker(t, cfg)
	synctest.Wait()
	require.Equal(t, 2, b.Stats().Conns)
	return b
}

// eachFailure is eachWay for peers that are silent and for those that end the connection.
func eachFailure(t *testing.T, f func(t *testing.T, call aWay, k *fickle)) {
	for _, cut := range []bool{false, true} {
		t.Run(fmt.Sprintf("cut=%t", cut), func(t *testing.T) {
			eachWay(t, func(t *testing.T, call aWay) { f(t, call, &fickle{cut: cut}) })
		})
	}
}

func TestAnIdempotentCallIsMadeAgainElsewhere(t *testing.T) {
	eachFailure(t, func(t *testing.T, call aWay, k *fickle) {
		k.fails = 1
		b := twoUp(t, Config{DialContext: k.dial})
		for round := range 6 {
			k.mu.Lock()
			k.got = nil
			k.mu.Unlock()
			go func() { // others move the turn on meanwhile
				for range round {
					<-time.After(time.Second) // virtual
					_, err := b.Send(bg, other)
					assert.NoError(t, err)
				}
			}()
			payload := fmt.Sprintf("request %d", round)
			began := time.Now()
			reply, err := call(b, bg, []byte(payload), Call{Idempotent: true})
			require.NoError(t, err)
			require.Equal(t, payload, string(reply))
			got := k.attempts()
			require.Len(t, got, 2)
			require.NotEqual(t, got[0].addr, got[1].addr, "round %d", round)
			require.Equal(t, payload, got[0].payload)
			require.Equal(t, payload, got[1].payload)
			require.EqualValues(t, round+1, b.Stats().Retries)
			if !k.cut {
				require.GreaterOrEqual(t, time.Since(began), DefaultReadTimeout)
			}
			<-time.After(10 * time.Second) // virtual: to be connected again
			synctest.Wait()
		}
	})
}

// A call may begin in the backlog: where it failed is not lost on the way.
func TestAnIdempotentCallThatHadToWaitIsMadeAgainElsewhere(t *testing.T) {
	eachWay(t, func(t *testing.T, call aWay) {
		k := &fickle{fails: 1}
		b := bubbleBroker(t, Config{
			Addrs: []string{"pipe:1", "pipe:2"}, SilenceTimeout: -1,
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				<-time.After(time.Second) // virtual
				return k.dial(ctx, network, addr)
			},
		})
		go func() {
			<-time.After(3 * time.Second) // virtual
			_, err := b.Send(bg, other)
			assert.NoError(t, err)
		}()
		_, err := call(b, bg, []byte("x"), Call{Idempotent: true})
		require.NoError(t, err)
		got := k.attempts()
		require.Len(t, got, 2)
		require.NotEqual(t, got[0].addr, got[1].addr)
	})
}

// With no other connection the same one has to do.
func TestAnIdempotentCallIsMadeAgainOnTheOnlyConnection(t *testing.T) {
	eachFailure(t, func(t *testing.T, call aWay, k *fickle) {
		k.fails = 2
		b := bubbleBroker(t, Config{DialContext: k.dial, BackoffBase: time.Millisecond})
		reply, err := call(b, bg, []byte("x"), Call{Idempotent: true})
		require.NoError(t, err)
		require.Equal(t, "x", string(reply))
		require.Len(t, k.attempts(), 3)
		require.EqualValues(t, 2, b.Stats().Retries)
	})
}

func TestACallThatIsNotIdempotentIsMadeOnce(t *testing.T) {
	eachFailure(t, func(t *testing.T, call aWay, k *fickle) {
		k.fails = 1
		b := twoUp(t, Config{DialContext: k.dial})
		_, err := call(b, bg, []byte("x"))
		want := ErrTimeout
		if k.cut {
			want = ErrConnLost
		}
		require.ErrorIs(t, err, want)
		var op *OpError
		require.ErrorAs(t, err, &op)
		assert.True(t, op.Written)
		require.Len(t, k.attempts(), 1)
		require.Zero(t, b.Stats().Retries)
	})
}

func TestAnIdempotentCallIsMadeAgainMaxRetriesTimes(t *testing.T) {
	for max, want := range map[int]int{-1: 1, 0: 1 + DefaultMaxRetries, 1: 2, 5: 6} {
		t.Run(fmt.Sprintf("MaxRetries=%d", max), func(t *testing.T) {
			eachFailure(t, func(t *testing.T, call aWay, k *fickle) {
				k.fails = 1000
				b := twoUp(t, Config{
					DialContext: k.dial, MaxRetries: max, ReadTimeout: time.Second,
					BackoffBase: time.Millisecond, BackoffMax: time.Millisecond,
				})
				began := time.Now()
				_, err := call(b, bg, []byte("x"), Call{Idempotent: true})
				require.Len(t, k.attempts(), want)
				require.EqualValues(t, want-1, b.Stats().Retries)
				if k.cut {
					require.ErrorIs(t, err, ErrConnLost)
					return
				}
				require.ErrorContains(t, err, "ReadTimeout")
				require.GreaterOrEqual(t, time.Since(began), time.Duration(want)*time.Second)
			})
		})
	}
}

func TestAnIdempotentCallIsMadeAgainWithinItsDeadlineOnly(t *testing.T) {
	for name, c := range map[string]struct {
		call Call
		ctx  time.Duration
	}{
		"RequestTimeout": {},
		"Timeout":        {call: Call{Timeout: 3500 * time.Millisecond}},
		"context":        {ctx: 3500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			eachWay(t, func(t *testing.T, call aWay) {
				k := &fickle{fails: 1000}
				b := twoUp(t, Config{
					DialContext: k.dial, MaxRetries: 1000, ReadTimeout: time.Second,
					RequestTimeout: 3500 * time.Millisecond,
				})
				ctx, cancel := bg, func() {}
				if c.ctx > 0 {
					ctx, cancel = context.WithTimeout(bg, c.ctx)
				}
				defer cancel()
				c.call.Idempotent = true
				began := time.Now()
				_, err := call(b, ctx, []byte("x"), c.call)
				require.ErrorIs(t, err, ErrTimeout)
				require.NotContains(t, err.Error(), "ReadTimeout")
				require.GreaterOrEqual(t, time.Since(began), 3500*time.Millisecond)
				require.LessOrEqual(t, time.Since(began), 3500*time.Millisecond+lateTicks*b.clock.tick)
				require.Len(t, k.attempts(), 4)
			})
		})
	}
}

// What fails for another reason than the connection or ReadTimeout is not made again.
func TestAnIdempotentCallIsNotMadeAgainInVain(t *testing.T) {
	eachWay(t, func(t *testing.T, call aWay) {
		k := &fickle{fails: 1000}
		b := twoUp(t, Config{DialContext: k.dial})
		for _, c := range []Call{{Idempotent: true, Timeout: time.Second}} {
			_, err := call(b, bg, []byte("x"), c)
			require.ErrorContains(t, err, "Call.Timeout")
		}
		_, err := call(b, bg, make([]byte, framing.MaxPayload+1), Call{Idempotent: true})
		require.ErrorIs(t, err, ErrMaxLenExceeded)
		ctx, cancel := context.WithCancel(bg)
		go func() {
			<-time.After(time.Second) // virtual
			cancel()
		}()
		_, err = call(b, ctx, []byte("x"), Call{Idempotent: true})
		require.ErrorIs(t, err, context.Canceled)
		require.Len(t, k.attempts(), 2)
		require.Zero(t, b.Stats().Retries)
		require.NoError(t, b.Close())
		_, err = call(b, bg, nil, Call{Idempotent: true})
		require.ErrorIs(t, err, ErrQuit)
	})
}

// crowded takes all goroutines that tell callbacks of errors, until the turnstile is
// released: what has failed meanwhile has its outcome and has not been told.
func crowded(t *testing.T, b *Broker) *turnstile {
	t.Helper()
	g := newTurnstile()
	t.Cleanup(g.release)
	for range failuresAtOnce {
		require.NoError(t, b.Go(bg, nil, func([]byte, error) { <-g.open }, Call{Timeout: time.Millisecond}))
	}
	<-time.After(time.Second) // virtual
	return g
}

// A call may end after an attempt has failed and before it is made again, when it is nobody's
// to give up: by its context, or by its own deadline.
func TestACallThatEndsBetweenAttemptsIsNotMadeAgain(t *testing.T) {
	for _, how := range []string{"cancelled", "Timeout"} {
		t.Run(how, func(t *testing.T) {
			eachWay(t, func(t *testing.T, call aWay) {
				k := &fickle{fails: 1000}
				b := bubbleBroker(t, Config{
					ReadTimeout: time.Second, DialContext: k.dial, SilenceTimeout: -1,
				})
				synctest.Wait()
				g := crowded(t, b)
				before := len(k.attempts())
				ctx, cancel := context.WithCancel(bg)
				defer cancel()
				opts := Call{Idempotent: true}
				if how == "Timeout" {
					opts.Timeout = 1300 * time.Millisecond
				}
				ended := make(chan error, 1)
				go func() {
					_, err := call(b, ctx, []byte("x"), opts)
					ended <- err
				}()
				<-time.After(1200 * time.Millisecond) // virtual: it has failed
				atOnce := len(k.attempts()) - before  // Send makes it again itself
				if how == "cancelled" {
					cancel()
				}
				<-time.After(10 * time.Second) // virtual: the clock must not sleep
				g.release()
				synctest.Wait()
				select {
				case err := <-ended:
					require.Error(t, err)
				default:
					t.Error("it goes on")
					<-ended
				}
				require.Equal(t, before+atOnce, len(k.attempts()))
			})
		})
	}
}

// What is cancelled at the very moment at which it fails is completed once, and nothing is
// left in flight.
func TestACallThatIsCancelledWhileItIsMadeAgainIsCompletedOnce(t *testing.T) {
	const rounds, calls = 60, 20
	for _, cut := range []bool{false, true} {
		t.Run(fmt.Sprintf("cut=%t", cut), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &pipes{serve: drainOnly}
				b := bubbleBroker(t, Config{
					Addrs: []string{"pipe:1", "pipe:2"}, DialContext: p.dial, SilenceTimeout: -1,
					ReadTimeout: 2 * time.Millisecond, MaxRetries: 2, MaxInFlight: rounds * calls * 10,
					BackoffBase: time.Nanosecond, BackoffMax: time.Nanosecond,
				})
				synctest.Wait()
				var told atomic.Int64
				for round := range rounds {
					cancelledAtRandom(b, uint64(round), calls, &told)
					if cut && round%4 == 0 {
						<-time.After(time.Millisecond) // virtual
						p.cut()
					}
				}
				<-time.After(time.Minute) // virtual
				synctest.Wait()
				s := b.Stats()
				require.EqualValues(t, rounds*calls*4, told.Load())
				require.Zero(t, s.InFlight)
				require.Equal(t, s.Accepted, s.Replies+s.Failed+s.Timeouts+s.Cancelled)
				require.NotZero(t, s.Retries)
				require.NotZero(t, s.Cancelled)
			})
		})
	}
}

// cancelledAtRandom makes calls, four requests in each, and cancels them at some tick or
// other. It counts what is told.
func cancelledAtRandom(b *Broker, seed uint64, calls int, told *atomic.Int64) {
	rng := rand.New(rand.NewPCG(seed, 0))
	for range calls {
		// A context's deadline is met by a timer, so it can be at the same time as a tick.
		ctx, cancel := context.WithTimeout(bg, time.Duration(rng.IntN(30))*time.Millisecond)
		var once atomic.Int32
		err := b.Go(ctx, []byte("go"), func([]byte, error) {
			if once.Add(1) == 1 {
				told.Add(1)
			} else {
				told.Add(1 << 32)
			}
		}, Call{Idempotent: true})
		if err != nil {
			told.Add(1)
		}
		go func() {
			defer cancel()
			_ = b.SendBatch(ctx, [][]byte{{1}, {2}}, func(int, []byte, error) { told.Add(1) }, Call{Idempotent: true})
			_, _ = b.Send(ctx, []byte("send"), Call{Idempotent: true})
			told.Add(1)
		}()
	}
}

// fake is what a user puts in the place of a Broker.
type fake struct {
	Client
	calls []Call
}

func (f *fake) Send(_ context.Context, req []byte, opts ...Call) ([]byte, error) {
	f.calls = append(f.calls, opts...)
	return append([]byte("fake "), req...), nil
}

// ask is a user's function that needs no more than a Client.
func ask(c Client, req string) (string, error) {
	reply, err := c.Send(bg, []byte(req), Call{Idempotent: true})
	return string(reply), err
}

func TestAClientMayBeABrokerOrWhatStandsInForOne(t *testing.T) {
	f := &fake{}
	reply, err := ask(f, "x")
	require.NoError(t, err)
	assert.Equal(t, "fake x", reply)
	assert.Equal(t, []Call{{Idempotent: true}}, f.calls)

	b := newBroker(t, Config{Addrs: []string{newPeer(t, echo).addr()}})
	reply, err = ask(b, "x")
	require.NoError(t, err)
	assert.Equal(t, "x", reply)
	wrapped := &fake{Client: b}
	require.NoError(t, wrapped.SendBatch(bg, [][]byte{nil}, func(int, []byte, error) {}))
}
