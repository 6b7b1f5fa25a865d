package load

import (
	"math"
	"math/rand/v2"
	"time"
)

// Little is a check of the figures against each other by Little's law: what is in flight on
// average is the rate times the time that each stays. The one side is sampled by the clock
// at random times; the other comes from the latencies and counts of the Result.
type Little struct {
	Sampled float64 // requests in flight, on average
	ByLaw   float64
	Samples int
	spread  float64 // standard deviation of the samples
}

const (
	littleSamples = 30   // fewer say nothing
	littleShare   = 0.25 // by which both may differ
	littleSigmas  = 5    // and by the chance of sampling
	littleLeast   = 1    // and by as many requests
)

// Agrees reports whether both sides are the same, as far as that can be told.
func (l *Little) Agrees() bool {
	if l.Samples < littleSamples {
		return true
	}
	allowed := littleShare*max(l.Sampled, l.ByLaw) + littleSigmas*l.spread/math.Sqrt(float64(l.Samples)) + littleLeast
	return math.Abs(l.Sampled-l.ByLaw) <= allowed
}

// samples are the clock's, which alone has them until the run is stopped.
type samples struct {
	n           int
	sum, square float64
	area        float64 // requests times nanoseconds: a machine that stalls samples late
	before      float64 // the last sample
	last        time.Duration
}

// sample notes how many requests are in flight; those of the warm-up are of no interest.
func (r *run) sample(open int, now time.Duration) {
	if state := r.state.Load(); state < sending || state == stoppedState || now < r.cfg.Warmup {
		return
	}
	v, a := float64(open), &r.samples
	if a.n == 0 {
		a.before, a.last = v, r.cfg.Warmup
	}
	a.n++
	a.sum += v
	a.square += v * v
	a.area += (a.before + v) / 2 * float64(now-a.last)
	a.before, a.last = v, now
}

// irregular varies a time by half, so that sampling is in step with nothing.
func irregular(d time.Duration) time.Duration {
	return d/2 + time.Duration(rand.Int64N(int64(d)))
}

// stayed adds up for how long a request whose outcome is known was in flight, but for the
// time that is in the histogram of service. The shard's lock is held.
func (s *session) stayed(q *inflight, now time.Duration, served bool) {
	if q.phase == warmup {
		return
	}
	from := q.given
	if q.flow > 0 {
		from = s.flows.of(q.flow).given
	}
	if served {
		now, _ = s.first(q) // when service began
	}
	s.shard.stayed += now - from
}

// little makes the check, of figures that were measured for so long.
func (r *run) little(all *shard, total *Figures, measured time.Duration) Little {
	n := float64(r.samples.n)
	span := r.samples.last - r.cfg.Warmup
	if n == 0 || span <= 0 {
		return Little{}
	}
	mean := r.samples.sum / n
	l := Little{Sampled: r.samples.area / float64(span), Samples: r.samples.n}
	l.spread = math.Sqrt(max(r.samples.square/n-mean*mean, 0))
	served := total.Service.Mean() * float64(total.Service.TotalCount())
	l.ByLaw = (served + float64(all.stayed)) / float64(max(span, measured))
	return l
}
