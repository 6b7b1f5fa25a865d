//go:build race

package interop

// anetReusesMemory is anet's OptimizeMemory in Multiplex mode. Its reader gives a
// request's buffer to the next one as soon as the reply is there, which can be
// before the Write that sent it has returned. The kernel is done with the bytes by
// then, but the race detector rightly reports it.
const anetReusesMemory = false
