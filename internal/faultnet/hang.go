package faultnet

import (
	"math"
	"time"
)

// forwarded hangs the proxy when its bytes have come to the place that was drawn. Every
// pump calls it after what it has forwarded, so a hang begins up to a buffer for each
// direction of each connection late.
func (p *Proxy) forwarded() {
	if int64(p.counts.bytesUp.Load()+p.counts.bytesDown.Load()) < p.hangAt.Load() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gate != nil || p.ctx.Err() != nil || p.hangAt.Swap(math.MaxInt64) == math.MaxInt64 {
		return
	}
	p.counts.hangs.Add(1)
	gate := make(chan struct{})
	p.gate = gate
	least := p.cfg.HangMax / 2
	p.hang = time.AfterFunc(least+time.Duration(p.hangs.Int64N(int64(p.cfg.HangMax-least)+1)), func() { p.hangOver(gate) })
}

// hangOver is called when the time of the hang is up that has the gate.
func (p *Proxy) hangOver(gate <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hang != nil && p.gate == gate { // else it was ended before
		p.endHang()
		p.openGate()
	}
}

// endHang ends a hang, if there is one, and draws the place of the next. The gate stays
// as it is. p.mu is held.
func (p *Proxy) endHang() {
	if p.hang == nil {
		return
	}
	p.hang.Stop()
	p.hang = nil
	p.planHang()
}

// planHang draws the place of the next hang.
func (p *Proxy) planHang() {
	r := p.cfg.HangAfter
	if r.off() {
		p.hangAt.Store(math.MaxInt64)
		return
	}
	p.hangAt.Store(int64(p.counts.bytesUp.Load()+p.counts.bytesDown.Load()) + r.Min + p.hangs.Int64N(r.Max-r.Min+1))
}
