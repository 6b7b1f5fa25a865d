// Package breaker shows how to take a server out whose calls fail although it can be reached:
// a circuit breaker of failsafe-go for each server, beside an engine.Broker. The broker
// itself ejects no server for the errors of its calls, because only the application knows
// which of them are the server's fault.
//
// What it hooks into is the error of a call, whose Addr names the server, and RemoveServer and
// AddServer.
package breaker

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"

	"github.com/ringwire/ringwire/engine"
)

// The rule: so many failures of a server within window take it out for pause.
type Rule struct {
	Failures      uint
	Window, Pause time.Duration
}

// Breakers are the circuit breakers of a broker's servers. Its methods may be called by any
// number of goroutines.
type Breakers struct {
	b       *engine.Broker
	rule    Rule
	weights map[string]int

	mu     sync.Mutex // guards what follows
	of     map[string]circuitbreaker.CircuitBreaker[any]
	timers map[string]*time.Timer // of the servers that are out
	closed bool
}

// New watches the calls that go through it to a broker with these servers, by their weights.
// Close it before the broker.
func New(b *engine.Broker, rule Rule, weights map[string]int) *Breakers {
	k := &Breakers{
		b: b, rule: rule, weights: weights,
		of:     make(map[string]circuitbreaker.CircuitBreaker[any]),
		timers: make(map[string]*time.Timer),
	}
	for addr := range weights {
		k.of[addr] = circuitbreaker.NewBuilder[any]().
			WithFailureThresholdPeriod(rule.Failures, rule.Window).
			Build()
	}
	return k
}

// Send is engine.Broker.Send.
func (k *Breakers) Send(ctx context.Context, req []byte, opts ...engine.Call) ([]byte, error) {
	reply, err := k.b.Send(ctx, req, opts...)
	if err != nil {
		k.note(err)
	}
	return reply, err
}

// note counts a failure that is the server's: what it has answered so, or not at all in the
// time that the broker gives any server. A caller's own deadline says how patient that is.
func (k *Breakers) note(err error) {
	var op *engine.OpError
	if !errors.As(err, &op) {
		return
	}
	var remote *engine.RemoteError
	if !errors.As(err, &remote) && !errors.Is(err, engine.ErrConnLost) {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	breaker := k.of[op.Addr]
	if breaker == nil || k.closed || k.timers[op.Addr] != nil {
		return
	}
	breaker.RecordFailure()
	// Never more than half, so never the last one: when most fail the cause is elsewhere.
	if !breaker.IsOpen() || len(k.timers)+1 > len(k.of)/2 {
		return
	}
	if k.b.RemoveServer(op.Addr) == nil {
		k.timers[op.Addr] = time.AfterFunc(k.rule.Pause, func() { k.bringBack(op.Addr) })
	}
}

// bringBack adds a server again, with nothing held against it.
func (k *Breakers) bringBack(addr string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return
	}
	delete(k.timers, addr)
	k.of[addr].Close()
	_ = k.b.AddServer(addr, k.weights[addr]) // its only error here: the broker is closed
}

// Out returns how many servers are out.
func (k *Breakers) Out() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.timers)
}

// Close brings no server back any more.
func (k *Breakers) Close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	for _, t := range k.timers {
		t.Stop()
	}
}
