package e2e

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/server"
)

// Row S21 of docs/RELIABILITY.md: twice as much is asked as can be done, by callers that give
// up after a while. What the handlers do must reach a caller that still waits, and afterwards
// everything is as before at once. Nothing here depends on how fast the machine is: the work
// done in vain is compared with the work done.
func TestOverload(t *testing.T) {
	const (
		workers  = 4
		takes    = 10 * time.Millisecond
		patience = 500 * time.Millisecond
		every    = takes / workers / 2 // twice the capacity
	)
	refused := []byte("refused")
	for name, row := range map[string]struct {
		cfg   server.Config
		least float64
	}{
		// Half of what is taken is the newest, and in time.
		"anet wire": {server.Config{}, 0.4},
		// What is older than QueueTimeout is not run.
		"ErrorReply": {server.Config{QueueTimeout: patience / 4,
			ErrorReply: func(_ *server.Conn, dst, _ []byte, err error) []byte {
				assert.ErrorIs(t, err, server.ErrOverloaded)
				return append(dst, refused...)
			}}, 0.7},
	} {
		t.Run(name, func(t *testing.T) {
			checkLeaks(t)
			var ran, useful, given, late atomic.Int64
			cfg := row.cfg
			cfg.Addr, cfg.Workers = "127.0.0.1:0", workers
			cfg.Handler = server.HandlerFunc(func(_ *server.Conn, dst, req []byte) ([]byte, error) {
				time.Sleep(takes)
				ran.Add(1)
				return append(dst, req...), nil
			})
			s, err := server.New(cfg)
			require.NoError(t, err)
			require.NoError(t, s.Start())
			t.Cleanup(func() { assert.NoError(t, s.Close()) })
			b := newBroker(t, engine.Config{Addrs: []string{s.Addr().String()}, ReadTimeout: patience})
			require.NoError(t, b.WaitReady(context.Background()))

			var open sync.WaitGroup
			tick := time.NewTicker(every)
			defer tick.Stop()
			for end := time.Now().Add(sized(2*time.Second, 15*time.Second)); time.Now().Before(end); <-tick.C {
				open.Add(1)
				given.Add(1)
				err := b.Go(context.Background(), []byte("request"), func(reply []byte, err error) {
					defer open.Done()
					switch {
					case err == nil && string(reply) == "request":
						useful.Add(1)
					case errors.Is(err, engine.ErrTimeout):
						late.Add(1)
					case err != nil:
						t.Error(err)
					}
				})
				require.NoError(t, err)
			}
			open.Wait()
			t.Logf("asked %d, ran %d, in time %d, too late %d, refused %d",
				given.Load(), ran.Load(), useful.Load(), late.Load(), s.Stats().Overloaded)
			assert.GreaterOrEqual(t, float64(useful.Load()), row.least*float64(ran.Load()), "most of the work is in vain")
			for range 20 {
				reply, err := b.Send(context.Background(), []byte("after"))
				require.NoError(t, err, "what comes afterwards is served")
				require.Equal(t, "after", string(reply))
			}
		})
	}
}
