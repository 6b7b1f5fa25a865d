package framing_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/taskid"
)

// reference decodes a stream a byte at a time, by docs/PROTOCOL.md alone: slow,
// obvious, and sharing no line with the package.
type reference struct {
	lengthSize, limit int

	have    int    // bytes of the current frame so far
	length  int64  // value of the length field so far
	id      uint32 // task ID so far
	payload []byte

	frames []string
	bad    int64 // the length that ended the stream; -1 = none
}

func newReference(c codec) *reference {
	return &reference{lengthSize: c.lengthSize(), limit: c.limit(), bad: -1}
}

func (r *reference) feed(c byte) {
	if r.bad >= 0 {
		return
	}
	switch {
	case r.have < r.lengthSize:
		r.length = r.length*256 + int64(c)
	case r.have < r.lengthSize+4:
		r.id = r.id*256 + uint32(c)
	default:
		r.payload = append(r.payload, c)
	}
	r.have++
	if r.have == r.lengthSize && (r.length < 4 || r.length > int64(r.limit)) {
		r.bad = r.length
		return
	}
	if r.have >= r.lengthSize && int64(r.have) == int64(r.lengthSize)+r.length {
		r.frames = append(r.frames, describe(framing.Frame{ID: taskid.ID(r.id), Payload: r.payload}))
		r.have, r.length, r.id, r.payload = 0, 0, 0, nil
	}
}

// outcome is what a decoder made of a stream, for comparison.
func (r *reference) outcome() string {
	end := "clean end"
	if r.have > 0 {
		end = "end inside a frame"
	}
	if r.bad >= 0 {
		end = fmt.Sprint("bad length ", r.bad)
	}
	return fmt.Sprint(r.frames, end)
}

func describe(f framing.Frame) string { return fmt.Sprintf("%08x:%x", uint32(f.ID), f.Payload) }

func referenceOutcome(c codec, stream []byte) string {
	r := newReference(c)
	for _, b := range stream {
		r.feed(b)
	}
	return r.outcome()
}

// parseOutcome feeds the chunks to Parse as an event loop would: all that has
// arrived is parsed, the rest is kept.
func parseOutcome(c codec, chunks [][]byte) string {
	var frames []string
	var rest []byte
	for _, chunk := range chunks {
		rest = append(rest, chunk...)
		for {
			frame, n, err := c.parse(rest)
			if err != nil {
				return fmt.Sprint(frames, endOf(err))
			}
			if n == 0 {
				break
			}
			frames = append(frames, describe(frame))
			rest = rest[n:]
		}
	}
	if len(rest) > 0 {
		return fmt.Sprint(frames, endOf(io.ErrUnexpectedEOF))
	}
	return fmt.Sprint(frames, endOf(io.EOF))
}

// readerOutcome reads the source to its end.
func readerOutcome(src io.Reader, format framing.Format) string {
	r := framing.NewReader(src, format)
	var frames []string
	for {
		frame, err := r.ReadFrame()
		if err != nil {
			return fmt.Sprint(frames, endOf(err))
		}
		frames = append(frames, describe(frame))
	}
}

func endOf(err error) string {
	var length *framing.LengthError
	switch {
	case err == io.EOF:
		return "clean end"
	case err == io.ErrUnexpectedEOF:
		return "end inside a frame"
	case errors.As(err, &length) && errors.Is(err, framing.ErrInvalidMsgLength):
		return fmt.Sprint("bad length ", length.Length)
	}
	return "unexpected: " + err.Error()
}

// chunked is a source that returns one chunk at a time, then io.EOF.
type chunked struct{ chunks [][]byte }

func (c *chunked) Read(p []byte) (int, error) {
	for len(c.chunks) > 0 && len(c.chunks[0]) == 0 {
		c.chunks = c.chunks[1:]
	}
	if len(c.chunks) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.chunks[0])
	c.chunks[0] = c.chunks[0][n:]
	return n, nil
}

// shortStreams returns streams that differ in how they end.
func shortStreams(c codec) [][]byte {
	var whole []byte
	for i, payload := range []string{"abc", "", "d"} {
		whole, _ = c.append(whole, taskid.ID(0x01020304*(i+1)), []byte(payload))
	}
	join := func(tail []byte) []byte { return append(bytes.Clone(whole), tail...) }
	return [][]byte{
		nil,
		whole,
		join(c.header(6, 9)[:1]),
		join(c.header(6, 9)[:c.lengthSize()]),
		join(append(c.header(6, 9), 'x')),
		join(append(c.header(3, 9), "xyz"...)),
		join(append(c.header(0, 9), "xyz"...)),
		join(append(c.header(0xffffffff, 9), "xyz"...)),
	}
}

func TestEverySplitOfAShortStreamDecodesAlike(t *testing.T) {
	for _, format := range formats() {
		c := codecOf(format)
		for _, stream := range shortStreams(c) {
			want := referenceOutcome(c, stream)
			for i := 0; i <= len(stream); i++ {
				for j := i; j <= len(stream); j++ {
					chunks := func() [][]byte { return [][]byte{stream[:i], stream[i:j], stream[j:]} }
					if got := parseOutcome(c, chunks()); got != want {
						t.Fatalf("%+v: Parse of %x cut at %d, %d:\n got %s\nwant %s", format, stream, i, j, got, want)
					}
					if got := readerOutcome(&chunked{chunks()}, format); got != want {
						t.Fatalf("%+v: Reader of %x cut at %d, %d:\n got %s\nwant %s", format, stream, i, j, got, want)
					}
				}
			}
		}
	}
}

// The reference is only worth something if it tells these apart.
func TestReferenceTellsStreamsApart(t *testing.T) {
	for _, c := range codecs() {
		seen := map[string]bool{}
		for _, stream := range shortStreams(c)[:6] {
			seen[referenceOutcome(c, stream)] = true
		}
		if len(seen) != 4 {
			t.Errorf("%s: outcomes %v, want nothing, clean, incomplete, bad", c.name, seen)
		}
	}
}
