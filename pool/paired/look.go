package paired

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/internal/liveness"
)

// The wait for the rest of a TLS record of which a part has arrived is bounded by
// getWait when the connection is to be handed out. The manager waits for less, and
// only once: peers must not be able to occupy it.
const (
	getWait   = 5 * time.Millisecond
	sweepWait = time.Millisecond
)

// past is a deadline by which a read returns only what needs no waiting.
var past = time.Unix(1, 0)

// readAhead holds the byte that was read to see what is behind TLS. The owner's
// next Read begins with it. It is safe for goroutines that read at once.
type readAhead struct{ v atomic.Uint32 }

// aheadFull marks that the low byte is one.
const aheadFull = 1 << 8

func (r *readAhead) keep(b byte) { r.v.Store(aheadFull | uint32(b)) }
func (r *readAhead) full() bool  { return r.v.Load() != 0 }

func (r *readAhead) take() (b byte, ok bool) {
	if r.v.Load() == 0 {
		return 0, false
	}
	v := r.v.Swap(0)
	return byte(v), v != 0
}

// lookAtReady reports why a ready connection cannot be handed out, nil if it can.
// Bytes that wait are no reason: the peer may have its half in use already.
//
// Below TLS, bytes that wait may as well be the alert by which the peer closes,
// and only decryption tells. So a byte is read, within wait, and kept for the owner.
func lookAtReady(e *entry, wait time.Duration) error {
	err := liveness.Peek(socket(e.nc))
	if !errors.Is(err, liveness.ErrUnsolicited) {
		return err
	}
	if _, secured := e.nc.(*tls.Conn); !secured || e.ahead.full() {
		return nil
	}
	b, n, err := probe(e.nc, time.Now().Add(wait))
	if n > 0 {
		e.ahead.keep(b)
		return nil
	}
	if isTimeout(err) {
		e.partial = true
		return nil
	}
	return err
}

// lookAtReturned reports why a connection that its owner gives back cannot be
// used again, nil if it can. It also finds what crypto/tls has buffered, and, where
// there is no descriptor to look at, the end of the connection.
func lookAtReturned(e *entry) error {
	err := liveness.Peek(socket(e.nc))
	if errors.Is(err, liveness.ErrUnsolicited) || e.ahead.full() {
		return ErrUnread
	}
	if err != nil {
		return errors.Join(ErrBroken, err)
	}
	_, n, err := probe(e.nc, past)
	if n > 0 {
		return ErrUnread
	}
	if !isTimeout(err) {
		return errors.Join(ErrBroken, err)
	}
	return nil
}

// probe reads a byte until a deadline, and then removes all deadlines. A TLS
// connection survives the deadline of a read. Reading may write, the answer to a key
// update, and a peer that does not take that spoils its connection, not our time.
func probe(nc net.Conn, deadline time.Time) (b byte, n int, err error) {
	if err := nc.SetReadDeadline(deadline); err != nil {
		return 0, 0, err
	}
	if err := nc.SetWriteDeadline(time.Now().Add(getWait)); err != nil {
		return 0, 0, err
	}
	var one [1]byte
	n, err = nc.Read(one[:])
	if undo := nc.SetDeadline(time.Time{}); undo != nil {
		return one[0], n, undo
	}
	return one[0], n, err
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// socket returns what is below TLS.
func socket(nc net.Conn) net.Conn {
	if tc, ok := nc.(*tls.Conn); ok {
		return tc.NetConn()
	}
	return nc
}
