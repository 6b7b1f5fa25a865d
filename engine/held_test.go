package engine

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
)

// What MaxInFlightBytes holds back must not stop the time of what has left: it is held back
// until that has a reply or times out.
func TestAServerThatHangsMeetsReadTimeoutWhateverIsHeldBack(t *testing.T) {
	for _, size := range []int{1000, 40_000} {
		synctest.Test(t, func(t *testing.T) {
			const bound, total = 100_000, 2_000_000
			b := bubbleBroker(t, Config{
				MaxInFlightBytes: bound, RequestTimeout: -1, SilenceTimeout: -1, QueueSize: 10_000,
				DialContext: pipeDial(drainOnly),
			})
			ready(t, b)
			began := time.Now()
			took := make(chan time.Duration, total/size)
			for range cap(took) { // at once
				require.NoError(t, b.Go(bg, make([]byte, size), func(_ []byte, err error) {
					if !isTimeout(err) {
						t.Errorf("%v", err)
					}
					took <- time.Since(began)
				}))
			}
			// As long again as a reply may take, and two samples of the standstill.
			late := DefaultReadTimeout + 2*time.Second
			for i := range bound / size {
				d := <-took
				require.GreaterOrEqual(t, d, DefaultReadTimeout)
				require.LessOrEqual(t, d, DefaultReadTimeout+late, "request %d of %d bytes", i, size)
			}
			var last time.Duration
			for len(took) < cap(took)-bound/size {
				<-time.After(time.Second) // virtual
			}
			for len(took) > 0 {
				last = <-took
			}
			require.LessOrEqual(t, last, total/bound*(DefaultReadTimeout+late), "the rest follows in turn")
		})
	}
}

func isTimeout(err error) bool {
	ne, ok := err.(net.Error)
	return ok && ne.Timeout()
}

// Idempotent calls go elsewhere while there is time, however many of them hang.
func TestIdempotentCallsLeaveAServerThatHangsWhateverIsHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		serve := map[string]func(net.Conn){"pipe:1": drainOnly, "pipe:2": farEnd(framing.Format{}, farEcho)}
		b := bubbleBroker(t, Config{
			Addrs: []string{"pipe:1", "pipe:2"}, MaxInFlightBytes: 100_000,
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				return pipeDial(serve[addr])(ctx, network, addr)
			},
		})
		synctest.Wait()
		for range 1000 { // it can afford 200 repetitions
			_, err := b.Send(bg, nil, Call{Server: "pipe:2"})
			require.NoError(t, err)
		}
		outcomes := make(chan error, 300)
		for range cap(outcomes) {
			require.NoError(t, b.Go(bg, make([]byte, 1000), func(_ []byte, err error) {
				outcomes <- err
			}, Call{Idempotent: true}))
		}
		for i := range cap(outcomes) {
			require.NoError(t, <-outcomes, "outcome %d", i)
		}
	})
}

// What is held back until others have their replies has all of ReadTimeout when it leaves.
func TestWhatIsHeldBackHasAllOfReadTimeout(t *testing.T) {
	eachWay(t, func(t *testing.T, call aWay) {
		const takes = 4 * time.Second
		b := bubbleBroker(t, Config{
			MaxInFlightBytes: 1000,
			DialContext: pipeDial(farEnd(framing.Format{}, func(p *far, f framing.Frame) {
				p.after(takes, func() { farEcho(p, f) })
			})),
		})
		ready(t, b)
		began := time.Now()
		const n = 6
		outcomes := make(chan error, n)
		for range n {
			go func() {
				_, err := call(b, bg, make([]byte, 40_000))
				outcomes <- err
			}()
		}
		for i := range n {
			require.NoError(t, <-outcomes, "outcome %d", i)
		}
		require.GreaterOrEqual(t, time.Since(began), n*takes, "one after another")
	})
}
