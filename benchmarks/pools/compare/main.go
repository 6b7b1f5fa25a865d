// Compare runs every workload on every pool, in turn within each round, and prints
// medians: a cycle's time with pool, and each other pool's time divided by
// that of the same round. Above 1, pool is the faster one.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/ringwire/ringwire/benchmarks/pools"
)

func main() {
	rounds := flag.Int("rounds", 15, "how often each pool has its turn; at least 10")
	turn := flag.Duration("turn", 50*time.Millisecond, "how long a turn takes, about")
	match := flag.String("match", "", "only workloads whose name contains this")
	flag.Parse()
	if err := run(max(*rounds, 10), *turn, *match); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

func run(rounds int, turn time.Duration, match string) error {
	dir, err := os.MkdirTemp("", "pools")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	fmt.Printf("%d rounds of %v, GOMAXPROCS %d, %s %s/%s\n", rounds, turn, runtime.GOMAXPROCS(0), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	fmt.Printf("%-52s %12s", "workload", "ns/cycle")
	for _, name := range pools.Names[1:] {
		fmt.Printf(" %20s", name+" (min-max)")
	}
	fmt.Println()
	for _, w := range pools.Workloads() {
		if !strings.Contains(w.String(), match) {
			continue
		}
		if err := compare(w, rounds, turn, dir); err != nil {
			return fmt.Errorf("%s: %w", w, err)
		}
	}
	return nil
}

// compare prints one workload's line.
func compare(w pools.Workload, rounds int, turn time.Duration, dir string) error {
	src, err := pools.NewSource(w.Item, dir)
	if err != nil {
		return err
	}
	defer src.Close()
	peers := make([]pools.Peer, len(pools.Names))
	for i, name := range pools.Names {
		if peers[i], err = pools.NewPeer(name, w.Capacity, src.Open); err != nil {
			return err
		}
		defer peers[i].Close()
	}
	// As many cycles for all as ours does in a turn.
	const probe = 2000
	took, err := w.Run(peers[0], probe)
	if err != nil {
		return err
	}
	cycles := max(probe, int(float64(probe)*float64(turn)/float64(took)))

	times := make([][]float64, len(peers))
	for round := range rounds + 1 { // the first is for warming up
		for k := range peers {
			i := (k + round) % len(peers) // nobody is always first
			took, err := w.Run(peers[i], cycles)
			if err != nil {
				return err
			}
			if round > 0 {
				times[i] = append(times[i], float64(took)/float64(cycles))
			}
		}
	}
	fmt.Printf("%-52s %12.0f", w, median(times[0]))
	for i := 1; i < len(peers); i++ {
		ratios := make([]float64, rounds)
		for r := range ratios {
			ratios[r] = times[i][r] / times[0][r]
		}
		fmt.Printf(" %20s", fmt.Sprintf("%.2f (%.2f-%.2f)", median(ratios), slices.Min(ratios), slices.Max(ratios)))
	}
	fmt.Println()
	return nil
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}
