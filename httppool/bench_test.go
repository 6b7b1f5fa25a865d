package httppool_test

import (
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ringwire/ringwire/httppool"
)

// BenchmarkGet is a GET of a few bytes from three servers in this process: through a pool, and
// through net/http's Transport, which takes them in turn by their addresses. Both have a timeout.
func BenchmarkGet(b *testing.B) {
	backends := []*backend{newBackend(b, 0, nil), newBackend(b, 1, nil), newBackend(b, 2, nil)}
	pool := newPool(b, httppool.HTTPPoolConfig{MaxIdleConnections: 1000}, backends...)
	transport := &http.Transport{MaxIdleConns: 1000, MaxIdleConnsPerHost: 1000}
	defer transport.CloseIdleConnections()
	var turn atomic.Uint64
	for _, peer := range []struct {
		name string
		rt   http.RoundTripper
		url  func() string
	}{
		{"pool", pool, func() string { return "http://pool/" }},
		{"transport", transport, func() string { return backends[turn.Add(1)%3].URL }},
	} {
		for _, callers := range []int{1, 32} {
			b.Run(fmt.Sprintf("peer=%s/callers=%d", peer.name, callers), func(b *testing.B) {
				b.ReportAllocs()
				client := &http.Client{Transport: peer.rt}
				if peer.rt == transport {
					client.Timeout = 30 * time.Second // as the pool's RequestTimeout
				}
				b.SetParallelism(max(1, callers/2)) // times GOMAXPROCS
				call := func() {
					resp, err := client.Get(peer.url())
					if err != nil {
						b.Error(err)
						return
					}
					io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
				if callers == 1 {
					for b.Loop() {
						call()
					}
					return
				}
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						call()
					}
				})
			})
		}
	}
}
