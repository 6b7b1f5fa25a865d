// Package wire reads and writes frames whose form is a table of integers: where the length
// stands and what it counts, where the ID stands in a request and in a reply. It also
// matches replies with requests. It does no input or output.
package wire

import (
	"errors"
	"fmt"
	"math"
)

const (
	offsetMax = 4096
	// frameMaxDefault bounds a frame whose length field can say more: a receiver has to be
	// ready to store as much for each connection.
	frameMaxDefault = 16 << 20
	frameMaxLimit   = 1 << 30
)

// Spec describes the frames of a protocol. All offsets count from a frame's first byte.
type Spec struct {
	Name string
	// Length is the field that says how long a frame is:
	// its bytes = Length.Offset + Length.Size + the field's value + Adjust.
	Length Field
	Adjust int
	// ID is the field of a request's ID. Size 0: there is none, and replies come in the
	// order of their requests.
	ID Field
	// ReplyID is the offset of the ID in a reply. Size and form are those of ID.
	ReplyID int
	// IDMin and IDMax bound the IDs; IDMax 0 is what the field holds.
	IDMin, IDMax uint64
	// MaxFrame is the largest frame in bytes, the length field counted in, in either
	// direction. 0 is what the length field can say, at most 16 MiB.
	MaxFrame int
	// Reply tells a reply from a request that the peer makes; zero: all are replies.
	Reply Mark
	// Message, if it has a key, says that the ID is in a field of an ISO 8583 message. New
	// chooses ID then, and Reply unless it is set: by the third digit of the message type.
	Message Message
}

// Mark is a test of one byte of a frame: it is masked and compared.
type Mark struct {
	Offset      int
	Mask, Value byte // Mask 0: the test always holds
}

// Ordered reports whether replies are matched by their order.
func (s *Spec) Ordered() bool { return s.ID.Size == 0 }

// IDs is how many different IDs there are; it is at most 1<<63.
func (s *Spec) IDs() uint64 {
	if s.Ordered() {
		return 1 << 63
	}
	return min(s.idMax()-s.IDMin, 1<<63-1) + 1
}

func (s *Spec) idMax() uint64 {
	if s.IDMax > 0 {
		return s.IDMax
	}
	return s.ID.max()
}

// Codec encodes and decodes the frames of a Spec. It is immutable.
type Codec struct {
	spec     Spec
	replyID  Field
	maxFrame int
	minReply int // bytes that every frame of the peer has: its fields
	holes    [2]Field
	nHoles   int
	before   int     // payload bytes of a request that stand before its last field
	iso      *walker // nil: frames hold no ISO 8583 message
}

// New returns the codec of a spec, or an error that names the field of the spec, its value
// and the range.
func New(s Spec) (*Codec, error) {
	c := &Codec{}
	if len(s.Message.Key) > 0 {
		if err := c.findMessage(&s); err != nil {
			return nil, fmt.Errorf("framing: %w", err)
		}
	}
	c.spec, c.replyID = s, s.ID
	c.replyID.Offset = s.ReplyID
	if err := c.validateFields(); err != nil {
		return nil, fmt.Errorf("framing: %w", err)
	}
	c.holes[0], c.nHoles = s.Length, 1
	if !s.Ordered() && c.iso == nil {
		c.holes[1], c.nHoles = s.ID, 2
		if s.ID.Offset < s.Length.Offset {
			c.holes[0], c.holes[1] = c.holes[1], c.holes[0]
		}
	}
	last := c.holes[c.nHoles-1]
	c.before = last.Offset
	if c.nHoles == 2 {
		c.before -= c.holes[0].Size
	}
	c.minReply = max(s.Length.End(), c.replyID.End())
	if c.iso != nil {
		c.minReply = s.Length.End() // a frame without a message is a sign of life
	} else if s.Reply.Mask != 0 {
		c.minReply = max(c.minReply, s.Reply.Offset+1)
	}
	if err := c.boundFrames(); err != nil {
		return nil, fmt.Errorf("framing: %w", err)
	}
	return c, nil
}

