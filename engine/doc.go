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
// [Broker.SendBatch] sends many requests and waits for all. [Broker.SendOneWay] sends one
// whose reply nobody waits for. [Call] has the options of one call, [Client] is their
// interface.
//
// # Deadlines
//
// A call has one deadline, whatever it waits for: its context's or [Call].Timeout,
// whichever is earlier, else Config.RequestTimeout. A call without one of its own also ends
// when its reply takes Config.ReadTimeout.
//
// # Servers that fail
//
// An address is alive when it answers: see Config.SilenceTimeout, ConnectWait and
// BackoffMax. Requests that were never written move to another connection when theirs
// ends, and keep their order. [Broker.AddrStats] tells what a broker knows of each address.
//
// With Config.Extensions, and a server that speaks the extension of docs/PROTOCOL.md, a server
// can refuse a request or go away without losing one, and what it has not executed is made
// elsewhere. [RefusedError] and [RemoteError] are its answers.
//
// # Several servers
//
// Config.Balance says how one is chosen for each request. [Broker.AddServer],
// [Broker.RemoveServer] and [Broker.SetWeight] work while the broker runs. [Call].Key and
// Server say where a request should go, Priority how soon one that waits.
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
