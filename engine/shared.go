package engine

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"weak"
)

const (
	// sharedAfter is after how many calls in a row with one context a waiter has it watched
	// for all.
	sharedAfter = 16
	// sharedMax is how many contexts are watched that way at once.
	sharedMax = 64
)

// sharedContexts are contexts that many blocking calls share, the whole process's for
// instance. A caller that waits for its reply and for the context's end queues on the lock
// of the context's channel, with all others, twice for each call. So such a context is
// watched once. When it ends, the goroutine that context.AfterFunc starts gives up the
// requests of all its waiters, and these wait for nothing but their own channel.
type sharedContexts struct {
	mu    sync.Mutex
	all   map[<-chan struct{}]*sharedContext
	ended bool // the broker has; no more are watched
}

// sharedContext is one of them.
type sharedContext struct {
	over atomic.Bool // it has ended

	mu      sync.Mutex
	waiters []weak.Pointer[waiter] // the pool may drop them
	room    int                    // the length at which those dropped are looked for
	unwatch func() bool
}

// The states of a waiter whose context is watched for it.
const (
	waiterIdle    uint32 = iota // its caller is not waiting
	waiterWaits                 // its request may be given up
	waiterGivenUp               // that is being tried this moment; its caller may not go on
)

// sharedFor returns what watches the context of the call that the waiter begins, nil if
// the caller must do so.
func (b *Broker) sharedFor(ctx context.Context, w *waiter) *sharedContext {
	if w.shared == nil {
		if w.calls++; w.calls < sharedAfter {
			return nil
		}
		w.calls = 0
		if w.shared = b.contexts.watch(b, ctx); w.shared != nil {
			w.shared.add(w)
		}
	}
	return w.shared
}

// watch returns what watches ctx, nil if too many are watched.
func (k *sharedContexts) watch(b *Broker, ctx context.Context) *sharedContext {
	ended := ctx.Done()
	k.mu.Lock()
	defer k.mu.Unlock()
	if s := k.all[ended]; s != nil {
		return s
	}
	if k.ended || len(k.all) == sharedMax {
		return nil
	}
	if k.all == nil {
		k.all = make(map[<-chan struct{}]*sharedContext)
	}
	s := new(sharedContext)
	k.all[ended] = s
	s.unwatch = context.AfterFunc(ctx, func() {
		k.mu.Lock()
		delete(k.all, ended)
		k.mu.Unlock()
		s.end(b, ctx)
	})
	return s
}

// close ends the watching with the broker.
func (k *sharedContexts) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ended = true
	for _, s := range k.all {
		s.unwatch()
	}
	k.all = nil
}

// add has the context watched for a waiter too.
func (s *sharedContext) add(w *waiter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiters) >= max(s.room, 64) {
		kept := s.waiters[:0]
		for _, p := range s.waiters {
			if w := p.Value(); w != nil {
				kept = append(kept, p)
			}
		}
		clear(s.waiters[len(kept):])
		s.waiters, s.room = kept, 2*len(kept)
	}
	s.waiters = append(s.waiters, weak.Make(w))
}

// end gives the requests of all waiters up. One that begins to wait meanwhile sees over.
func (s *sharedContext) end(b *Broker, ctx context.Context) {
	s.over.Store(true)
	s.mu.Lock()
	waiters := s.waiters
	s.waiters = nil
	s.mu.Unlock()
	for _, p := range waiters {
		w := p.Value()
		if w == nil || !w.state.CompareAndSwap(waiterWaits, waiterGivenUp) {
			continue
		}
		if w.shared == s { // else it has found another context
			if l, won := b.giveUp(&w.ticket); won {
				w.fail(givenUp(ctx, l))
			}
		}
		w.state.Store(waiterWaits)
	}
}

// awaitShared waits for the outcome of a request whose context is watched for it.
func (b *Broker) awaitShared(ctx context.Context, w *waiter) {
	w.state.Store(waiterWaits)
	if w.shared.over.Load() { // the goroutine that gives up may have passed us
		if w.state.CompareAndSwap(waiterWaits, waiterIdle) {
			w.shared = nil
			b.await(ctx, w)
			return
		}
	}
	<-w.done
	for !w.state.CompareAndSwap(waiterWaits, waiterIdle) {
		runtime.Gosched() // our request is being given up, in vain or not
	}
}
