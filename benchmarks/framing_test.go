package benchmarks

import (
	"fmt"
	"io"
	"testing"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/taskid"
)

var payloads = []int{0, 64, 1 << 10, 16 << 10, framing.MaxPayload}

// BenchmarkFraming is one frame to bytes or back. length=2 is the anet frame.
// Parsing and sealing do not look at the payload.
func BenchmarkFraming(b *testing.B) {
	for _, format := range []framing.Format{{LengthSize: 2}, {LengthSize: 4}} {
		for _, size := range payloads {
			key := fmt.Sprintf("length=%d/payload=%d", format.LengthSize, size)
			b.Run("op=append/"+key, func(b *testing.B) { benchAppend(b, format, size) })
			b.Run("op=parse/"+key, func(b *testing.B) { benchParse(b, format, size) })
			b.Run("op=seal/"+key, func(b *testing.B) { benchSeal(b, format, size) })
		}
	}
}

func benchAppend(b *testing.B, format framing.Format, size int) {
	payload, room := make([]byte, size), make([]byte, 0, format.HeaderSize()+size)
	b.SetBytes(int64(cap(room)))
	b.ReportAllocs()
	for b.Loop() {
		frame, err := format.Append(room, 7, payload)
		if len(frame) == 0 {
			b.Fatal(err)
		}
	}
}

func benchParse(b *testing.B, format framing.Format, size int) {
	wire, err := format.Append(nil, 7, make([]byte, size))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, n, err := format.Parse(wire); n == 0 {
			b.Fatal(err)
		}
	}
}

func benchSeal(b *testing.B, format framing.Format, size int) {
	frame := append(format.Reserve(nil), make([]byte, size)...)
	b.ReportAllocs()
	for b.Loop() {
		if err := format.Seal(frame, 0, 7); err != nil {
			b.Fatal(err)
		}
	}
}

// stream returns whole frames, as many as fit, for ever.
type stream struct{ chunk []byte }

func (s stream) Read(p []byte) (int, error) { return copy(p, s.chunk), nil }

// BenchmarkFramingStream is one frame through a Reader or a Writer.
func BenchmarkFramingStream(b *testing.B) {
	for _, size := range []int{64, 1 << 10} {
		payload := make([]byte, size)
		b.Run(fmt.Sprintf("op=read/payload=%d", size), func(b *testing.B) {
			frame, err := framing.Append(nil, 7, payload)
			if err != nil {
				b.Fatal(err)
			}
			r := framing.NewReader(stream{frame}, framing.Format{})
			b.SetBytes(int64(len(frame)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.ReadFrame(); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("op=write/payload=%d", size), func(b *testing.B) {
			w := framing.NewWriter(io.Discard, framing.Format{})
			b.SetBytes(int64(framing.HeaderSize + size))
			b.ReportAllocs()
			for b.Loop() {
				if err := w.WriteFrame(taskid.ID(7), payload); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
