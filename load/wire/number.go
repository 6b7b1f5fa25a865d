package wire

import (
	"fmt"
	"math"
	"slices"
)

// Form is how a number stands in a frame.
type Form string

const (
	Big     Form = "be"     // binary, most significant byte first
	Little  Form = "le"     // binary, least significant byte first
	Decimal Form = "dec"    // ASCII digits 0 to 9, padded with zeros
	Hex     Form = "hex"    // ASCII digits 0 to 9 and A to F, either case when read
	Base36  Form = "base36" // ASCII digits 0 to 9 and A to Z, either case when read
	BCD     Form = "bcd"    // two decimal digits in each byte
)

// Forms lists all forms.
func Forms() []Form { return []Form{Big, Little, Decimal, Hex, Base36, BCD} }

// base returns the form's base and its digits in each byte; 256 is a binary form.
func (f Form) base() (base uint64, digits int) {
	switch f {
	case Big, Little:
		return 256, 1
	case Decimal:
		return 10, 1
	case Hex:
		return 16, 1
	case Base36:
		return 36, 1
	case BCD:
		return 10, 2
	}
	return 0, 0
}

// Field is where a number stands, counted in bytes from a frame's first one.
type Field struct {
	Offset int
	Size   int // in bytes; 0: there is no such field
	Form   Form
}

// End is the offset behind the field.
func (f Field) End() int { return f.Offset + f.Size }

func (f Field) String() string {
	return fmt.Sprintf("off=%d,len=%d,form=%s", f.Offset, f.Size, f.Form)
}

// max is the largest number that the field holds.
func (f Field) max() uint64 {
	base, digits := f.Form.base()
	n := uint64(1)
	for range f.Size * digits {
		if n > math.MaxUint64/base {
			return math.MaxUint64
		}
		n *= base
	}
	return n - 1
}

// overlaps reports whether two fields have a byte in common.
func (f Field) overlaps(g Field) bool {
	return f.Size > 0 && g.Size > 0 && f.Offset < g.End() && g.Offset < f.End()
}

// sizeMax keeps the numbers of every form below 2^64.
const sizeMax = 8

// validate names what makes no sense; name is what the user calls the field.
func (f Field) validate(name string) error {
	switch {
	case !slices.Contains(Forms(), f.Form):
		return fmt.Errorf("%s: form %q: must be one of %v", name, f.Form, Forms())
	case f.Size < 1 || f.Size > sizeMax:
		return fmt.Errorf("%s: len %d: must be 1 to %d bytes", name, f.Size, sizeMax)
	case f.Offset < 0 || f.Offset > offsetMax:
		return fmt.Errorf("%s: off %d: must be 0 to %d", name, f.Offset, offsetMax)
	}
	return nil
}

// put writes v, which the field holds, into a frame.
func (f Field) put(frame []byte, v uint64) {
	b := frame[f.Offset:f.End()]
	switch f.Form {
	case Big:
		for i := len(b) - 1; i >= 0; i-- {
			b[i] = byte(v)
			v >>= 8
		}
	case Little:
		for i := range b {
			b[i] = byte(v)
			v >>= 8
		}
	case BCD:
		for i := len(b) - 1; i >= 0; i-- {
			b[i] = byte(v/10%10)<<4 | byte(v%10)
			v /= 100
		}
	default:
		base, _ := f.Form.base()
		for i := len(b) - 1; i >= 0; i-- {
			b[i] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[v%base]
			v /= base
		}
	}
}

// Get reads the number, false if a byte is no digit of the form. The frame has the field.
func (f Field) Get(frame []byte) (v uint64, ok bool) {
	b := frame[f.Offset:f.End()]
	switch f.Form {
	case Big:
		for _, c := range b {
			v = v<<8 | uint64(c)
		}
	case Little:
		for i := len(b) - 1; i >= 0; i-- {
			v = v<<8 | uint64(b[i])
		}
	case BCD:
		for _, c := range b {
			if c>>4 > 9 || c&15 > 9 {
				return 0, false
			}
			v = v*100 + uint64(c>>4)*10 + uint64(c&15)
		}
	default:
		base, _ := f.Form.base()
		for _, c := range b {
			d := digit(c)
			if d >= base {
				return 0, false
			}
			v = v*base + d
		}
	}
	return v, true
}

// digit is the value of an ASCII digit, 255 if c is none.
func digit(c byte) uint64 {
	switch {
	case c >= '0' && c <= '9':
		return uint64(c - '0')
	case c >= 'A' && c <= 'Z':
		return uint64(c-'A') + 10
	case c >= 'a' && c <= 'z':
		return uint64(c-'a') + 10
	}
	return 255
}
