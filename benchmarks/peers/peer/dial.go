package peer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
)

const (
	// dialTimeout bounds the wait for a connection and for its first reply.
	dialTimeout = 5 * time.Second
	// callTimeout bounds a call where the system wants a bound. It is far above
	// any latency of a run, so that it decides nothing.
	callTimeout = 30 * time.Second
	// perCaller is the note of systems that carry one request at a time on a
	// connection.
	perCaller = "no multiplexing: a connection for each caller"
)

// dialer is bench.Target.Dial.
type dialer = func(ctx context.Context, callers int) (bench.Client, error)

// ready is the client once its first call was answered: some systems connect on
// the first call, which is not to be measured.
func ready(c bench.Client, err error) (bench.Client, error) {
	if err != nil {
		return nil, err
	}
	req := make([]byte, bench.PayloadBytesMin)
	if _, err := c.Call(nil, &req); err != nil {
		return nil, errors.Join(fmt.Errorf("first call: %w", err), c.Close())
	}
	return c, nil
}

// A line carries one request at a time.
type line interface {
	call(dst, req []byte) ([]byte, error)
	close() error
}

// lines is a client with a connection for each caller.
type lines struct {
	all  []line
	idle chan line // lines that no call uses; its capacity is that of all
}

// dialLines connects a line for each caller.
func dialLines(callers int, dial func() (line, error)) (bench.Client, error) {
	l := &lines{idle: make(chan line, callers)}
	for range callers {
		next, err := dial()
		if err != nil {
			return nil, errors.Join(err, l.Close())
		}
		l.all = append(l.all, next)
		l.idle <- next
	}
	return l, nil
}

// Call uses whichever line is free. There are as many as callers, so it does not
// wait.
func (l *lines) Call(dst []byte, req *[]byte) ([]byte, error) {
	free := <-l.idle
	reply, err := free.call(dst, *req)
	l.idle <- free
	return reply, err
}

func (l *lines) Close() error {
	var err error
	for _, each := range l.all {
		err = errors.Join(err, each.close())
	}
	return err
}
