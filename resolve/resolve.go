package resolve

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
)

// MaxEndpoints is how many servers are followed. What a resolver yields beyond is left out, and
// told.
const MaxEndpoints = 1000

// ErrEmpty says that an answer has no server. Those before it stay.
var ErrEmpty = errors.New("no server in the answer")

// Endpoint is a server.
type Endpoint struct {
	Addr   string // such as host:port
	Weight int    // its part of the requests beside the others'; 0 is 1
}

// Resolver says where the servers are.
type Resolver interface {
	// Watch yields all servers there are, at once and whenever that may have changed, or why that
	// is not known at the moment; each yield has one of the two. It ends when ctx does, or when
	// there is nothing more to come. A caller that receives a set may keep and change it. Several
	// may watch at once.
	Watch(ctx context.Context) iter.Seq2[[]Endpoint, error]
}

// Static is a Resolver of servers that do not move.
type Static []Endpoint

// StaticAddrs returns a Static of servers with weight 1.
func StaticAddrs(addrs ...string) Static {
	s := make(Static, len(addrs))
	for i, a := range addrs {
		s[i] = Endpoint{Addr: a, Weight: 1}
	}
	return s
}

// Watch yields the servers once.
func (s Static) Watch(context.Context) iter.Seq2[[]Endpoint, error] {
	return func(yield func([]Endpoint, error) bool) { yield(slices.Clone([]Endpoint(s)), nil) }
}

// First returns the first servers that r yields. It waits for them until ctx ends; give it a
// deadline. Its error then has what r told last, too.
func First(ctx context.Context, r Resolver) ([]Endpoint, error) {
	last := ErrEmpty
	for set, err := range r.Watch(ctx) {
		switch {
		case err != nil:
			last = err
		case len(set) > 0:
			return set, nil
		default:
			last = ErrEmpty
		}
	}
	if err := context.Cause(ctx); err != nil {
		return nil, fmt.Errorf("resolve: no servers known: %w (%w)", err, last)
	}
	return nil, fmt.Errorf("resolve: no servers known: %w", last)
}

// Addrs returns the addresses of a set.
func Addrs(set []Endpoint) []string {
	addrs := make([]string, len(set))
	for i, e := range set {
		addrs[i] = e.Addr
	}
	return addrs
}
