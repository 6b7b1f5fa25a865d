package server

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
)

// What a turn has not come to when a shutdown says that no more is parsed is counted, wherever
// it lies.
func TestAShutdownDuringATurnCountsTheRest(t *testing.T) {
	for name, waits := range map[string]bool{"just read": false, "in a chunk": true} {
		t.Run(name, func(t *testing.T) {
			calls := 0
			c, l := offline(t, Config{Handler: HandlerFunc(func(c *Conn, dst, _ []byte) ([]byte, error) {
				if calls++; calls == 3 {
					c.finish(phaseUnparsed, reasonShutdown) // as the drain does
				}
				return dst, nil
			})})
			close(c.srv.closing)
			in := (&client{t: t, format: c.srv.format}).pipeline(10, 5)
			if waits {
				c.unsent, l.left = c.srv.cfg.MaxUnsent, c.srv.cfg.MaxUnsent
				require.True(t, c.serve(in[:50]))
				l.left, in = 0, in[50:]
			}
			require.True(t, c.serve(in))
			assert.Equal(t, 3, calls)
			assert.EqualValues(t, 7, c.srv.failures.abandoned.Load())
			assert.True(t, c.at() == phaseLingering)
			assert.Nil(t, c.input)
			assert.Zero(t, c.srv.held.Load())
		})
	}
}

// A handler that closes its connection gives up nothing of a shutdown's.
func TestConnCloseAbandonsNothing(t *testing.T) {
	c, _ := offline(t, Config{Handler: HandlerFunc(func(c *Conn, dst, _ []byte) ([]byte, error) { return dst, c.Close() })})
	require.True(t, c.serve((&client{t: t, format: c.srv.format}).pipeline(10, 5)))
	assert.Zero(t, c.srv.failures.abandoned.Load())
	assert.Nil(t, c.input)
}

// Control frames are no requests.
func TestPingsAreNotAbandoned(t *testing.T) {
	c, l := offline(t, Config{Extensions: true, Handler: HandlerFunc(echo)})
	peer := extended{&client{t: t, format: c.srv.format}}
	require.True(t, c.serve(peer.hello()))
	c.unsent, l.left = c.srv.cfg.MaxUnsent, c.srv.cfg.MaxUnsent // nothing is parsed
	ping := peer.control(framing.ControlPing, "12345678")
	require.True(t, c.serve(append(ping, append(peer.request(1, 0, "one"), ping...)...)))
	close(c.srv.closing)
	c.finish(phaseUnparsed, reasonShutdown)
	l.left = 0
	require.True(t, c.serve(nil))
	assert.EqualValues(t, 1, c.srv.failures.abandoned.Load())
}
