package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/internal/baton"
)

// A goroutine that takes the right to write from the poller's promise lets it go free: then the
// poller promises anew, or submitters and the flusher would write frame by frame beside it.
func TestThePollerPromisesAnew(t *testing.T) {
	p, held := holding(t)
	b := newBroker(t, Config{Addrs: []string{p.addr()}})
	b.cfg.BusyPoll = time.Hour // before the poller looks: it is not to give up
	c := goAlone(t, b)         // the reader has let the right to read go
	told := make(chan error, 1)
	require.NoError(t, b.Go(bg, []byte("hold"), func(_ []byte, err error) { told <- err }))
	answer := <-held
	for range 3 {
		until(func() bool { return c.in.right.State() == baton.Held && c.out.right.Revoke() })
		until(c.out.promised)
	}
	answer(nil)
	require.NoError(t, <-told)
}
