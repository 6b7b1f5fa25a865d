package engine

import (
	"encoding/binary"
	"sync/atomic"

	"github.com/ringwire/ringwire/framing"
)

// The bits of controls.due.
const (
	pingDue uint32 = 1 << iota
	pongDue
)

// controls are the control frames that are to be sent: one ping and one pong at most. They
// go before what waits in the outbox, also while MaxInFlightBytes holds that back: a
// server with much to do is to say that it lives.
type controls struct {
	due    atomic.Uint32
	pinged atomic.Uint64 // the last ping; the clock stores it
	ponged atomic.Uint64 // the last one that was answered
	pong   atomic.Uint64 // what the next pong returns
	sent   atomic.Uint64 // counted before they count as frames that were sent

	buf [2 * (8 + 1 + framing.PingSize)]byte // the holder's of the right to write
}

// ping has a ping sent, unless one is under way. Only the clock calls it.
func (k *controls) ping() bool {
	n := k.pinged.Load()
	if k.ponged.Load() != n {
		return false
	}
	k.pinged.Store(n + 1)
	k.due.Or(pingDue)
	return true
}

// awaited reports whether a ping was given to the socket and not answered.
func (k *controls) awaited() bool {
	return k.ponged.Load() != k.pinged.Load() && k.due.Load()&pingDue == 0
}

// answered notes a pong; one that answers another ping than the last is ignored.
func (k *controls) answered(n uint64) {
	if n == k.pinged.Load() {
		k.ponged.Store(n)
	}
}

// answer has a ping answered. If the pong to the one before was not sent yet, this one takes
// its place.
func (k *controls) answer(body uint64) {
	k.pong.Store(body)
	k.due.Or(pongDue)
}

// take returns the frames that are due, and how many there are. The bytes are the caller's,
// which has the right to write, until the next call.
func (k *controls) take(format framing.Format) (b []byte, records int) {
	due, b := k.due.Swap(0), k.buf[:0]
	var body [framing.PingSize]byte
	if due&pongDue != 0 {
		binary.BigEndian.PutUint64(body[:], k.pong.Load())
		// It fits any format with the extension.
		b, _ = format.AppendControl(b, framing.ControlPong, body[:])
		records++
	}
	if due&pingDue != 0 {
		binary.BigEndian.PutUint64(body[:], k.pinged.Load())
		b, _ = format.AppendControl(b, framing.ControlPing, body[:])
		records++
	}
	return b, records
}
