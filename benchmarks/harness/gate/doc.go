// Package gate holds tests that fail when a change makes requests dearer, on a
// machine of any speed: they read counters, never clocks. A client in the test's
// process, or in one that strace watches, loads a server in a process of its own,
// and these must stay within the budgets of budgets_test.go:
//
//   - allocations per call of the client and per request of the server;
//   - socket operations per request, and frames per write, on both ends;
//   - system calls per request, where strace is installed;
//   - instructions per request, where the machine counts them;
//   - waits: nothing of ours may wait for a lock, and for a channel only where
//     that is the design.
//
// How many frames travel in one write depends on the scheduler, so floors lie well
// below what was seen on an idle and on a busy machine. Race detector and
// assertions change what is counted: with either the tests are left out.
package gate
