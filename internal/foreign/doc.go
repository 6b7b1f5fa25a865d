// Package foreign proves "ringwire load" against backends that no one here wrote. It contains
// tests only, which run the command as a user would: with the flags that stand in them, and with
// the scenarios of docs/load.
//
// Servers that are Go packages run in the test. Those that are programs, Debian packages, are
// left out where they are absent; make load-foreign installs them, and runs the timed
// comparisons with dnsperf, too.
//
// It is a module of its own so that these servers are not requirements of anything else.
package foreign
