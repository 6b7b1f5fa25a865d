package peer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/taskid"
)

// limitBuffer is what the loops below read at once.
const limitBuffer = 1 << 20

// FramesLimit is the limit for any client of our server: all of the window's
// frames, built beforehand, in one write, and the bytes of the replies only
// counted. The next write begins when the last one's replies are there. With an identity it is
// over TLS.
func FramesLimit(id *Identity, addr string, pid int) bench.Target {
	name, note := "prebuilt frames", "frames built beforehand, replies only counted"
	if id != nil {
		name, note = "tls.Conn prebuilt frames", note+"; a bare tls.Conn, written and read by one goroutine"
	}
	return native(id, name, note, addr, pid, func(conn net.Conn, c bench.Case) loop {
		batch := frames(c.Callers, c.PayloadBytes)
		buf := make([]byte, limitBuffer)
		return loop{step: func() (int, error) {
			if _, err := conn.Write(batch); err != nil {
				return 0, err
			}
			for got := 0; got < len(batch); {
				n, err := conn.Read(buf)
				if err != nil {
					return 0, err
				}
				got += n
			}
			return c.Callers, nil
		}}
	})
}

// frames builds n frames of different content.
func frames(n, payloadBytes int) []byte {
	var all []byte
	payload := make([]byte, payloadBytes)
	for i := range n {
		binary.BigEndian.PutUint64(payload, uint64(i))
		start := len(all)
		all = append(framing.Reserve(all), payload...)
		if err := framing.Seal(all, start, taskid.ID(i+1)); err != nil {
			panic(err) // a Case's payload fits a frame
		}
	}
	return all
}

// PingPong is one frame at a time, written and read by one goroutine: what the
// network, and with an identity TLS, costs a lone caller of our server.
func PingPong(id *Identity, addr string, pid int) bench.Target {
	note := "one frame at a time on a bare " + id.bare() + ", written and read by one goroutine"
	t := native(id, id.bare()+" ping-pong", note, addr, pid, func(conn net.Conn, c bench.Case) loop {
		frame := frames(1, c.PayloadBytes)
		reply := make([]byte, len(frame))
		number := uint32(0)
		return loop{step: func() (int, error) {
			number++
			binary.BigEndian.PutUint32(frame[len(frame)-4:], number)
			if _, err := conn.Write(frame); err != nil {
				return 0, err
			}
			if _, err := io.ReadFull(conn, reply); err != nil {
				return 0, err
			}
			if !bytes.Equal(frame, reply) {
				return 0, errors.New("wrong reply: it is not the request's echo")
			}
			return 1, nil
		}}
	})
	t.CallersMax = 1
	return t
}

// EchoStream is what one connection to the raw echo server carries with as many
// payloads outstanding as there are callers: a goroutine writes, another reads.
func EchoStream(addr string, pid int) bench.Target {
	const note = "payloads one after the other on a bare net.Conn, no frames; a goroutine writes, one reads and looks at the ends of each"
	return native(nil, "net.Conn stream", note, addr, pid, func(conn net.Conn, c bench.Case) loop {
		s := startStream(conn, c)
		return loop{step: s.next, end: s.end, streams: true}
	})
}

// stream is the reader of one connection; its writer is a goroutine.
type stream struct {
	conn    net.Conn
	free    chan struct{} // a value for every payload that may be written; closed by end
	ended   chan struct{} // closed by the writer
	payload []byte
	number  uint32
}

func startStream(conn net.Conn, c bench.Case) *stream {
	s := &stream{conn: conn, free: make(chan struct{}, c.Callers), ended: make(chan struct{}),
		payload: make([]byte, c.PayloadBytes)}
	for range c.Callers {
		s.free <- struct{}{}
	}
	go s.write()
	return s
}

func (s *stream) write() {
	defer close(s.ended)
	payload := make([]byte, len(s.payload))
	number := uint32(0)
	for range s.free {
		mark(payload, number)
		if _, err := s.conn.Write(payload); err != nil {
			return
		}
		number++
	}
}

// end waits for the writer, after the connection was closed.
func (s *stream) end() {
	close(s.free)
	<-s.ended
}

// next reads one payload, looks at its ends and lets the next one be written.
func (s *stream) next() (int, error) {
	if _, err := io.ReadFull(s.conn, s.payload); err != nil {
		return 0, err
	}
	first, last := binary.BigEndian.Uint32(s.payload), binary.BigEndian.Uint32(s.payload[len(s.payload)-4:])
	if first != s.number || last != s.number {
		return 0, fmt.Errorf("wrong reply: payload %d came with the ends %d and %d", s.number, first, last)
	}
	s.number++
	s.free <- struct{}{}
	return 1, nil
}

// mark writes the number at both ends.
func mark(payload []byte, number uint32) {
	binary.BigEndian.PutUint32(payload, number)
	binary.BigEndian.PutUint32(payload[len(payload)-4:], number)
}
