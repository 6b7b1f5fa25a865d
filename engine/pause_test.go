package engine

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What these tests hold is that a repetition at the same server waits at random, in nobody's
// way, and not beyond its call.

// ways to make one call that may be repeated. done gets its outcome.
var waysToRepeat = map[string]func(ctx context.Context, b *Broker, o Call, done func(error)) error{
	"Send": func(ctx context.Context, b *Broker, o Call, done func(error)) error {
		go func() {
			_, err := b.Send(ctx, []byte("x"), o)
			done(err)
		}()
		return nil
	},
	"Go": func(ctx context.Context, b *Broker, o Call, done func(error)) error {
		return b.Go(ctx, []byte("x"), func(_ []byte, err error) { done(err) }, o)
	},
	"SendBatch": func(ctx context.Context, b *Broker, o Call, done func(error)) error {
		go b.SendBatch(ctx, [][]byte{{'x'}}, func(_ int, _ []byte, err error) { done(err) }, o)
		return nil
	},
}

// pausing is a Config for a lone server that answers nothing.
func pausing() Config {
	return Config{SilenceTimeout: -1, ReadTimeout: time.Second, RequestTimeout: time.Hour,
		BackoffBase: 10 * time.Second, BackoffMax: 20 * time.Second}
}

func TestARepetitionAtTheSameServerPauses(t *testing.T) {
	for name, call := range waysToRepeat {
		for _, watched := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ctx := bg
					if watched {
						var cancel func()
						ctx, cancel = context.WithCancel(bg)
						defer cancel()
					}
					b, s := onStage(t, pausing(), "one:1")
					var sum, longest time.Duration
					const rounds = 3 // thrice as many repetitions as the budget has at first
					for range rounds {
						began, done := time.Now(), make(chan error, 1)
						s["one:1"].behave(swallows)
						require.NoError(t, call(ctx, b, Call{Idempotent: true}, func(err error) { done <- err }))
						require.ErrorIs(t, <-done, ErrTimeout)
						took := time.Since(began) - 4*time.Second
						require.GreaterOrEqual(t, took, time.Duration(0))
						require.LessOrEqual(t, took, 50*time.Second+8*coarse(b), "10 s, 20 s, 20 s")
						sum, longest = sum+took, max(longest, took)
						s["one:1"].behave(answers)
						requireServed(t, b, 50)
					}
					require.Len(t, s["one:1"].asked(), rounds*(4+50))
					assert.Greater(t, sum, rounds*3*time.Second, "9 pauses of 8 s on the average")
				})
			})
		}
	}
}

// While it pauses it is counted, others go on at once, and it may be given up.
func TestAPauseIsInNobodysWay(t *testing.T) {
	for name, call := range waysToRepeat {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, s := onStage(t, pausing(), "one:1")
				for range 5 {
					s["one:1"].behave(swallows)
					ctx, cancel := context.WithCancel(bg)
					done := make(chan error, 1)
					require.NoError(t, call(ctx, b, Call{Idempotent: true}, func(err error) { done <- err }))
					pass(time.Second + coarse(b))
					s["one:1"].behave(answers)
					if b.backlog.waiting() == 0 {
						cancel()
						require.NoError(t, b.Close())
						return // a short one, which chance has made
					}
					require.Zero(t, b.backlog.len())
					require.Equal(t, 1, b.Stats().Queued)
					require.Equal(t, 1, b.Stats().InFlight)
					began := time.Now()
					requireServed(t, b, 20)
					require.Zero(t, time.Since(began))
					cancel()
					require.ErrorIs(t, <-done, context.Canceled)
					synctest.Wait()
					require.Zero(t, b.backlog.waiting())
					require.Zero(t, b.Stats().InFlight)
				}
				s["one:1"].behave(swallows)
				done := make(chan error, 1)
				require.NoError(t, call(bg, b, Call{Idempotent: true}, func(err error) { done <- err }))
				pass(time.Second + coarse(b))
				require.NoError(t, b.Close())
				require.ErrorIs(t, <-done, ErrClosingBroker)
			})
		})
	}
}

// However long it might be: a call has more than one attempt within its deadline.
func TestAPauseEndsWithinTheDeadline(t *testing.T) {
	for name, call := range waysToRepeat {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := pausing()
				cfg.BackoffBase, cfg.BackoffMax = time.Hour, time.Hour
				b, s := onStage(t, cfg, "one:1")
				s["one:1"].behave(swallows)
				for _, by := range []string{"Timeout", "context"} {
					ctx, o := bg, Call{Idempotent: true, Timeout: 10 * time.Second}
					if by == "context" {
						var cancel func()
						ctx, cancel = context.WithTimeout(bg, 10*time.Second)
						defer cancel()
						o.Timeout = 0
					}
					began, done := time.Now(), make(chan error, 1)
					s["one:1"].forget()
					require.NoError(t, call(ctx, b, o, func(err error) { done <- err }))
					err, op := <-done, new(OpError)
					require.ErrorIs(t, err, ErrTimeout)
					require.ErrorAs(t, err, &op)
					require.True(t, op.Written, "the attempt before was")
					require.InDelta(t, 10, time.Since(began).Seconds(), coarse(b).Seconds())
					require.GreaterOrEqual(t, len(s["one:1"].asked()), 2)
				}
			})
		})
	}
}

func TestARepetitionElsewhereDoesNotPause(t *testing.T) {
	for name, call := range waysToRepeat {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := pausing()
				cfg.BackoffBase, cfg.BackoffMax = time.Hour, time.Hour
				b, s := onStage(t, cfg, "one:1", "two:1")
				s["one:1"].behave(swallows)
				began, done := time.Now(), make(chan error, 1)
				require.NoError(t, call(bg, b, Call{Idempotent: true, Server: "one:1"}, func(err error) { done <- err }))
				require.NoError(t, <-done)
				require.LessOrEqual(t, time.Since(began), time.Second+coarse(b))
				require.Len(t, s["two:1"].asked(), 1)
			})
		})
	}
}
