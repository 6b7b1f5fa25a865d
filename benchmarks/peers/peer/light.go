package peer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/taskid"
)

const (
	// frameHeader is the size of an anet frame's length and ID.
	frameHeader = 6
	frameMax    = 2 + 1<<16 - 1
	idBytes     = 4
	// lightCloseWait bounds the wait for a server to close its ends.
	lightCloseWait = 5 * time.Second
)

// LightServers are those that light clients are measured with, in the order of reports.
// All speak the anet frame, and their clients are the same.
func LightServers() []Peer {
	return []Peer{light(Ringwire()), light(RingwireTwoLoops()), light(Goroutines()), light(Anet()), light(Gnet()),
		light(Netpoll())}
}

// light is the server of p with light clients.
func light(p Peer) Peer {
	p.Note = p.ServerNote
	p.Target = func(addr string, pid int) (bench.Target, error) {
		return blocking(p.Name, p.Note, pid, func(ctx context.Context, callers int) (bench.Client, error) {
			return dialLights(ctx, addr, callers)
		}), nil
	}
	return p
}

// lights are clients that know nothing of each other: each is a bare connection with
// one request at a time.
type lights []*lightClient

func dialLights(ctx context.Context, addr string, n int) (bench.Client, error) {
	all := make(lights, 0, n)
	dial := net.Dialer{Timeout: dialTimeout}
	for i := range n {
		conn, err := dial.DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("client %d of %d: %w", i+1, n, err), all.Close())
		}
		all = append(all, &lightClient{conn: conn})
	}
	return all, nil
}

// Caller is the client of caller i.
func (l lights) Caller(i int) bench.Client { return l[i] }

// Call is for nobody: each caller has a client of its own.
func (l lights) Call([]byte, *[]byte) ([]byte, error) {
	return nil, errors.New("light clients are used by their callers one by one")
}

// Close returns when the server has closed its ends, too, so that what it has to do for
// that is not measured with whatever comes next.
func (l lights) Close() error {
	var err error
	for _, c := range l {
		if conn, ok := c.conn.(*net.TCPConn); ok {
			_ = conn.CloseWrite() // fails where the connection has ended
		}
	}
	deadline := time.Now().Add(lightCloseWait)
	for _, c := range l {
		_ = c.conn.SetReadDeadline(deadline)
		_, _ = io.Copy(io.Discard, c.conn)
		err = errors.Join(err, c.conn.Close())
	}
	return err
}

// lightClient is used by one goroutine.
type lightClient struct {
	conn  net.Conn
	id    taskid.ID // of the last request
	frame []byte    // the request's, and then the reply's
}

// Call sends the request in a frame, and appends the reply's payload to dst. A frame of
// another request, or of another length, is wrong; the payload is the harness's to check.
func (c *lightClient) Call(dst []byte, req *[]byte) ([]byte, error) {
	c.id++
	var err error
	if c.frame, err = framing.Append(c.frame[:0], c.id, *req); err != nil {
		return nil, err
	}
	if _, err := c.conn.Write(c.frame); err != nil {
		return nil, err
	}
	// An echo has as many bytes as its request: mostly one read.
	n := len(c.frame)
	if _, err := io.ReadFull(c.conn, c.frame); err != nil {
		return nil, err
	}
	length := int(binary.BigEndian.Uint16(c.frame))
	id := taskid.ID(binary.BigEndian.Uint32(c.frame[2:]))
	if length != n-2 || id != c.id {
		return nil, fmt.Errorf("%w: the frame's length is %d and its ID %d, where %d and %d were sent",
			bench.ErrWrongReply, length, id, n-2, c.id)
	}
	return append(dst, c.frame[frameHeader:]...), nil
}

// Close closes the connection.
func (c *lightClient) Close() error { return c.conn.Close() }

// wholeFrames is how many bytes of b are whole frames. An impossible length is not ok.
func wholeFrames(b []byte) (n int, ok bool) {
	for len(b)-n >= 2 {
		length := int(binary.BigEndian.Uint16(b[n:]))
		if length < idBytes {
			return n, false
		}
		if len(b)-n < 2+length {
			break
		}
		n += 2 + length
	}
	return n, true
}
