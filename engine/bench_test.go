package engine

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

// benchBroker returns a broker connected to a server that returns bytes as they
// come, in this process: the figures compare settings, not systems.
func benchBroker(b *testing.B, cfg Config) *Broker {
	cfg.Addrs = []string{rawEcho(b)}
	br, err := New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { br.Close() })
	if err := br.WaitReady(bg); err != nil {
		b.Fatal(err)
	}
	return br
}

// BenchmarkSendInto shows blocking callers with memory optimization on (the
// default) and off.
func BenchmarkSendInto(b *testing.B) {
	for _, mem := range []Toggle{On, Off} {
		for _, callers := range []int{1, 64, 256} {
			b.Run(fmt.Sprintf("memory=%s/callers=%d/payload=64", map[Toggle]string{On: "on", Off: "off"}[mem], callers), func(b *testing.B) {
				br := benchBroker(b, Config{OptimizeMemory: mem})
				var wg sync.WaitGroup
				var left atomic.Int64
				left.Store(int64(b.N))
				b.ReportAllocs()
				b.ResetTimer()
				for range callers {
					wg.Add(1)
					go func() {
						defer wg.Done()
						req, dst := make([]byte, 64), make([]byte, 0, 64)
						for left.Add(-1) >= 0 {
							if _, err := br.SendInto(bg, dst, req); err != nil {
								b.Error(err)
								return
							}
						}
					}()
				}
				wg.Wait()
			})
		}
	}
}

// BenchmarkGo keeps a window of requests in flight from their own callbacks.
func BenchmarkGo(b *testing.B) {
	for _, window := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("window=%d/payload=64", window), func(b *testing.B) {
			br := benchBroker(b, Config{})
			req := make([]byte, 64)
			var left, open atomic.Int64
			left.Store(int64(b.N))
			open.Store(int64(window))
			done := make(chan struct{})
			var fn func([]byte, error)
			next := func() {
				if left.Add(-1) >= 0 {
					if err := br.Go(bg, req, fn); err != nil {
						b.Error(err)
					}
				} else if open.Add(-1) == 0 {
					close(done)
				}
			}
			fn = func(_ []byte, err error) {
				if err != nil {
					b.Error(err)
				}
				next()
			}
			b.ReportAllocs()
			b.ResetTimer()
			for range window {
				next()
			}
			<-done
		})
	}
}

// BenchmarkSendBatch sends batches of equal size, one after another.
func BenchmarkSendBatch(b *testing.B) {
	for _, size := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("batch=%d/payload=64", size), func(b *testing.B) {
			br := benchBroker(b, Config{})
			reqs := make([][]byte, size)
			for i := range reqs {
				reqs[i] = make([]byte, 64)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for range (b.N + size - 1) / size {
				err := br.SendBatch(bg, reqs, func(_ int, _ []byte, err error) {
					if err != nil {
						b.Error(err)
					}
				})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
