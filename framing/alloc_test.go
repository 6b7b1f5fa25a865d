//go:build !race

package framing_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/taskid"
)

func requireNoAllocs(t *testing.T, what string, f func()) {
	t.Helper()
	if n := testing.AllocsPerRun(200, f); n != 0 {
		t.Errorf("%s allocates %v times", what, n)
	}
}

func TestAllocCodecIsFree(t *testing.T) {
	payload := make([]byte, 20)
	for _, c := range codecs() {
		room := make([]byte, 0, 256)
		wire, err := c.append(nil, 1, payload)
		if err != nil {
			t.Fatal(err)
		}
		requireNoAllocs(t, c.name+" Append", func() { room, _ = c.append(room[:0], 1, payload) })
		requireNoAllocs(t, c.name+" Seal", func() {
			room = append(c.reserve(room[:0]), payload...)
			if err := c.seal(room, 0, 1); err != nil {
				t.Fatal(err)
			}
		})
		var size int
		requireNoAllocs(t, c.name+" Parse", func() {
			_, n, _ := c.parse(wire)
			size += n
		})
		requireNoAllocs(t, c.name+" Parse of a part", func() {
			_, n, _ := c.parse(wire[:len(wire)-1])
			size += n
		})
		if size == 0 {
			t.Errorf("%s parsed nothing", c.name)
		}
	}
	room := make([]byte, 0, 64)
	requireNoAllocs(t, "plain", func() {
		room, _ = framing.AppendPlain(room[:0], payload)
		framing.ParsePlain(room)
	})
}

// endless repeats its bytes for ever.
type endless struct {
	data []byte
	at   int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.data[e.at:])
	e.at = (e.at + n) % len(e.data)
	return n, nil
}

func TestAllocReaderIsFreeInSteadyState(t *testing.T) {
	for _, format := range []framing.Format{{}, {LengthSize: 4}} {
		var stream []byte
		for i, size := range []int{0, 64, 5000, 65531} {
			stream, _ = format.Append(stream, taskid.ID(i), make([]byte, size))
		}
		r := framing.NewReader(&endless{data: stream}, format)
		read := func() {
			for range 4 {
				if _, err := r.ReadFrame(); err != nil {
					t.Fatal(err)
				}
			}
		}
		read() // grows the buffer
		requireNoAllocs(t, "ReadFrame", read)
	}
}

func TestAllocWriterIsFreeInSteadyState(t *testing.T) {
	small, large := make([]byte, 64), make([]byte, 65531)
	for _, format := range []framing.Format{{}, {LengthSize: 4}} {
		w := framing.NewWriter(io.Discard, format)
		requireNoAllocs(t, "WriteFrame", func() {
			for _, payload := range [][]byte{small, large} {
				if err := w.WriteFrame(1, payload); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// The measurement itself must be able to fail.
func TestAllocMeasurementSeesGrowth(t *testing.T) {
	var b []byte
	n := testing.AllocsPerRun(10, func() { b, _ = framing.Append(nil, 1, []byte("abc")) })
	if n < 1 || !bytes.HasSuffix(b, []byte("abc")) {
		t.Errorf("appending to nil allocated %v times", n)
	}
}

func TestAllocExtensionIsFree(t *testing.T) {
	payload := make([]byte, 20)
	for _, f := range []framing.Format{{}, {LengthSize: 4}} {
		room, total := make([]byte, 0, 256), 0
		requireNoAllocs(t, "a request", func() {
			room, _ = f.AppendRequest(room[:0], 1, 30_000, payload)
			frame, _, _ := f.Parse(room)
			_, request, _ := framing.ParseRequest(frame.Payload)
			total += len(request)
		})
		requireNoAllocs(t, "a reply", func() {
			room, _ = f.AppendReply(room[:0], 1, payload)
			frame, _, _ := f.Parse(room)
			_, reply, _ := framing.ParseReply(frame.Payload)
			total += len(reply)
		})
		requireNoAllocs(t, "a ping", func() {
			room, _ = f.AppendControl(room[:0], framing.ControlPing, payload[:framing.PingSize])
			frame, _, _ := f.Parse(room)
			_, body, _ := framing.ParseControl(frame.Payload)
			total += len(body)
		})
		if total == 0 {
			t.Error("nothing was parsed")
		}
	}
}
