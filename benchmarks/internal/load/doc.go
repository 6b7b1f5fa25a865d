// Package load is what the benchmarks and the regression gate share: an echo
// server in a process of its own, and a load that checks every reply. A client
// and a server in one process share a scheduler and a heap, and measure something
// that nobody runs.
package load
