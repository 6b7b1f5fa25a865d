// Package backends shows what calls meet when backends die, hang, are slow, come and go: with
// servers that are processes of their own, and over time.
//
// What it asserts are counts and their order, so that a busy machine makes it slow and not wrong.
// Latencies are taken from when a request was due, not from when it was made.
package backends
