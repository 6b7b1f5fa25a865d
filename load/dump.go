package load

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/load/request"
	"github.com/ringwire/ringwire/load/wire"
)

const (
	// dumpsMax bounds the failures that are written, and dumpsWaiting those that wait for it.
	dumpsMax     = 1000
	dumpsWaiting = 256
	// shownMax bounds what is shown of a payload, in bytes.
	shownMax = 1024
)

// failure is an exchange that failed, as it is written. Payloads are masked.
type failure struct {
	At       time.Duration `json:"at_ns"` // since the first request was due
	Outcome  string        `json:"outcome"`
	Request  string        `json:"request,omitempty"`
	Number   *uint64       `json:"number,omitempty"` // among those of its name
	Step     int           `json:"step,omitempty"`   // from 1, of a flow
	ID       *uint64       `json:"id,omitempty"`     // in the reply
	Status   string        `json:"status,omitempty"`
	Age      time.Duration `json:"age_ns,omitempty"` // since the request was due
	Sent     *shown        `json:"sent,omitempty"`
	Received *shown        `json:"received,omitempty"`
}

// shown is a payload, masked.
type shown struct {
	Bytes int    `json:"bytes"`
	Text  string `json:"text"`
}

// dump writes failures from a goroutine of its own.
type dump struct {
	codec   *wire.Codec
	lines   chan failure
	taken   atomic.Int64 // dumpsMax of them are written
	leftOut atomic.Int64
	ended   chan struct{}
	err     error // of the writes, once ended is closed
}

func newDump(w io.Writer, c *wire.Codec) *dump {
	d := &dump{codec: c, lines: make(chan failure, dumpsWaiting), ended: make(chan struct{})}
	go d.write(w)
	return d
}

func (d *dump) write(w io.Writer) {
	defer close(d.ended)
	buf := bufio.NewWriter(w)
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	for f := range d.lines {
		if d.err == nil {
			d.err = enc.Encode(f)
		}
		if len(d.lines) == 0 && d.err == nil {
			d.err = buf.Flush()
		}
	}
	if n := d.leftOut.Load(); n > 0 && d.err == nil {
		d.err = enc.Encode(map[string]int64{"left_out": n})
	}
	if d.err == nil {
		d.err = buf.Flush()
	}
}

// end waits until all is written. Nobody adds failures any more.
func (d *dump) end() error {
	close(d.lines)
	<-d.ended
	return d.err
}

// wants reports whether one more failure is to be made, and counts it.
func (d *dump) wants() bool {
	if d.taken.Add(1) > dumpsMax {
		d.leftOut.Add(1)
		return false
	}
	return true
}

// add never waits.
func (d *dump) add(f failure) {
	select {
	case d.lines <- f:
	default:
		d.leftOut.Add(1)
	}
}

// dump writes a failed exchange down. q is nil if no request is known, the reply is nil if
// there is none.
func (s *session) dump(outcome string, q *inflight, reply *wire.Frame, now time.Duration) {
	d := s.run.dump
	if d == nil || !d.wants() {
		return
	}
	f := failure{At: now, Outcome: outcome}
	if q != nil {
		k := s.kind(q)
		number := q.number // the table's own may change
		f.Request, f.Number, f.Age = s.run.cfg.Mix.Kinds[q.kind].Name, &number, now-q.intended
		if s.run.cfg.Mix.Kinds[q.kind].Steps() > 1 {
			f.Step = int(q.step) + 1
		}
		f.Sent = d.sent(s.from(q).Payload(nil, k.Source, q.number))
		if reply != nil && k.Status.Len > 0 {
			if status, _ := k.Status.Of(reply.Bytes); status != nil {
				f.Status = request.CodeName(status)
			}
		}
	}
	if reply != nil {
		if reply.IDValid {
			id := reply.ID
			f.ID = &id
		}
		f.Received = d.received(reply.Bytes)
	}
	d.add(f)
}

// sent shows the payload of a request; its ID is not in it yet.
func (d *dump) sent(payload []byte) *shown {
	if len(d.codec.Spec().Message.Key) > 0 {
		frame, err := d.codec.Append(nil, d.codec.Spec().IDMin, payload)
		if err == nil {
			return &shown{len(payload), d.message(frame, true)}
		}
	}
	return &shown{len(payload), masked(payload)}
}

func (d *dump) received(frame []byte) *shown {
	payload := d.codec.Payload(nil, frame)
	if len(d.codec.Spec().Message.Key) > 0 {
		return &shown{len(payload), d.message(frame, false)}
	}
	return &shown{len(payload), masked(payload)}
}

// openFields are those of ISO 8583 whose data is shown, masked all the same.
var openFields = map[int]bool{0: true, 3: true, 7: true, 11: true, 12: true, 13: true, 18: true, 22: true, 24: true, 25: true,
	37: true, 38: true, 39: true, 41: true, 42: true, 49: true, 70: true}

// message shows a message field by field: of most only how long they are. The ID of a
// request is left out: it is not the one that was sent.
func (d *dump) message(frame []byte, isRequest bool) string {
	var b strings.Builder
	id, _ := d.codec.IDField(frame, !isRequest)
	err := d.codec.Fields(frame, func(field, at int, data []byte) {
		switch {
		case b.Len() > shownMax:
			return
		case field == 0:
			fmt.Fprintf(&b, "type=%s", masked(data))
		case isRequest && id.Size > 0 && at == id.Offset:
			fmt.Fprintf(&b, " %d=ID", field)
		case openFields[field]:
			fmt.Fprintf(&b, " %d=%s", field, masked(data))
		default:
			fmt.Fprintf(&b, " %d=(%d bytes)", field, len(data))
		}
	})
	if err != nil {
		fmt.Fprintf(&b, " and no more: not a message")
	}
	return b.String()
}

// masked is request.Mask, cut off.
func masked(payload []byte) string {
	text := request.Mask(payload)
	if len(text) > shownMax {
		return text[:shownMax] + "…"
	}
	return text
}