// findMessage has the ID looked for in a message.
func (c *Codec) findMessage(s *Spec) (err error) {
	if c.iso, err = newWalker(s.Message, s.Length); err != nil {
		return err
	}
	s.ID, s.ReplyID = c.iso.idField(), 0
	if s.IDMin == 0 && s.IDMax == 0 {
		s.IDMin = 1 // a STAN of zeros is none
	}
	if s.Reply.Mask == 0 {
		s.Reply = Mark{c.iso.Offset + 2, 1, 1} // requests are even
	}
	return nil
}

func (c *Codec) validateFields() error {
	s := &c.spec
	if err := s.Length.validate("length"); err != nil {
		return err
	}
	if s.Adjust < -offsetMax || s.Adjust > offsetMax {
		return fmt.Errorf("length adjustment %d: must be %d to %d", s.Adjust, -offsetMax, offsetMax)
	}
	if s.Reply.Offset < 0 || s.Reply.Offset > offsetMax {
		return fmt.Errorf("reply mark: off %d: must be 0 to %d", s.Reply.Offset, offsetMax)
	}
	if s.Ordered() {
		c.replyID = Field{}
		return nil
	}
	if c.iso != nil {
		return c.validateIDs()
	}
	if err := s.ID.validate("id"); err != nil {
		return err
	}
	if err := c.replyID.validate("reply's id"); err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		at   Field
	}{{"id", s.ID}, {"reply's id", c.replyID}} {
		if f.at.overlaps(s.Length) {
			return fmt.Errorf("%s %v: overlaps the length %v", f.name, f.at, s.Length)
		}
	}
	return c.validateIDs()
}

func (c *Codec) validateIDs() error {
	s := &c.spec
	switch {
	case s.IDMax > s.ID.max():
		return fmt.Errorf("id: largest %d: %d bytes of form %s hold at most %d", s.IDMax, s.ID.Size, s.ID.Form, s.ID.max())
	case s.IDMin > s.idMax():
		return fmt.Errorf("id: smallest %d: must be at most %d", s.IDMin, s.idMax())
	}
	return nil
}

func (c *Codec) boundFrames() error {
	s := &c.spec
	// As a float: a length of eight bytes overflows everything else.
	largest := float64(s.Length.End()+s.Adjust) + float64(s.Length.max())
	if least := max(c.minReply, c.minRequest()); largest < float64(least) {
		return fmt.Errorf("length %v: a frame has at most %.0f bytes, less than the %d that its fields take", s.Length, largest, least)
	}
	switch least := max(c.minReply, c.minRequest()); {
	case s.MaxFrame == 0:
		c.maxFrame = int(min(largest, frameMaxDefault))
	case s.MaxFrame < least || s.MaxFrame > frameMaxLimit:
		return fmt.Errorf("largest frame %d: must be %d to %d bytes", s.MaxFrame, least, frameMaxLimit)
	default:
		c.maxFrame = int(min(largest, float64(s.MaxFrame)))
	}
	return nil
}

// minRequest is the size of the smallest request: up to its last field.
func (c *Codec) minRequest() int { return c.holes[c.nHoles-1].End() }

// Spec returns what the codec was made of.
func (c *Codec) Spec() Spec { return c.spec }

// MaxFrame is the largest frame in bytes.
func (c *Codec) MaxFrame() int { return c.maxFrame }

// Overhead is how many bytes of a request are not payload: length and ID.
func (c *Codec) Overhead() int {
	if c.iso != nil {
		return c.spec.Length.Size
	}
	return c.spec.Length.Size + c.spec.ID.Size
}

// ErrPayload is wrapped by the errors of payloads that no frame holds.
var ErrPayload = errors.New("payload")

// holds is CheckPayload without the reason.
func (c *Codec) holds(n int) bool {
	total := n + c.Overhead()
	return n >= c.before && total <= c.maxFrame && total >= c.spec.Length.End()+c.spec.Adjust
}

// CheckPayload returns an error that wraps ErrPayload if no request holds a payload of n
// bytes.
func (c *Codec) CheckPayload(n int) error {
	total := n + c.Overhead()
	switch {
	case n < c.before:
		return fmt.Errorf("%w of %d bytes: must have %d at least, which stand before the last of length and ID", ErrPayload, n, c.before)
	case total > c.maxFrame:
		return fmt.Errorf("%w of %d bytes: must have %d at most, which is what a frame of %d holds", ErrPayload, n, c.maxFrame-c.Overhead(), c.maxFrame)
	case total < c.spec.Length.End()+c.spec.Adjust:
		return fmt.Errorf("%w of %d bytes: must have %d at least, or the length would be negative",
			ErrPayload, n, c.spec.Length.End()+c.spec.Adjust-c.Overhead())
	}
	return nil
}

