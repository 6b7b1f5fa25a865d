package pools

import (
	"context"
	"net"

	"github.com/andrei-cloud/anet"
	"github.com/jackc/puddle/v2"

	"github.com/ringwire/ringwire/pool"
)

// Item is what the pools hold.
type Item interface{ Close() error }

// Peer is a pool under comparison. Each method is one cycle of a caller: it gets an
// item, calls use if that is not nil, and gives the item back.
type Peer interface {
	Keep(use func()) error // gives it back to be used again
	Drop(use func()) error // has it closed
	Close()
}

// Names lists the peers, ringwire's first.
var Names = []string{"ringwire", "puddle", "anet", "channel"}

// NewPeer makes the pool called name, of at most capacity items from open.
func NewPeer(name string, capacity int, open func() (Item, error)) (Peer, error) {
	switch name {
	case "ringwire":
		return newRingwire(capacity, open)
	case "puddle":
		return newPuddle(capacity, open)
	case "anet":
		return newAnet(capacity, open)
	}
	return newChannel(capacity, open)
}

var background = context.Background()

type ringwirePeer struct{ p *pool.Of[Item] }

func newRingwire(capacity int, open func() (Item, error)) (Peer, error) {
	src := pool.Source[Item]{Open: func(context.Context) (Item, error) { return open() }}
	p, err := pool.NewOf(src, pool.Config{MaxConns: capacity})
	return ringwirePeer{p}, err
}

func (r ringwirePeer) Keep(use func()) error {
	i, err := r.p.GetContext(background)
	if err != nil {
		return err
	}
	if use != nil {
		use()
	}
	return r.p.Put(i)
}

func (r ringwirePeer) Drop(use func()) error {
	i, err := r.p.GetContext(background)
	if err != nil {
		return err
	}
	if use != nil {
		use()
	}
	return r.p.Release(i)
}

func (r ringwirePeer) Close() { r.p.Close() }

type puddlePeer struct{ p *puddle.Pool[Item] }

func newPuddle(capacity int, open func() (Item, error)) (Peer, error) {
	p, err := puddle.NewPool(&puddle.Config[Item]{
		Constructor: func(context.Context) (Item, error) { return open() },
		Destructor:  func(i Item) { i.Close() },
		MaxSize:     int32(capacity),
	})
	return puddlePeer{p}, err
}

func (p puddlePeer) Keep(use func()) error {
	r, err := p.p.Acquire(background)
	if err != nil {
		return err
	}
	if use != nil {
		use()
	}
	r.Release()
	return nil
}

func (p puddlePeer) Drop(use func()) error {
	r, err := p.p.Acquire(background)
	if err != nil {
		return err
	}
	if use != nil {
		use()
	}
	r.Destroy()
	return nil
}

func (p puddlePeer) Close() { p.p.Close() }

type anetPeer struct{ p anet.Pool }

func newAnet(capacity int, open func() (Item, error)) (Peer, error) {
	factory := func(string) (anet.PoolItem, error) { return open() }
	return anetPeer{anet.NewPool(uint32(capacity), factory, "", nil)}, nil
}

func (a anetPeer) Keep(use func()) error {
	i, err := a.p.GetWithContext(background)
	if err != nil {
		return err
	}
	if use != nil {
		use()
	}
	a.p.Put(i)
	return nil
}

func (a anetPeer) Drop(use func()) error {
	i, err := a.p.GetWithContext(background)
	if err != nil {
		return err
	}
	if use != nil {
		use()
	}
	a.p.Release(i)
	return nil
}

func (a anetPeer) Close() { a.p.Close() }

// channelPeer is a channel full of items. An item that was dropped leaves a nil,
// for the next caller to open another.
type channelPeer struct {
	items chan Item
	open  func() (Item, error)
}

func newChannel(capacity int, open func() (Item, error)) (Peer, error) {
	c := channelPeer{make(chan Item, capacity), open}
	for range capacity {
		c.items <- nil
	}
	return c, nil
}

func (c channelPeer) get() (i Item, err error) {
	select {
	case i = <-c.items:
	case <-background.Done():
		return nil, background.Err()
	}
	if i == nil {
		if i, err = c.open(); err != nil {
			c.items <- nil
		}
	}
	return i, err
}

func (c channelPeer) Keep(use func()) error {
	i, err := c.get()
	if err != nil {
		return err
	}
	if use != nil {
		use()
	}
	c.items <- i
	return nil
}

func (c channelPeer) Drop(use func()) error {
	i, err := c.get()
	if err != nil {
		return err
	}
	if use != nil {
		use()
	}
	i.Close()
	c.items <- nil
	return nil
}

func (c channelPeer) Close() {
	for range cap(c.items) {
		if i := <-c.items; i != nil {
			i.Close()
		}
	}
}

// Source opens items of one kind.
type Source struct {
	Open  func() (Item, error)
	Close func()
}

type memory struct{ _ int }

func (*memory) Close() error { return nil }

// NewSource makes a source of items: "memory" costs next to nothing, "unix" is a
// connection to a listener in this process, which greets with a byte.
func NewSource(kind string, dir string) (Source, error) {
	if kind == "memory" {
		return Source{func() (Item, error) { return new(memory), nil }, func() {}}, nil
	}
	ln, err := net.Listen("unix", dir+"/s")
	if err != nil {
		return Source{}, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { // until the pool closes its end
				defer nc.Close()
				if _, err := nc.Write([]byte{1}); err == nil {
					nc.Read(make([]byte, 1))
				}
			}()
		}
	}()
	open := func() (Item, error) {
		nc, err := net.Dial("unix", ln.Addr().String())
		if err != nil {
			return nil, err
		}
		// Wait until it is accepted: a dial that does not would fill the backlog.
		if _, err := nc.Read(make([]byte, 1)); err != nil {
			nc.Close()
			return nil, err
		}
		return nc, nil
	}
	return Source{open, func() { ln.Close(); <-done }}, nil
}
