// Package chaos checks a request/response client from outside. Callers send
// requests that say which call they belong to, a server answers through [Harness.Answer],
// and each reply is held against the request it came for. The harness finds
// replies that reached the wrong caller, replies whose bytes changed, calls that
// completed twice or never, requests carried out twice, and requests carried out
// although the client said that nothing of them was written.
//
// It knows nothing of the transport: any [Client] will do, and faults are made
// by somebody else, usually a proxy in between.
//
// Every request (its size, the size of its reply, the method that sends it) is
// a function of the seed, the caller and the caller's sequence number.
package chaos
