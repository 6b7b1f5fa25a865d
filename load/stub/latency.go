package stub

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// Latency says how long a reply is kept back. The zero value is not at all.
type Latency struct {
	parts []part
}

const partsMax = 64

// part is a distribution and the share of all parts up to it.
type part struct {
	of   distribution
	upTo float64
}

// distribution draws delays. at is when, since the stub's beginning.
type distribution interface {
	sample(r *rand.Rand, at time.Duration) time.Duration
}

const latencyForm = "must be a duration such as 5ms, two percentiles such as p50=2ms,p99=20ms, or hlog=FILE; " +
	"of several, each with its weight in front, such as 97:2ms"

// ParseLatency reads one latency, or several with weights: "5ms"; "p50=2ms,p99=20ms", which
// is log-normal; "hlog=FILE", which replays a histogram log; "97:2ms" and "3:p50=50ms,p99=1s".
func ParseLatency(texts ...string) (l Latency, err error) {
	if len(texts) > partsMax {
		return l, fmt.Errorf("latency: %d of them: must be at most %d", len(texts), partsMax)
	}
	total := 0.0
	for _, text := range texts {
		weight, what := 1.0, text
		before, after, has := strings.Cut(text, ":")
		if w, bad := strconv.ParseFloat(before, 64); has && bad == nil {
			if !(w > 0 && w <= weightMax) {
				return l, fmt.Errorf("latency %q: weight %s: must be above 0", text, before)
			}
			weight, what = w, after
		} else if len(texts) > 1 {
			return l, fmt.Errorf("latency %q: has no weight: %s", text, latencyForm)
		}
		d, err := parseDistribution(what)
		if err != nil {
			return l, fmt.Errorf("latency %s: %w", text, err)
		}
		total += weight
		l.parts = append(l.parts, part{d, total})
	}
	for i := range l.parts {
		l.parts[i].upTo /= total
	}
	return l, nil
}

func parseDistribution(text string) (distribution, error) {
	if options, ok := strings.CutPrefix(text, "hlog="); ok {
		return parseReplay(options)
	}
	if strings.HasPrefix(text, "p") {
		return parseLogNormal(text)
	}
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s", latencyForm)
	case d < 0 || d > longest:
		return nil, fmt.Errorf("must be 0 to %v", longest)
	}
	return fixed(d), nil
}

// sample draws one delay.
func (l *Latency) sample(r *rand.Rand, at time.Duration) time.Duration {
	switch len(l.parts) {
	case 0:
		return 0
	case 1:
		return l.parts[0].of.sample(r, at)
	}
	u := r.Float64()
	for i := range l.parts {
		if u < l.parts[i].upTo {
			return l.parts[i].of.sample(r, at)
		}
	}
	return l.parts[len(l.parts)-1].of.sample(r, at)
}

// fixed is always the same.
type fixed time.Duration

func (f fixed) sample(*rand.Rand, time.Duration) time.Duration { return time.Duration(f) }

// logNormal is e to the power of what is normally distributed with that mean and deviation.
type logNormal struct{ mu, sigma float64 }

// parseLogNormal reads two percentiles.
func parseLogNormal(text string) (distribution, error) {
	var z, ln []float64
	for p := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(p, "=")
		percent, err := strconv.ParseFloat(strings.TrimPrefix(name, "p"), 64)
		d, bad := time.ParseDuration(value)
		switch {
		case err != nil || bad != nil || !strings.HasPrefix(name, "p"):
			return nil, fmt.Errorf("%s", latencyForm)
		case !(percent > 0 && percent < 100):
			return nil, fmt.Errorf("%s: must lie between p0 and p100", name)
		case d <= 0 || d > longest:
			return nil, fmt.Errorf("%s: must be above 0, at most %v", p, longest)
		}
		z = append(z, math.Sqrt2*math.Erfinv(2*percent/100-1))
		ln = append(ln, math.Log(float64(d)))
	}
	switch {
	case len(z) != 2:
		return nil, fmt.Errorf("%d percentiles: must be two", len(z))
	case z[0] >= z[1] || ln[0] > ln[1]:
		return nil, fmt.Errorf("the second percentile must be above the first, and its time not below")
	}
	sigma := (ln[1] - ln[0]) / (z[1] - z[0])
	return logNormal{ln[0] - sigma*z[0], sigma}, nil
}

func (n logNormal) sample(r *rand.Rand, _ time.Duration) time.Duration {
	return time.Duration(min(math.Exp(n.mu+n.sigma*r.NormFloat64()), float64(longest)))
}
