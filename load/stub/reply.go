package stub

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/ringwire/ringwire/load/request"
	"github.com/ringwire/ringwire/load/wire"
)

// Reply says what a reply is. The zero value is the request's payload; a framing that marks
// replies has its mark set then.
type Reply struct {
	base  request.Source // nil: the request's payload
	rules []rule
}

const (
	rulesMax  = 64
	ruleLen   = 4096
	codesMax  = 256
	weightMax = 1e9
)

type how int

const (
	set    how = iota // overwrites bytes by one of the codes
	insert            // puts one of the codes between bytes
	add               // adds to a byte
	from              // copies bytes of the request
	size              // cuts the payload, or pads it with zeros
)

// rule changes a reply. Offsets count from a frame's first byte, of what the rules before
// have made.
type rule struct {
	text  string
	how   how
	at    int // of the reply
	len   int
	from  int // of the request
	add   byte
	codes []code
	// Of the payload, set by check.
	payloadAt, payloadFrom int
}

// code is one of several values and the share of all up to it.
type code struct {
	value []byte
	upTo  float64
}

const replyForm = "must be echo, data=TEXT, size=BYTES, off=7:+1, off=20,len=8,from=12, " +
	"off=8,len=2:00, or with weights off=8,len=2:00=97,51=3; insert behind the offset makes room"

// Parse adds what a text says: "echo", "data=TEXT" with ${hex:…} in it, "size=BYTES", or a
// rule about bytes: "off=8,len=2:00=97,51=3" sets one of several values by weight,
// "off=8,insert:00=97,51=3" puts it between, "off=7:+1" adds, and "off=20,len=8,from=12"
// copies bytes of the request. Values are text, or 0x and hexadecimal digits.
func (r *Reply) Parse(text string) error {
	if len(r.rules) == rulesMax {
		return fmt.Errorf("reply: more than %d rules", rulesMax)
	}
	if text == "echo" {
		r.base = nil
		return nil
	}
	if data, ok := strings.CutPrefix(text, "data="); ok {
		t, err := request.Compile(data, nil, 1)
		if err != nil {
			return fmt.Errorf("reply: %w", err)
		}
		r.base = t
		return nil
	}
	ru, err := parseRule(text)
	if err != nil {
		return fmt.Errorf("reply %q: %w", text, err)
	}
	r.rules = append(r.rules, ru)
	return nil
}

func parseRule(text string) (ru rule, err error) {
	ru = rule{text: text, at: -1, from: -1, len: -1}
	where, what, has := strings.Cut(text, ":")
	for part := range strings.SplitSeq(where, ",") {
		key, value, _ := strings.Cut(part, "=")
		n, bad := strconv.Atoi(value)
		switch {
		case part == "insert" && ru.how != from:
			ru.how = insert
		case bad != nil || n < 0:
			return ru, errors.New(replyForm)
		case key == "off":
			ru.at = n
		case key == "len":
			ru.len = n
		case key == "from" && ru.how != insert:
			ru.how, ru.from = from, n
		case key == "size" && where == part && !has:
			ru.how, ru.len = size, n
			return ru, nil
		default:
			return ru, errors.New(replyForm)
		}
	}
	switch {
	case ru.at < 0 || has != (ru.how != from) || ru.how == from && ru.len < 1:
		return ru, errors.New(replyForm)
	case ru.len > ruleLen:
		return ru, fmt.Errorf("len %d: must be at most %d", ru.len, ruleLen)
	case ru.how == from:
		return ru, nil
	case ru.how == set && (strings.HasPrefix(what, "+") || strings.HasPrefix(what, "-")):
		n, bad := strconv.Atoi(what)
		if bad != nil || n < -255 || n > 255 || ru.len > 1 {
			return ru, fmt.Errorf("%q: must be one byte and -255 to +255", what)
		}
		ru.how, ru.len, ru.add = add, 1, byte(n)
		return ru, nil
	}
	return ru, ru.parseCodes(what)
}

// parseCodes reads values with weights.
func (ru *rule) parseCodes(text string) error {
	total := 0.0
	for part := range strings.SplitSeq(text, ",") {
		value, share, weighted := strings.Cut(part, "=")
		weight := 1.0
		var err error
		if weighted {
			weight, err = strconv.ParseFloat(share, 64)
		}
		if err != nil || !(weight > 0 && weight <= weightMax) {
			return fmt.Errorf("weight %q: must be above 0", share)
		}
		b, err := request.ParseCode(value)
		if err != nil {
			return fmt.Errorf("value %q: %w", value, err)
		}
		if ru.len < 0 {
			ru.len = len(b)
		}
		if len(b) == 0 || len(b) > ruleLen || len(b) != ru.len {
			return fmt.Errorf("value %q: has %d bytes: must have len, %d, and one at least", value, len(b), ru.len)
		}
		total += weight
		ru.codes = append(ru.codes, code{b, total})
	}
	if len(ru.codes) > codesMax {
		return fmt.Errorf("%d values: must be at most %d", len(ru.codes), codesMax)
	}
	for i := range ru.codes {
		ru.codes[i].upTo /= total
	}
	return nil
}

