// Package server answers requests: an event-loop server that reads as much as there
// is, runs a handler for every frame of it, and writes all replies at once.
//
//	s, err := server.New(server.Config{Addr: "127.0.0.1:9000", Handler: server.HandlerFunc(echo)})
//	err = s.Start()
//	...
//	err = s.Shutdown(ctx)
//
// docs/EMBEDDING.md takes you from here to a service, docs/OPERATION.md tells how to run one.
//
// # Where handlers run
//
// By default on the event loop that has read the request, which costs nothing and
// so is several times faster than any hand-over; such a handler must not block,
// because its loop does nothing else meanwhile. With [Config].Workers handlers run
// on a bounded number of goroutines and may block; replies then come in any order. A
// handler that waits for something else need not hold a goroutine: with [Request].Later the
// reply comes later.
//
// # Failures
//
// A handler that returns an error, panics or makes a reply that does not fit fails
// that request only; Config.ErrorReply says what is sent instead. One that never returns
// costs its worker, or its event loop with the connections of it, and nobody else. What a peer does
// wrong ends that peer's connection only, with a reason that is counted in [Stats]
// and logged at most once a second. When descriptors run out, connections live on
// and accepting goes on when there are some again.
//
// # Bounds
//
// Whatever a peer could make grow has a bound: connections, unsent replies, unparsed
// requests, requests in the works, their sum over all connections, and the time a
// frame may take. Config names them with their defaults, and says which clients may connect at all:
// which addresses, how many connections of each and how fast, and for how long one may be
// silent at first.
//
// # Task IDs
//
// Every ID is echoed, 0 included: anet clients count upwards and wrap. The server
// knows no control frames.
package server
