//go:build unix

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// rowRatio is C6.
func rowRatio(ctx context.Context, s *suite, r *report) error {
	rounds, lasts := of(s, 10, 2), of(s, 2*time.Second, 500*time.Millisecond)
	b, err := s.serve(ctx, r)
	if err != nil {
		return err
	}
	defer func() { _ = b.end() }()
	var loads, benches, ratios []float64
	for range rounds {
		sum, err := s.load(ctx, r, lasts, nil,
			"--framing", "anet", "-c", "1", "--inflight", "1024", "--size", "64", "-d", lasts.String(), b.addr)
		if err != nil {
			return err
		}
		path := filepath.Join(s.dir, "bench.json")
		if _, err = s.command(ctx, r, lasts, nil, nil, "bench", "--no-progress", "--json", path, "--baseline", "none",
			"--groups", "best", "--callers", "1024", "--apis", "callback", "--rounds", "1", "--slice", lasts.String()); err != nil {
			return err
		}
		var d struct {
			Rows []struct {
				Rate float64 `json:"req_per_s"`
			}
		}
		if err = readJSON(path, &d); err != nil {
			return err
		}
		if len(d.Rows) != 1 || d.Rows[0].Rate <= 0 {
			return fmt.Errorf("bench has %d rows instead of one with a rate", len(d.Rows))
		}
		loads, benches = append(loads, sum.Rate), append(benches, d.Rows[0].Rate)
		ratios = append(ratios, sum.Rate/d.Rows[0].Rate)
	}
	r.check(median(ratios) >= 0.7, fmt.Sprintf("window 1024, 64 bytes, median of %d rounds in turn: at least 0.7", rounds),
		"%.2f (%.2f to %.2f); %.2f M/s beside %.2f M/s", median(ratios), slices.Min(ratios), slices.Max(ratios), median(loads)/1e6, median(benches)/1e6)
	test := exec.CommandContext(ctx, "go", "test", "-count=1", "-run", "Alloc", ".")
	test.Dir = filepath.Join(s.root, "load")
	out, err := test.CombinedOutput()
	r.ran("(cd load; go test -run Alloc .)")
	r.exactly(err == nil && strings.HasPrefix(string(out), "ok"), "0 allocations for each request", "%s", strings.TrimSpace(string(out)))
	return nil
}

func median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// found is the report of a search.
type found struct {
	Outcome  string
	Rate     float64
	Verdict  string
	ExitCode int `json:"exit_code"`
}

// rowFind is C13.
func rowFind(ctx context.Context, s *suite, r *report) error {
	const licence, bound = 2000, 3 * time.Minute
	times := of(s, 10, 1)
	probe := of(s, 5*time.Second, time.Second)
	b, err := s.serve(ctx, r, "--framing", "anet", "--cps", "2000")
	if err != nil {
		return err
	}
	defer func() { _ = b.end() }()
	args := []string{"load", "--no-progress", "--framing", "anet", "--find-max", "p99<50ms", "-d", probe.String(), "-c", "4", "--inflight", "64"}
	search := func(via []string) (f found, took time.Duration, err error) {
		path := filepath.Join(s.dir, "found.json")
		began := time.Now()
		o, err := s.command(ctx, r, 15*time.Minute, via, nil, append(append(args, "--json", path), b.addr)...)
		if err == nil {
			err = readJSON(path, &f)
		}
		if err == nil && f.ExitCode != o.code {
			err = fmt.Errorf("exit code %d, and %d in the report: %s", o.code, f.ExitCode, o.stderr)
		}
		return f, time.Since(began), err
	}
	within, above := 0, 0
	var longest time.Duration
	var results []string
	for range times {
		f, took, err := search(nil)
		if err != nil {
			return err
		}
		longest = max(longest, took)
		switch {
		case f.Outcome != "found":
			results = append(results, f.Outcome)
			continue
		case f.Rate > 1.05*licence:
			above++
		case f.Rate >= 0.95*licence:
			within++
		}
		results = append(results, strconv.Itoa(int(f.Rate)))
	}
	all := strings.Join(results, ", ")
	least := (9*times + 9) / 10
	r.check(within >= least, fmt.Sprintf("2,000 ± 5 %% in %d of %d or more", least, times), "%d: %s", within, all)
	r.exactly(above == 0, "never more than 5 % above", "%d above", above)
	r.check(longest <= bound, fmt.Sprintf("%v at most", bound), "%v", longest.Round(time.Second))

	via, remove, err := tenth()
	if err != nil {
		return err
	}
	defer remove()
	f, took, err := search(via)
	if err != nil {
		return err
	}
	r.exactly(f.ExitCode == exitLimited && f.Rate == 0, "the generator held to a tenth of a processor (control group): exit 4 and no figure",
		"exit %d, rate %.0f, %v: %s", f.ExitCode, f.Rate, took.Round(time.Second), f.Verdict)
	return nil
}

