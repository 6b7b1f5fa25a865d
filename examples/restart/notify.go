//go:build unix

package main

import (
	"fmt"
	"net"
	"os"
)

// ready tells systemd that this process serves, and that it is the service's main process from
// now on: the predecessor may end. Without systemd, or with Type=simple, it does nothing. It is
// what sd_notify(3) does.
func ready() error {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	nc, err := net.Dial("unixgram", name)
	if err != nil {
		return err
	}
	defer nc.Close()
	_, err = fmt.Fprintf(nc, "READY=1\nMAINPID=%d", os.Getpid())
	return err
}
