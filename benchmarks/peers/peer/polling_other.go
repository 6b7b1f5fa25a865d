//go:build !linux

package peer

import "errors"

func pollingMissing() string { return "it is for Linux only" }

func servePolling(string) (*Server, error) {
	return nil, errors.New(PollingName + ": " + pollingMissing())
}
