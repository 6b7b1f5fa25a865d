// Package faultnet is a TCP proxy that does to a stream what bad networks and
// dying peers do: it splits, merges, delays and throttles, drops a tail, resets,
// half-closes and stops. Tests put it between a client and a server.
//
// What is done, and where in the stream, comes from a generator seeded with
// (seed, connection number, direction) and advances with the bytes forwarded,
// never with time or with how the kernel cut a read. The same seed therefore
// makes the same decisions on every run; only their order across connections
// and across the two directions of one depends on timing.
package faultnet
