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

// The queue beside one that is obviously right: lists of connections in turn, each with a
// list of the requests that wait.
type plainQueue struct {
	waiting     [][]*Request
	sparse, all []int // may have some in it that are not to be served now
	taken       []int // and not collected
	newest      []bool
	limit       int
}

func (p *plainQueue) ready(d int) bool { return len(p.waiting[d]) > 0 && p.taken[d] < p.limit }

func (p *plainQueue) offer(d int) {
	switch {
	case !p.ready(d) || slices.Contains(p.sparse, d) || slices.Contains(p.all, d):
	case len(p.waiting[d]) == 1 && p.taken[d] == 0:
		p.sparse = append(p.sparse, d)
	default:
		p.all = append(p.all, d)
	}
}

// next takes a connection out of a list, with those before it that are not served; -1 if there is none.
func (p *plainQueue) next(list *[]int) int {
	i := slices.IndexFunc(*list, p.ready)
	if i < 0 {
		*list = nil
		return -1
	}
	d := (*list)[i]
	*list = (*list)[i+1:]
	return d
}

func (p *plainQueue) take(now time.Duration) *Request {
	if !p.more() {
		return nil
	}
	d := p.next(&p.sparse)
	sparse := d >= 0
	if !sparse {
		d = p.next(&p.all)
	}
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
	if sparse {
		p.all = append(p.all, d)
	}
	p.offer(d)
	p.forget()
	return r
}

// forget has no turn outlast the last request.
func (p *plainQueue) forget() {
	for _, w := range p.waiting {
		if len(w) > 0 {
			return
		}
	}
	p.sparse, p.all = nil, nil
}

func (p *plainQueue) more() bool {
	return slices.ContainsFunc(p.sparse, p.ready) || slices.ContainsFunc(p.all, p.ready)
}

func (p *plainQueue) takeOld(d int, before time.Duration) *Request {
	if len(p.waiting[d]) == 0 || p.waiting[d][0].arrived >= before {
		return nil
	}
	r := p.waiting[d][0]
	p.waiting[d] = p.waiting[d][1:]
	p.forget()
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
		p := plainQueue{waiting: make([][]*Request, desks), taken: make([]int, desks), newest: make([]bool, desks), limit: limit}
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
				require.Equal(t, p.more(), more)
				if r != nil {
					require.True(t, r.next == nil && r.prev == nil)
				}
			case 3:
				n := rng.IntN(p.taken[i] + 1)
				p.taken[i] -= n
				p.offer(i)
				if served := q.collected(all[i], n); served {
					require.True(t, p.ready(i))
				}
			case 4:
				before := now - time.Duration(rng.IntN(300))*time.Millisecond
				require.Same(t, p.takeOld(i, before), q.takeOld(all[i], before))
			}
			left, ready := 0, 0
			for i, w := range p.waiting {
				left += len(w)
				if p.ready(i) {
					ready++
				}
				oldest := time.Duration(never)
				if len(w) > 0 {
					oldest = w[0].arrived
				}
				require.Equal(t, oldest, all[i].since())
			}
			require.EqualValues(t, left, q.n.Load())
			require.EqualValues(t, ready, q.ready.Load())
		}
	}
}

// A client that asks for one thing at a time, beside many that have all they want waiting: each
// of its requests is taken at once, if it comes seldom; none waits for more than one of each of the
// others, however often it comes; and of theirs none waits for more than two of each.
func TestWhoHasNothingUnderWayGoesFirst(t *testing.T) {
	const others, each = 60, 40
	for _, every := range []int{1, 7, others - 1, others, others + 1, 3 * others} { // requests taken from reply to request
		var q queue
		id := taskid.ID(0)
		ask := func(d *desk) { id++; q.put(&Request{desk: d, id: id}) }
		one := newDesk(1)
		served := map[*desk]int{} // when last, in requests taken
		for range others {
			d := newDesk(each)
			served[d] = 0
			for range each {
				ask(d)
			}
		}
		asked, reply := 0, 0
		waits := []int(nil)
		for now := 1; now <= others*(each/2); now++ {
			if asked == 0 && now >= reply+every {
				ask(one)
				asked = now
			}
			r, _ := q.take(0)
			require.NotNil(t, r)
			if r.desk == one {
				waits = append(waits, now-asked)
				asked, reply = 0, now
				q.collected(one, 1)
				continue
			}
			require.LessOrEqual(t, now-served[r.desk], 2*others+2)
			served[r.desk] = now
		}
		require.Greater(t, len(waits), 2)
		assert.LessOrEqual(t, slices.Max(waits), others)
		slices.Sort(waits)
		if every > others {
			assert.Zero(t, slices.Max(waits))
		} else {
			assert.Zero(t, waits[len(waits)/3], "about each second one")
		}
	}
}

// A connection that comes and goes has no right before those that wait.
func TestManyWhoHaveNothingUnderWayLeaveTheOthersTheirTurn(t *testing.T) {
	const light = 50
	var q queue
	heavy := newDesk(1000)
	for id := range taskid.ID(1000) {
		q.put(&Request{desk: heavy, id: id})
	}
	lights := make([]*desk, light)
	for i := range lights {
		lights[i] = newDesk(1)
		q.put(&Request{desk: lights[i]})
	}
	since := 0
	for range 20 * light {
		r, _ := q.take(0)
		if r.desk == heavy {
			since = 0
			continue
		}
		since++
		require.LessOrEqual(t, since, 2*light)
		q.collected(r.desk, 1)
		q.put(&Request{desk: r.desk}) // at once again
	}
}

// A turn that has collected and a worker that finds the limit reached must not miss each other.
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
