package wire

import (
	"bytes"
	"fmt"
)

// Frame is one that a peer sent. It and its Bytes belong to the Decoder and are valid until
// its next call.
type Frame struct {
	Bytes []byte // the whole frame
	ID    uint64
	// IDValid is false if the ID's bytes are no number of its form, and without IDs.
	IDValid bool
	// Key sums up the other fields by which it is matched; see Codec.Key.
	Key uint64
	// Request says that it is no reply but a request of the peer's.
	Request bool
}

// fill reads the fields of a whole frame.
func (c *Codec) fill(f *Frame, b []byte) {
	*f = Frame{Bytes: b}
	if c.iso != nil {
		c.message(f)
		return
	}
	if mark := c.spec.Reply; b[mark.Offset]&mark.Mask != mark.Value {
		f.Request = true
	}
	if !c.spec.Ordered() {
		f.ID, f.IDValid = c.replyID.Get(b)
	}
}

// message is fill where frames hold ISO 8583 messages.
func (c *Codec) message(f *Frame) {
	mark := c.spec.Reply
	if len(f.Bytes) <= mark.Offset {
		f.Request = len(f.Bytes) == c.spec.Length.End() // nothing but a sign of life
		return
	}
	f.Request = f.Bytes[mark.Offset]&mark.Mask != mark.Value
	at, key, bad := c.iso.key(f.Bytes)
	if bad.why == noFault {
		f.Key = key
		f.ID, f.IDValid = at.Get(f.Bytes)
	}
}

// Payload appends the payload of a peer's frame to dst: all but its length and ID, in
// order. An ISO 8583 message is whole, with its ID.
func (c *Codec) Payload(dst, frame []byte) []byte {
	a, b, d := c.pieces(frame)
	return append(append(append(dst, a...), b...), d...)
}

// SamePayload reports whether the payload of a peer's frame is that.
func (c *Codec) SamePayload(frame, payload []byte) bool {
	if c.iso != nil {
		return c.sameMessage(frame, payload)
	}
	a, b, d := c.pieces(frame)
	if len(a)+len(b)+len(d) != len(payload) {
		return false
	}
	return bytes.Equal(a, payload[:len(a)]) && bytes.Equal(b, payload[len(a):len(a)+len(b)]) &&
		bytes.Equal(d, payload[len(a)+len(b):])
}

// sameMessage is SamePayload where the payload has a field for the ID: what is in it is of
// no interest.
func (c *Codec) sameMessage(frame, payload []byte) bool {
	length := c.spec.Length
	if len(frame) != len(payload)+length.Size {
		return false
	}
	id, _, _ := c.iso.key(frame)
	for i, got := range frame {
		switch {
		case i < length.Offset && got != payload[i],
			i >= length.End() && (i < id.Offset || i >= id.End()) && got != payload[i-length.Size]:
			return false
		}
	}
	return true
}

// Body is the offset in a peer's frame that is behind its length and its ID, wherever they
// stand; that of an ISO 8583 message is behind the length.
func (c *Codec) Body() int {
	if c.iso != nil {
		return c.spec.Length.End()
	}
	return max(c.spec.Length.End(), c.replyID.End())
}

// RequestPayload appends the payload of a request's frame to dst, as Payload does of a
// peer's. It returns an error if the bytes are not one frame.
func (c *Codec) RequestPayload(dst, frame []byte) ([]byte, error) {
	n, err := c.Size(frame)
	if err != nil {
		return dst, err
	}
	if n != len(frame) || n < c.minRequest() {
		return dst, fmt.Errorf("%d bytes: no request, whose length would say as many and that has its ID", len(frame))
	}
	id := c.spec.ID
	if c.iso != nil {
		id = Field{}
	}
	a, b, d := cut(frame, c.spec.Length, id)
	return append(append(append(dst, a...), b...), d...), nil
}

// pieces cuts a peer's frame at its length and its ID.
func (c *Codec) pieces(frame []byte) (a, b, d []byte) {
	if c.iso != nil {
		return cut(frame, c.spec.Length, Field{})
	}
	return cut(frame, c.spec.Length, c.replyID)
}

// cut takes two fields out of a frame; the second may be none.
func cut(frame []byte, first, second Field) (a, b, d []byte) {
	if second.Size == 0 {
		second = Field{Offset: first.End()}
	}
	if second.Offset < first.Offset {
		first, second = second, first
	}
	return frame[:first.Offset], frame[first.End():second.Offset], frame[second.End():]
}

const (
	bufferMin = 4 << 10
	// readMax is how far the buffer grows because reads fill it. For a frame it grows to
	// the frame's size.
	readMax = 64 << 10
)

// Decoder cuts a stream into frames. The goroutine that reads asks for Room, reads into
// it, tells with Filled how much that was, and takes frames with Next until there is none.
// It is not safe for concurrent use.
type Decoder struct {
	codec *Codec
	buf   []byte
	// buf[head:tail] was read and not returned.
	head, tail int
	frame      Frame
}

// NewDecoder returns a decoder. Its buffer has 4 KiB and grows while reads fill it, or
// frames are longer, never past the largest frame or 64 KiB.
func NewDecoder(c *Codec) *Decoder { return &Decoder{codec: c, buf: make([]byte, bufferMin)} }

// Room returns where to read into; it is never empty. It invalidates frames.
func (d *Decoder) Room() []byte {
	if d.head > 0 {
		d.tail = copy(d.buf, d.buf[d.head:d.tail])
		d.head = 0
	}
	if d.tail == len(d.buf) {
		d.grow()
	}
	return d.buf[d.tail:]
}

// grow doubles the buffer, which is full. It holds less than a whole frame, or the first
// byte behind the largest one.
func (d *Decoder) grow() {
	grown := make([]byte, min(2*len(d.buf), max(readMax, d.codec.maxFrame)+1))
	copy(grown, d.buf[:d.tail])
	d.buf = grown
}

// Filled says that n bytes were read into Room.
func (d *Decoder) Filled(n int) {
	d.tail += n
	if d.tail == len(d.buf) && len(d.buf) < readMax {
		d.grow()
	}
}

// Next returns the next whole frame, nil if there is none yet, or the *LengthError that
// ends the stream.
func (d *Decoder) Next() (*Frame, error) {
	n, err := d.codec.Size(d.buf[d.head:d.tail])
	if n == 0 || n > d.tail-d.head {
		return nil, err
	}
	d.codec.fill(&d.frame, d.buf[d.head:d.head+n:d.head+n])
	d.head += n
	return &d.frame, nil
}

// Rest is what was read and is no whole frame yet. It is valid until the next call.
func (d *Decoder) Rest() []byte { return d.buf[d.head:d.tail] }

// Reset forgets what was read.
func (d *Decoder) Reset() { d.head, d.tail = 0, 0 }
