package wire

import (
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

// Message says that frames hold an ISO 8583 message, of 1987 and in ASCII, and that the ID
// is one of its fields, which have no fixed offsets. The zero value says that they do not.
type Message struct {
	// Key are the fields by which a reply is matched, since it repeats them. The first of
	// 11 (STAN) and 37 (retrieval reference number) among them holds the ID, a number that
	// is written into each request; the others must be in every request and reply. 0 is the
	// first two digits of the message type, version and class. None: no message.
	Key []int
	// Offset is where the message type stands; 0: behind the length.
	Offset int
	// Binary says that a bitmap, and fields 52, 64 and 128, are 8 bytes and not 16
	// hexadecimal digits.
	Binary bool
}

const (
	isoKeyMax   = 8
	isoFieldMax = 128
	isoTypeSize = 4
)

// isoStan and isoReference are the fields that can hold an ID.
const (
	isoStan      = 11
	isoReference = 37
	isoPIN       = 52
)

// isoSize is how long a field is: most bytes, or up to most and before them as many digits
// that say how many there are.
type isoSize struct{ digits, most int }

// isoSizes are those of the specification of 1987, from field 2 on. A size of 0 is that of a
// bitmap.
var isoSizes = func() (sizes [isoFieldMax + 1]isoSize) {
	fixed := []int{ // of 3 to 31
		6, 12, 12, 12, 10, 8, 8, 8, 6, 6, 4, 4, 4, 4, 4, 4, 3, 3, 3, 3, 3, 3, 2, 2, 1, 9, 9, 9, 9}
	for i, n := range fixed {
		sizes[3+i].most = n
	}
	for field, n := range map[int]int{37: 12, 38: 6, 39: 2, 40: 3, 41: 8, 42: 15, 43: 40, 49: 3, 50: 3, 51: 3, 53: 16,
		66: 1, 67: 2, 68: 3, 69: 3, 70: 3, 71: 4, 72: 4, 73: 6, 74: 10, 75: 10, 76: 10, 77: 10, 78: 10, 79: 10, 80: 10, 81: 10,
		82: 12, 83: 12, 84: 12, 85: 12, 86: 16, 87: 16, 88: 16, 89: 16, 90: 42, 91: 1, 92: 2, 93: 5, 94: 7, 95: 42, 96: 8, 97: 17, 98: 25} {
		sizes[field].most = n
	}
	for field, n := range map[int]int{2: 19, 32: 11, 33: 11, 34: 28, 35: 37, 44: 99, 45: 76, 99: 11, 100: 11, 101: 17, 102: 28, 103: 28} {
		sizes[field] = isoSize{2, n}
	}
	sizes[36], sizes[54], sizes[104] = isoSize{3, 104}, isoSize{3, 120}, isoSize{3, 100}
	for field := 46; field < isoFieldMax; field++ {
		if field <= 48 || field >= 55 && field <= 63 || field >= 105 {
			sizes[field] = isoSize{3, 999}
		}
	}
	return sizes
}()

// FieldSize is how long the data of a field of an ISO 8583 message is at least and at most.
func FieldSize(field int) (least, most int) {
	if field < 0 || field > isoFieldMax {
		return 0, 0
	}
	switch size := isoSizes[field]; {
	case size.most == 0:
		return 8, 16
	case size.digits > 0:
		return 0, size.most
	default:
		return size.most, size.most
	}
}

// ParseMessage reads a key such as "11,41", behind which may stand off=N and
// bitmap=binary.
func ParseMessage(text string) (m Message, err error) {
	for part := range strings.SplitSeq(text, ",") {
		name, value, has := strings.Cut(part, "=")
		n, bad := strconv.Atoi(value)
		switch {
		case name == "off" && bad == nil:
			m.Offset = n
			continue
		case name == "bitmap" && (value == "binary" || value == "hex"):
			m.Binary = value == "binary"
			continue
		}
		if n, bad = strconv.Atoi(part); bad != nil || has {
			return m, fmt.Errorf("iso8583: %q: must be fields such as 11,41, and may have off=N and bitmap=binary or hex behind them", part)
		}
		m.Key = append(m.Key, n)
	}
	return m, nil
}

func (m Message) String() string {
	var parts []string
	for _, field := range m.Key {
		parts = append(parts, strconv.Itoa(field))
	}
	if m.Offset > 0 {
		parts = append(parts, fmt.Sprintf("off=%d", m.Offset))
	}
	if m.Binary {
		parts = append(parts, "bitmap=binary")
	}
	return "iso8583:" + strings.Join(parts, ",")
}

// walker finds the fields of a key. It is a Message, compiled.
type walker struct {
	Message
	id   int // the field that holds the ID
	last int // the highest field of the key
}

// span is where a field is; of 0 bytes: there is none.
type span struct{ at, end int }

// newWalker compiles a message, or returns an error that names what makes no sense.
func newWalker(m Message, length Field) (w *walker, err error) {
	w = &walker{Message: m}
	if m.Offset == 0 {
		w.Offset = length.End()
	}
	if w.Offset < length.End() && w.Offset+isoTypeSize > length.Offset || m.Offset < 0 || m.Offset > offsetMax {
		return nil, fmt.Errorf("iso8583: off %d: must be 0 to %d, and not over the length %v", m.Offset, offsetMax, length)
	}
	if len(m.Key) > isoKeyMax {
		return nil, fmt.Errorf("iso8583: %d fields: must be 1 to %d", len(m.Key), isoKeyMax)
	}
	for i, field := range m.Key {
		switch {
		case field < 0 || field == 1 || field > isoFieldMax:
			return nil, fmt.Errorf("iso8583: field %d: must be 0, the message type, or 2 to %d", field, isoFieldMax)
		case slices.Contains(m.Key[:i], field):
			return nil, fmt.Errorf("iso8583: field %d: is named twice", field)
		case w.id == 0 && (field == isoStan || field == isoReference):
			w.id = field
		}
		w.last = max(w.last, field)
	}
	if w.id == 0 {
		return nil, fmt.Errorf("iso8583: fields %v: must have %d or %d among them, which gets the ID", m.Key, isoStan, isoReference)
	}
	return w, nil
}

// idField is what the ID looks like.
func (w *walker) idField() Field { return Field{Size: isoSizes[w.id].most, Form: Decimal} }

// A FieldError says which field of a message makes no sense. It has no data of the
// message's, but for message types, bitmaps and lengths.
type FieldError struct {
	Field int // 0: the message type; 1: a bitmap
	Text  string
}

func (e *FieldError) Error() string {
	switch e.Field {
	case 0:
		return "message type: " + e.Text
	case 1:
		return "bitmap: " + e.Text
	}
	return fmt.Sprintf("field %d: %s", e.Field, e.Text)
}

// fault is a FieldError that is not worded yet: a bad frame costs nothing more than a good
// one. The zero value is none.
type fault struct {
	why   faultKind
	field int
	at    int // of what is wrong
	size  int
}

type faultKind uint8

const (
	noFault faultKind = iota
	cutOff
	noDigits
	noHex
	tooLong
	absent
)

// of words a fault of a frame.
func (f fault) of(b []byte) error {
	text := ""
	switch f.why {
	case noFault:
		return nil
	case cutOff:
		text = fmt.Sprintf("%d bytes at %d: the frame ends at %d", f.size, f.at, len(b))
	case noDigits:
		if text = "must be decimal digits"; f.field == 0 {
			text = fmt.Sprintf("%q at %d: %s", b[f.at:f.at+f.size], f.at, text)
		} else if f.size <= 3 {
			text = fmt.Sprintf("length %q at %d: %s", b[f.at:f.at+f.size], f.at, text)
		} else {
			text = fmt.Sprintf("%d bytes at %d: %s", f.size, f.at, text)
		}
	case noHex:
		text = fmt.Sprintf("% x at %d: must be hexadecimal digits (or bitmap=binary)", b[f.at:f.at+f.size], f.at)
	case tooLong:
		text = fmt.Sprintf("length %d at %d: must be 0 to %d", f.size, f.at, isoSizes[f.field].most)
	case absent:
		text = "must be in every message, and is not: its bit is 0"
	}
	return &FieldError{f.field, text}
}

// walk calls for each field of a message, in order, as far as the last one asked for, and
// returns where the fields wanted are.
func (w *walker) walk(b []byte, last int, found func(field int, s span)) fault {
	at := w.Offset
	if at+isoTypeSize > len(b) {
		return fault{cutOff, 0, at, isoTypeSize}
	}
	for _, c := range b[at : at+isoTypeSize] {
		if c < '0' || c > '9' {
			return fault{noDigits, 0, at, isoTypeSize}
		}
	}
	found(0, span{at, at + 2})
	at += isoTypeSize
	maps := [2]uint64{}
	for i := range maps {
		var f fault
		if maps[i], at, f = w.bitmap(b, at); f.why != noFault {
			return f
		}
		if i == 0 && maps[0]>>63 == 0 {
			break
		}
	}
	maps[0] &^= 1 << 63
	for i, rest := range maps {
		for rest != 0 {
			n := bits.LeadingZeros64(rest)
			rest &^= 1 << 63 >> n
			field := 64*i + n + 1
			if field > last {
				return fault{}
			}
			from, end, f := w.field(b, at, field)
			if f.why != noFault {
				return f
			}
			found(field, span{from, end})
			at = end
		}
	}
	return fault{}
}

// bitmap reads 64 bits.
func (w *walker) bitmap(b []byte, at int) (v uint64, end int, f fault) {
	n := w.bitmapSize()
	if at+n > len(b) {
		return 0, at, fault{cutOff, 1, at, n}
	}
	form := Hex
	if w.Binary {
		form = Big
	}
	v, ok := Field{at, n, form}.Get(b)
	if !ok {
		return 0, at, fault{noHex, 1, at, n}
	}
	return v, at + n, fault{}
}

func (w *walker) bitmapSize() int {
	if w.Binary {
		return 8
	}
	return 16
}

// field returns where the data of a field is whose bytes begin there.
func (w *walker) field(b []byte, at, field int) (from, end int, f fault) {
	size := isoSizes[field]
	n := size.most
	switch {
	case n == 0:
		n = w.bitmapSize()
	case size.digits > 0:
		if at+size.digits > len(b) {
			return 0, 0, fault{cutOff, field, at, size.digits}
		}
		v, ok := Field{at, size.digits, Decimal}.Get(b)
		if !ok {
			return 0, 0, fault{noDigits, field, at, size.digits}
		}
		if n = int(v); n > size.most {
			return 0, 0, fault{tooLong, field, at, n}
		}
		at += size.digits
	}
	if at+n > len(b) {
		return 0, 0, fault{cutOff, field, at, n}
	}
	return at, at + n, fault{}
}

// key finds the ID and sums the other fields of the key up.
func (w *walker) key(b []byte) (id Field, sum uint64, f fault) {
	var at [isoKeyMax]span
	f = w.walk(b, w.last, func(field int, s span) {
		if i := slices.Index(w.Key, field); i >= 0 {
			at[i] = s
			at[i].end++ // so that an empty field is not an absent one
		}
	})
	if f.why != noFault {
		return id, 0, f
	}
	id = w.idField()
	for i, field := range w.Key {
		s := at[i]
		if s.end == 0 {
			return id, 0, fault{why: absent, field: field}
		}
		s.end--
		if field == w.id {
			id.Offset = s.at
			continue
		}
		sum = (sum ^ uint64(field)) * fnvPrime
		for _, c := range b[s.at:s.end] {
			sum = (sum ^ uint64(c)) * fnvPrime
		}
	}
	return id, sum, fault{}
}

const fnvPrime = 1099511628211