// Append appends the request of that ID and payload to dst. The payload is all of the
// frame but length and ID, in order; the ID of an ISO 8583 message replaces the field that
// the payload has for it. The ID is one of the spec's; without IDs it is not looked at. On
// an error, that of CheckPayload or one that wraps a *FieldError too, it returns dst as it was.
func (c *Codec) Append(dst []byte, id uint64, payload []byte) ([]byte, error) {
	if err := c.CheckPayload(len(payload)); err != nil {
		return dst, err
	}
	start := len(dst)
	dst = c.spread(dst, payload)
	if err := c.seal(dst[start:], id); err != nil {
		return dst[:start], fmt.Errorf("%w: %w", ErrPayload, err)
	}
	return dst, nil
}

// spread appends a payload with room for length and ID.
func (c *Codec) spread(dst, payload []byte) []byte {
	var gap [sizeMax]byte
	at := 0 // of the frame
	for _, hole := range c.holes[:c.nHoles] {
		n := hole.Offset - at
		dst = append(dst, payload[:n]...)
		dst = append(dst, gap[:hole.Size]...)
		payload = payload[n:]
		at = hole.End()
	}
	return append(dst, payload...)
}

// seal writes length and ID into a frame.
func (c *Codec) seal(frame []byte, id uint64) error {
	s := &c.spec
	s.Length.put(frame, uint64(len(frame)-s.Length.End()-s.Adjust))
	switch {
	case s.Ordered():
	case c.iso != nil:
		at, _, f := c.iso.key(frame)
		if f.why != noFault {
			return f.of(frame)
		}
		at.put(frame, id)
	default:
		s.ID.put(frame, id)
	}
	return nil
}

// IDField is where the ID is in a request's frame, or in a reply's; Size 0: nowhere. Its
// error is a *FieldError.
func (c *Codec) IDField(frame []byte, reply bool) (Field, error) {
	switch {
	case c.iso != nil:
		at, _, f := c.iso.key(frame)
		if f.why != noFault {
			return Field{}, f.of(frame)
		}
		return at, nil
	case reply:
		return c.replyID, nil
	}
	return c.spec.ID, nil
}

// Key sums up the fields of a request by which its reply is matched beside its ID. It is
// that of the reply's Frame.
func (c *Codec) Key(frame []byte) uint64 {
	if c.iso == nil || len(c.iso.Key) == 1 {
		return 0
	}
	_, sum, _ := c.iso.key(frame)
	return sum
}

// A LengthError says that a peer's length field makes no frame.
type LengthError struct {
	Field []byte  // a copy of the field
	Size  float64 // of the frame that it says, in bytes; NaN: the field is not a number
	Min   int
	Max   int
}

func (e *LengthError) Error() string {
	if math.IsNaN(e.Size) {
		return fmt.Sprintf("length field % x: not a number of its form", e.Field)
	}
	return fmt.Sprintf("length field % x: a frame of %.0f bytes: must be %d to %d", e.Field, e.Size, e.Min, e.Max)
}

// Size returns the size of the frame that b begins with, 0 if b does not tell yet, or a
// *LengthError.
func (c *Codec) Size(b []byte) (int, error) {
	s := &c.spec
	if len(b) < s.Length.End() {
		return 0, nil
	}
	v, ok := s.Length.Get(b)
	if ok && v <= uint64(c.maxFrame)+offsetMax {
		if n := s.Length.End() + int(v) + s.Adjust; n >= c.minReply && n <= c.maxFrame {
			return n, nil
		}
	}
	e := &LengthError{
		Field: append([]byte(nil), b[s.Length.Offset:s.Length.End()]...),
		Size:  float64(s.Length.End()+s.Adjust) + float64(v), Min: c.minReply, Max: c.maxFrame,
	}
	if !ok {
		e.Size = math.NaN()
	}
	return 0, e
}
