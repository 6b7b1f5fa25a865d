package request

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/ringwire/ringwire/load/wire"
)

const (
	// valueMax is the longest value that is cut out of a frame, in bytes.
	valueMax  = 1024
	valuesMax = 16
)

// Cut says which bytes of a frame are a value: Len of them at Offset; or those behind After
// up to Until, which are looked for behind length and ID; or the data of a Field of an ISO 8583
// message.
type Cut struct {
	Offset, Len  int // from the frame's first byte
	After, Until []byte
	Field        int
}

// check names what makes no sense.
func (c *Cut) check() error {
	ways := 0
	for _, one := range []bool{c.Len != 0, len(c.After) > 0, c.Field != 0} {
		if one {
			ways++
		}
	}
	switch {
	case ways != 1:
		return fmt.Errorf("must have one of len, after and field")
	case c.Len < 0 || c.Len > valueMax:
		return fmt.Errorf("len %d: must be 1 to %d bytes", c.Len, valueMax)
	case c.Offset < 0 || c.Offset > SizeMax:
		return fmt.Errorf("at %d: must be 0 to %d", c.Offset, SizeMax)
	case c.Offset > 0 && c.Len == 0:
		return fmt.Errorf("at %d: has no len", c.Offset)
	case len(c.Until) > 0 && len(c.After) == 0:
		return fmt.Errorf("until: has no after")
	case c.Field < 0 || c.Field == 1 || c.Field > 128:
		return fmt.Errorf("field %d: must be 2 to 128", c.Field)
	}
	return nil
}

// checkFor names what the framing does not have.
func (c *Cut) checkFor(codec *wire.Codec) error {
	if c.Field != 0 && len(codec.Spec().Message.Key) == 0 {
		return fmt.Errorf("field %d: the framing has no messages of ISO 8583: give --id iso8583:11 or the like", c.Field)
	}
	if end := c.Offset + c.Len; end > codec.MaxFrame() {
		return fmt.Errorf("at %d, len %d: must end at %d, with the largest frame", c.Offset, c.Len, codec.MaxFrame())
	}
	return nil
}

// Of returns the value, which is part of the frame; false if the frame has none, or one
// longer than 1024 bytes.
func (c *Cut) Of(codec *wire.Codec, frame []byte) (v []byte, ok bool) {
	switch {
	case c.Field != 0:
		if v, ok = codec.FindField(frame, c.Field); !ok {
			return nil, false
		}
	case len(c.After) > 0:
		v = frame[min(codec.Body(), len(frame)):]
		i := bytes.Index(v, c.After)
		if i < 0 {
			return nil, false
		}
		v = v[i+len(c.After):]
		if len(c.Until) > 0 {
			if i = bytes.Index(v, c.Until); i < 0 {
				return nil, false
			}
			v = v[:i]
		}
	default:
		if c.Offset+c.Len > len(frame) {
			return nil, false
		}
		v = frame[c.Offset : c.Offset+c.Len]
	}
	return v, len(v) <= valueMax
}

// Extract is a value with a name, for the templates of later steps.
type Extract struct {
	Name string
	Cut
}

// sizes returns how long the value is at least and at most.
func (c *Cut) sizes() (least, most int) {
	switch {
	case c.Field != 0:
		least, most = wire.FieldSize(c.Field)
		return least, min(most, valueMax)
	case c.Len > 0:
		return c.Len, c.Len
	}
	return 0, valueMax
}

