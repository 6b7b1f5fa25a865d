package balance

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"

	"github.com/ringwire/ringwire/internal/cacheline"
)

// The bounds of a Member's settings and of a set.
const (
	MaxWeight  = 10_000
	MaxShare   = 100
	MaxMembers = 1 << 16
)

// ErrNoPoolsAvailable is Pick's when no server is left: none is there, all are down, or all
// were skipped.
var ErrNoPoolsAvailable = errors.New("no connection pools available")

// Member is a server as one set has it.
type Member[T any] struct {
	// Name tells servers apart. IPHash ranks it, so it should be the same in all processes:
	// an address.
	Name string
	// Server is what Pick returns.
	Server T
	// Weight is the server's part of the requests beside the others', for strategies that
	// weigh. 1 to MaxWeight. Default 1.
	Weight int
	// Share is how much of its part the server takes, in percent, whatever the strategy: less
	// than all after it has come back. 1 to MaxShare. Default 100.
	Share int
	// Down leaves the server out.
	Down bool
	// Load counts the server's requests in flight. Needed for LeastConn and TwoChoices; a
	// server that is in several sets has the same in all.
	Load *Load
}

// Balancer chooses among the servers of its set. Make it with New. All methods may be called
// by any number of goroutines.
type Balancer[T any] struct {
	strategy Strategy
	traits   traits
	set      atomic.Pointer[set[T]]
	_        cacheline.Pad
	// turn is for strategies that take turns. It goes on when the set changes. It wraps; then
	// one round may be short.
	turn atomic.Uint32
	_    cacheline.Pad
}

// New returns a Balancer without servers. It fails if the strategy is unknown.
func New[T any](strategy Strategy) (*Balancer[T], error) {
	strategy, err := ParseStrategy(string(strategy))
	if err != nil {
		return nil, err
	}
	b := &Balancer[T]{strategy: strategy, traits: strategy.traits()}
	// Clients that start together must not all begin with the first server.
	b.turn.Store(rand.Uint32())
	b.set.Store(new(set[T]))
	return b, nil
}

// Strategy returns how the balancer chooses.
func (b *Balancer[T]) Strategy() Strategy { return b.strategy }

// Replace makes members the set, in place of the one before. It copies them. If they are
// not valid it changes nothing and returns an error that names the field. Of calls that
// overlap either may win.
func (b *Balancer[T]) Replace(members []Member[T]) error {
	if len(members) > MaxMembers {
		return fmt.Errorf("balance: %d members; there may be %d", len(members), MaxMembers)
	}
	seen := make(map[string]bool, len(members))
	for _, m := range members {
		switch {
		case m.Name == "":
			return errors.New("balance: Member.Name is empty; it has to tell the server from the others")
		case seen[m.Name]:
			return fmt.Errorf("balance: Member.Name %q is there twice", m.Name)
		case m.Weight < 0 || m.Weight > MaxWeight:
			return fmt.Errorf("balance: Member.Weight of %q is %d; it must lie in 1 to %d, or be 0 for 1", m.Name, m.Weight, MaxWeight)
		case m.Share < 0 || m.Share > MaxShare:
			return fmt.Errorf("balance: Member.Share of %q is %d; it must lie in 1 to %d, or be 0 for all", m.Name, m.Share, MaxShare)
		case m.Load == nil && b.traits.loads:
			return fmt.Errorf("balance: Member.Load of %q is nil; strategy %s counts requests in flight", m.Name, b.strategy)
		}
		seen[m.Name] = true
	}
	b.set.Store(newSet(members, b.traits))
	return nil
}

// Len returns how many servers take requests: those that are not down.
func (b *Balancer[T]) Len() int { return len(b.set.Load().members) }

// Find returns the server of a name if it is there and not down: for a caller that wants to
// stay with a server while that is healthy.
func (b *Balancer[T]) Find(name string) (server T, ok bool) {
	s := b.set.Load()
	i, ok := s.index[name]
	if ok {
		server = s.members[i].server
	}
	return server, ok
}

// PickMany is n Picks without skip, with the same key: each gets the server of each of them. It
// costs less than n calls.
func (b *Balancer[T]) PickMany(key uint64, n int, each func(T)) error {
	s := b.set.Load()
	if len(s.members) == 0 {
		return ErrNoPoolsAvailable
	}
	if b.traits.way == inTurn || b.traits.way == byKey && key == 0 {
		turn := b.turn.Add(uint32(n)) - uint32(n)
		for range n {
			turn++
			each(s.members[s.at(turn)].server)
		}
		return nil
	}
	for range n {
		server, err := b.Pick(key, nil)
		if err != nil {
			return err
		}
		each(server)
	}
	return nil
}

// Pick chooses a server. key decides with IPHash (see KeyOf) and has no effect else. skip, if
// not nil, is asked about a server before it is chosen and reports whether to pass it over;
// it may be asked about the same one more than once. When one is passed over the strategy
// decides among the rest. The only error is ErrNoPoolsAvailable.
func (b *Balancer[T]) Pick(key uint64, skip func(T) bool) (server T, err error) {
	s := b.set.Load()
	if len(s.members) == 0 {
		return server, ErrNoPoolsAvailable
	}
	i := none
	switch b.traits.way {
	case inTurn:
		i = s.inTurn(&b.turn, skip)
	case byLoad:
		i = s.leastLoaded(b.turn.Add(1), skip)
	case ofTwo:
		i = s.lessLoaded(rand.Uint64(), skip)
	case byLot:
		i = s.random(skip)
	case byKey:
		if key == 0 {
			i = s.inTurn(&b.turn, skip)
		} else {
			i = s.home(key, skip)
		}
	}
	if i == none {
		return server, ErrNoPoolsAvailable
	}
	return s.members[i].server, nil
}
