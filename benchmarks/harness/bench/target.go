package bench

import (
	"context"
	"errors"
	"slices"
	"time"
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

// A callersClient has a client for each caller, such as a connection of its own. Its
// own Call is not used then.
type callersClient interface {
	// Caller is the client of caller i, from 0 on, which nobody else uses.
	Caller(i int) Client
}

// ErrWrongReply is what a Call returns, wrapped, when the reply itself is wrong where
// the harness does not see it, such as in its frame. It ends the case.
var ErrWrongReply = errors.New("wrong reply")

// Target is a system to measure: a client and the server it talks to.
type Target struct {
	Name string
	APIs []API // those the client has
	// PID is the server's process, whose processor time is added to the
	// client's; 0 when there is none.
	PID int
	// MorePIDs are the processes of further servers.
	MorePIDs []int
	// Note is what a reader must know to compare this system with the others,
	// such as what it does not do; "" when there is nothing.
	Note string
	// Reply is what every request is answered with; nil: with its own bytes. A
	// store that is asked for a value by its key cannot echo.
	Reply []byte
	// CallersMax is how many callers it can have; 0 is no bound of its own.
	CallersMax int
	// Dial connects a new client that can have that many requests in flight. It
	// returns when requests can be sent.
	Dial func(ctx context.Context, callers int) (Client, error)
	// Measure is set instead of Dial by a target whose only API is Native: a
	// program, or a loop below any client, that counts its own requests. It puts
	// the case's load on the server for about d, after a warm-up of its own.
	Measure func(ctx context.Context, c Case, d time.Duration) (Sample, error)
}

// Sample is what a target that measures itself counted.
type Sample struct {
	Requests uint64        // answered
	Elapsed  time.Duration // in which they were answered
	CPU      time.Duration // of client and server; 0 when unknown
	// Latencies in nanoseconds, at most some ten thousand; nil when it takes none.
	Latencies []int64
}

func (t *Target) has(api API) bool { return slices.Contains(t.APIs, api) }

// takes reports whether the target can have so many callers.
func (t *Target) takes(callers int) bool { return t.CallersMax == 0 || callers <= t.CallersMax }
