package benchmarks

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/internal/pace"
)

// roomTimeout bounds the wait for room in the queue, for the last replies, and for how
// long a request may be due before it is not sent.
const roomTimeout = 30 * time.Second

// fixedRate sends requests when the pacer says so, whatever becomes of those before.
type fixedRate struct {
	broker *engine.Broker
	rate   float64 // requests a second
	pacer  *pace.Pacer

	latency histogram // from the intended time to the reply; belongs to the reader
	lag     histogram // the pacer's part in that; the sender's
	left    atomic.Int64
	done    chan struct{} // closed with the last reply
	failure atomic.Pointer[error]
}

func newFixedRate(broker *engine.Broker, rate int) *fixedRate {
	return &fixedRate{broker: broker, rate: float64(rate), pacer: pace.New(float64(rate), roomTimeout)}
}

// answered takes a reply, which carries its request's number. There is one
// connection, so callbacks run one after another.
func (f *fixedRate) answered(reply []byte, err error) {
	switch {
	case err != nil:
		f.failure.CompareAndSwap(nil, &err)
	case len(reply) < 8:
		err = fmt.Errorf("a reply of %d bytes", len(reply))
		f.failure.CompareAndSwap(nil, &err)
	default:
		f.latency.add(f.pacer.Now() - pace.At(f.rate, int64(binary.BigEndian.Uint64(reply))))
	}
	if f.left.Add(-1) == 0 {
		close(f.done)
	}
}

// run sends n requests of payload bytes.
func (f *fixedRate) run(n, payload int) error {
	f.left.Store(int64(n))
	f.done = make(chan struct{})
	req := make([]byte, payload)
	fn := f.answered
	f.pacer.Start()
	for range n {
		r, _ := f.pacer.Next()
		f.lag.add(r.Lag)
		binary.BigEndian.PutUint64(req, uint64(r.Index))
		if err := f.send(req, fn); err != nil {
			return err
		}
		if failure := f.failure.Load(); failure != nil {
			return *failure
		}
	}
	timeout := time.NewTimer(roomTimeout)
	defer timeout.Stop()
	select {
	case <-f.done:
	case <-timeout.C:
		return fmt.Errorf("%d requests without an outcome %v after the last was sent",
			f.left.Load(), roomTimeout)
	}
	if failure := f.failure.Load(); failure != nil {
		return *failure
	}
	if unsent := f.pacer.Unsent(); unsent > 0 {
		return fmt.Errorf("%d requests were due for %v and could not be sent", unsent, roomTimeout)
	}
	if answered := f.latency.count; answered != uint64(n) {
		return fmt.Errorf("%d requests, but %d replies", n, answered)
	}
	return nil
}

// send waits for room when the rate is more than the machine can do; the wait
// counts, because latency does not begin with the call.
func (f *fixedRate) send(req []byte, fn func([]byte, error)) error {
	var began time.Time // of the wait
	for {
		err := f.broker.Go(context.Background(), req, fn)
		if !errors.Is(err, engine.ErrQueueFull) {
			return err
		}
		if began.IsZero() {
			began = time.Now()
		} else if time.Since(began) > roomTimeout {
			return fmt.Errorf("no room for %v: %w", roomTimeout, err)
		}
		runtime.Gosched()
	}
}

// BenchmarkFixedRate sends at a fixed rate and reports the latency from the time each
// request was meant to be sent. ns/op says only whether the rate was kept. lag-…-ns is
// how late requests were by the pacer's own fault, and part of the latency.
func BenchmarkFixedRate(b *testing.B) {
	const payload = 64
	for _, rate := range []int{1_000, 10_000, 50_000, 200_000} {
		b.Run(fmt.Sprintf("rate=%d/api=go/payload=%d/conns=1", rate, payload), func(b *testing.B) {
			broker := connect(b, 1, 1)
			if err := newFixedRate(broker, rate).run(100, payload); err != nil {
				b.Fatal(err)
			}
			before := startTraffic(b, broker)
			f := newFixedRate(broker, rate)
			b.SetBytes(payload)
			b.ResetTimer()
			if err := f.run(b.N, payload); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
			b.ReportMetric(f.latency.percentile(50), "p50-ns")
			b.ReportMetric(f.latency.percentile(99), "p99-ns")
			b.ReportMetric(f.latency.percentile(99.9), "p99.9-ns")
			b.ReportMetric(f.lag.percentile(50), "lag-p50-ns")
			b.ReportMetric(f.lag.percentile(99), "lag-p99-ns")
			before.reportBatches(b)
		})
	}
}
