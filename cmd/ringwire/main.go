// Command ringwire serves, calls and measures request/response servers that
// speak the ringwire wire format, which is anet's. See "ringwire help".
package main

import "os"

// commit is the revision the binary was built from. The Makefile sets it:
// go build -ldflags "-X main.commit=$(git rev-parse --short=12 HEAD)".
var commit string

// version is that of a release's binary. One that go install has built knows its own.
var version string

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
