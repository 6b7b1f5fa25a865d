package paired

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// ClientGet takes the connection of this ID, which the other end has named. One
// that has not arrived yet, or is in other hands, is waited for until ctx ends; a
// ctx that has ended makes it a mere look. The net.Conn is a *Conn.
//
// The error is a *GetError. It matches ErrNotFound when no such connection came,
// and at once when id is not an ID, or when the connection turns out to be dead; it
// matches the context's error too if that ended the wait, and ErrClosed when the
// pool is closed.
func (p *Pool) ClientGet(ctx context.Context, id string) (net.Conn, error) {
	cid, err := parseID(id)
	if err != nil {
		return nil, &GetError{ID: id, Err: err}
	}
	e, err := p.get(ctx, &waiter{id: cid, byID: true})
	if err == nil {
		return &Conn{pool: p, e: e}, nil
	}
	if !errors.Is(err, ErrClosed) {
		err = errors.Join(ErrNotFound, err)
	}
	return nil, p.getError(id, err)
}

// ServerGet takes any connection that is ready, the one that came last first, and
// returns its ID for the other end to name. Without one it waits until ctx ends,
// behind the callers that came before. The net.Conn is a *Conn.
//
// The error is a *GetError: the context's, with the pool's last failure to get a
// connection, or ErrClosed when the pool is closed.
func (p *Pool) ServerGet(ctx context.Context) (id string, conn net.Conn, err error) {
	e, err := p.get(ctx, &waiter{})
	if err != nil {
		return "", nil, p.getError("", err)
	}
	return e.id.String(), &Conn{pool: p, e: e}, nil
}

func (p *Pool) getError(id string, err error) error {
	p.count.getErrors.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	return &GetError{ID: id, Err: err, Last: p.last}
}

// get takes what w asks for and has it looked at. Each turn of the loop throws a
// connection away, and ctx bounds the wait for more.
func (p *Pool) get(ctx context.Context, w *waiter) (*entry, error) {
	for {
		e, err := p.take(ctx, w)
		if err != nil {
			return nil, err
		}
		if p.idleTimeout > 0 && time.Since(e.since) >= p.idleTimeout {
			p.count.evicted.Add(1)
			err = errors.New("it was idle for too long")
		} else if err = lookAtReady(e, getWait); err != nil {
			p.count.died.Add(1)
		}
		if err == nil {
			p.count.gets.Add(1)
			return e, nil
		}
		p.discard(e)
		if w.byID {
			return nil, fmt.Errorf("its end had come: %w", err)
		}
	}
}

// take takes what w asks for, or waits for it until ctx ends or the pool closes.
func (p *Pool) take(ctx context.Context, w *waiter) (*entry, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, ErrClosed
	}
	var e *entry
	if w.byID {
		e = p.shelf.takeID(w.id)
	} else {
		e = p.shelf.takeAny()
	}
	err := ctx.Err()
	if e == nil && err == nil {
		p.shelf.wait(w)
	}
	short := p.shortLocked()
	p.mu.Unlock()
	if short {
		p.nudge()
	}
	switch {
	case e != nil:
		return e, nil
	case err != nil:
		return nil, err
	}
	return p.await(ctx, w)
}

// await waits for what w asks for.
func (p *Pool) await(ctx context.Context, w *waiter) (*entry, error) {
	select {
	case e := <-w.out:
		return e, nil
	case <-ctx.Done():
	case <-p.ctx.Done():
		p.mu.Lock()
		defer p.mu.Unlock()
		p.shelf.leave(w)
		return nil, ErrClosed // if w was served, Close has closed that as well
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shelf.leave(w)
	select {
	case e := <-w.out:
		return e, nil // served at the last moment
	default:
		return nil, ctx.Err()
	}
}

// Put returns a connection that ClientGet or ServerGet handed out under this ID, so
// that it can be taken again. It never waits, and it takes conn in any case: when
// it returns an error, the pool closes the connection, in a moment if not at once.
//
// The reasons are ErrUnread, ErrBroken, ErrFull, ErrForeign, ErrClosed, and
// ErrReturned, with which nothing was touched. Deadlines are removed.
func (p *Pool) Put(id string, conn net.Conn) error {
	if err := p.put(id, conn); err != nil {
		return fmt.Errorf("paired: put %s: %w", clip(id), err)
	}
	return nil
}

func (p *Pool) put(id string, conn net.Conn) error {
	c, ok := conn.(*Conn)
	if !ok || c == nil || c.pool != p {
		p.refuse(conn)
		return ErrForeign
	}
	if !c.returned.CompareAndSwap(false, true) {
		return ErrReturned
	}
	err := c.fit(id)
	if err == nil {
		err = p.giveBack(c.e)
	}
	if err == nil {
		return nil
	}
	switch {
	case errors.Is(err, ErrUnread):
		p.count.poisoned.Add(1)
	case errors.Is(err, ErrBroken):
		p.count.broken.Add(1)
	case errors.Is(err, ErrFull):
		p.count.full.Add(1)
	}
	p.discard(c.e)
	if p.ctx.Err() != nil {
		return ErrClosed
	}
	return err
}

// refuse has a connection closed that is not of this pool. One of another pool is
// left to that.
func (p *Pool) refuse(conn net.Conn) {
	switch c, ok := conn.(*Conn); {
	case conn == nil || ok && c == nil:
	case !ok:
		p.closer.add(conn)
	case c.returned.CompareAndSwap(false, true):
		c.pool.discard(c.e)
	}
}

// fit reports why a connection cannot be put back under this ID.
func (c *Conn) fit(id string) error {
	switch {
	case !strings.EqualFold(id, c.ID()):
		return fmt.Errorf("%w: its ID is %s", ErrForeign, c.ID())
	case c.broken.Load():
		return ErrBroken
	}
	return lookAtReturned(c.e)
}

// giveBack makes a connection ready again.
func (p *Pool) giveBack(e *entry) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return ErrClosed
	case e.state == gone:
		return ErrBroken // flushed
	case len(p.shelf.open) > p.capacity:
		return ErrFull
	}
	p.shelf.put(e, time.Now())
	p.count.puts.Add(1)
	return nil
}