var valueName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]*$`)

// reserved are the words of templates that could be names.
var reserved = []string{"seq", "rand", "hex", "stan", "req", "csv"}

// CheckExtracts names what makes no sense in the values of the steps of a flow.
func CheckExtracts(all []Extract) error {
	if len(all) > valuesMax {
		return fmt.Errorf("extract: %d values: must be 0 to %d", len(all), valuesMax)
	}
	for i, e := range all {
		switch {
		case !valueName.MatchString(e.Name):
			return fmt.Errorf("extract: name %q: must be a letter, and letters, digits, _ and -", clip(e.Name))
		case slices.Contains(reserved, e.Name):
			return fmt.Errorf("extract: the name %q is taken: %s mean something else", e.Name, strings.Join(reserved, ", "))
		case slices.ContainsFunc(all[:i], func(f Extract) bool { return f.Name == e.Name }):
			return fmt.Errorf("extract: there are two values %q", e.Name)
		}
		if err := e.check(); err != nil {
			return fmt.Errorf("extract %s: %w", e.Name, err)
		}
	}
	return nil
}

// From is what a payload may have of another frame.
type From struct {
	Codec  *wire.Codec
	Frame  []byte   // of a request of the peer's; nil: there is none
	Values [][]byte // that were extracted, by their index in the Scope
}

// Payload appends payload n of a source, which may have values of another frame in it.
func (f *From) Payload(dst []byte, s Source, n uint64) []byte {
	if t, ok := s.(*Template); ok && t.dependent {
		dst, _ = t.append(dst, n, anyRow, f) // only answers can fail
		return dst
	}
	return s.Append(dst, n)
}

// append adds what a part says; written is how much of the payload there is. Without
// anything to take it from a part is as many zeros as it has bytes at least.
func (f *From) append(dst []byte, p *part, written int) ([]byte, bool) {
	switch {
	case p.value > 0:
		if p.value <= len(f.Values) {
			dst = append(dst, f.Values[p.value-1]...)
		} else {
			dst = appendPadded(dst, 0, p.least)
		}
	case f.Frame == nil:
		dst = appendPadded(dst, 0, p.least)
	case p.rest:
		at := len(dst)
		dst = f.Codec.Payload(dst, f.Frame)
		kept := copy(dst[at:], dst[min(at+written, len(dst)):])
		dst = dst[:at+kept]
	default:
		v, ok := p.cut.Of(f.Codec, f.Frame)
		if !ok {
			return dst, false
		}
		dst = append(dst, v...)
	}
	return dst, true
}

// parseRequestPart reads what stands behind "req:".
func (sc Scope) parseRequestPart(arg string) (part, error) {
	if !sc.Answer {
		return part{}, fmt.Errorf("only an answer has a request of the peer's")
	}
	if arg == "rest" {
		return part{rest: true, most: SizeMax}, nil
	}
	first, second, _ := strings.Cut(arg, ":")
	c := &Cut{}
	n, err := strconv.Atoi(second)
	if first == "field" {
		c.Field = n
	} else {
		c.Len = n
		var bad error
		if c.Offset, bad = strconv.Atoi(first); bad != nil {
			err = bad
		}
	}
	if err != nil {
		return part{}, fmt.Errorf("must be req:OFFSET:LEN, req:field:N or req:rest")
	}
	least, most := c.sizes()
	return part{cut: c, least: least, most: most}, c.check()
}

// Answer is a rule: a request of the peer's that has certain bytes is answered so.
type Answer struct {
	Offset int // from the frame's first byte
	Is     []byte
	Reply  *Template // of a Scope with Answer
}

// Matches reports whether the rule is for a frame.
func (a *Answer) Matches(frame []byte) bool {
	end := a.Offset + len(a.Is)
	return end <= len(frame) && bytes.Equal(frame[a.Offset:end], a.Is)
}

// Check names what does not fit into the codec's frames.
func (a *Answer) Check(c *wire.Codec) error {
	switch {
	case len(a.Is) == 0:
		return fmt.Errorf("answer: no bytes to tell the peer's request by")
	case a.Offset < 0 || a.Offset+len(a.Is) > c.MaxFrame():
		return fmt.Errorf("answer: at %d: must be 0 to %d", a.Offset, c.MaxFrame()-len(a.Is))
	case c.Spec().Reply.Mask == 0:
		return fmt.Errorf("answer: nothing tells the peer's requests from replies in this framing: diameter, smpp, iso8583 and others do")
	}
	for _, p := range a.Reply.parts {
		if p.cut != nil {
			if err := p.cut.checkFor(c); err != nil {
				return fmt.Errorf("answer: %w", err)
			}
		}
	}
	if !a.Reply.dependent {
		_, most := a.Reply.Sizes()
		if err := c.CheckPayload(most); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
	}
	return nil
}

// Append appends the frame of the answer to a request of the peer's, n of them before, to
// dst; false if it cannot be made of that request. scratch is memory that it may use and
// returns, possibly grown.
func (a *Answer) Append(dst []byte, c *wire.Codec, frame []byte, n uint64, scratch []byte) (_ []byte, ok bool, _ []byte) {
	scratch, ok = a.Reply.append(scratch[:0], n, anyRow, &From{Codec: c, Frame: frame})
	if ok {
		dst, ok = c.AppendAnswer(dst, frame, scratch)
	}
	return dst, ok, scratch
}
