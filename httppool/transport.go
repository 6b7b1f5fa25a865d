package httppool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/balance"
	"github.com/ringwire/ringwire/health"
	"github.com/ringwire/ringwire/internal/backoff"
	"github.com/ringwire/ringwire/internal/list"
)

// errRequestTimeout says that RequestTimeout has passed.
var errRequestTimeout error = timeout("no response within RequestTimeout")

// pause is before a server is asked again that has failed this request.
var pause = backoff.Policy{Min: 20 * time.Millisecond, Max: time.Second}

// caller is what a request's context says about its caller.
type caller struct {
	clientID string
	priority int
}

type callerKey struct{}

func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

// WithClientID returns a context whose requests are of that client: see
// ConnectionRequest.ClientID.
func WithClientID(ctx context.Context, clientID string) context.Context {
	c := callerOf(ctx)
	c.clientID = clientID
	return context.WithValue(ctx, callerKey{}, c)
}

// WithPriority returns a context whose requests have that priority: see
// ConnectionRequest.Priority.
func WithPriority(ctx context.Context, priority int) context.Context {
	c := callerOf(ctx)
	c.priority = priority
	return context.WithValue(ctx, callerKey{}, c)
}

// RoundTrip makes the pool an http.RoundTripper: http.Client{Transport: pool}. A request whose
// URL has the pool's name for a host, as in http://pool/x, or one of its servers, goes to the
// server that the strategy chooses, with that one's scheme and host, in the Host header too. One
// for any other host fails with ErrOtherHost, so that nothing, a header for instance, gets
// where it was not meant to; and https goes to servers with https alone. Response.Request is the
// request as it was sent. Requests are repeated as MaxRetries says.
func (p *HTTPConnectionPool) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := p.check(req); err != nil {
		closeBody(req)
		return nil, err
	}
	p.counts.requests.Add(1)
	p.retries.Deposit()
	began := time.Now()
	ctx, cancel := p.bounded(req.Context())
	resp, c, err := p.roundTrip(ctx, req, began)
	if err != nil {
		cancel()
		p.counts.failed.Add(1)
		p.counts.noteTimeout(err)
		return nil, opError("request", "", err)
	}
	p.counts.answered(resp.StatusCode, time.Since(began))
	attach(resp, func(whole bool) {
		cancel()
		c.leave(whole)
		p.release(c)
	})
	return resp, nil
}

func nothing() {}

// bounded returns ctx with RequestTimeout, unless it ends sooner anyway.
func (p *HTTPConnectionPool) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if p.cfg.RequestTimeout < 0 {
		return ctx, nothing
	}
	if end, ok := ctx.Deadline(); ok && time.Until(end) <= p.cfg.RequestTimeout {
		return ctx, nothing
	}
	return context.WithTimeoutCause(ctx, p.cfg.RequestTimeout, errRequestTimeout)
}

// check looks whether the request is one for the pool.
func (p *HTTPConnectionPool) check(req *http.Request) error {
	switch {
	case req == nil:
		return errors.New("httppool: Request is nil")
	case req.URL == nil:
		return errors.New("httppool: Request.URL is nil")
	case req.URL.Scheme != "http" && req.URL.Scheme != "https":
		return fmt.Errorf("httppool: Request.URL has scheme %q; it must be http or https", req.URL.Scheme)
	case req.URL.Host == p.cfg.Name:
		return nil
	}
	hosts := *p.hosts.Load()
	if hosts[req.URL.Scheme+"://"+req.URL.Host] || hosts[req.URL.Scheme+"://"+hostPort(req.URL)] ||
		strings.EqualFold(req.URL.Host, p.cfg.Name) {
		return nil
	}
	return &Error{Op: "request " + req.URL.Scheme + "://" + req.URL.Host, Err: ErrOtherHost}
}

// roundTrip makes the exchange, on one server after the other if need be. The connection is the
// caller's if there is no error.
func (p *HTTPConnectionPool) roundTrip(ctx context.Context, req *http.Request, began time.Time) (*http.Response, *conn, error) {
	who := callerOf(ctx)
	w := want{key: balance.KeyOf(who.clientID), lane: list.LaneOf(who.priority), secure: req.URL.Scheme == "https"}
	body := replayable{req: req}
	leased := false
	for retries := 0; ; retries++ {
		c, _, err := p.lease(ctx, &w)
		if err != nil {
			if p.tryAgain(ctx, &w, err, retries) {
				continue
			}
			body.close()
			return nil, nil, err
		}
		if !leased {
			leased = true
			p.counts.waited(time.Since(began))
		}
		out, err := body.next(ctx, c.s.url)
		if err != nil {
			p.release(c)
			return nil, nil, err
		}
		resp, err := c.exchange(out, time.Now())
		if err == nil {
			return resp, c, nil
		}
		p.release(c)
		w.tried = append(w.tried, c.s)
		may := body.again() && p.mayRetry(ctx, retries) &&
			(!c.sent.Load() || idempotent(req) && p.withdraw())
		if !may || !p.rest(ctx, &w, retries) {
			return nil, nil, opError("request", c.s.name, err)
		}
	}
}

