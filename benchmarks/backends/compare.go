package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/ringwire/ringwire/benchmarks/harness/backends"
	"github.com/ringwire/ringwire/benchmarks/harness/chart"
	"github.com/ringwire/ringwire/benchmarks/harness/proc"
	"github.com/ringwire/ringwire/httppool"
)

// ratioLeast is the least part of net/http's throughput that the pool has to have.
const ratioLeast = 0.9

// comparison is of HTTP clients that have the same server: so many callers, each with one request
// after another,
// turn by turn.
type comparison struct {
	server          []string
	rounds, callers int
	slice           time.Duration
}

// contender is a client.
type contender struct {
	name   string
	beside int // which of them does as much
	url    string
	do     func(*http.Request) (*http.Response, error)
	rate   []float64
}

func (c comparison) run(ctx context.Context) (*backends.Result, error) {
	child, err := proc.Start(ctx, c.server[0], append(slices.Clone(c.server[1:]), "--addr", "127.0.0.1:0")...)
	if err != nil {
		return nil, err
	}
	defer child.Stop()
	var pools []*httppool.HTTPConnectionPool
	for _, timeout := range []time.Duration{0, -1} {
		pool, err := httppool.NewHTTPConnectionPool(&httppool.HTTPPoolConfig{RequestTimeout: timeout})
		if err != nil {
			return nil, err
		}
		defer func() { _ = pool.Shutdown(context.WithoutCancel(ctx)) }()
		if err := pool.AddServer("http://"+child.Addr, 1); err != nil {
			return nil, err
		}
		pools = append(pools, pool)
	}
	all := c.contenders(child.Addr, pools[0], pools[1])
	for round := range c.rounds {
		for i := range all {
			one := all[(i+round)%len(all)] // none is always the first
			rate, err := c.measure(ctx, one)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", one.name, err)
			}
			one.rate = append(one.rate, rate)
		}
	}
	return c.result(all), ctx.Err()
}

// requestTimeout is that of a pool by default, for others.
const requestTimeout = 30 * time.Second

// contenders are net/http's Transport first, then those beside it. Each keeps a connection for each
// caller. A pool has a timeout for each request, Transport has none, and to have one costs: so each
// way of the pool is compared with the Transport that does as much.
func (c comparison) contenders(addr string, pool, endless *httppool.HTTPConnectionPool) []*contender {
	transport := func() *http.Transport { return &http.Transport{MaxIdleConnsPerHost: c.callers} }
	plain := &http.Client{Transport: transport()}
	timed := &http.Client{Transport: transport(), Timeout: requestTimeout}
	pooled, unbounded := &http.Client{Transport: pool}, &http.Client{Transport: endless}
	repeating := retryablehttp.NewClient()
	repeating.Logger, repeating.HTTPClient = nil, &http.Client{Transport: transport()}
	direct := "http://" + addr + "/x"
	return []*contender{
		{name: "net/http Transport", url: direct, do: plain.Do},
		{name: "Transport with Client.Timeout", url: direct, do: timed.Do},
		{name: "httppool as its RoundTripper", beside: 1, url: "http://pool/x", do: pooled.Do},
		{name: "httppool without RequestTimeout", url: "http://pool/x", do: unbounded.Do},
		{name: "go-retryablehttp", url: direct, do: func(r *http.Request) (*http.Response, error) {
			again, err := retryablehttp.FromRequest(r)
			if err != nil {
				return nil, err
			}
			return repeating.Do(again)
		}},
	}
}

// measure returns requests a second. Any that fails is an error.
func (c comparison) measure(ctx context.Context, one *contender) (float64, error) {
	var wg sync.WaitGroup
	var n atomic.Int64
	errs := make(chan error, c.callers)
	began := time.Now()
	for range c.callers {
		wg.Go(func() {
			for time.Since(began) < c.slice {
				if err := get(ctx, one); err != nil {
					errs <- err
					return
				}
				n.Add(1)
			}
		})
	}
	wg.Wait()
	rate := float64(n.Load()) / time.Since(began).Seconds()
	select {
	case err := <-errs:
		return 0, err
	default:
		return rate, nil
	}
}

func get(ctx context.Context, one *contender) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, one.url, nil)
	if err != nil {
		return err
	}
	resp, err := one.do(req)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d", resp.StatusCode)
	}
	return err
}

func (c comparison) result(all []*contender) *backends.Result {
	res := &backends.Result{Name: "roundtripper", Figure: chart.Figure{
		Title: "GETs a second by HTTP clients, beside net/http's own Transport",
		Subtitle: fmt.Sprintf("%d callers, one net/http server in a process of its own, %d rounds of %v each, taking turns: medians",
			c.callers, c.rounds, c.slice),
		Label: "Requests per second of HTTP clients",
	}}
	bars := &chart.Bars{Title: "requests a second, and the median of the rounds' ratios to Transport"}
	for i, one := range all {
		ratios := make([]float64, len(one.rate))
		for r := range ratios {
			ratios[r] = one.rate[r] / all[0].rate[r]
		}
		rate, ratio, like := median(one.rate), median(ratios), one.ratioTo(all[one.beside])
		bars.Bars = append(bars.Bars, chart.Bar{Name: one.name, Class: i, Value: rate,
			Text: fmt.Sprintf("%.0f/s, %.2fx", rate, ratio)})
		text := fmt.Sprintf("%s: %.0f requests a second, %.2f times Transport's (%.2f to %.2f)",
			one.name, rate, ratio, slices.Min(ratios), slices.Max(ratios))
		if one.beside > 0 {
			text += fmt.Sprintf(", %.2f times that of %s", like, all[one.beside].name)
		}
		res.Facts = append(res.Facts, text)
		if strings.HasPrefix(one.name, "httppool") && like < ratioLeast {
			res.Faults = append(res.Faults, text)
		}
	}
	res.Figure.Panels = []chart.Panel{bars}
	return res
}

// ratioTo returns the median of the rounds' ratios.
func (o *contender) ratioTo(other *contender) float64 {
	ratios := make([]float64, len(o.rate))
	for r := range ratios {
		ratios[r] = o.rate[r] / other.rate[r]
	}
	return median(ratios)
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
