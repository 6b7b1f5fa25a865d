//go:build !unix

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "loadrows: stops processes by a signal, which this system has not")
	os.Exit(2)
}
