package request

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// Template is a source whose payloads differ in places. It is compiled from a text in which
//
//	${seq}           the request's number, counted from 0
//	${seq:6}         the same in six digits, padded with zeros, its last digits if longer
//	${rand:8}        eight decimal digits, the same for a seed
//	${hex:00ff}      bytes
//	${stan}          six zeros, which a request's ID replaces where field 11 holds it
//	${csv.COLUMN}    a field of a row of the table without a name
//	${csv.NAME.COLUMN}  a field of a row of the table of that name
//	$${              the two characters ${
//
// stand for what is said beside them. In an answer to a request of the peer's also
//
//	${req:4:8}       eight bytes of the request's frame, from its byte 4
//	${req:field:70}  the data of a field of its ISO 8583 message
//	${req:rest}      the rest of its payload, behind as many bytes as there are before this
//
// do, and in a step of several, ${NAME}, a value that a step before has extracted.
type Template struct {
	parts       []part
	least, most int
	count       uint64
	seed        uint64
	dependent   bool // has parts of another frame
}

// part is a piece of a template: one of its fields.
type part struct {
	literal []byte
	seq     bool
	rand    bool
	width   int // of seq and rand; of seq 0: as it comes
	table   *Table
	column  int
	cut     *Cut // of the peer's request
	rest    bool // of the peer's request
	value   int  // 1 + the index of an extracted value
	least   int  // bytes of cut, rest or value
	most    int  // the same
}

const (
	widthMax    = 64
	seqWidthMax = 20 // the largest number has as many digits
)

// Scope is what a template may name.
type Scope struct {
	Tables map[string]*Table
	Seed   uint64 // of what is random
	// Answer says that it makes an answer to a request of the peer's.
	Answer bool
	// Values are those that were extracted before.
	Values []Extract
}

// Compile compiles a template. The tables are those that it may name; nil is none.
func Compile(text string, tables map[string]*Table, seed uint64) (*Template, error) {
	return Scope{Tables: tables, Seed: seed}.Compile(text)
}

// Compile compiles a template.
func (sc Scope) Compile(text string) (*Template, error) {
	t := &Template{seed: sc.Seed}
	for rest := text; rest != ""; {
		i := strings.Index(rest, "${")
		switch {
		case i < 0:
			t.literal(rest)
			rest = ""
			continue
		case i > 0 && rest[i-1] == '$':
			t.literal(rest[:i-1])
			t.literal("${")
			rest = rest[i+2:]
			continue
		}
		t.literal(rest[:i])
		name, after, ok := strings.Cut(rest[i+2:], "}")
		if !ok {
			return nil, fmt.Errorf("template: %q has no closing }", clip(rest[i:]))
		}
		p, err := sc.parsePart(name)
		if err != nil {
			return nil, fmt.Errorf("template: ${%s}: %w", clip(name), err)
		}
		t.add(p)
		rest = after
	}
	if t.most > SizeMax && !t.dependent {
		return nil, fmt.Errorf("template: payloads of up to %d bytes: must be %d at most", t.most, SizeMax)
	}
	return t, nil
}