// withdraw takes a repetition of what a server may have had out of the budget, and counts it if there
// is none left.
func (p *HTTPConnectionPool) withdraw() bool {
	if p.retries.Withdraw() {
		return true
	}
	p.counts.denied.Add(1)
	return false
}

// tryAgain reports whether a lease that failed is to be tried again: when a server could not be
// reached, which makes sure that nothing was written.
func (p *HTTPConnectionPool) tryAgain(ctx context.Context, w *want, err error, retries int) bool {
	var at *Error
	if !errors.As(err, &at) || at.Op != "dial" || !p.mayRetry(ctx, retries) {
		return false
	}
	p.mu.Lock()
	for _, s := range p.servers {
		if s.name == at.Server {
			w.tried = append(w.tried, s)
		}
	}
	p.mu.Unlock()
	return p.rest(ctx, w, retries)
}

// mayRetry reports whether another repetition is within the bounds.
func (p *HTTPConnectionPool) mayRetry(ctx context.Context, retries int) bool {
	return retries < p.cfg.MaxRetries && ctx.Err() == nil
}

// rest pauses before a repetition, if all servers that take requests have been tried, and counts
// it. It reports whether ctx goes on.
func (p *HTTPConnectionPool) rest(ctx context.Context, w *want, retries int) bool {
	if _, err := p.balancer.Pick(0, func(s *server) bool { return slices.Contains(w.tried, s) }); err != nil {
		timer := time.NewTimer(pause.Delay(retries + 1))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return false
		}
	}
	p.counts.retries.Add(1)
	return true
}

// exchange sends a request that is for the connection's server, and tells the server's judge
// what came of it.
func (c *conn) exchange(req *http.Request, began time.Time) (*http.Response, error) {
	ctx := req.Context()
	c.sent.Store(false)
	watched := watch(req)
	resp, err := c.transport.RoundTrip(watched.req)
	if err != nil {
		if cause := context.Cause(ctx); errors.Is(err, cause) && !errors.Is(err, ctx.Err()) {
			err = ended(ctx)
		}
		switch {
		case watched.failed():
			c.s.judge.Report(health.Late, began, nil) // the caller's body
		case ctx.Err() != nil:
			c.s.judge.Report(outcome(ctx, err), began, err)
		case c.sock.Load() == nil && c.sent.Load():
			// It was reached, and may have ended the connection because of this request.
			c.s.judge.Report(health.Failed, began, err)
		case c.sock.Load() == nil:
			c.s.judge.Report(health.Unreachable, began, err)
		default:
			c.s.judge.Report(health.Late, began, nil) // nothing was wrong but the request
		}
		c.s.requests.Add(1)
		return nil, err
	}
	switch resp.StatusCode {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		c.s.judge.Report(health.Failed, began, fmt.Errorf("httppool: status %s", resp.Status))
	default:
		c.s.judge.Report(health.Answered, began, nil)
	}
	c.ending.Store(resp.Close)
	c.s.answered(time.Since(began), resp.StatusCode < http.StatusInternalServerError)
	return resp, nil
}

// idempotent reports whether a request may be made twice: RFC 9110, section 9.2.2, and what
// net/http takes for a key.
func idempotent(req *http.Request) bool {
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	_, key := req.Header["Idempotency-Key"]
	_, xKey := req.Header["X-Idempotency-Key"]
	return key || xKey
}

// opError wraps err in an Error, unless it is one.
func opError(op, server string, err error) error {
	var e *Error
	if errors.As(err, &e) {
		return err
	}
	return &Error{Op: op, Server: server, Err: err}
}

func closeBody(req *http.Request) {
	if req != nil && req.Body != nil {
		req.Body.Close()
	}
}

// replayable makes the requests of one RoundTrip out of the caller's.
type replayable struct {
	req   *http.Request
	taken bool // the caller's body was given away
}

// next returns the request as it goes to a server.
func (r *replayable) next(ctx context.Context, to *url.URL) (*http.Request, error) {
	out := r.req.WithContext(ctx)
	u := *r.req.URL
	u.Scheme, u.Host = to.Scheme, to.Host
	out.URL, out.Host = &u, ""
	if r.taken && r.req.GetBody != nil {
		body, err := r.req.GetBody()
		if err != nil {
			return nil, err
		}
		out.Body = body
	}
	r.taken = true
	return out, nil
}

// again reports whether there is a body for another request.
func (r *replayable) again() bool {
	return r.req.Body == nil || r.req.Body == http.NoBody || r.req.GetBody != nil
}

// close closes the caller's body, if nobody else does.
func (r *replayable) close() {
	if !r.taken {
		closeBody(r.req)
	}
}

// watched is a request whose body tells whether reading it has failed.
type watched struct {
	req *http.Request
	bad *atomic.Bool
}

func watch(req *http.Request) watched {
	if req.Body == nil || req.Body == http.NoBody {
		return watched{req: req}
	}
	w := watched{req: new(http.Request), bad: new(atomic.Bool)}
	*w.req = *req
	w.req.Body = &watchedBody{req.Body, w.bad}
	return w
}

func (w watched) failed() bool { return w.bad != nil && w.bad.Load() }

type watchedBody struct {
	io.ReadCloser
	bad *atomic.Bool
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		b.bad.Store(true)
	}
	return n, err
}
