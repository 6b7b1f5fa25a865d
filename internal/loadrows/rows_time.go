//go:build unix

package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// stopped is the response at a quantile when requests fall due evenly for a time and the
// backend stands still for a part of it: of those that fell due meanwhile the first waited for
// all of it, the last for nothing.
func stopped(q float64, still, lasts time.Duration) time.Duration {
	return max(still-time.Duration((1-q)*float64(lasts)), 0)
}

// still has a process stand still for a while, some time after its load has begun.
func still(ctx context.Context, pid int, after, long time.Duration) func(int) {
	return func(int) {
		go func() {
			if pause(ctx, after) && syscall.Kill(pid, syscall.SIGSTOP) == nil {
				pause(ctx, long)
				_ = syscall.Kill(pid, syscall.SIGCONT)
			}
		}()
	}
}

// rowStop is C1.
func rowStop(ctx context.Context, s *suite, r *report) error {
	lasts, long := of(s, 20*time.Second, 5*time.Second), of(s, 2*time.Second, 500*time.Millisecond)
	b, err := s.serve(ctx, r)
	if err != nil {
		return err
	}
	defer func() { _ = b.end() }()
	if err := stopOpen(ctx, s, r, "serve", b.cmd.Process.Pid, lasts, long, b.addr); err != nil {
		return err
	}
	hlog := filepath.Join(s.dir, "closed.hlog")
	sum, err := s.load(ctx, r, lasts, still(ctx, b.cmd.Process.Pid, lasts/2, long), "--hlog", hlog, "-c", "1", "-d", lasts.String(), b.addr)
	if err != nil {
		return err
	}
	edge := long * 95 / 100
	over, err := countAbove(hlog, "response", edge)
	if err != nil {
		return err
	}
	r.check(sum.Response.P99 < int64(10*time.Millisecond) && over == 1,
		fmt.Sprintf("closed loop, one in flight: p99 under 10 ms, one sample of %v or more", edge),
		"p99 %s, %d such samples of %d", milliseconds(sum.Response.P99), over, sum.Response.Count)

	k, err := startKnot(ctx, s)
	if err != nil {
		return err
	}
	defer k.end()
	return stopOpen(ctx, s, r, "knot", k.cmd.Process.Pid, lasts, long, append(dnsQuery, k.addr)...)
}

// stopOpen stops a backend under a load of 1,000 a second.
func stopOpen(ctx context.Context, s *suite, r *report, name string, pid int, lasts, long time.Duration, args ...string) error {
	args = append([]string{"-r", "1k", "-d", lasts.String(), "--inflight", "64"}, args...)
	sum, err := s.load(ctx, r, lasts, still(ctx, pid, lasts/3, long), args...)
	if err != nil {
		return err
	}
	good := true
	var want, got []string
	for _, p := range []struct {
		name string
		q    float64
		is   int64
	}{{"p95", 0.95, sum.Response.P95}, {"p99", 0.99, sum.Response.P99}, {"p99.9", 0.999, sum.Response.P999}} {
		must := stopped(p.q, long, lasts)
		good = good && math.Abs(float64(p.is)-float64(must)) <= 0.05*float64(must)
		want = append(want, fmt.Sprintf("%s %.3f s", p.name, must.Seconds()))
		got = append(got, fmt.Sprintf("%s %.3f s", p.name, float64(p.is)/1e9))
	}
	r.check(good, fmt.Sprintf("%s, SIGSTOP for %v of %v: %s, each ± 5 %%", name, long, lasts, strings.Join(want, ", ")),
		"%s", strings.Join(got, ", "))
	r.exactly(sum.Sent == sum.Replied && sum.Unsent == 0, name+": all are sent and answered",
		"sent %d, replied %d, unsent %d", sum.Sent, sum.Replied, sum.Unsent)
	return nil
}

// countAbove counts the values of a tag of a histogram log that are not below an edge.
func countAbove(path, tag string, edge time.Duration) (n int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	log := hdrhistogram.NewHistogramLogReader(f)
	for {
		h, err := log.NextIntervalHistogram()
		if err != nil || h == nil {
			return n, err
		}
		if h.Tag() != tag {
			continue
		}
		for _, bar := range h.Distribution() {
			if bar.From >= int64(edge) {
				n += bar.Count
			}
		}
	}
}

// rowDelays is C2.
func rowDelays(ctx context.Context, s *suite, r *report) error {
	lasts := of(s, time.Minute, 3*time.Second)
	path := filepath.Join(s.dir, "stub.json")
	b, err := s.serve(ctx, r, "--framing", "payshield", "--latency", "p50=2ms,p99=20ms", "--json", path)
	if err != nil {
		return err
	}
	sum, err := s.load(ctx, r, lasts, nil, "--framing", "payshield", "-r", "2k", "-d", lasts.String(), "--inflight", "1000", b.addr)
	if end := b.end(); err == nil {
		err = end
	}
	var stub struct {
		Delay percentiles `json:"delay_ns"`
	}
	if err == nil {
		err = readJSON(path, &stub)
	}
	if err != nil {
		return err
	}
	d, v := stub.Delay, sum.Service
	r.exactly(d.Count == v.Count, "both have the same requests", "%d and %d", d.Count, v.Count)
	good := true
	var got []string
	for _, p := range []struct {
		name      string
		stub, our int64
	}{{"p50", d.P50, v.P50}, {"p75", d.P75, v.P75}, {"p90", d.P90, v.P90}, {"p95", d.P95, v.P95}, {"p99", d.P99, v.P99}, {"p99.9", d.P999, v.P999}} {
		good = good && math.Abs(float64(p.our-p.stub)) <= max(0.01*float64(p.stub), 300e3)
		got = append(got, fmt.Sprintf("%s %s and %s", p.name, milliseconds(p.stub), milliseconds(p.our)))
	}
	r.check(good, fmt.Sprintf("log-normal, 2,000/s for %v: p50 to p99.9 of stub and service within 1 %% or 300 µs", lasts),
		"%s", strings.Join(got, ", "))
	return nil
}

// rowLag is C4.
func rowLag(ctx context.Context, s *suite, r *report) error {
	lasts := of(s, 20*time.Second, 2*time.Second)
	b, err := s.serve(ctx, r)
	if err != nil {
		return err
	}
	defer func() { _ = b.end() }()
	for _, c := range []struct {
		rate string
		most time.Duration
		args []string
	}{{"1k", 250 * time.Microsecond, []string{"--inflight", "64"}}, {"500k", time.Millisecond, []string{"-c", "2", "--inflight", "8192"}}} {
		sum, err := s.load(ctx, r, lasts, nil, append(append([]string{"-r", c.rate, "-d", lasts.String()}, c.args...), b.addr)...)
		if err != nil {
			return err
		}
		r.check(sum.Lag.P99 <= int64(c.most) && sum.Unsent == 0,
			fmt.Sprintf("%s/s: lag p99 at most %v, 0 unsent; with at most 1 %% stolen", c.rate, c.most),
			"p50 %s, p99 %s, %d unsent of %d", milliseconds(sum.Lag.P50), milliseconds(sum.Lag.P99), sum.Unsent, sum.Sent+sum.Unsent)
	}
	return nil
}
