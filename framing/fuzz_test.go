package framing_test

import (
	"bytes"
	"testing"
	"testing/iotest"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/taskid"
)

// pick chooses a codec and, for those that have one, its format.
func pick(which byte) (codec, framing.Format) {
	all := codecs()
	k := int(which) % len(all)
	if k == 0 {
		return all[0], framing.Format{}
	}
	return all[k], formats()[k-1]
}

// What Append writes, Parse reads back whole; Seal and the Writer write the same.
func FuzzRoundTrip(f *testing.F) {
	for which := range byte(len(codecs())) {
		f.Add(which, uint32(0), []byte(nil))
		f.Add(which, uint32(0x01020304), []byte("abcdef"))
		f.Add(which, ^uint32(0), bytes.Repeat([]byte{0xff}, 20))
		f.Add(which, uint32(1), bytes.Repeat([]byte{0}, 21))
		f.Add(which, uint32(1), make([]byte, framing.MaxPayload))
		f.Add(which, uint32(1), make([]byte, framing.MaxPayload+1))
	}
	f.Fuzz(func(t *testing.T, which byte, id uint32, payload []byte) {
		c, format := pick(which)
		b, err := c.append([]byte("front"), taskid.ID(id), payload)
		if fits := len(payload) <= c.maxPayload; fits != (err == nil) {
			t.Fatalf("%d bytes of at most %d: %v", len(payload), c.maxPayload, err)
		}
		if err != nil {
			if string(b) != "front" {
				t.Fatalf("a refused payload left %d bytes", len(b))
			}
			return
		}
		wire := b[len("front"):]
		frame, n, err := c.parse(wire)
		if err != nil || n != len(wire) || frame.ID != taskid.ID(id) || !bytes.Equal(frame.Payload, payload) {
			t.Fatalf("%x came back as %v, %d, %v", head(wire), frame.ID, n, err)
		}
		sealed := append(c.reserve([]byte("front")), payload...)
		if err := c.seal(sealed, len("front"), taskid.ID(id)); err != nil || !bytes.Equal(sealed, b) {
			t.Fatalf("Seal wrote %x, Append %x, %v", head(sealed), head(b), err)
		}
		var out bytes.Buffer
		w := framing.NewWriter(&out, format)
		if err := w.WriteFrame(taskid.ID(id), payload); err != nil || w.Flush() != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out.Bytes(), wire) {
			t.Fatalf("Writer wrote %x, Append %x", head(out.Bytes()), head(wire))
		}
		checkPrefixes(t, c, wire)
	})
}

// What parses prints back to the same bytes, and the reference agrees.
func FuzzParse(f *testing.F) {
	for which := range byte(len(codecs())) {
		c, _ := pick(which)
		for _, stream := range shortStreams(c) {
			f.Add(which, stream)
		}
		f.Add(which, c.header(uint32(c.limit()), 1))
		f.Add(which, c.header(uint32(c.limit())+1, 1))
	}
	f.Fuzz(func(t *testing.T, which byte, b []byte) {
		c, _ := pick(which)
		if got, want := parseOutcome(c, [][]byte{b}), referenceOutcome(c, b); got != want {
			t.Fatalf("got %s\nwant %s", got, want)
		}
		frame, n, err := c.parse(b)
		if err != nil || n == 0 {
			if n != 0 || frame.ID != 0 || frame.Payload != nil {
				t.Fatalf("no frame, but %v, %d, %v", frame.ID, n, err)
			}
			checkPrefixes(t, c, b)
			return
		}
		if cap(frame.Payload) != len(frame.Payload) {
			t.Fatalf("payload of %d bytes has capacity %d", len(frame.Payload), cap(frame.Payload))
		}
		printed, err := c.append(nil, frame.ID, frame.Payload)
		if err != nil || !bytes.Equal(printed, b[:n]) {
			t.Fatalf("%x prints as %x, %v", head(b[:n]), head(printed), err)
		}
		checkPrefixes(t, c, b[:n])
	})
}

// checkPrefixes parses every proper prefix of b, which begins with at most one
// whole frame: before the length field is complete each is incomplete; from then
// on either all are incomplete or all fail with the same error, and the size that
// FrameSize tells does not change.
func checkPrefixes(t *testing.T, c codec, b []byte) {
	t.Helper()
	wantSize, wantErr := c.frameSize(b)
	for end := range b {
		frame, n, err := c.parse(b[:end])
		size, sizeErr := c.frameSize(b[:end])
		if n != 0 || frame.Payload != nil {
			t.Fatalf("%d of %d bytes parse as a frame", end, len(b))
		}
		if end < c.lengthSize() {
			if err != nil || sizeErr != nil || size != 0 {
				t.Fatalf("%d bytes are no length yet: %v, %v, %d", end, err, sizeErr, size)
			}
			continue
		}
		if !sameError(err, wantErr) || !sameError(sizeErr, wantErr) || size != wantSize {
			t.Fatalf("%d of %d bytes: %v, %v, %d; whole: %v, %d", end, len(b), err, sizeErr, size, wantErr, wantSize)
		}
	}
}

func sameError(a, b error) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Error() == b.Error()
}

// Any bytes in any pieces: Reader and reference agree.
func FuzzReader(f *testing.F) {
	for which := range byte(len(formats())) {
		for _, stream := range shortStreams(codecOf(formats()[which])) {
			f.Add(which, uint16(3), uint16(9), stream)
		}
	}
	f.Fuzz(func(t *testing.T, which byte, i, j uint16, stream []byte) {
		format := formats()[int(which)%len(formats())]
		from := min(int(i), len(stream))
		to := min(from+int(j), len(stream))
		want := referenceOutcome(codecOf(format), stream)
		chunks := func() *chunked { return &chunked{[][]byte{stream[:from], stream[from:to], stream[to:]}} }
		if got := readerOutcome(chunks(), format); got != want {
			t.Fatalf("got %s\nwant %s", got, want)
		}
		if got := readerOutcome(iotest.DataErrReader(chunks()), format); got != want {
			t.Fatalf("end together with data: got %s\nwant %s", got, want)
		}
	})
}
