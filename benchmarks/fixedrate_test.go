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
)

const (
	// paceMin is the shortest sleep; what is due sooner is sent at once.
	paceMin = 20 * time.Microsecond
	// roomTimeout bounds the wait for room in the queue, and for the last replies.
	roomTimeout = 30 * time.Second
)

// pacer sends requests at intended times, whatever becomes of those before: a
// server that stalls is charged with every request that was to be sent meanwhile.
type pacer struct {
	broker   *engine.Broker
	interval time.Duration
	start    time.Time

	latency histogram // from the intended time to the reply; belongs to the reader
	late    histogram // from the intended time to the call of Go; the sender's
	left    atomic.Int64
	done    chan struct{} // closed with the last reply
	failure atomic.Pointer[error]
}

// intended is when the i'th request is to be sent.
func (p *pacer) intended(i int) time.Time {
	return p.start.Add(time.Duration(i) * p.interval)
}

// answered takes a reply, which carries its request's number. There is one
// connection, so callbacks run one after another.
func (p *pacer) answered(reply []byte, err error) {
	switch {
	case err != nil:
		p.failure.CompareAndSwap(nil, &err)
	case len(reply) < 8:
		err = fmt.Errorf("a reply of %d bytes", len(reply))
		p.failure.CompareAndSwap(nil, &err)
	default:
		p.latency.add(time.Since(p.intended(int(binary.BigEndian.Uint64(reply)))))
	}
	if p.left.Add(-1) == 0 {
		close(p.done)
	}
}

// run sends n requests of payload bytes.
func (p *pacer) run(n, payload int) error {
	p.left.Store(int64(n))
	p.done = make(chan struct{})
	req := make([]byte, payload)
	fn := p.answered
	p.start = time.Now()
	for i := range n {
		if wait := time.Until(p.intended(i)); wait >= paceMin {
			time.Sleep(wait)
		}
		p.late.add(time.Since(p.intended(i)))
		binary.BigEndian.PutUint64(req, uint64(i))
		if err := p.send(req, fn); err != nil {
			return err
		}
		if failure := p.failure.Load(); failure != nil {
			return *failure
		}
	}
	timeout := time.NewTimer(roomTimeout)
	defer timeout.Stop()
	select {
	case <-p.done:
	case <-timeout.C:
		return fmt.Errorf("%d requests without an outcome %v after the last was sent", p.left.Load(), roomTimeout)
	}
	if failure := p.failure.Load(); failure != nil {
		return *failure
	}
	if answered := p.latency.count; answered != uint64(n) {
		return fmt.Errorf("%d requests, but %d replies", n, answered)
	}
	return nil
}

// send waits for room when the rate is more than the machine can do; the wait
// counts, because latency does not begin with the call.
func (p *pacer) send(req []byte, fn func([]byte, error)) error {
	for began := time.Now(); ; runtime.Gosched() {
		err := p.broker.Go(context.Background(), req, fn)
		if err == nil || !errors.Is(err, engine.ErrQueueFull) {
			return err
		}
		if time.Since(began) > roomTimeout {
			return fmt.Errorf("no room for %v: %w", roomTimeout, err)
		}
	}
}

// BenchmarkFixedRate sends at a fixed rate and reports the latency from the time
// each request was meant to be sent. ns/op says only whether the rate was kept.
// The sender sleeps between requests, so part of the latency is its own: pace-p99-ns
// is how late it was.
func BenchmarkFixedRate(b *testing.B) {
	const payload = 64
	for _, rate := range []int{1_000, 10_000, 50_000, 200_000} {
		b.Run(fmt.Sprintf("rate=%d/api=go/payload=%d/conns=1", rate, payload), func(b *testing.B) {
			broker := connect(b, 1, 1)
			interval := time.Second / time.Duration(rate)
			warm := pacer{broker: broker, interval: interval}
			if err := warm.run(100, payload); err != nil {
				b.Fatal(err)
			}
			before := startTraffic(b, broker)
			p := pacer{broker: broker, interval: interval}
			b.SetBytes(payload)
			b.ResetTimer()
			if err := p.run(b.N, payload); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
			b.ReportMetric(p.latency.percentile(50), "p50-ns")
			b.ReportMetric(p.latency.percentile(99), "p99-ns")
			b.ReportMetric(p.latency.percentile(99.9), "p99.9-ns")
			b.ReportMetric(p.late.percentile(99), "pace-p99-ns")
			before.reportBatches(b)
		})
	}
}
