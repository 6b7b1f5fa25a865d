package pools

import (
	"fmt"
	"runtime"
	"sync"
	"time"
)

// Workload is what the callers of a pool do.
type Workload struct {
	Name       string
	Item       string // the kind of Source
	Goroutines int
	Capacity   int
	Drop       bool // each caller has its item closed
	Hold       bool // callers let others run while they hold an item
}

// Workloads lists all: Get and Put with room for everybody, churn, and callers
// that outnumber the items.
func Workloads() (all []Workload) {
	for _, g := range []int{1, 2, 4, 8, 16, 64} {
		all = append(all, Workload{Name: "getput", Item: "memory", Goroutines: g, Capacity: g})
	}
	for _, g := range []int{1, 8} {
		all = append(all,
			Workload{Name: "churn", Item: "memory", Goroutines: g, Capacity: g, Drop: true},
			Workload{Name: "churn", Item: "unix", Goroutines: g, Capacity: g, Drop: true})
	}
	for _, g := range []int{2, 16, 64} {
		all = append(all, Workload{Name: "exhausted", Item: "memory", Goroutines: g, Capacity: max(1, g/4), Hold: true})
	}
	return append(all, Workload{Name: "getput", Item: "unix", Goroutines: 1, Capacity: 1})
}

func (w Workload) String() string {
	return fmt.Sprintf("%s/item=%s/goroutines=%d/capacity=%d", w.Name, w.Item, w.Goroutines, w.Capacity)
}

// Run makes every goroutine of the workload do its share of n cycles, and returns
// how long that took.
func (w Workload) Run(p Peer, n int) (time.Duration, error) {
	cycle := p.Keep
	if w.Drop {
		cycle = p.Drop
	}
	var use func()
	if w.Hold {
		use = runtime.Gosched
	}
	var wg sync.WaitGroup
	failed := make(chan error, w.Goroutines)
	begin := make(chan struct{})
	for g := range w.Goroutines {
		share := n / w.Goroutines
		if g < n%w.Goroutines {
			share++
		}
		wg.Go(func() {
			<-begin
			for range share {
				if err := cycle(use); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	start := time.Now()
	close(begin)
	wg.Wait()
	took := time.Since(start)
	select {
	case err := <-failed:
		return took, err
	default:
		return took, nil
	}
}
