package prom_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/metrics/prom"
	"github.com/ringwire/ringwire/server"
)

// none is a Client whose calls take no time.
type none struct{ engine.Client }

func (none) SendInto(context.Context, []byte, []byte, ...engine.Call) ([]byte, error) {
	return nil, nil
}

// What Timed, and Sampled, add to a call.
func BenchmarkTimed(b *testing.B) {
	for _, every := range []int{1, 16} {
		b.Run(fmt.Sprint("one of ", every), func(b *testing.B) {
			client := prom.Sampled(none{}, prom.NewDurations(), every)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					_, _ = client.SendInto(context.Background(), nil, nil)
				}
			})
		})
	}
}

// Requests of 256 callers, as they are and with metrics: scraped ten times a second, and timed, one
// of 16 or all.
func BenchmarkMetrics256Callers(b *testing.B) {
	for _, with := range []string{"none", "scraped", "scraped and sampled", "scraped and timed"} {
		b.Run(with, func(b *testing.B) {
			s, err := server.New(server.Config{Addr: "127.0.0.1:0", Handler: server.HandlerFunc(
				func(_ *server.Conn, dst, req []byte) ([]byte, error) { return append(dst, req...), nil })})
			require.NoError(b, err)
			require.NoError(b, s.Start())
			defer func() { _ = s.Close() }()
			broker, err := engine.New(engine.Config{Addrs: []string{s.Addr().String()}})
			require.NoError(b, err)
			defer func() { _ = broker.Close() }()
			durations, client := prom.NewDurations(), engine.Client(broker)
			switch with {
			case "scraped and timed":
				client = prom.Timed(broker, durations)
			case "scraped and sampled":
				client = prom.Sampled(broker, durations, 16)
			}
			reg := prometheus.NewRegistry()
			reg.MustRegister(prom.Server(s.Stats), prom.Broker(broker.Stats, broker.AddrStats), durations)
			done, scraped := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(scraped)
				for every := time.NewTicker(100 * time.Millisecond); with != "none"; {
					select {
					case <-every.C:
						_, _ = reg.Gather()
					case <-done:
						return
					}
				}
			}()
			b.ResetTimer()
			callers(b, client)
			b.StopTimer()
			close(done)
			<-scraped
		})
	}
}

// callers makes b.N calls from 256 goroutines.
func callers(b *testing.B, client engine.Client) {
	const n = 256
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			req, dst := make([]byte, 64), make([]byte, 0, 64)
			for range b.N/n + min(1, max(0, b.N%n-i)) {
				if _, err := client.SendInto(context.Background(), dst, req); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
