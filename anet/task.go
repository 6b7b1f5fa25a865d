package anet

import "context"

// Task is part of anet v1.0.0's API, where no function takes or returns one. The
// engine keeps requests in a table of its own.
type Task struct {
	ctx context.Context
}

// Context returns the task's context, nil if it has none.
func (t *Task) Context() context.Context { return t.ctx }

// Response is the outcome of a request made by SendAsync: Payload if Err is nil.
// Payload belongs to the receiver.
type Response struct {
	Payload []byte
	Err     error
}
