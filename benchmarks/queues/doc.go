// Package queues compares the rings of package ring with channels, with the
// queues of xsync, and with the linked arrays of otter and JCTools, one workload
// for all. It is a module of its own, so that those who import the library do not
// require its rivals.
package queues
