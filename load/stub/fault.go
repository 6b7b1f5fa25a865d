package stub

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/ringwire/ringwire/load/wire"
)

// Fault is what may go wrong with a reply.
type Fault int

const (
	None      Fault = iota
	Drop            // no reply
	Duplicate       // the reply twice
	WrongID         // the reply with an ID that the client has not in use
	Swap            // the payload of the next request's reply, and the next one has this one's
	Late            // the reply, later by LateBy
	Truncate        // a reply without payload, in a whole frame
	Oversize        // instead of the reply, a length above the client's largest frame
	Garbage         // instead of the reply, bytes that make no frame
	Split           // the reply in two writes, with a pause between
	Close           // instead of the reply, the end of the connection
	Reset           // instead of the reply, a TCP reset; over other networks it is as Close, at once
	faultCount
)

var faultNames = [faultCount]string{"none", "drop", "duplicate", "wrong-id", "swap", "late",
	"truncate", "oversize", "garbage", "split", "close", "reset"}

func (f Fault) String() string { return faultNames[f] }

// ends reports whether the fault is instead of a reply, and the last that the connection does.
func (f Fault) ends() bool { return f == Oversize || f == Garbage || f == Close || f == Reset }

// Faults is how probable each fault is, 0 to 1, by Fault. A request has one at most, so
// together they are at most 1.
type Faults [faultCount]float64

// ParseFaults adds what a text such as "drop=1%,late=0.005" says.
func (p *Faults) ParseFaults(text string) error {
	for part := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		i := slices.Index(faultNames[1:], name) + 1
		if i == 0 {
			return fmt.Errorf("fault %q: must look like drop=1%%, of %s", part, strings.Join(faultNames[1:], ", "))
		}
		number, percent := strings.CutSuffix(value, "%")
		v, err := strconv.ParseFloat(number, 64)
		if percent {
			v /= 100
		}
		if err != nil || !(v >= 0 && v <= 1) {
			return fmt.Errorf("fault %s=%s: must be 0 to 100%%, or 0 to 1", name, value)
		}
		p[i] = v
	}
	return nil
}

// any reports whether there are faults.
func (p *Faults) any() bool { return *p != Faults{} }

// pick chooses the fault of a request.
func (p *Faults) pick(r *rand.Rand) Fault {
	u := r.Float64()
	for f := Drop; f < faultCount; f++ {
		if u < p[f] {
			return f
		}
		u -= p[f]
	}
	return None
}

// prepare checks the faults against the client's framing, and returns what those that break
// it begin with.
func (p *Faults) prepare(client *wire.Codec, sh shape) (broken [][]byte, err error) {
	sum := 0.0
	for f, v := range p {
		if !(v >= 0 && v <= 1) {
			return nil, fmt.Errorf("fault %v: %g: must be 0 to 1", Fault(f), v)
		}
		sum += v
	}
	if sum > 1+1e-9 {
		return nil, fmt.Errorf("faults: %g together: must be at most 1, a request has one", sum)
	}
	spec := client.Spec()
	if p[WrongID] > 0 && (spec.Ordered() || spec.IDs() < 2) {
		return nil, fmt.Errorf("fault %v: frames have no ID that could be another", WrongID)
	}
	broken = make([][]byte, faultCount)
	if p[Oversize] > 0 {
		if broken[Oversize], err = oversized(client, sh); err != nil {
			return nil, err
		}
	}
	if p[Garbage] > 0 {
		if broken[Garbage] = noFrame(client); broken[Garbage] == nil {
			return nil, fmt.Errorf("fault %v: every length makes a frame: give a smaller largest frame (--max-frame)", Garbage)
		}
	}
	return broken, nil
}

// oversized is the beginning of a frame of one byte more than the client takes.
func oversized(client *wire.Codec, sh shape) ([]byte, error) {
	spec := client.Spec()
	spec.ID.Offset, spec.ReplyID = spec.ReplyID, spec.ID.Offset
	spec.MaxFrame = client.MaxFrame() + 1
	larger, err := wire.New(spec)
	if err != nil || larger.MaxFrame() <= client.MaxFrame() {
		return nil, fmt.Errorf("fault %v: the length cannot say more than the largest frame, %d bytes: give a smaller one (--max-frame)",
			Oversize, client.MaxFrame())
	}
	frame, err := larger.Append(nil, spec.IDMin, make([]byte, larger.MaxFrame()-larger.Overhead()))
	if err != nil {
		return nil, fmt.Errorf("fault %v: %w", Oversize, err)
	}
	return slices.Clone(frame[:min(len(frame), sh.leastFrame)]), nil
}

// noFrame is what no frame of the client's begins with, nil if there is nothing of the kind.
func noFrame(client *wire.Codec) []byte {
	b := make([]byte, client.Spec().Length.End())
	for fill := 255; fill >= 0; fill-- {
		for i := range b {
			b[i] = byte(fill)
		}
		if _, err := client.Size(b); err != nil {
			return b
		}
	}
	return nil
}

// wrongID is an ID as far from that one as there are.
func wrongID(spec *wire.Spec, id uint64) uint64 {
	n := spec.IDs()
	if id < spec.IDMin || id-spec.IDMin >= n {
		id = spec.IDMin
	}
	return spec.IDMin + (id-spec.IDMin+n/2)%n
}
