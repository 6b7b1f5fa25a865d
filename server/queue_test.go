package server

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/taskid"
)

// The queue beside one that is obviously right: a list of connections in turn, each with a
// list of the requests that wait.
type plainQueue struct {
	waiting [][]*Request
	turns   []int
	taken   []int // and not collected
	newest  []bool
	limit   int
}

func (p *plainQueue) offer(d int) {
	if len(p.waiting[d]) > 0 && p.taken[d] < p.limit && !slices.Contains(p.turns, d) {
		p.turns = append(p.turns, d)
	}
}

func (p *plainQueue) take(now time.Duration) *Request {
	if len(p.turns) == 0 {
		return nil
	}
	d := p.turns[0]
	p.turns = p.turns[1:]
	at := 0
	if now-p.waiting[d][0].arrived > lateAfter {
		if p.newest[d] {
			at = len(p.waiting[d]) - 1
		}
		p.newest[d] = !p.newest[d]
	}
	r := p.waiting[d][at]
	p.waiting[d] = slices.Delete(p.waiting[d], at, at+1)
	p.taken[d]++
	p.offer(d)
	return r
}

func (p *plainQueue) takeOld(d int, before time.Duration) *Request {
	if len(p.waiting[d]) == 0 || p.waiting[d][0].arrived >= before {
		return nil
	}
	r := p.waiting[d][0]
	if p.waiting[d] = p.waiting[d][1:]; len(p.waiting[d]) == 0 {
		p.turns = slices.DeleteFunc(p.turns, func(other int) bool { return other == d })
	}
	return r
}

func TestQueueBesideAPlainOne(t *testing.T) {
	const desks, limit = 4, 8
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var q queue
		all := make([]*desk, desks)
		for i := range all {
			all[i] = newDesk(limit)
		}
		p := plainQueue{make([][]*Request, desks), nil, make([]int, desks), make([]bool, desks), limit}
		now := time.Duration(0)
		for id := range taskid.ID(1000) {
			now += time.Duration(rng.IntN(20)) * time.Millisecond
			i := rng.IntN(desks)
			switch rng.IntN(5) {
			case 0, 1:
				r := &Request{desk: all[i], id: id, arrived: now}
				q.put(r)
				p.waiting[i] = append(p.waiting[i], r)
				p.offer(i)
			case 2:
				r, more := q.take(now)
				require.Same(t, p.take(now), r)
				require.Equal(t, len(p.turns) > 0, more)
				if r != nil {
					require.True(t, r.next == nil && r.prev == nil)
				}
			case 3:
				n := rng.IntN(p.taken[i] + 1)
				p.taken[i] -= n
				p.offer(i)
				if served := q.collected(all[i], n); served {
					require.Contains(t, p.turns, i)
				}
			case 4:
				before := now - time.Duration(rng.IntN(300))*time.Millisecond
				require.Same(t, p.takeOld(i, before), q.takeOld(all[i], before))
			}
			left := 0
			for i, w := range p.waiting {
				left += len(w)
				oldest := time.Duration(never)
				if len(w) > 0 {
					oldest = w[0].arrived
				}
				require.Equal(t, oldest, all[i].since())
			}
			require.EqualValues(t, left, q.n.Load())
			require.EqualValues(t, len(p.turns), q.ready.Load())
		}
	}
}

// Who has collected and a worker that finds the limit reached must not miss each other.
func TestAConnectionAtItsLimitIsServedAgain(t *testing.T) {
	const limit, n = 2, 20_000
	var q queue
	d := newDesk(limit)
	returned := make(chan struct{}, limit)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range n {
			<-returned
			q.collected(d, 1)
		}
	}()
	deadline := time.Now().Add(patienceMax)
	for id := range taskid.ID(n) {
		q.put(&Request{desk: d, id: id})
		r, _ := q.take(0)
		for ; r == nil; r, _ = q.take(0) {
			runtime.Gosched()
			if time.Now().After(deadline) {
				t.Fatalf("request %d is never taken", id)
			}
		}
		returned <- struct{}{}
	}
	<-done
	assert.Zero(t, q.n.Load())
}
