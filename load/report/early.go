package report

import (
	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/ringwire/ringwire/load"
	"github.com/ringwire/ringwire/load/quantile"
)

// Early tells when a run can no longer meet its thresholds, whatever comes: more of its
// latencies are above a percentile's bound than all of the run may have. It judges upper
// bounds of percentiles only; about the others the summary at the end of the run tells.
type Early struct {
	thresholds []Threshold
	due        float64
	total      load.Figures
	kinds      []load.Figures
}

// NewEarly returns one for a run in which so many requests fall due after the warm-up.
func NewEarly(thresholds []Threshold, due float64) *Early {
	return &Early{thresholds: thresholds, due: due, total: noFigures()}
}

// rounding is what arithmetic makes of a whole number of requests, and more.
const rounding = 1e-3

func noFigures() load.Figures {
	return load.Figures{Response: load.NewHistogram(), Service: load.NewHistogram(), Queue: load.NewHistogram(),
		Lag: load.NewHistogram(), Late: load.NewHistogram()}
}

// Add adds an interval of the run, and reports whether all is lost.
func (e *Early) Add(in *load.Interval) bool {
	e.total.Response.Merge(in.Total.Response)
	e.total.Service.Merge(in.Total.Service)
	e.total.Queue.Merge(in.Total.Queue)
	for i := range in.Kinds {
		if len(e.kinds) == i {
			e.kinds = append(e.kinds, noFigures())
		}
		e.kinds[i].Name = in.Kinds[i].Name
		e.kinds[i].Response.Merge(in.Kinds[i].Response)
	}
	for _, t := range e.thresholds {
		if e.lost(t) {
			return true
		}
	}
	return false
}

// lost reports whether a threshold cannot be met any more. A request of a mix has no more
// latencies than all of them have, so what is lost for these is lost for it.
func (e *Early) lost(t Threshold) bool {
	q, isQuantile := quantiles[t.metric]
	if !isQuantile || q < 0 || t.op[0] != '<' || t.of == "code" || t.of == "lag" || t.of == "late" {
		return false
	}
	figures := &e.total
	for i := range e.kinds {
		if e.kinds[i].Name == t.of {
			figures = &e.kinds[i]
		}
	}
	return above(t.histogram(figures), t.bound) > (100-q)/100*e.due+rounding
}

// above is how many values are in buckets that end above a bound, as percentiles see it.
func above(h *hdrhistogram.Histogram, bound float64) (n float64) {
	total := h.TotalCount()
	if total == 0 || float64(h.Max()) <= bound {
		return 0
	}
	low, high := int64(0), total // so many at most are within the bound
	for low < high {
		mid := (low + high + 1) / 2
		if float64(quantile.At(h, 100*float64(mid)/float64(total))) <= bound {
			low = mid
		} else {
			high = mid - 1
		}
	}
	return float64(total - low)
}