// shape is what a client's framing asks of replies.
type shape struct {
	spec       wire.Spec // of a backend
	least      int       // payload bytes of the smallest reply
	most       int       // and of the largest
	leastFrame int
}

// newShape finds the smallest and the largest reply that both ends take.
func newShape(client, backend *wire.Codec) (shape, error) {
	sh := shape{spec: backend.Spec(), most: backend.MaxFrame() - backend.Overhead()}
	payload := make([]byte, 0, 64)
	for ; sh.least <= sh.most && sh.least < 4*ruleLen; sh.least++ {
		frame, err := backend.Append(nil, sh.spec.IDMin, payload)
		if err == nil {
			if n, bad := client.Size(frame); bad == nil && n == len(frame) {
				sh.leastFrame = n
				return sh, nil
			}
		}
		payload = append(payload, 0)
	}
	return sh, errors.New("framing: no frame can be a reply")
}

// payload returns where the byte of a frame is in its payload, id being the ID's offset. ok
// is false if length or ID have one of n bytes from there on.
func (sh *shape) payload(at, n, id int) (in int, ok bool) {
	in = at
	for _, f := range []wire.Field{sh.spec.Length, {Offset: id, Size: sh.spec.ID.Size}} {
		switch {
		case f.Size == 0:
		case f.End() <= at:
			in -= f.Size
		case f.Offset < at+max(n, 1):
			return 0, false
		}
	}
	return in, true
}

// check finds the rules' places in payloads.
func (r *Reply) check(sh shape) error {
	for i := range r.rules {
		ru := &r.rules[i]
		var ok, okFrom bool
		n := ru.len
		switch ru.how {
		case size:
			if n > sh.most {
				return fmt.Errorf("reply %q: must be at most %d bytes", ru.text, sh.most)
			}
			continue
		case insert:
			n = 1
		}
		ru.payloadAt, ok = sh.payload(ru.at, n, sh.spec.ID.Offset)
		ru.payloadFrom, okFrom = 0, true
		if ru.how == from {
			ru.payloadFrom, okFrom = sh.payload(ru.from, n, sh.spec.ReplyID)
		}
		if !ok || !okFrom {
			return fmt.Errorf("reply %q: length and ID have bytes there, and are written by the framing", ru.text)
		}
	}
	return nil
}

// append appends a reply's payload to dst, which is empty. skipped is how many rules it was
// too short for.
func (r *Reply) append(dst, request []byte, number uint64, sh *shape, rnd *rand.Rand) (_ []byte, skipped uint64) {
	if r.base == nil {
		dst = append(dst, request...)
		sh.mark(dst)
	} else {
		dst = r.base.Append(dst, number)
	}
	for i := range r.rules {
		var ok bool
		if dst, ok = r.rules[i].apply(dst, request, rnd); !ok {
			skipped++
		}
	}
	return resize(dst, min(max(len(dst), sh.least), sh.most)), skipped
}

// mark marks a payload as a reply's.
func (sh *shape) mark(payload []byte) {
	m := sh.spec.Reply
	if m.Mask == 0 {
		return
	}
	if at, ok := sh.payload(m.Offset, 1, sh.spec.ID.Offset); ok && at < len(payload) {
		payload[at] = payload[at]&^m.Mask | m.Value
	}
}

func (ru *rule) apply(b, request []byte, rnd *rand.Rand) ([]byte, bool) {
	at := ru.payloadAt
	switch ru.how {
	case size:
		return resize(b, ru.len), true
	case insert:
		value := ru.choose(rnd)
		if at > len(b) {
			return b, false
		}
		n := len(b)
		b = append(b, value...)
		copy(b[at+len(value):], b[at:n])
		copy(b[at:], value)
		return b, true
	case add:
		if at >= len(b) {
			return b, false
		}
		b[at] += ru.add
		return b, true
	}
	value := request[min(len(request), ru.payloadFrom):min(len(request), ru.payloadFrom+ru.len)]
	if ru.how == set {
		value = ru.choose(rnd)
	}
	if len(value) < ru.len || at+ru.len > len(b) {
		return b, false
	}
	copy(b[at:], value)
	return b, true
}

// choose picks a value by its weight.
func (ru *rule) choose(rnd *rand.Rand) []byte {
	u := 0.0
	if len(ru.codes) > 1 {
		u = rnd.Float64()
	}
	for i := range ru.codes {
		if u < ru.codes[i].upTo {
			return ru.codes[i].value
		}
	}
	return ru.codes[len(ru.codes)-1].value
}

// resize cuts b, or pads it with zeros.
func resize(b []byte, n int) []byte {
	if n <= len(b) {
		return b[:n]
	}
	return append(b, bytes.Repeat([]byte{0}, n-len(b))...)
}
