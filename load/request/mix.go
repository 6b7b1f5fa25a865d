package request

import (
	"errors"
	"fmt"
	"math"

	"github.com/ringwire/ringwire/load/wire"
)

const (
	kindsMax  = 64
	weightMax = 1000
)

// Kind is one of the requests of a mix, or several that are made one after the other: a
// flow of steps on one connection, each when the one before was a success. Their sources are
// asked for the payload of the same number.
type Kind struct {
	Name   string
	Weight int // its share among the weights of all, 1 to 1000
	Source Source
	Expect Expect // of a reply's payload
	Status Status // of a reply
	// Extract are values of the reply for the steps behind it. A reply that has not all of
	// them is no success.
	Extract []Extract
	// Then are the steps behind the first one; they have none themselves, and their weights
	// are not used.
	Then []Kind
}

// StepsMax is the largest number of steps of a flow.
const StepsMax = 16

// Step is the step of that number, counted from 0.
func (k *Kind) Step(n int) *Kind {
	if n == 0 {
		return k
	}
	return &k.Then[n-1]
}

// Steps is how many there are.
func (k *Kind) Steps() int { return 1 + len(k.Then) }

// Values is how many values the steps extract together.
func (k *Kind) Values() (n int) {
	for i := range k.Steps() {
		n += len(k.Step(i).Extract)
	}
	return n
}

// ExtractFrom appends the values of a reply to those of the steps before; false if it has
// not all of them. The values' memory is reused.
func (k *Kind) ExtractFrom(c *wire.Codec, frame []byte, values [][]byte) (_ [][]byte, ok bool) {
	for i := range k.Extract {
		v, ok := k.Extract[i].Of(c, frame)
		if !ok {
			return values, false
		}
		if len(values) < cap(values) {
			values = values[:len(values)+1]
		} else {
			values = append(values, nil)
		}
		last := &values[len(values)-1]
		*last = append((*last)[:0], v...)
	}
	return values, true
}

// count is when the first of the steps' sources ends.
func (k *Kind) count() (n uint64) {
	for i := range k.Steps() {
		if c := k.Step(i).Source.Count(); c > 0 && (n == 0 || c < n) {
			n = c
		}
	}
	return n
}

func (k *Kind) checkSteps() error {
	if k.Steps() > StepsMax {
		return fmt.Errorf("request %q: %d steps: must be 1 to %d", k.Name, k.Steps(), StepsMax)
	}
	var all []Extract
	for i := range k.Steps() {
		step := k.Step(i)
		if step.Source == nil {
			return fmt.Errorf("request %q: has no payload", step.Name)
		}
		if i > 0 && len(step.Then) > 0 {
			return fmt.Errorf("request %q: step %d has steps of its own", k.Name, i+1)
		}
		all = append(all, step.Extract...)
	}
	if err := CheckExtracts(all); err != nil {
		return fmt.Errorf("request %q: %w", k.Name, err)
	}
	return nil
}

// Mix says of which kind each request is. Kinds come by their weights, spread as evenly as
// can be: nginx calls it smooth weighted round robin. It is immutable.
type Mix struct {
	Kinds []Kind
	turns []turn // repeat
}

// turn is a request's place in the round of a mix.
type turn struct {
	kind int
	rank uint64 // how many of its kind come before it in the round
}

// NewMix returns a mix, or an error that names what makes no sense.
func NewMix(kinds []Kind) (*Mix, error) {
	if len(kinds) == 0 || len(kinds) > kindsMax {
		return nil, fmt.Errorf("%d kinds of requests: must be 1 to %d", len(kinds), kindsMax)
	}
	total, divisor := 0, 0
	seen := make(map[string]bool)
	for _, k := range kinds {
		switch {
		case k.Weight < 1 || k.Weight > weightMax:
			return nil, fmt.Errorf("request %q: weight %d: must be 1 to %d", k.Name, k.Weight, weightMax)
		case seen[k.Name]:
			return nil, fmt.Errorf("request %q: there are two of that name", k.Name)
		}
		if err := k.checkSteps(); err != nil {
			return nil, err
		}
		seen[k.Name] = true
		total += k.Weight
		divisor = gcd(k.Weight, divisor)
	}
	m := &Mix{Kinds: kinds}
	credit := make([]int, len(kinds))
	rank := make([]uint64, len(kinds))
	for range total / divisor {
		best := 0
		for i, k := range kinds {
			credit[i] += k.Weight
			if credit[i] > credit[best] {
				best = i
			}
		}
		credit[best] -= total
		m.turns = append(m.turns, turn{best, rank[best]})
		rank[best]++
	}
	for i := range kinds {
		kinds[i].Weight /= divisor
	}
	return m, nil
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// Of returns the kind of request n of the run, and its number among its kind.
func (m *Mix) Of(n uint64) (kind int, number uint64) {
	round := uint64(len(m.turns))
	if round == 1 {
		return 0, n // without the divisions
	}
	t := m.turns[n%round]
	return t.kind, n/round*uint64(m.Kinds[t.kind].Weight) + t.rank
}

// Count is how many requests there are until a source has no more, 0 if that is never.
func (m *Mix) Count() uint64 {
	least := uint64(math.MaxUint64)
	for i := range m.Kinds {
		n := m.Kinds[i].count()
		if n == 0 {
			continue
		}
		weight := uint64(m.Kinds[i].Weight)
		// The request that would be number n of its kind is in this round, at that rank.
		for at, t := range m.turns {
			if t.kind == i && t.rank == n%weight {
				least = min(least, n/weight*uint64(len(m.turns))+uint64(at))
			}
		}
	}
	if least == math.MaxUint64 {
		return 0
	}
	return least
}

// Check returns an error if a kind's payloads do not fit into the codec's frames, or its
// status does not fit into a reply, or a payload is no message of the codec's.
func (m *Mix) Check(c *wire.Codec) error {
	for i := range m.Kinds {
		for n := range m.Kinds[i].Steps() {
			if err := m.Kinds[i].Step(n).Check(c); err != nil {
				return err
			}
		}
	}
	return nil
}

// Check is Mix.Check of one kind without the steps behind it.
func (k *Kind) Check(c *wire.Codec) error {
	least, most := k.Source.Sizes()
	err := errors.Join(c.CheckPayload(most), k.Status.check(c), k.Expect.check(k.Source))
	if err == nil {
		err = c.CheckPayload(least)
	}
	if err == nil && len(c.Spec().Message.Key) > 0 {
		err = checkMessages(c, k.Source)
	}
	for i := range k.Extract {
		if bad := k.Extract[i].checkFor(c); err == nil && bad != nil {
			err = fmt.Errorf("extract %s: %w", k.Extract[i].Name, bad)
		}
	}
	if err != nil {
		return fmt.Errorf("request %q: %w", k.Name, err)
	}
	return nil
}

// checkMessages looks whether payloads are messages that have their key: that of the first
// request, and that of each row.
func checkMessages(c *wire.Codec, s Source) error {
	frame, err := c.Append(nil, c.Spec().IDMin, s.Append(nil, 0))
	table, ok := s.(rows)
	if err != nil || !ok {
		return err
	}
	var payload []byte
	for row := range table.rows() {
		payload = table.appendRow(payload[:0], 0, row)
		if frame, err = c.Append(frame[:0], c.Spec().IDMin, payload); err != nil {
			return fmt.Errorf("row %d: %w", row+1, err)
		}
	}
	return nil
}
