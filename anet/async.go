package anet

import "context"

// asyncRequest is a request of SendAsync.
type asyncRequest struct {
	b        *broker
	ctx      context.Context
	response chan Response // capacity 1
	attempt  int
	line     *line // of this attempt
	// again is a copy of the payload, for another attempt. Only a request that
	// waits for its connection has one: its own belongs to the caller.
	again []byte
}

// send gives the request to a line. When it returns nil, the response is certain.
func (r *asyncRequest) send(payload []byte) error {
	for {
		r.attempt++
		l, err := r.b.route()
		if err != nil {
			return err
		}
		if r.again == nil && !l.up() {
			r.again = append([]byte{}, payload...)
		}
		r.line = l
		if err = l.engine.Go(r.ctx, payload, r.done); err == nil {
			return nil // r is done's from here on
		}
		l.done(0, err)
		err = l.explain(err)
		if r.attempt >= r.b.attempts || !r.b.again(r.ctx, err) {
			return err
		}
	}
}

// done delivers the outcome. It runs on a goroutine of the line's engine, or of the
// line that failed before.
func (r *asyncRequest) done(reply []byte, err error) {
	r.line.done(len(reply), err)
	if err == nil {
		r.finish(Response{Payload: append([]byte{}, reply...)})
		return
	}
	err = r.line.explain(err)
	if r.again != nil && r.attempt < r.b.attempts && r.b.again(r.ctx, err) {
		if err = r.send(r.again); err == nil {
			return
		}
	}
	r.finish(Response{Err: r.b.outcome(r.ctx, err)})
}

func (r *asyncRequest) finish(response Response) {
	r.b.settle()
	r.response <- response
}
