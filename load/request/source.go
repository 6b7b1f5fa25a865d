// Package request says what a run sends and what it expects in reply: sources of payloads,
// weighted mixes of them, and verdicts on replies. A payload is a function of the request's
// number, so no state is shared, no payload is kept, and a run can be repeated.
package request

import (
	"errors"
	"fmt"
	"os"

	"github.com/ringwire/ringwire/load/wire"
)

// Source makes payloads. It is immutable.
type Source interface {
	// Append appends the payload of request n, counted from 0, to dst.
	Append(dst []byte, n uint64) []byte
	// Sizes returns the size in bytes of the smallest and of the largest payload.
	Sizes() (least, most int)
	// Count is how many different requests there are, 0 if they do not end: it may be asked
	// for the payload of any n then.
	Count() uint64
}

// rows is a source whose payloads have rows of a file in them.
type rows interface {
	rows() int
	// appendRow is Append with that row, or the last one of a table that has fewer.
	appendRow(dst []byte, n uint64, row int) []byte
}

// SizeMax bounds the payloads and files that a run holds in memory, in bytes.
const SizeMax = 256 << 20

// Bytes is a source of one payload. The bytes must not be changed.
type Bytes []byte

func (b Bytes) Append(dst []byte, _ uint64) []byte { return append(dst, b...) }
func (b Bytes) Sizes() (least, most int)           { return len(b), len(b) }
func (b Bytes) Count() uint64                      { return 0 }

// sized makes payloads of sizes that are drawn evenly from a range.
type sized struct {
	least int
	data  []byte // the largest payload; smaller ones are its beginning
	seed  uint64
}

// Sized returns a source of payloads of least to most bytes, each size as likely as the
// other. The bytes are printable and the same for a seed.
func Sized(least, most int, seed uint64) (Source, error) {
	if least < 0 || most < least || most > SizeMax {
		return nil, fmt.Errorf("size %d to %d: must be 0 to %d bytes, the smaller one first", least, most, SizeMax)
	}
	data := make([]byte, most)
	for i := range data {
		data[i] = 'a' + byte(i%26)
	}
	if least == most {
		return Bytes(data), nil
	}
	return &sized{least, data, seed}, nil
}

func (s *sized) Append(dst []byte, n uint64) []byte {
	size := s.least + int(mix(s.seed, n)%uint64(len(s.data)-s.least+1))
	return append(dst, s.data[:size]...)
}

func (s *sized) Sizes() (least, most int) { return s.least, len(s.data) }
func (s *sized) Count() uint64            { return 0 }

// mix draws a number that belongs to n: the finalizer of SplitMix64.
func mix(seed, n uint64) uint64 {
	z := seed + (n+1)*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// Order is the order in which rows are used.
type Order string

const (
	Sequential Order = "sequential" // one after the other, and again from the first
	Unique     Order = "unique"     // one after the other, once: the run ends with the last
	Random     Order = "random"     // any, the same for a seed
)

// row is the row of request n.
func (o Order) row(n, rows, seed uint64) uint64 {
	if o == Random {
		return mix(seed, n) % rows
	}
	return n % rows
}

func (o Order) validate() error {
	switch o {
	case Sequential, Unique, Random:
		return nil
	}
	return fmt.Errorf("order %q: must be %s, %s or %s", o, Sequential, Unique, Random)
}

// count is Source.Count of so many rows.
func (o Order) count(rows int) uint64 {
	if o == Unique {
		return uint64(rows)
	}
	return 0
}

// frames is a source of the payloads of recorded requests.
type frames struct {
	payloads    [][]byte
	least, most int
	order       Order
	seed        uint64
}

// Frames returns a source of the payloads of the requests in data, whole frames one behind
// the other; the IDs that they have are not used.
func Frames(c *wire.Codec, data []byte, order Order, seed uint64) (Source, error) {
	if err := order.validate(); err != nil {
		return nil, err
	}
	f := &frames{least: SizeMax, order: order, seed: seed}
	for at := 0; at < len(data); {
		n, err := c.Size(data[at:])
		if err == nil && (n == 0 || n > len(data)-at) {
			err = errors.New("it is cut off")
		}
		var payload []byte
		if err == nil {
			payload, err = c.RequestPayload(nil, data[at:at+n])
		}
		if err != nil {
			return nil, fmt.Errorf("frame %d, at byte %d: %w", len(f.payloads)+1, at, err)
		}
		f.payloads = append(f.payloads, payload)
		f.least, f.most = min(f.least, len(payload)), max(f.most, len(payload))
		at += n
	}
	if len(f.payloads) == 0 {
		return nil, errors.New("no frame")
	}
	return f, nil
}

func (f *frames) Append(dst []byte, n uint64) []byte {
	return append(dst, f.payloads[f.order.row(n, uint64(len(f.payloads)), f.seed)]...)
}

func (f *frames) rows() int { return len(f.payloads) }
func (f *frames) appendRow(dst []byte, _ uint64, row int) []byte {
	return append(dst, f.payloads[row]...)
}

func (f *frames) Sizes() (least, most int) { return f.least, f.most }
func (f *frames) Count() uint64            { return f.order.count(len(f.payloads)) }

// ReadFile reads a file of at most SizeMax bytes.
func ReadFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > SizeMax {
		return nil, fmt.Errorf("%s has %d bytes: must be %d at most", name, info.Size(), SizeMax)
	}
	return os.ReadFile(name)
}
