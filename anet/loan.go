package anet

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// loan is a connection of a pool in the hands of a line's engine, which reads from
// it, writes to it, and closes it at the end. Closed, it is released to its pool,
// unless the line means to put it back; then closing only makes the engine let go.
type loan struct {
	net.Conn
	line *line
	item PoolItem // Conn, as the pool knows it

	bytesRead atomic.Uint64
	failed    atomic.Bool // a read failed, other than by our deadline
	kept      atomic.Bool // not to be closed: giveBack decides
	returned  atomic.Bool
}

// Read counts what is read, and notes the end.
func (c *loan) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.bytesRead.Add(uint64(n))
	if err != nil && !(c.kept.Load() && errors.Is(err, os.ErrDeadlineExceeded)) {
		c.failed.Store(true)
	}
	return n, err
}

// PlainConn lets the engine write without us.
func (c *loan) PlainConn() net.Conn { return c.Conn }

// Close ends the engine's use of the connection.
func (c *loan) Close() error {
	if c.kept.Load() && c.Conn.SetDeadline(longAgo) == nil {
		return nil
	}
	c.failed.Store(true)
	c.release()
	c.line.source.retire(c.line, false)
	return nil
}

// giveBack returns the connection to its pool, for further use if it is clean. free
// says that nobody uses it any more.
func (c *loan) giveBack(free bool) {
	clean := free && c.kept.Load() && !c.failed.Load() && !c.line.soiled.Load() &&
		c.bytesRead.Load() == c.line.replyBytes.Load()
	if !clean || c.Conn.SetDeadline(time.Time{}) != nil {
		c.release()
		return
	}
	if !c.returned.Swap(true) {
		c.line.source.pool.Put(c.item)
	}
}

func (c *loan) release() {
	if !c.returned.Swap(true) {
		c.line.source.pool.Release(c.item)
	}
}
