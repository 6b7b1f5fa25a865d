// Package httppool spreads HTTP requests over several servers, on pooled connections.
//
//	pool, err := httppool.NewHTTPConnectionPool(nil)
//	err = pool.AddServer("https://api1.example.com", 1)
//	err = pool.AddServer("https://api2.example.com", 1)
//	client := http.Client{Transport: pool}
//	resp, err := client.Get("https://pool/x") // pool stands for the server that is chosen
//
// [HTTPConnectionPool.RoundTrip] chooses a server for each request, repeats on another one what is
// safe to repeat, and returns the connection when the response's body is read to its end or closed.
// [HTTPConnectionPool.GetConnection] lends a connection out instead, for several requests to
// one server; ReleaseConnection takes it back.
//
// A connection is one socket, and carries one exchange at a time: HTTP/1.1. So the limits hold for
// sockets, and the metrics count them. For HTTP/2, where one socket serves all, net/http's
// Transport does better.
//
// Connections are dialled when they are needed, and kept; with HTTPPoolConfig.WarmConnections some are
// there before.
//
// # Failover
//
// A request that was never written, because no connection could be made, is always repeated on
// another server. One that was written is if it is idempotent, while repetitions are no more than a
// fifth of all requests. Both need a body that Request.GetBody gives again, happen at most
// MaxRetries times, and within the request's context and RequestTimeout. A response is never
// repeated, whatever its status.
//
// Servers are judged by package health, by what requests and checks meet. One that cannot be
// reached UnhealthyThreshold times in a row is out, all of them if need be: requests then fail with
// ErrNoHealthyServer, and do not wait. One that answers 502, 503 or 504, or not within
// RequestTimeout, or ends the connection in place of an answer, as often in a row is out for a time,
// half of the servers at most. Other statuses are answers.
package httppool
