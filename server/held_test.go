package server

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A connection that may have one request taken, because the server holds too much, is served
// again when it does not any more, although the one is still to be answered.
func TestAConnectionWaitsForBytesNoLongerThanTheyAreHeld(t *testing.T) {
	kept, release := make(chan *Later, 1), make(chan struct{})
	s := launch(t, Config{Workers: 1, MaxHeld: 1 << 20, Handler: RequestFunc(func(r *Request, dst []byte) ([]byte, error) {
		switch string(r.Payload()) {
		case "later":
			kept <- r.Later()
		case "wait":
			<-release
		}
		return append(dst, r.Payload()...), nil
	})})
	c := dial(t, s)
	for id, req := range []string{"later", "wait", "in the queue", "behind it"} {
		c.send(uint32(id), []byte(req))
	}
	l := <-kept
	eventually(t, s, "two to wait", func(st Stats) bool { return st.Queued == 2 })
	s.jobBytes.Add(3 << 19) // others hold so much
	close(release)
	assert.EqualValues(t, 1, c.receive().ID)
	assert.EqualValues(t, 2, c.receive().ID)
	d := only(s).desk.Load()
	waitFor(t, "both to be collected", func() bool { return d.collected.Load() == 2 && d.parked.Load() })
	assert.Equal(t, 1, s.Stats().Queued)
	s.jobBytes.Add(-3 << 19)
	assert.EqualValues(t, 3, c.receive().ID)
	require.NoError(t, l.Reply(nil))
	assert.EqualValues(t, 0, c.receive().ID)
}
