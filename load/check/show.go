package check

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/ringwire/ringwire/load/request"
	"github.com/ringwire/ringwire/load/wire"
)

// piece is a field of a frame as it is shown.
type piece struct {
	at, end int
	name    string
	means   string
}

// show writes a frame field by field. Bytes of the payload are not shown, but for the
// status.
func (c *checker) show(title string, frame []byte, id wire.Field, k *request.Kind) {
	spec := c.codec.Spec()
	pieces := []piece{{spec.Length.Offset, spec.Length.End(), "length", fmt.Sprintf("a frame of %d bytes", len(frame))}}
	if id.Size > 0 && id.End() <= len(frame) {
		means := "not a number of its form"
		if v, ok := id.Get(frame); ok {
			means = fmt.Sprintf("%d", v)
		}
		pieces = append(pieces, piece{id.Offset, id.End(), "id", fmt.Sprintf("%s, form %s", means, id.Form)})
	}
	if k != nil && k.Status.Len > 0 {
		if status, ok := k.Status.Of(frame); status != nil {
			means := "refused"
			if ok {
				means = "ok"
			}
			pieces = append(pieces, piece{k.Status.Offset, k.Status.Offset + k.Status.Len, "status", means})
		}
	}
	slices.SortFunc(pieces, func(a, b piece) int { return cmp.Compare(a.at, b.at) })
	fmt.Fprintf(&c.text, "%s: %d bytes\n", title, len(frame))
	at := 0
	for _, p := range pieces {
		c.payload(at, p.at)
		fmt.Fprintf(&c.text, "  %5d  %-8s % x   %s\n", p.at, p.name, frame[p.at:p.end], p.means)
		at = max(at, p.end)
	}
	c.payload(at, len(frame))
}

func (c *checker) payload(at, end int) {
	if end > at {
		fmt.Fprintf(&c.text, "  %5d  %-8s %d bytes, not shown\n", at, "payload", end-at)
	}
}
