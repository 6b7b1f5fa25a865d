package wire

import "errors"

// Field returns the data of a field of the ISO 8583 message in a frame, which is part of the
// frame, or an error. Field 0 is the message type.
func (c *Codec) Field(frame []byte, field int) ([]byte, error) {
	if c.iso == nil {
		return nil, errors.New("no ISO 8583 message: the framing has no iso8583 ID")
	}
	at, f := c.iso.find(frame, field)
	switch {
	case f.why != noFault:
		return nil, f.of(frame)
	case at.end == 0:
		return nil, &FieldError{field, "it is not in the message"}
	}
	return frame[at.at:at.end], nil
}

// FindField is Field without the reason.
func (c *Codec) FindField(frame []byte, field int) (data []byte, ok bool) {
	if c.iso == nil {
		return nil, false
	}
	at, f := c.iso.find(frame, field)
	return frame[at.at:at.end], f.why == noFault && at.end > 0
}

// Fields calls f for each field of the ISO 8583 message in a frame, in order, with where its
// data is in the frame; field 0 is the message type. It returns an error where that is no
// message any more.
func (c *Codec) Fields(frame []byte, f func(field, at int, data []byte)) error {
	if c.iso == nil {
		return errors.New("no ISO 8583 message: the framing has no iso8583 ID")
	}
	bad := c.iso.walk(frame, isoFieldMax, func(field int, s span) {
		if field == 0 {
			s.end = s.at + isoTypeSize
		}
		f(field, s.at, frame[s.at:s.end])
	})
	return bad.of(frame)
}

// find returns where a field is.
func (w *walker) find(b []byte, wanted int) (at span, f fault) {
	f = w.walk(b, wanted, func(field int, s span) {
		if field == wanted {
			at = s
		}
	})
	if wanted == 0 && at.end > 0 {
		at.end = at.at + isoTypeSize // a key has the first half
	}
	return at, f
}

// AppendAnswer appends the frame of an answer to a request that the peer made to dst, with
// the ID of that; false if no frame holds the payload. An ISO 8583 message has the ID if
// both have its field.
func (c *Codec) AppendAnswer(dst, request, payload []byte) (_ []byte, ok bool) {
	if !c.holds(len(payload)) || len(request) < c.minReply {
		return dst, false
	}
	start := len(dst)
	dst = c.spread(dst, payload)
	frame := dst[start:]
	c.spec.Length.put(frame, uint64(len(frame)-c.spec.Length.End()-c.spec.Adjust))
	switch {
	case c.iso != nil:
		from, f := c.iso.find(request, c.iso.id)
		to, g := c.iso.find(frame, c.iso.id)
		if f.why == noFault && g.why == noFault && from.end > 0 && to.end > 0 {
			copy(frame[to.at:to.end], request[from.at:from.end])
		}
	case !c.spec.Ordered():
		copy(frame[c.spec.ID.Offset:c.spec.ID.End()], request[c.replyID.Offset:c.replyID.End()])
	}
	return dst, true
}
