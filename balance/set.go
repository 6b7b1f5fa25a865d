package balance

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"sync/atomic"
)

// none is the index of no member.
const none = -1

// scheduleMax bounds the length of a schedule. Weights whose schedule would be longer are
// rounded.
const scheduleMax = 1 << 16

// set is the servers that take requests. It never changes.
type set[T any] struct {
	members []member[T]
	index   map[string]int
	// schedule holds the indices of the members, each as often as it has its turn in one
	// round, spread evenly. It is nil if each has one.
	schedule []uint16
	uneven   bool // the members' weights differ
	// round is the number of turns in one round, and perRound 2^64 / round, rounded up.
	round    uint64
	perRound uint64

	homes *homes // for byKey
}

// member is a Member of a set, with what is computed once.
type member[T any] struct {
	server T
	load   *Load
	weight int64  // Weight, if it counts, times Share
	hash   uint64 // of the name

	perWeight float64 // 1 / weight
}

// newSet takes members that are valid.
func newSet[T any](members []Member[T], with traits) *set[T] {
	s := &set[T]{index: make(map[string]int)}
	if with.way == byKey {
		s.homes = new(homes)
	}
	var weights []int64
	for _, m := range members {
		if m.Down {
			continue
		}
		weight := int64(1)
		if with.weighs && m.Weight != 0 {
			weight = int64(m.Weight)
		}
		if m.Share == 0 {
			m.Share = MaxShare
		}
		weight *= int64(m.Share)
		s.index[m.Name] = len(s.members)
		s.members = append(s.members, member[T]{
			server: m.Server, load: m.Load, weight: weight,
			hash: mix(KeyOf(m.Name)), perWeight: 1 / float64(weight),
		})
		weights = append(weights, weight)
		s.uneven = s.uneven || weight != weights[0]
	}
	s.round = uint64(len(s.members))
	if s.uneven {
		s.schedule = newSchedule(weights)
		s.round = uint64(len(s.schedule))
	}
	if s.round > 0 {
		s.perRound = math.MaxUint64/s.round + 1
	}
	return s
}

// at returns the member whose turn it is. turn modulo round is had by multiplications, which
// take half of a division's time (Lemire, Kaser and Kurz, 2019).
func (s *set[T]) at(turn uint32) int {
	i, _ := bits.Mul64(s.perRound*uint64(turn), s.round)
	if s.schedule == nil {
		return int(i)
	}
	return int(s.schedule[i])
}

// drawn returns a member at random, as often as its turns say. r is random.
func (s *set[T]) drawn(r uint32) int {
	i := uint64(r) * s.round >> 32
	if s.schedule == nil {
		return int(i)
	}
	return int(s.schedule[i])
}

// refused reports whether skip passes the member over.
func (s *set[T]) refused(i int, skip func(T) bool) bool {
	return skip != nil && skip(s.members[i].server)
}

// first returns the first member from start on, around, that is not passed over.
func (s *set[T]) first(start int, skip func(T) bool) int {
	for n := range s.members {
		if i := (start + n) % len(s.members); !s.refused(i, skip) {
			return i
		}
	}
	return none
}

// inTurn takes the next turn, and one more for each member that is passed over, so that not
// always the same one has the turns of that.
func (s *set[T]) inTurn(turn *atomic.Uint32, skip func(T) bool) int {
	i := s.at(turn.Add(1))
	if skip == nil || !skip(s.members[i].server) {
		return i
	}
	for range 2 * len(s.members) {
		if i = s.at(turn.Add(1)); !s.refused(i, skip) {
			return i
		}
	}
	return s.first(i, skip)
}

// random draws until one is not passed over, and not for ever.
func (s *set[T]) random(skip func(T) bool) (i int) {
	for range 1 + 2*len(s.members) {
		if i = s.drawn(rand.Uint32()); !s.refused(i, skip) {
			return i
		}
	}
	return s.first(i, skip)
}

// lighter reports whether member i has fewer requests in flight for its weight than j.
func (s *set[T]) lighter(i, j int) bool {
	a, b := &s.members[i], &s.members[j]
	return a.load.count()*b.weight < b.load.count()*a.weight
}

// leastLoaded begins with the member whose turn it is, which so wins if others have as few.
func (s *set[T]) leastLoaded(turn uint32, skip func(T) bool) int {
	best, load, weight := none, int64(0), int64(0)
	start := s.at(turn)
	for i, n := start, len(s.members); n > 0; n-- {
		m := &s.members[i]
		of := m.load.count()
		if (best == none || of*weight < load*m.weight) && (skip == nil || !skip(m.server)) {
			best, load, weight = i, of, m.weight
		}
		if i++; i == len(s.members) {
			i = 0
		}
	}
	return best
}

// lessLoaded looks at two members. r has 64 random bits.
func (s *set[T]) lessLoaded(r uint64, skip func(T) bool) int {
	i, n := s.drawn(uint32(r)), len(s.members)
	if n > 1 {
		j := s.drawn(uint32(r >> 32))
		if i == j {
			j = (i + 1 + int(uint32(r)%uint32(n-1))) % n
		}
		if s.lighter(j, i) {
			i, j = j, i
		}
		if !s.refused(i, skip) {
			return i
		}
		i = j
	}
	if !s.refused(i, skip) {
		return i
	}
	return s.leastLoaded(uint32(r), skip)
}

// newSchedule returns one round of turns: the indices of the weights, each as often as its
// weight over their greatest common divisor. Turn k of n of an index is due at k/n of the
// round and a part, different for each index, of the time between two of its turns; all
// turns are sorted by that. So any round's length of turns in a row holds each exactly.
func newSchedule(weights []int64) []uint16 {
	divisor, sum := int64(0), int64(0)
	for _, w := range weights {
		divisor = gcd(divisor, w)
		sum += w
	}
	if sum/divisor > scheduleMax {
		divisor = max(1, sum/scheduleMax)
	}
	type turn struct {
		index uint16
		due   int64 // in parts of the time between its turns
		often int64
	}
	var turns []turn
	for i, w := range weights {
		often := max(1, (w+divisor/2)/divisor)
		parts := 2 * int64(len(weights))
		for k := range often {
			turns = append(turns, turn{uint16(i), k*parts + int64(2*i+1), often})
		}
	}
	slices.SortStableFunc(turns, func(a, b turn) int {
		switch x, y := a.due*b.often, b.due*a.often; {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	schedule := make([]uint16, len(turns))
	for i, t := range turns {
		schedule[i] = t.index
	}
	return schedule
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
