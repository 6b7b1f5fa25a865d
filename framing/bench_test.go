package framing_test

import (
	"fmt"
	"io"
	"testing"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/taskid"
)

var payloadSizes = []int{0, 64, 1024, 65531}

func benchSizes(b *testing.B, bench func(b *testing.B, payload []byte)) {
	for _, size := range payloadSizes {
		b.Run(fmt.Sprintf("payload=%d", size), func(b *testing.B) {
			b.ReportAllocs()
			bench(b, make([]byte, size))
		})
	}
}

func BenchmarkAppend(b *testing.B) {
	benchSizes(b, func(b *testing.B, payload []byte) {
		b.SetBytes(int64(framing.HeaderSize + len(payload)))
		room := make([]byte, 0, framing.HeaderSize+len(payload))
		for b.Loop() {
			room, _ = framing.Append(room[:0], 7, payload)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	benchSizes(b, func(b *testing.B, payload []byte) {
		wire, err := framing.Append(nil, 7, payload)
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if _, n, _ := framing.Parse(wire); n == 0 {
				b.Fatal("no frame")
			}
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	benchSizes(b, func(b *testing.B, payload []byte) {
		frame := append(framing.Reserve(nil), payload...)
		for b.Loop() {
			if err := framing.Seal(frame, 0, 7); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// The methods beside the functions: length=2 takes the fast path.
func BenchmarkFormat(b *testing.B) {
	payload := make([]byte, 64)
	for _, format := range []framing.Format{{LengthSize: 2}, {LengthSize: 4}} {
		wire, err := format.Append(nil, 7, payload)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("op=append/length=%d/payload=64", format.LengthSize), func(b *testing.B) {
			b.ReportAllocs()
			room := make([]byte, 0, len(wire))
			for b.Loop() {
				room, _ = format.Append(room[:0], 7, payload)
			}
		})
		b.Run(fmt.Sprintf("op=parse/length=%d/payload=64", format.LengthSize), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, n, _ := format.Parse(wire); n == 0 {
					b.Fatal("no frame")
				}
			}
		})
	}
}

// repeat returns one chunk of whole frames per Read.
type repeat struct{ chunk []byte }

func (r repeat) Read(p []byte) (int, error) { return copy(p, r.chunk), nil }

func BenchmarkReader(b *testing.B) {
	var chunk []byte
	for i := range 100 {
		chunk, _ = framing.Append(chunk, taskid.ID(i), make([]byte, 64))
	}
	b.Run("payload=64", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(framing.HeaderSize + 64)
		r := framing.NewReader(repeat{chunk}, framing.Format{})
		for b.Loop() {
			if _, err := r.ReadFrame(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkWriter(b *testing.B) {
	benchSizes(b, func(b *testing.B, payload []byte) {
		b.SetBytes(int64(framing.HeaderSize + len(payload)))
		w := framing.NewWriter(io.Discard, framing.Format{})
		for b.Loop() {
			if err := w.WriteFrame(7, payload); err != nil {
				b.Fatal(err)
			}
		}
	})
}
