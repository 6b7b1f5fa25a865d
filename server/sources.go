package server

import (
	"math"
	"net/netip"
	"sync"
	"time"

	"github.com/ringwire/ringwire/internal/list"
)

const (
	// sourceBits6 is how much of an IPv6 address tells one client from another: a host
	// usually has a /64 to itself and may take a new address of it for each connection.
	sourceBits6 = 64
	// idleSourcesMax bounds the addresses that are remembered without a connection.
	idleSourcesMax = 1 << 16
	// forgetMax is how many of them a sweep forgets at most.
	forgetMax = 1 << 10
)

// sources counts the connections of each client address.
//
// An address is in it while it has connections, so there are no more of these than
// connections, and then until its tokens are back: at most idleSourcesMax of these, the
// one that has been seen last the longest ago goes first, and finds a whole burst when it
// comes back. Nothing here takes longer when there are many.
type sources struct {
	maxConns int           // MaxConnsPerIP; 0: any number
	interval time.Duration // between two tokens; 0: any rate
	ahead    time.Duration // how far in the future full may lie for one more token

	mu   sync.Mutex // held for one look-up, or forgetMax of them
	of   map[netip.Prefix]*source
	idle list.List[source] // those without connections, in the order in which they were seen
}

// source is one client address.
type source struct {
	key   netip.Prefix
	conns int
	full  time.Duration // when all tokens are back; each costs one interval
	place list.Node[source]
}

// newSources makes a table; burst is the number of tokens of an address, 0 for as many as
// come in a second.
func newSources(maxConns int, rate float64, burst int) *sources {
	t := &sources{maxConns: maxConns, of: make(map[netip.Prefix]*source)}
	if rate > 0 {
		if burst == 0 {
			burst = int(math.Ceil(rate))
		}
		t.interval = time.Duration(float64(time.Second) / rate)
		t.ahead = time.Duration(burst-1) * t.interval
	}
	return t
}

// sourceOf returns what the connections of an address are counted under.
func sourceOf(from netip.Addr) netip.Prefix {
	key, _ := from.Prefix(min(from.BitLen(), sourceBits6))
	return key
}

// enter counts a connection that comes at a time, unless it is one too many. What has no
// address is not counted.
func (t *sources) enter(from netip.Addr, now time.Duration) refusal {
	key := sourceOf(from)
	if !key.IsValid() {
		return refusedNot
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	src := t.of[key]
	if src == nil {
		src = &source{key: key}
		t.of[key] = src
	}
	t.idle.Remove(&src.place)
	switch {
	case t.maxConns > 0 && src.conns >= t.maxConns:
		return refusedPerIP
	case t.interval > 0 && src.full-now > t.ahead:
		if src.conns == 0 {
			t.keep(src)
		}
		return refusedRate
	}
	src.full = max(src.full, now) + t.interval
	src.conns++
	return refusedNot
}

// leave gives back what enter has counted.
func (t *sources) leave(from netip.Addr) {
	key := sourceOf(from)
	if !key.IsValid() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	src := t.of[key]
	src.conns--
	if src.conns == 0 {
		t.keep(src)
	}
}

// keep remembers an address without connections, if there is something to remember.
func (t *sources) keep(src *source) {
	if t.interval == 0 {
		delete(t.of, src.key)
		return
	}
	t.idle.PushBack(&src.place, src)
	if t.idle.Len() > idleSourcesMax {
		t.forget(t.idle.Front())
	}
}

func (t *sources) forget(src *source) {
	t.idle.Remove(&src.place)
	delete(t.of, src.key)
}

// sweep forgets addresses that have all their tokens again. One that has not holds up
// those behind it, for no longer than it takes to fill a burst.
func (t *sources) sweep(now time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for range forgetMax {
		src := t.idle.Front()
		if src == nil || src.full > now {
			return
		}
		t.forget(src)
	}
}
