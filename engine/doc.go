// Package engine is the client: a [Broker] sends any number of requests at once
// over few connections and gives each reply to the caller that asked.
//
//	b, err := engine.New(engine.Config{Addrs: []string{"127.0.0.1:9000"}})
//	reply, err := b.Send(ctx, req)
//
// Every connection is multiplexed: replies may come in any order. Requests that
// are ready at the same time share one write, replies that arrive together
// share one read.
//
// # Which call
//
// [Broker.Send] and [Broker.SendInto] block their goroutine. [Broker.Go] runs a
// function when the reply is there and needs no goroutine per request: it is
// several times faster, and made for proxies and load generators.
// [Broker.SendBatch] sends many requests and waits for all.
//
// # Callbacks
//
// A callback that is given a reply runs on the goroutine that reads, so it should be
// short. Whatever it does, it stops nothing but itself: see [Broker.Go].
//
// # Errors
//
// A failed call returns an [*OpError] that wraps one of the Err variables.
// [SafeToRetry] says whether the request can be repeated without running twice.
package engine
