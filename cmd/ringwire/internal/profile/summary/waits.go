package summary

import (
	"cmp"
	"slices"
	"strings"

	"github.com/ringwire/ringwire/cmd/ringwire/internal/profile/stack"
)

// sitesMax bounds each list of sites. A process that allocates or waits in more
// places shows it in the first ones.
const sitesMax = 100

// allocsOf adds up a profile of allocations, whose values are objects and bytes.
func allocsOf(stacks []stack.Stack, requests uint64) Allocs {
	a := Allocs{Requests: requests, Sites: []Site{}}
	sites := make(map[[2]string]*Site)
	for _, s := range stacks {
		switch stack.Responsible(s.Frames) {
		case stack.Profiler:
			a.Profiler += s.Values[0]
			continue
		case stack.Harness:
			a.Harness += s.Values[0]
			continue
		}
		function, caller := place(s.Frames)
		key := [2]string{function, caller}
		if sites[key] == nil {
			sites[key] = &Site{Function: function, Caller: caller}
		}
		sites[key].Objects += s.Values[0]
		sites[key].Bytes += s.Values[1]
	}
	for _, site := range sites {
		a.Sites = append(a.Sites, *site)
	}
	slices.SortFunc(a.Sites, func(a, b Site) int {
		return cmp.Or(cmp.Compare(b.Objects, a.Objects), strings.Compare(a.Function, b.Function), strings.Compare(a.Caller, b.Caller))
	})
	a.Sites = a.Sites[:min(len(a.Sites), sitesMax)]
	return a
}

// place is the first function that is not the runtime's, and, when that is not
// the library's, the first above it that is.
func place(frames []string) (function, caller string) {
	for _, name := range frames {
		owner := stack.OwnerOf(name)
		if function == "" && owner != stack.Runtime {
			function = stack.Short(name)
		}
		if owner == stack.Ours {
			if short := stack.Short(name); short != function {
				caller = short
			}
			break
		}
	}
	if function == "" {
		function = stack.Short(frames[0])
	}
	return function, caller
}

// waitsOf adds up a profile of contention, whose values are events and
// nanoseconds. What the load and the profiler wait for is left out.
func waitsOf(stacks []stack.Stack, requests uint64) []Wait {
	waits := []Wait{}
	if requests == 0 {
		return waits
	}
	byPlace := make(map[[2]string]*Wait)
	for _, s := range stacks {
		if owner := stack.Responsible(s.Frames); owner == stack.Harness || owner == stack.Profiler {
			continue
		}
		w := waitOf(s.Frames)
		key := [2]string{w.Site, w.Kind}
		if byPlace[key] == nil {
			byPlace[key] = &w
		}
		byPlace[key].Count += float64(s.Values[0]) / float64(requests)
		byPlace[key].Delay += float64(s.Values[1]) / float64(requests)
	}
	for _, w := range byPlace {
		waits = append(waits, *w)
	}
	slices.SortFunc(waits, func(a, b Wait) int {
		return cmp.Or(cmp.Compare(b.Delay, a.Delay), strings.Compare(a.Site, b.Site), strings.Compare(a.Kind, b.Kind))
	})
	return waits[:min(len(waits), sitesMax)]
}

// waitOf finds out what a stack waited for, and which function waited. The leaf of a
// mutex's contention is its Unlock, that of a block is the operation that blocked; both
// are below the function that is to be named.
func waitOf(frames []string) Wait {
	kind := WaitRuntime
	for _, name := range frames {
		switch owner := stack.OwnerOf(name); {
		case owner == stack.Sync:
			kind = WaitLock
		case owner == stack.Runtime && strings.HasPrefix(name, "runtime.select"):
			kind = WaitSelect
		case owner == stack.Runtime && strings.HasPrefix(name, "runtime.chan"):
			kind = WaitChannel
		case owner == stack.Runtime:
		default:
			return Wait{Site: stack.Short(name), Kind: kind, Own: owner == stack.Ours && kind != WaitRuntime}
		}
	}
	// The runtime for itself: what it did with the lock tells more than where the
	// stack began.
	for _, name := range frames {
		if !strings.HasPrefix(name, "runtime.lock") && !strings.HasPrefix(name, "runtime.unlock") {
			return Wait{Site: name, Kind: WaitRuntime}
		}
	}
	return Wait{Site: frames[0], Kind: WaitRuntime}
}

// goroutinesOf counts a goroutine profile, whose value is how many.
func goroutinesOf(stacks []stack.Stack) []Goroutine {
	counts := make(map[Goroutine]int64)
	for _, s := range stacks {
		if s.Role == stack.RoleProfiler {
			continue
		}
		at, _ := place(s.Frames)
		counts[Goroutine{Role: s.Role, State: stack.State(s.Frames), At: at}] += s.Values[0]
	}
	all := make([]Goroutine, 0, len(counts))
	for g, n := range counts {
		g.Count = n
		all = append(all, g)
	}
	slices.SortFunc(all, func(a, b Goroutine) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Role, b.Role),
			strings.Compare(a.State, b.State), strings.Compare(a.At, b.At))
	})
	return all[:min(len(all), sitesMax)]
}
