package faultnet

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

var everything = Config{
	Seed: 42, Target: "x", SplitRate: 0.3, MergeRate: 0.3, DelayRate: 0.5,
	ResetAfter: Range{1000, 2000}, DropTail: 100, HalfCloseAfter: Range{1000, 2000},
}.withDefaults()

func decisions(cfg Config, number uint64, dir direction) (p *plan, s []segment) {
	p = newPlan(&cfg, number, dir)
	for range 1000 {
		s = append(s, p.next())
	}
	return p, s
}

func TestSameSeedMakesSameDecisions(t *testing.T) {
	p, first := decisions(everything, 7, up)
	q, again := decisions(everything, 7, up)
	assert.Equal(t, first, again)
	assert.Equal(t, [3]int64{int64(p.end), p.endAt, p.forward}, [3]int64{int64(q.end), q.endAt, q.forward})

	_, other := decisions(everything, 7, down)
	assert.NotEqual(t, first, other, "direction")
	_, other = decisions(everything, 8, up)
	assert.NotEqual(t, first, other, "connection")
	reseeded := everything
	reseeded.Seed++
	_, other = decisions(reseeded, 7, up)
	assert.NotEqual(t, first, other, "seed")
}

func TestOneRateLeavesTheOtherDecisions(t *testing.T) {
	quiet := everything
	quiet.DelayRate = 0
	_, first := decisions(everything, 1, up)
	_, second := decisions(quiet, 1, up)
	for i := range first {
		first[i].delay = 0
	}
	assert.Equal(t, first, second)
}

func TestDecisionsKeepTheirRatesAndBounds(t *testing.T) {
	var splits, merges, delays, dropped int
	for number := range uint64(20) {
		p, all := decisions(everything, number, down)
		for _, s := range all {
			assert.Positive(t, s.size)
			switch s.mode {
			case split:
				splits++
				assert.LessOrEqual(t, s.size, int64(everything.SplitMax))
			case merge:
				merges++
				assert.LessOrEqual(t, s.size, int64(everything.MergeMax))
			default:
				assert.LessOrEqual(t, s.size, int64(bufferSize))
			}
			if s.delay > 0 {
				delays++
			}
			assert.Less(t, s.delay, 2*time.Millisecond)
		}
		if p.forward < p.endAt {
			dropped++
		}
		assert.NotEqual(t, never, p.end)
		assert.GreaterOrEqual(t, p.endAt, int64(1000))
		assert.LessOrEqual(t, p.endAt, int64(2000))
		assert.LessOrEqual(t, p.forward, p.endAt)
		assert.GreaterOrEqual(t, p.forward, p.endAt-100)
	}
	assert.Positive(t, dropped, "tails")
	assert.InDelta(t, 6000, splits, 600)
	assert.InDelta(t, 6000, merges, 600)
	assert.InDelta(t, 10_000, delays, 1000)
}

func TestNoEndingMeansForever(t *testing.T) {
	p, _ := decisions(Config{Target: "x"}.withDefaults(), 0, up)
	assert.Equal(t, never, p.end)
	assert.EqualValues(t, math.MaxInt64, p.endAt)
}
