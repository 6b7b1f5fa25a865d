package taskid

import (
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// duel is one request, and several parties that do something to it at once.
type duel struct {
	n        int
	tb       *Table[int]
	s        *Slot[int]
	id       ID
	outcomes atomic.Int32
	matched  atomic.Int32 // answers that found the request, given up or not
	done     atomic.Int32
}

func newDuel(n int, arms bool) *duel {
	d := &duel{n: n, tb: NewTable[int](64)} // Close has some way to go after the first slot
	d.s, d.id = d.tb.Acquire()
	d.s.V = n
	if !arms {
		d.tb.Arm(d.s, d.id, 1)
	}
	return d
}

func (d *duel) end(s *Slot[int], free func(ID)) {
	d.outcomes.Add(1)
	s.V++ // the race detector sees another that uses it
	free(d.id)
}

func (d *duel) giveUp(s *Slot[int], _ ID) { d.end(s, d.tb.Release) }

var duelMoves = map[string]func(t *testing.T, d *duel){
	"arm": func(_ *testing.T, d *duel) {
		if !d.tb.Arm(d.s, d.id, 1) {
			d.end(d.s, d.tb.Free)
		}
	},
	"answer": func(t *testing.T, d *duel) {
		s, match := d.tb.Answer(d.id)
		if match == Won {
			d.end(s, d.tb.Free)
		}
		if match != Unknown {
			d.matched.Add(1)
		}
		if n := d.tb.Orphans(); n < 0 {
			t.Errorf("%d orphans", n)
		}
	},
	"cancel": func(_ *testing.T, d *duel) {
		if s, won := d.tb.Cancel(d.id); won {
			d.giveUp(s, d.id)
		}
	},
	"expire": func(_ *testing.T, d *duel) { d.tb.Expire(1, d.giveUp) },
	"close":  func(_ *testing.T, d *duel) { d.tb.Close(d.giveUp) },
}

// check is for when all have made their moves.
func (d *duel) check(t *testing.T, moves []string) {
	all := strings.Join(moves, " ")
	closed := strings.Contains(all, "close")
	if n := d.outcomes.Load(); n != 1 {
		t.Errorf("the request has %d outcomes", n)
	}
	if !closed && strings.Contains(all, "answer") && d.matched.Load() != 1 {
		t.Errorf("%d answers found the request", d.matched.Load())
	}
	if !closed {
		d.tb.Answer(d.id) // if it is still in quarantine
	}
	if d.tb.InUse() != 0 || d.tb.Orphans() != 0 {
		t.Errorf("%d slots in use, %d orphans", d.tb.InUse(), d.tb.Orphans())
	}
}

// fight has one goroutine for each move. The goroutine that is the last in one duel
// begins the next.
func fight(t *testing.T, rounds int, moves []string) {
	var now atomic.Pointer[duel]
	arms := strings.Contains(strings.Join(moves, " "), "arm")
	now.Store(newDuel(0, arms))
	var wg sync.WaitGroup
	for w, move := range moves {
		wg.Go(func() {
			for n := range rounds {
				d := now.Load()
				for spins := 0; d.n != n; d = now.Load() {
					if spins++; spins%100 == 0 {
						runtime.Gosched()
					}
				}
				for range (n/(1+31*w) + w) % 31 { // now one is the first, now the other
					d.done.Load()
				}
				duelMoves[move](t, d)
				if int(d.done.Add(1)) == len(moves) {
					if !t.Failed() {
						d.check(t, moves)
					}
					now.Store(newDuel(n+1, arms))
				}
			}
		})
	}
	wg.Wait()
}

func TestOneOfAllWhoWouldEndARequestDoes(t *testing.T) {
	rounds := 4_000
	if testing.Short() || raceEnabled {
		rounds = 400
	}
	for _, moves := range []string{
		"answer answer", "answer cancel", "answer expire", "cancel cancel", "cancel expire",
		"close answer", "close cancel", "close expire", "close close",
		"arm close", "arm close close", "arm expire close", "arm answer close", "answer cancel close",
	} {
		t.Run(moves, func(t *testing.T) { fight(t, rounds, strings.Fields(moves)) })
	}
}
