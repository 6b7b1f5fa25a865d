// Package e2e tests both ends over real sockets, with faults in between. It has
// no code of its own: package chaos holds the harness, package faultnet the
// faults.
//
// The size of the tests is set by flags: -chaos.full runs them at release size,
// -chaos.requests and -chaos.resets set the size of the reset test alone, and
// -chaos.seed repeats the decisions of an earlier run.
package e2e
