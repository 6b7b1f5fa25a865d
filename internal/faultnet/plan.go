package faultnet

import (
	"math"
	"math/rand/v2"
	"time"
)

type direction uint64

const (
	up   direction = iota // client to target
	down                  // target to client
)

type mode uint8

const (
	pass  mode = iota // bytes are forwarded as they come
	split             // the segment is written on its own
	merge             // the segment is collected, then written at once
)

// A segment is a run of bytes under one decision.
type segment struct {
	size  int64
	mode  mode
	delay time.Duration // before the first byte is forwarded
}

type ending uint8

const (
	never ending = iota
	reset
	halfClose
)

// A plan makes the decisions for one direction of one connection. It draws the
// same number of values for each segment whatever the outcome, so changing one
// rate leaves the other decisions where they were.
type plan struct {
	cfg *Config
	rng *rand.Rand

	end     ending
	endAt   int64 // bytes read when the end comes
	forward int64 // of these, bytes forwarded; the rest is the dropped tail
}

func newPlan(cfg *Config, number uint64, dir direction) *plan {
	p := &plan{
		cfg:   cfg,
		rng:   rand.New(rand.NewPCG(cfg.Seed, number<<1|uint64(dir))),
		endAt: math.MaxInt64, forward: math.MaxInt64,
	}
	resetAt, shutAt, tail := p.draw(cfg.ResetAfter), p.draw(cfg.HalfCloseAfter), p.draw(Range{0, cfg.DropTail})
	switch {
	case !cfg.ResetAfter.off() && (cfg.HalfCloseAfter.off() || resetAt <= shutAt):
		p.end, p.endAt, p.forward = reset, resetAt, max(0, resetAt-tail)
	case !cfg.HalfCloseAfter.off():
		p.end, p.endAt, p.forward = halfClose, shutAt, shutAt
	}
	return p
}

func (p *plan) draw(r Range) int64 { return r.Min + p.rng.Int64N(r.Max-r.Min+1) }

func (p *plan) next() segment {
	kind, size := p.rng.Float64(), p.rng.Float64()
	late, delay := p.rng.Float64(), p.rng.Float64()
	s := segment{mode: pass, size: 1 + int64(size*(bufferSize-1))}
	switch {
	case kind < p.cfg.SplitRate:
		s.mode, s.size = split, 1+int64(size*float64(p.cfg.SplitMax))
		s.size = min(s.size, int64(p.cfg.SplitMax))
	case kind < p.cfg.SplitRate+p.cfg.MergeRate:
		s.mode, s.size = merge, 1+int64(size*float64(p.cfg.MergeMax-1))
	}
	if late < p.cfg.DelayRate {
		s.delay = time.Duration(delay * float64(p.cfg.DelayMax))
	}
	return s
}
