package engine

import "slices"

// choicesMax is how many servers the strategy chooses for a request that none of them takes;
// then the rest is asked in order.
const choicesMax = 4

// offer offers the request to the connections that are up, of the server that the strategy
// chooses first. relieve allows offer to write where the outbox is full; a caller that
// holds a lock must not set it.
func (b *Broker) offer(r *request, relieve bool) bool {
	rt := b.routes.Load()
	if len(rt.trials) > 0 && rt.try(r, relieve) {
		return true
	}
	switch len(rt.conns) {
	case 0:
		return false
	case 1:
		return rt.conns[0].submit(r, relieve) == accepted
	}
	return b.offerChosen(rt, r, relieve)
}

// offerChosen is offer where there is something to choose. In good times it is one pick.
func (b *Broker) offerChosen(rt *routes, r *request, relieve bool) bool {
	var chosen *route
	switch {
	case r.avoid != nil || r.shun != 0: // it has failed somewhere
	case len(rt.servers) == 1:
		chosen = rt.servers[0]
	default:
		if chosen = rt.of(r.server); chosen == nil {
			chosen, _ = b.choice.Pick(r.key, nil)
		}
	}
	if chosen != nil && chosen.offer(r, relieve) {
		return true
	}
	return b.offerElsewhere(rt, r, chosen, relieve)
}

// offerElsewhere offers the request to servers other than first: the strategy's choice
// among those where it has not failed, then rather where it was refused than nowhere, then
// where its connection was lost.
func (b *Broker) offerElsewhere(rt *routes, r *request, first *route, relieve bool) bool {
	failed := r.failedAt()
	var asked [choicesMax]*route
	asked[0] = first
	skip := func(s *route) bool {
		return slices.Contains(asked[:], s) || s.addr == failed || r.shuns(s.addr)
	}
	for n := 1; n < len(asked) && n <= len(rt.servers); n++ {
		s, err := b.choice.Pick(r.key, skip)
		if err != nil {
			break
		}
		if s.offer(r, relieve) {
			return true
		}
		asked[n] = s
	}
	for _, s := range rt.servers {
		if !skip(s) && s.offer(r, relieve) {
			return true
		}
	}
	for _, s := range rt.servers {
		if (s.addr == failed || r.shuns(s.addr)) && s.offer(r, relieve) {
			return true
		}
	}
	return r.avoid != nil && slices.Contains(rt.conns, r.avoid) &&
		r.avoid.submit(r, relieve) == accepted
}

// of returns the route of a server, nil if it is not among them.
func (rt *routes) of(a *address) *route {
	if a == nil {
		return nil
	}
	for _, s := range rt.servers {
		if s.addr == a {
			return s
		}
	}
	return nil
}

// offer offers the request to the server's connections in turn, except to one where it has
// failed.
func (s *route) offer(r *request, relieve bool) bool {
	n := uint32(len(s.conns))
	if n == 1 {
		return s.conns[0] != r.avoid && s.conns[0].submit(r, relieve) == accepted
	}
	turn := s.addr.turn.Add(1)
	for i := range n {
		if c := s.conns[(turn+i)%n]; c != r.avoid && c.submit(r, relieve) == accepted {
			return true
		}
	}
	return false
}

// next returns the server's next connection in turn.
func (s *route) next() *conn {
	if len(s.conns) == 1 {
		return s.conns[0]
	}
	return s.conns[s.addr.turn.Add(1)%uint32(len(s.conns))]
}
