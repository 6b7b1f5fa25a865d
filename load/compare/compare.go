// Package compare says whether one side is worse than the other from rounds in which both
// were measured in turn. It measures nothing itself.
//
// A busy machine disturbs whole rounds, some of them a lot, so nothing is assumed of the
// distribution. But for what they differ by, the sides of a round are exchangeable: the
// logarithms of the rounds' ratios are symmetric about that. Wilcoxon's signed ranks tell
// where it lies, and narrowly, unless many rounds are worthless; the order statistics of the
// ratios do not mind half of them. So both are asked, each with half of the error that is
// allowed. A user who looks more than once, and stops when the result pleases, errs more
// often than each look says; hence the error is shared out among all looks that there may
// be.
package compare

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

const (
	// RoundsMin is the fewest rounds that are compared, RoundsMax the most.
	RoundsMin, RoundsMax = 10, 1000
	// allowed is how often the intervals of all looks together may miss the truth.
	allowed = 0.05
)

// Looks are after how many rounds the sides are compared: after the fewest, after twice as
// many, and so on to the most.
func Looks(fewest, most int) (after []int) {
	for n := fewest; n < most; n *= 2 {
		after = append(after, n)
	}
	return append(after, most)
}

// Measure is what was measured of two sides, round by round.
type Measure struct {
	Name         string    `json:"name"`
	Unit         string    `json:"unit"`
	MoreIsBetter bool      `json:"more_is_better"`
	A            []float64 `json:"a"`
	B            []float64 `json:"b"` // as many
}

// Change is how side B differs from A. Ratio estimates B/A, and Low to High is the interval
// that its true value lies in, with that confidence.
//
// Ratio is the estimate of Hodges and Lehmann: the median of the geometric means of all pairs
// of the rounds' ratios, those of a ratio with itself too.
type Change struct {
	A          float64 `json:"a_median"`
	B          float64 `json:"b_median"`
	Ratio      float64 `json:"ratio"`
	Low        float64 `json:"low"`
	High       float64 `json:"high"`
	Confidence float64 `json:"confidence"`
}

// Verdict is what a change means.
type Verdict string

const (
	Same   Verdict = "no difference" // the interval has the ratio 1 in it
	Better Verdict = "better"
	Worse  Verdict = "worse"
)

// Decision is what is known of a measure and a limit of how much worse it may be.
type Decision string

const (
	Over   Decision = "over the limit"
	Within Decision = "within the limit"
	Open   Decision = "undecided" // the limit lies in the interval
)

// Compare compares the sides, at one of so many looks. The ratio of two zeros is 1.
func (m *Measure) Compare(looks int) (Change, error) {
	if len(m.A) != len(m.B) || len(m.A) < RoundsMin {
		return Change{}, fmt.Errorf("%s: %d and %d rounds: must be as many, %d or more", m.Name, len(m.A), len(m.B), RoundsMin)
	}
	logs := make([]float64, len(m.A))
	for i, a := range m.A {
		b := m.B[i]
		switch {
		case !(a >= 0 && b >= 0) || math.IsInf(a+b, 0):
			return Change{}, fmt.Errorf("%s: round %d: %v and %v: must be 0 or more", m.Name, i+1, a, b)
		case a == b:
		case a == 0:
			return Change{}, errors.New(m.Name + ": A is 0 in a round, and has no ratio")
		default:
			logs[i] = math.Log(b / a)
		}
	}
	iv := interval(logs, allowed/float64(max(looks, 1)))
	return Change{median(m.A), median(m.B), math.Exp(iv.center), math.Exp(iv.low), math.Exp(iv.high), iv.sure}, nil
}

// estimate is where the values of a sample lie.
type estimate struct{ center, low, high, sure float64 }

// interval estimates what values are symmetric about, which lies outside with the given
// probability at most.
func interval(values []float64, outside float64) estimate {
	slices.Sort(values)
	means := make([]float64, 0, len(values)*(len(values)+1)/2)
	for i, a := range values {
		for _, b := range values[:i+1] {
			means = append(means, (a+b)/2)
		}
	}
	slices.Sort(means)
	k, sure := signedRanks(len(values), outside/2)
	e := estimate{median(means), means[k], means[len(means)-1-k], sure}
	k, sure = orderStatistics(len(values), outside/2)
	low, high := values[k], values[len(values)-1-k]
	if high < e.low || low > e.high { // nothing is symmetric, and these do not need that
		return estimate{median(values), low, high, sure}
	}
	e.low, e.high, e.sure = max(e.low, low), min(e.high, high), e.sure+sure-1
	e.center = min(max(e.center, e.low), e.high)
	return e
}

// Verdict says what a change of the measure means.
func (m *Measure) Verdict(c Change) Verdict {
	more, less := Worse, Better
	if m.MoreIsBetter {
		more, less = Better, Worse
	}
	switch {
	case c.Low > 1:
		return more
	case c.High < 1:
		return less
	}
	return Same
}

// loss returns by which part of A side B is worse: the estimate, the least and the most
// that it may be.
func (m *Measure) loss(c Change) (by, least, most float64) {
	if m.MoreIsBetter {
		return 1 - c.Ratio, 1 - c.High, 1 - c.Low
	}
	return c.Ratio - 1, c.Low - 1, c.High - 1
}

// Decide says whether B is worse than A by more than a part of A. At the last look, where
// there is no more to come, what is surely worse is over the limit if the estimate is.
func (m *Measure) Decide(c Change, limit float64, last bool) Decision {
	by, least, most := m.loss(c)
	switch {
	case least > limit || last && least > 0 && by > limit:
		return Over
	case most <= limit:
		return Within
	}
	return Open
}

// AtMost is by which part of A side B is worse at most.
func (m *Measure) AtMost(c Change) float64 {
	_, _, most := m.loss(c)
	return most
}

// signedRanks returns how many of the pairs' means of n values may be left out at each end,
// so that what the values are symmetric about lies outside of those that are left with the
// given probability at most, and with which it lies within. It is the distribution of
// Wilcoxon's signed-rank sum, exactly.
func signedRanks(n int, outside float64) (k int, sure float64) {
	p := make([]float64, n*(n+1)/4+1) // of each sum, up to the middle
	p[0] = 1
	for i := 1; i <= n; i++ {
		for s := len(p) - 1; s >= i; s-- {
			p[s] = (p[s] + p[s-i]) / 2
		}
		for s := min(i, len(p)) - 1; s >= 0; s-- {
			p[s] /= 2
		}
	}
	return tail(outside, func(k int) float64 { return p[k] })
}

// orderStatistics is signedRanks of the values themselves, and of their median. How many lie
// below that is binomial.
func orderStatistics(n int, outside float64) (k int, sure float64) {
	term := math.Pow(0.5, float64(n))
	return tail(outside, func(k int) float64 {
		if k > 0 {
			term *= float64(n-k+1) / float64(k)
		}
		return term
	})
}

// tail returns the highest k, or 0, with which both tails up to it have the given probability
// at most, and what is between them. p is of one value, and asked from 0 on.
func tail(outside float64, p func(k int) float64) (k int, between float64) {
	below := p(0)
	for {
		next := p(k + 1)
		if 2*(below+next) > outside {
			return k, 1 - 2*below
		}
		below += next
		k++
	}
}

func median(values []float64) float64 {
	v := values
	if !slices.IsSorted(v) {
		v = slices.Sorted(slices.Values(values))
	}
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}
