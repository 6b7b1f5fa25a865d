package server

import (
	"bytes"
	"testing"
	"time"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/internal/bytepool"
	"github.com/ringwire/ringwire/taskid"
)

// answersTo is what a server with the extension sends for a stream, by a plain decoder: a list
// of whole frames. Replies repeat the payload and the remaining time that came with it.
func answersTo(t testing.TB, format framing.Format, stream []byte) (want []byte) {
	r := framing.NewReader(bytes.NewReader(stream), format)
	extended := false
	for first := true; ; first = false {
		f, err := r.ReadFrame()
		if err != nil {
			return want
		}
		if first && f.ID == framing.ControlID {
			if h, err := framing.ParseHello(f.Payload); err == nil && !h.Server {
				extended = true
				want, _ = format.AppendHello(want, framing.Hello{Server: true, Version: framing.ExtensionVersion})
				continue
			}
		}
		if !extended {
			want, _ = format.Append(want, f.ID, told(bytes.Clone(f.Payload), 0))
			continue
		}
		if f.ID == framing.ControlID {
			kind, body, err := framing.ParseControl(f.Payload)
			if err != nil || kind == framing.ControlHello {
				return want
			}
			if kind == framing.ControlPing {
				want, _ = format.AppendControl(want, framing.ControlPong, body)
			}
			continue
		}
		ms, payload, err := framing.ParseRequest(f.Payload)
		if err != nil {
			return want
		}
		if want, err = format.AppendReply(want, f.ID, told(bytes.Clone(payload), time.Duration(ms)*time.Millisecond)); err != nil {
			t.Fatal(err)
		}
	}
}

// told appends a time to a payload.
func told(b []byte, limit time.Duration) []byte {
	for shift := 0; shift < 64; shift += 8 {
		b = append(b, byte(limit>>shift))
	}
	return b
}

// checkExtendedTurns is checkTurns for a server with the extension.
func checkExtendedTurns(t *testing.T, stream, script []byte) {
	format := framing.Format{}
	if longest(format, stream) > format.MaxPayload()-16 {
		return // the reply would be too large
	}
	want := answersTo(t, format, stream)
	lent := bytepool.Outstanding()
	c, l := offline(t, Config{MaxUnsent: 4 << 10, Extensions: true, Handler: RequestFunc(func(r *Request, dst []byte) ([]byte, error) {
		return told(append(dst, r.Payload()...), r.limit), nil
	})})
	rest, alive := stream, true
	for _, step := range script {
		n := min(len(rest), int(step>>1)*3)
		l.left = int(step&1) * (4 << 10)
		alive = alive && c.serve(bytes.Clone(rest[:n]))
		rest = rest[n:]
		checkInput(t, c)
		if step&2 != 0 && c.input != nil && c.input.last != nil {
			c.input.last.at -= chunkSpan
		}
	}
	l.left = 0
	for len(rest) > 0 && alive {
		n := min(len(rest), readBufferBytes)
		alive = c.serve(bytes.Clone(rest[:n]))
		rest = rest[n:]
	}
	if alive {
		c.serve(nil)
	}
	c.end(nil)
	if n := bytepool.Outstanding() - lent; n != 0 {
		t.Fatalf("%d buffers were not given back", n)
	}
	if !bytes.Equal(want, l.out) {
		t.Fatalf("%d bytes came out, not %d", len(l.out), len(want))
	}
}

// longest returns the length of the longest payload of a stream.
func longest(format framing.Format, stream []byte) (most int) {
	r := framing.NewReader(bytes.NewReader(stream), format)
	for {
		f, err := r.ReadFrame()
		if err != nil {
			return most
		}
		most = max(most, len(f.Payload))
	}
}

// conversation is a stream with hellos, requests and control frames as picks say.
func conversation(picks []byte) (b []byte) {
	var f framing.Format
	for id, pick := range picks {
		switch size := int(pick>>3) * 23; pick & 7 {
		case 0:
			b, _ = f.AppendHello(b, framing.Hello{Version: pick})
		case 1:
			b, _ = f.AppendControl(b, framing.ControlPing, []byte("12345678"))
		case 2:
			b, _ = f.AppendControl(b, framing.Control(3+pick>>4), bytes.Repeat([]byte{pick}, size))
		case 3:
			b, _ = f.Append(b, taskid.ID(id), bytes.Repeat([]byte{pick}, size))
		default:
			b, _ = f.AppendRequest(b, taskid.ID(id+1), uint32(pick)<<20, bytes.Repeat([]byte{pick}, size))
		}
	}
	return b
}

func FuzzExtendedTurns(f *testing.F) {
	f.Add([]byte{0, 4, 1, 255, 6, 2, 1, 4}, []byte{2, 2, 4, 6, 80})
	f.Add([]byte{0, 255, 254, 253, 252, 255, 1, 1, 2, 255, 255, 255}, []byte{255, 255, 255, 255, 3, 1, 0, 1, 0, 255, 254, 253})
	f.Add([]byte{8, 4, 0}, []byte{8, 10, 2, 3})
	f.Add([]byte{4, 0, 1, 3}, []byte{1, 1, 3, 3, 5, 5, 7, 7})
	f.Add([]byte{0, 4, 3, 4}, []byte{3, 3, 3, 3, 2})
	f.Fuzz(func(t *testing.T, picks, script []byte) {
		if len(picks) > 200 || len(script) > 300 {
			return
		}
		checkExtendedTurns(t, conversation(picks), script)
	})
}

func TestAConversationInManyTurns(t *testing.T) {
	for pattern := range byte(50) {
		picks, script := make([]byte, 200), make([]byte, 300)
		for i := range picks {
			if picks[i] = byte(i)*(2*pattern+1) | 4; i%7 == 6 {
				picks[i] = 1
			}
		}
		picks[0] = 0
		for i := range script {
			script[i] = byte(i)*pattern | byte(i>>(pattern%5))&1
		}
		checkExtendedTurns(t, conversation(picks), script)
	}
}