// tenth makes a control group that has a tenth of a processor, and returns what to put in
// front of a command to run it there.
func tenth() (via []string, remove func(), err error) {
	dir := fmt.Sprintf("/sys/fs/cgroup/cpu/loadrows-%d", os.Getpid())
	files := map[string]string{"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "10000"}
	if _, absent := os.Stat("/sys/fs/cgroup/cgroup.controllers"); absent == nil {
		dir = fmt.Sprintf("/sys/fs/cgroup/loadrows-%d", os.Getpid())
		files = map[string]string{"cpu.max": "10000 100000"}
	}
	if err = os.Mkdir(dir, 0o755); err != nil {
		return nil, nil, errAbsent{"a tenth of a processor: no control group can be made: " + err.Error()}
	}
	for _, name := range []string{"cpu.cfs_period_us", "cpu.cfs_quota_us", "cpu.max"} {
		if value := files[name]; value != "" && err == nil {
			err = os.WriteFile(filepath.Join(dir, name), []byte(value), 0)
		}
	}
	if err != nil {
		_ = os.Remove(dir)
		return nil, nil, errAbsent{"a tenth of a processor: the control group takes no limit: " + err.Error()}
	}
	return []string{"sh", "-c", `echo $$ >"$0/cgroup.procs" && exec "$@"`, dir}, func() { _ = os.Remove(dir) }, nil
}

// rowCompare is C14.
func rowCompare(ctx context.Context, s *suite, r *report) error {
	times, lasts := of(s, 20, 2), of(s, 500*time.Millisecond, 300*time.Millisecond)
	var addrs []string
	for _, latency := range []string{"10ms", "12ms"} {
		b, err := s.serve(ctx, r, "--framing", "anet", "--latency", latency)
		if err != nil {
			return err
		}
		defer func() { _ = b.end() }()
		addrs = append(addrs, b.addr)
	}
	type counts struct{ alarms, undecided, inconclusive int }
	many := func(a, b string) (c counts, err error) {
		for range times {
			path := filepath.Join(s.dir, "compare.json")
			o, err := s.command(ctx, r, 10*time.Minute, nil, nil, "compare", "--json", path, "--framing", "anet", "-r", "500", "-d", lasts.String(),
				"--inflight", "64", "--max-regression", "5%", a, b)
			if err != nil {
				return c, err
			}
			var d struct {
				Measures []struct{ Name, Decision string }
			}
			if err := readJSON(path, &d); err != nil {
				return c, fmt.Errorf("%w\n%s%s", err, o.stdout, o.stderr)
			}
			switch o.code {
			case 0:
				if slices.ContainsFunc(d.Measures, func(m struct{ Name, Decision string }) bool { return m.Decision == "undecided" }) {
					c.undecided++
				}
			case 4:
				c.inconclusive++
			case 98:
				c.alarms++
			default:
				return c, fmt.Errorf("compare ends with %d\n%s%s", o.code, o.stdout, o.stderr)
			}
		}
		return c, nil
	}
	same, err := many(addrs[0], addrs[0])
	if err != nil {
		return err
	}
	r.check(same.alarms <= times/20, fmt.Sprintf("with itself, %d times: at most %d false alarms", times, times/20),
		"%d; %d undecided in some measure, %d inconclusive", same.alarms, same.undecided, same.inconclusive)
	worse, err := many(addrs[0], addrs[1])
	if err != nil {
		return err
	}
	r.check(worse.alarms == times, fmt.Sprintf("10 ms and 12 ms, %d times: %d found", times, times),
		"%d; %d undecided, %d inconclusive", worse.alarms, worse.undecided, worse.inconclusive)
	return nil
}

// rowMemory is C19.
func rowMemory(ctx context.Context, s *suite, r *report) error {
	b, err := s.serve(ctx, r, "--max-conns", "20000")
	if err != nil {
		return err
	}
	defer func() { _ = b.end() }()
	lasts := of(s, s.long, 10*time.Second)
	var seen rss
	sum, err := s.load(ctx, r, lasts, seen.watch(ctx, min(max(lasts/10, 3*time.Second), time.Minute)),
		"-r", "100k", "-d", lasts.String(), "-c", "4", "--inflight", "4096", b.addr)
	if err != nil {
		return err
	}
	const mega, kilo, conns = 1 << 20, 1 << 10, 10_000
	growth := seen.most.Load() - seen.first.Load()
	if seen.first.Load() == 0 {
		return errAbsent{"memory: there is no /proc that tells it"}
	}
	r.check(growth <= 10*mega, fmt.Sprintf("100,000/s for %v: memory grows by 10 MiB at most", lasts),
		"by %.1f MiB, from %.1f MiB; %.0f/s",
		float64(growth)/mega, float64(seen.first.Load())/mega, sum.Rate)
	lasts = of(s, 30*time.Second, 5*time.Second)
	var few, many rss
	if _, err = s.load(ctx, r, lasts, few.watch(ctx, lasts/2), "-r", "10k", "-d", lasts.String(), "-c", "10", b.addr); err != nil {
		return err
	}
	if sum, err = s.load(ctx, r, lasts, many.watch(ctx, lasts/2), "-r", "10k", "-d", lasts.String(), "-c", "10000", b.addr); err != nil {
		return err
	}
	each := float64(many.most.Load()-few.most.Load()) / (conns - 10)
	r.check(each <= 32*kilo, "10,000 connections at 1/s each: at most 32 KiB a connection",
		"%.1f KiB; %.1f MiB in all, %.1f with ten", each/kilo,
		float64(many.most.Load())/mega, float64(few.most.Load())/mega)
	r.check(sum.Replied == sum.Sent && sum.Unsent == 0, "and all are answered",
		"sent %d, replied %d, unsent %d", sum.Sent, sum.Replied, sum.Unsent)
	return nil
}

// rss is the resident memory of a process, in bytes: the most at first, and the most of all.
type rss struct{ first, most atomic.Int64 }

// lookEvery is how often.
const lookEvery = 200 * time.Millisecond

// watch looks at a process until its end. First is for so long.
func (m *rss) watch(ctx context.Context, after time.Duration) func(pid int) {
	return func(pid int) {
		go func() {
			for began := time.Now(); ; {
				data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
				fields := strings.Fields(string(data))
				if err != nil || len(fields) < 2 {
					return // it has ended
				}
				pages, _ := strconv.ParseInt(fields[1], 10, 64)
				bytes := pages * int64(os.Getpagesize())
				if time.Since(began) <= after {
					m.first.Store(max(m.first.Load(), bytes))
				}
				m.most.Store(max(m.most.Load(), bytes))
				if !pause(ctx, lookEvery) {
					return
				}
			}
		}()
	}
}
