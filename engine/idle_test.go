package engine

import (
	"sync/atomic"
	"testing"

	"github.com/ringwire/ringwire/taskid"
)

// Nobody calls, the clock sleeps, and something comes over a socket: it is read, and so is what
// comes when that has been read, and the clock sleeps again.
func TestAnIdleConnectionIsReadAgainAndAgain(t *testing.T) {
	var far atomic.Pointer[peerConn]
	p := newPeer(t, func(c *peerConn, id taskid.ID, req []byte) {
		far.Store(c)
		c.reply(id, req)
	})
	var pushes atomic.Int64
	b := newBroker(t, Config{Addrs: []string{p.addr()}, OnPush: func(string, uint32, []byte) { pushes.Add(1) }})
	idle := func() { mustCome(t, "the clock's sleep", func() bool { return b.clock.asleep.Load() }) }
	for n := range int64(2) {
		requireServed(t, b, 3)
		for i := range int64(3) {
			idle()
			far.Load().reply(taskid.Nobody, []byte("news"))
			mustCome(t, "a push", func() bool { return pushes.Load() == 3*n+i+1 })
		}
	}
	idle()
	p.reset()
	mustCome(t, "the end to be seen", func() bool { return b.Stats().ConnsLost == 1 })
}
