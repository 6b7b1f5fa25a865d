package request

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ringwire/ringwire/load/wire"
)

// Expect is what a reply's payload must be. The zero value takes any.
type Expect struct {
	how  how
	want []byte
	size int
	from int // of the request's payload: what repeats begins with; size is how much, 0: all behind it
}

type how int

const (
	anything how = iota
	echo
	equal
	prefix
	contains
	size
	repeats
)

// ParseExpect reads what is expected: "any", "echo" (the request's payload), "equal:",
// "prefix:" or "contains:" and a text, which may have ${hex:…} in it, "size:" and a
// number of bytes, or "repeats:off=10,len=4": bytes of the request's payload, anywhere in the
// reply's; without len, all from off.
func ParseExpect(s string) (Expect, error) {
	name, arg, has := strings.Cut(s, ":")
	hows := map[string]how{"any": anything, "echo": echo, "equal": equal, "prefix": prefix, "contains": contains, "size": size, "repeats": repeats}
	e := Expect{how: hows[name]}
	_, known := hows[name]
	switch {
	case !known || has != (e.how >= equal):
		return e, fmt.Errorf("expect %q: must be any, echo, equal:TEXT, prefix:TEXT, contains:TEXT, size:BYTES or repeats:off=10,len=4", clip(s))
	case e.how == size:
		n, err := strconv.Atoi(arg)
		if err != nil || n < 0 {
			return e, fmt.Errorf("expect size %q: must be a number of bytes", clip(arg))
		}
		e.size = n
	case e.how == repeats:
		return e, e.parseRepeats(arg)
	case has:
		t, err := Compile(arg, nil, 0)
		if err != nil {
			return e, fmt.Errorf("expect: %w", err)
		}
		if least, most := t.Sizes(); least != most || len(t.parts) > 1 || len(t.parts) == 1 && t.parts[0].literal == nil {
			return e, fmt.Errorf("expect: must be the same for every reply: only ${hex:…} may stand in it")
		}
		e.want = t.Append(nil, 0)
	}
	return e, nil
}

// parseRepeats reads off=10,len=4; both may be left out.
func (e *Expect) parseRepeats(text string) error {
	for part := range strings.SplitSeq(text, ",") {
		key, value, _ := strings.Cut(part, "=")
		n, err := strconv.Atoi(value)
		switch {
		case key == "off" && err == nil && n >= 0 && n < SizeMax:
			e.from = n
		case key == "len" && err == nil && n > 0 && n <= SizeMax:
			e.size = n
		default:
			return fmt.Errorf("expect repeats %q: must look like off=10,len=4, bytes of the request's payload", clip(text))
		}
	}
	return nil
}

// check returns an error if the smallest payload of the source has not what replies are to
// repeat.
func (e *Expect) check(s Source) error {
	if e.how != repeats {
		return nil
	}
	if least, _ := s.Sizes(); least < e.from+max(e.size, 1) {
		return fmt.Errorf("expect repeats: off %d, len %d: a payload has only %d bytes", e.from, max(e.size, 1), least)
	}
	return nil
}

// Holds reports whether the payload of the reply is what was expected, for request n of
// the source, made of from. scratch is memory that it may use and returns, possibly grown.
func (e *Expect) Holds(c *wire.Codec, frame []byte, s Source, n uint64, from *From, scratch []byte) (holds bool, _ []byte) {
	switch e.how {
	case anything:
		return true, scratch
	case echo:
		scratch = from.Payload(scratch[:0], s, n)
		return c.SamePayload(frame, scratch), scratch
	case equal:
		return c.SamePayload(frame, e.want), scratch
	case repeats:
		scratch = from.Payload(scratch[:0], s, n)
		request := len(scratch)
		scratch = c.Payload(scratch, frame)
		end := request
		if e.size > 0 {
			end = e.from + e.size
		}
		return bytes.Contains(scratch[request:], scratch[e.from:end]), scratch
	}
	scratch = c.Payload(scratch[:0], frame)
	switch e.how {
	case prefix:
		return bytes.HasPrefix(scratch, e.want), scratch
	case contains:
		return bytes.Contains(scratch, e.want), scratch
	}
	return len(scratch) == e.size, scratch
}

// statusMax is the longest status in bytes.
const statusMax = 16

// Status is where a reply says whether its request was refused. The zero value is nowhere.
type Status struct {
	Offset int // from the frame's first byte
	Len    int // 0: there is none
	OK     [][]byte
}

func (s *Status) check(c *wire.Codec) error {
	if s.Len == 0 {
		return nil
	}
	switch end := s.Offset + s.Len; {
	case s.Len < 0 || s.Len > statusMax:
		return fmt.Errorf("status: len %d: must be 1 to %d bytes", s.Len, statusMax)
	case s.Offset < 0 || end > c.MaxFrame():
		return fmt.Errorf("status: off %d: must be 0 to %d", s.Offset, c.MaxFrame()-s.Len)
	case len(s.OK) == 0:
		return fmt.Errorf("status: no value is success: give one with --ok")
	}
	for _, ok := range s.OK {
		if len(ok) != s.Len {
			return fmt.Errorf("status: the value %s has %d bytes: must have %d", CodeName(ok), len(ok), s.Len)
		}
	}
	return nil
}

// Of returns the status of a reply, nil if the frame ends before it; it is part of the
// frame. ok says that it is one of OK.
func (s *Status) Of(frame []byte) (code []byte, ok bool) {
	if s.Offset+s.Len > len(frame) {
		return nil, false
	}
	code = frame[s.Offset : s.Offset+s.Len]
	return code, slices.ContainsFunc(s.OK, func(want []byte) bool { return bytes.Equal(want, code) })
}

// CodeName is how a status is shown: its text if that is letters and digits, else in hex.
func CodeName(code []byte) string {
	for _, c := range code {
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return fmt.Sprintf("0x%x", code)
		}
	}
	return string(code)
}

// ParseCode reads a status as CodeName writes it.
func ParseCode(s string) ([]byte, error) {
	if digits, ok := strings.CutPrefix(s, "0x"); ok {
		return ParseHex(digits)
	}
	return []byte(s), nil
}
