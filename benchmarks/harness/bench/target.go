package bench

import (
	"context"
)

// Client is one connected client of the system under test. Its methods are safe
// for concurrent use.
type Client interface {
	// Call sends *req and returns its reply, which may be appended to dst. It
	// takes a pointer because one of the systems does: making one per call would
	// be an allocation charged to that system.
	Call(dst []byte, req *[]byte) ([]byte, error)
	// Close fails what is in flight and closes the connections.
	Close() error
}

// A callbackClient can send without a goroutine per request. fn runs exactly
// once iff Go returned nil; its reply is borrowed until it returns.
type callbackClient interface {
	Go(req []byte, fn func(reply []byte, err error)) error
}

// A batchClient can send many requests at once. SendBatch runs fn exactly once
// for every index, and returns after that.
type batchClient interface {
	SendBatch(reqs [][]byte, fn func(i int, reply []byte, err error)) error
}

// Target is a system to measure: a client and the server it talks to.
type Target struct {
	Name string
	APIs []API // those the client has
	// PID is the server's process, whose processor time is added to the
	// client's; 0 when there is none.
	PID int
	// Dial connects a new client that can have that many requests in flight. It
	// returns when requests can be sent.
	Dial func(ctx context.Context, callers int) (Client, error)
}
