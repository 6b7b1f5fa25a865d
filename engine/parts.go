package engine

import "slices"

// parts says which servers get how many of the requests of a batch that are still to be sent.
// It belongs to the submitter.
//
// A server's part goes out in one go for each of its connections, as far as runMax allows: a
// run costs one operation on the slots and the output. With strategies that take turns or draw,
// the parts are what as many calls one by one would have given, so weights are exact. By load a
// server is chosen for each run, since what a run puts in flight counts for the next one.
type parts struct {
	rt   *routes
	left []int // by server
	at   int   // the server whose part is next
	runs int   // how many have been sent, or tried
}

// next returns the connection that n requests like r go to next, and how many of them, of a
// batch of all. It returns nil also when a trial comes first.
func (p *parts) next(b *Broker, r *request, n, all int) (c *conn, count int) {
	rt := b.routes.Load()
	switch {
	case len(rt.conns) == 0 || rt.wanting():
		return nil, 0
	case len(rt.conns) == 1:
		return rt.conns[0], evenRun(n)
	}
	p.runs++
	if p.rt != rt {
		p.rt, p.left = rt, slices.Grow(p.left[:0], len(rt.servers))[:len(rt.servers)]
		clear(p.left)
		p.at = 0
	}
	for p.at < len(p.left) && p.left[p.at] == 0 {
		p.at++
	}
	if p.at == len(p.left) {
		if p.at = 0; !p.share(b, r, n, all) {
			return nil, 0
		}
		for p.left[p.at] == 0 {
			p.at++
		}
	}
	s := rt.servers[p.at]
	return s.next(), min(evenRun(ceilDiv(p.left[p.at], len(s.conns))), n)
}

// share shares n requests like r out. It reports false if nobody takes one.
func (p *parts) share(b *Broker, r *request, n, all int) bool {
	rt, some := p.rt, false
	give := func(s *route, n int) {
		if s.at < len(rt.servers) && rt.servers[s.at] == s { // else the routes have changed
			p.left[s.at] += n
			some = true
		}
	}
	switch s := rt.of(r.server); {
	case len(rt.servers) == 1:
		give(rt.servers[0], n)
	case s != nil:
		give(s, n)
	case b.byLoad:
		if s, err := b.choice.Pick(r.key, nil); err == nil {
			give(s, min(evenRun(ceilDiv(all, len(rt.conns))), n))
		}
	default:
		_ = b.choice.PickMany(r.key, n, func(s *route) { give(s, 1) })
	}
	return some
}

// sent notes what became of a run: so many requests are the server's. One that takes none gets
// nothing more of this part.
func (p *parts) sent(n int) {
	if p.at >= len(p.left) {
		return
	}
	if n == 0 {
		n = p.left[p.at]
	}
	p.left[p.at] -= min(n, p.left[p.at])
}

// end moves the turns on after a batch if its runs were a multiple of what takes turns, or
// the next batch would give the same one the smallest part.
func (p *parts) end(b *Broker) {
	if rt := p.rt; rt != nil {
		if b.byLoad && len(rt.servers) > 1 && p.runs%len(rt.servers) == 0 {
			_, _ = b.choice.Pick(0, nil)
		}
		for _, s := range rt.servers {
			if len(s.conns) > 1 && p.runs%len(rt.conns) == 0 {
				s.addr.turn.Add(1)
			}
		}
	}
	clear(p.left)
	p.rt, p.left, p.at, p.runs = nil, p.left[:0], 0, 0
}

// evenRun returns how long runs of n requests are that are about as long as each other.
func evenRun(n int) int { return ceilDiv(n, ceilDiv(n, runMax)) }

func ceilDiv(n, by int) int { return (n + by - 1) / max(by, 1) }
