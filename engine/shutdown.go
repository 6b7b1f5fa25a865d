package engine

import (
	"context"
	"fmt"
	"time"
)

// drainPoll is how often Shutdown looks whether the last reply has come.
const drainPoll = 2 * time.Millisecond

// Shutdown takes no more requests, waits for the replies of those in flight, and
// closes. It stops waiting when ctx ends or ShutdownTimeout passes; requests still open
// then fail with ErrClosingBroker and Shutdown returns an error that tells how many.
// After Close it returns ErrQuit, and so it does when a Close cuts it short. From a callback
// it returns ErrInCallback and does nothing.
func (b *Broker) Shutdown(ctx context.Context) error {
	if b.callbacks.isOne() {
		return &OpError{Op: "close", Err: ErrInCallback}
	}
	if !b.state.CompareAndSwap(uint32(running), uint32(draining)) && b.state.Load() == uint32(closed) {
		return &OpError{Op: "close", Err: ErrQuit}
	}
	ctx, cancel := withTimeout(ctx, b.cfg.ShutdownTimeout)
	defer cancel()
	tick := time.NewTicker(drainPoll)
	defer tick.Stop()
	var left int
	for left = b.Stats().InFlight; left > 0; left = b.Stats().InFlight {
		select {
		case <-tick.C:
			continue
		case <-b.ctx.Done():
		case <-ctx.Done():
		}
		break
	}
	err := b.Close()
	if left > 0 {
		why := contextError(ctx)
		if why == nil {
			why = ErrQuit // somebody called Close meanwhile
		}
		return &OpError{Op: "close", Err: fmt.Errorf("%w: %d requests had no reply", why, left)}
	}
	return err
}

// Close fails every open request with ErrClosingBroker, closes the connections and waits
// for the broker's goroutines, at most ShutdownTimeout. What takes longer is a function
// of the user's, a callback, a dialler, the Close of a connection or a logger: the error
// says so, and the goroutine that runs it is left alone. Close may be called more than
// once; later calls wait too. From a callback it returns ErrInCallback and does nothing.
func (b *Broker) Close() error {
	if b.callbacks.isOne() {
		return &OpError{Op: "close", Err: ErrInCallback}
	}
	b.state.Store(uint32(closed))
	b.stop()
	for _, a := range b.allServers() {
		a.pool.Retire() // ends its dials
	}
	for _, c := range b.conns() {
		c.fail("close", ErrClosingBroker)
	}
	b.contexts.close()
	b.notify()
	b.ending.Do(func() {
		go func() {
			b.wg.Wait()
			b.callbacks.wait()
			b.closePools()
			close(b.ended)
		}()
	})
	ctx, cancel := withTimeout(context.Background(), b.cfg.ShutdownTimeout)
	defer cancel()
	select {
	case <-b.ended:
		return nil
	case <-ctx.Done():
		return &OpError{Op: "close", Err: fmt.Errorf("%w: a function of yours still runs after %v: "+
			"a callback, DialContext, Probe.Check, the Close of a connection or the Logger", ErrTimeout, b.cfg.ShutdownTimeout)}
	}
}

// Wait waits until the broker has been closed, by Shutdown or Close, and nothing of it runs
// any more. It fails when ctx ends before, and from a callback with ErrInCallback.
func (b *Broker) Wait(ctx context.Context) error {
	if b.callbacks.isOne() {
		return &OpError{Op: "close", Err: ErrInCallback}
	}
	select {
	case <-b.ended:
		return nil
	case <-ctx.Done():
		return &OpError{Op: "close", Err: contextError(ctx)}
	}
}

// closePools waits for the pools' goroutines, except for dials that do not end.
func (b *Broker) closePools() {
	for _, a := range b.allServers() {
		_ = a.pool.Close() // its only error: such a dial goes on
	}
}
