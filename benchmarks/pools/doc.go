// Package pools compares pool with the pool of anet, with puddle, and with
// what many programs use instead, a bare channel: one workload for all. It is a
// module of its own, so that those who import the library do not require its
// rivals.
//
// What the comparison does not show: only pool and puddle let a Get that
// waits for a dial go when its context ends, at the price of a goroutine for each
// dial; anet and the channel dial on the caller's. Only pool looks at a
// connection before it hands it out, two system calls for each Get and Put; the
// items here have no descriptor, so that this is left out, but for item=unix. The
// channel knows neither idle time nor age, and its items never end.
package pools
