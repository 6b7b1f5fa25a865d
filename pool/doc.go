// Package pool keeps connections to one address open and lends them out.
//
// [New] makes a [Pool], of net.Conn:
//
//	p, err := pool.New(pool.Config{Addr: "localhost:9000", MaxConns: 8})
//	nc, err := p.GetContext(ctx)
//	// use nc alone
//	err = p.Put(nc)     // it is in order: the next Get may have it
//	err = p.Release(nc) // it is not: close it and free its place
//
// A caller that gets a connection owns it until it calls Put or Release, exactly one of
// them, once. A connection that its owner closed still has to come back, by either.
//
// [NewOf] makes a pool of anything that can be closed, from a [Source]:
//
//	p, err := pool.NewOf(pool.Source[Item]{Open: open}, pool.Config{MaxConns: 8})
//
// Get hands out exactly what Open returned, and Put and Release take just that. T
// may be an interface: items are told apart by ==, and those that are equal, such
// as pointers to empty structs, are as good as each other.
//
// # Get
//
// Get and GetContext take the connection that was returned last (so that those that
// are not needed grow old and are closed), else have one dialled if there is room,
// else wait. Callers that wait are served in their order, by whatever comes first: a
// connection that is put back, or one that is dialled for them. Dials run on
// goroutines of the pool, so that a caller who stops waiting does not waste one; but
// a Get whose context can never end, such as context.Background(), runs its own, which
// is faster.
//
// # When a dial fails
//
// Its error goes to the Get that has waited longest. When no connection is lent out
// and no other dial is under way, all others that wait get it too: nothing can come
// back to them. From then on, until a dial succeeds, there is one dial at a time,
// and before each a pause with full jitter, BackoffBase doubling up to BackoffMax.
// A Get that comes during the pause waits for the next attempt, or for a
// connection that is put back, as long as its context allows; its error then holds
// the last failed dial's.
//
// # Capacity
//
// The pool never has more places, which are connections open, being dialled or
// being closed, than MaxConns, and begins no dial beyond Capacity. That begins at
// MinCapacity and grows at once when a Get finds every place taken; each turn of the
// manager it changes by one: up when more than 80 % of the dials since the last turn
// succeeded, down, to MinCapacity at least, when fewer than 20 % did. Connections
// that are open stay so when it shrinks.
//
// # Validation
//
// Before a connection is handed out and when it is put back the pool peeks at it: one
// non-blocking system call that consumes nothing and finds a peer that has closed or
// reset, and bytes nobody asked for. A background pass peeks, or pings, at all that are
// idle, in place. A Get that would otherwise wait for a ping takes that connection's
// place instead, unless dials fail.
package pool