// clip keeps what an error quotes short and masked: what stands there may be a payload.
func clip(s string) string {
	const most = 24
	s = Mask([]byte(s))
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

func (t *Template) literal(s string) {
	if n := len(t.parts); n > 0 && t.parts[n-1].literal != nil {
		t.parts[n-1].literal = append(t.parts[n-1].literal, s...)
		t.least, t.most = t.least+len(s), t.most+len(s)
	} else if s != "" {
		t.add(part{literal: []byte(s)})
	}
}

func (t *Template) add(p part) {
	if p.literal != nil && len(t.parts) > 0 && t.parts[len(t.parts)-1].literal != nil {
		t.literal(string(p.literal))
		return
	}
	least, most := p.sizes()
	t.dependent = t.dependent || p.most > 0
	t.least, t.most = t.least+least, t.most+most
	if p.table != nil {
		if n := p.table.Order.count(len(p.table.rows)); n > 0 && (t.count == 0 || n < t.count) {
			t.count = n
		}
	}
	t.parts = append(t.parts, p)
}

func (sc Scope) parsePart(name string) (part, error) {
	for i, v := range sc.Values {
		if v.Name == name {
			least, most := v.sizes()
			return part{value: i + 1, least: least, most: most}, nil
		}
	}
	kind, arg, has := strings.Cut(name, ":")
	switch kind {
	case "seq", "rand":
		p := part{seq: kind == "seq", rand: kind == "rand"}
		if !has && p.seq {
			return p, nil
		}
		most := widthMax
		if p.seq {
			most = seqWidthMax
		}
		n, err := strconv.Atoi(arg)
		if err != nil || n < 1 || n > most {
			return p, fmt.Errorf("width %q: must be 1 to %d digits", clip(arg), most)
		}
		p.width = n
		return p, nil
	case "req":
		return sc.parseRequestPart(arg)
	case "stan":
		if !has {
			return part{literal: []byte("000000")}, nil
		}
	case "hex":
		b, err := ParseHex(arg)
		if err == nil && len(b) == 0 {
			err = fmt.Errorf("no digits")
		}
		return part{literal: b}, err
	}
	if field, ok := strings.CutPrefix(name, "csv."); ok {
		return parseColumn(field, sc.Tables)
	}
	return part{}, fmt.Errorf("must be seq, seq:WIDTH, rand:WIDTH, hex:DIGITS, stan, csv.COLUMN or csv.NAME.COLUMN")
}

func parseColumn(field string, tables map[string]*Table) (part, error) {
	table, column := tables[""], field
	if name, rest, ok := strings.Cut(field, "."); ok {
		table, column = tables[name], rest
		if table == nil {
			return part{}, fmt.Errorf("no table %q: give its file with --csv %s=FILE", clip(name), clip(name))
		}
	}
	if table == nil {
		return part{}, fmt.Errorf("no table: give its file with --csv FILE")
	}
	i, err := table.column(column)
	return part{table: table, column: i}, err
}

// ParseHex reads hexadecimal digits, between which there may be spaces.
func ParseHex(s string) ([]byte, error) {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		return nil, fmt.Errorf("must be pairs of hexadecimal digits: %w", err)
	}
	return b, nil
}

func (p *part) sizes() (least, most int) {
	switch {
	case p.most > 0:
		return p.least, p.most
	case p.table != nil:
		return p.table.sizes(p.column)
	case p.width > 0:
		return p.width, p.width
	case p.seq:
		return 1, seqWidthMax
	}
	return len(p.literal), len(p.literal)
}

// Append, Sizes and Count make a Template a Source.
func (t *Template) Append(dst []byte, n uint64) []byte {
	dst, _ = t.append(dst, n, anyRow, &From{})
	return dst
}

// anyRow is the row that the table's order says.
const anyRow = -1

func (t *Template) rows() (n int) {
	for i := range t.parts {
		if table := t.parts[i].table; table != nil {
			n = max(n, len(table.rows))
		}
	}
	return n
}

func (t *Template) appendRow(dst []byte, n uint64, row int) []byte {
	dst, _ = t.append(dst, n, row, &From{})
	return dst
}

// append is Append with what is known of another frame, false if that does not have what
// the template wants of it.
func (t *Template) append(dst []byte, n uint64, row int, from *From) (_ []byte, ok bool) {
	start := len(dst)
	for i := range t.parts {
		p := &t.parts[i]
		switch {
		case p.most > 0:
			if dst, ok = from.append(dst, p, len(dst)-start); !ok {
				return dst[:start], false
			}
		case p.table != nil:
			at := uint64(min(row, len(p.table.rows)-1))
			if row == anyRow {
				at = p.table.Order.row(n, uint64(len(p.table.rows)), p.table.Seed)
			}
			dst = append(dst, p.table.rows[at][p.column]...)
		case p.rand:
			dst = appendDigits(dst, t.seed+uint64(i), n, p.width)
		case p.seq && p.width > 0:
			dst = appendPadded(dst, n, p.width)
		case p.seq:
			dst = strconv.AppendUint(dst, n, 10)
		default:
			dst = append(dst, p.literal...)
		}
	}
	return dst, true
}

func (t *Template) Sizes() (least, most int) { return t.least, t.most }
func (t *Template) Count() uint64            { return t.count }

func appendPadded(dst []byte, n uint64, width int) []byte {
	start := len(dst)
	for range width {
		dst = append(dst, '0')
	}
	for i := len(dst) - 1; i >= start; i-- {
		dst[i] = '0' + byte(n%10)
		n /= 10
	}
	return dst
}

func appendDigits(dst []byte, seed, n uint64, width int) []byte {
	for ; width > 0; width -= 9 {
		seed = mix(seed, n)
		dst = appendPadded(dst, seed%1e9, min(width, 9))
	}
	return dst
}
