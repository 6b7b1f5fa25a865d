package httppool

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/balance"
	"github.com/ringwire/ringwire/internal/list"
)

// ConnectionRequest says what connection GetConnection is to return.
type ConnectionRequest struct {
	// Context bounds the waiting and connecting. nil never ends.
	Context context.Context
	// ClientID names the client that the connection is for: with IPHash the same one gets the
	// same server. Empty: any server.
	ClientID string
	// Priority says which of those that wait goes first, the higher the sooner: below 0, 0, 1, and
	// above. Of nine that are served one is of a lower priority, if one waits.
	Priority int
	// ServerHint is the URL of a server to stay with while it is healthy. Empty: none.
	ServerHint string
}

// ConnectionResponse is what GetConnection has got.
type ConnectionResponse struct {
	// Connection is the caller's until it gives it to ReleaseConnection.
	Connection *HTTPConnection
	// Server is the connection's server, as it was.
	Server *ServerTarget
	// WaitTime is how long it took to get the connection.
	WaitTime time.Duration
	// FromPool says that the connection was open before.
	FromPool bool
}

// HTTPConnection is a connection that is lent out. Requests on it go to its server, one after
// the other; others wait. It may be used by several goroutines.
type HTTPConnection struct {
	c        *conn
	client   http.Client
	turn     chan struct{} // a place for the exchange that is under way
	open     atomic.Int64  // exchanges that have not ended
	released atomic.Bool
}

// GetConnection lends out a connection to a server that the strategy chooses. It is open: if
// that server cannot be reached another one is tried. It waits for a free connection as long
// as the limits demand and the context allows. Callers that wait are served by their Priority,
// and those of one priority in their order. Its error is an *Error around ErrNoHealthyServer,
// ErrClosed, the context's error, or what the last dial has met.
func (p *HTTPConnectionPool) GetConnection(req *ConnectionRequest) (*ConnectionResponse, error) {
	if req == nil {
		return nil, errors.New("httppool: ConnectionRequest is nil; an empty one will do")
	}
	ctx := req.Context
	if ctx == nil {
		ctx = context.Background()
	}
	w := want{key: balance.KeyOf(req.ClientID), lane: list.LaneOf(req.Priority)}
	if req.ServerHint != "" {
		hinted, err := p.newServer(req.ServerHint, 0)
		if err != nil {
			return nil, &Error{Op: "get: ServerHint", Err: err}
		}
		w.hint = hinted.name
	}
	began := time.Now()
	c, reused, err := p.leaseSomewhere(ctx, &w)
	if err != nil {
		p.counts.noteTimeout(err)
		return nil, opError("get", "", err)
	}
	waited := time.Since(began)
	p.counts.waited(waited)
	h := &HTTPConnection{c: c, turn: make(chan struct{}, 1)}
	h.client.Transport = (*handleTransport)(h)
	p.mu.Lock()
	target := c.s.targetLocked()
	p.mu.Unlock()
	return &ConnectionResponse{Connection: h, Server: target, WaitTime: waited, FromPool: reused}, nil
}

// leaseSomewhere leases from another server as often as one cannot be reached.
func (p *HTTPConnectionPool) leaseSomewhere(ctx context.Context, w *want) (c *conn, reused bool, err error) {
	for retries := 0; ; retries++ {
		c, reused, err = p.lease(ctx, w)
		if err == nil || !p.tryAgain(ctx, w, err, retries) {
			return c, reused, err
		}
	}
}

// ReleaseConnection takes a connection back. It fails if that was released already. What is
// still under way on it is cut off: read a response's body to its end, or close it, before.
func (p *HTTPConnectionPool) ReleaseConnection(h *HTTPConnection) error {
	switch {
	case h == nil || h.c == nil:
		return errors.New("httppool: HTTPConnection is nil")
	case h.c.s.p != p:
		return errors.New("httppool: HTTPConnection is another pool's")
	case h.released.Swap(true):
		return &Error{Op: "release", Server: h.c.s.name, Err: ErrReleased}
	}
	if h.open.Load() > 0 {
		p.scrap(h.c)
	} else {
		p.release(h.c)
	}
	return nil
}

// Do sends a request to the connection's server, which its URL has to name, and follows redirects
// there. See http.Client.Do. It is not repeated elsewhere.
func (h *HTTPConnection) Do(req *http.Request) (*http.Response, error) {
	if req == nil {
		return nil, errors.New("httppool: Request is nil")
	}
	return h.client.Do(req)
}

// Get gets a URL of the connection's server. See http.Client.Get.
func (h *HTTPConnection) Get(url string) (*http.Response, error) { return h.client.Get(url) }

// Client returns the connection's client. It works until the connection is released.
func (h *HTTPConnection) Client() *http.Client { return &h.client }

// handleTransport is the RoundTripper of a lent connection.
type handleTransport HTTPConnection

// RoundTrip makes one exchange on the connection.
func (t *handleTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	h, c := (*HTTPConnection)(t), t.c
	p := c.s.p
	h.open.Add(1)
	switch {
	case h.released.Load():
		h.open.Add(-1)
		closeBody(req)
		return nil, &Error{Op: "request", Server: c.s.name, Err: ErrReleased}
	case req.URL.Scheme+"://"+hostPort(req.URL) != c.s.name:
		h.open.Add(-1)
		closeBody(req)
		return nil, &Error{Op: "request " + req.URL.Host + ": connection to", Server: c.s.name, Err: ErrOtherHost}
	}
	p.counts.requests.Add(1)
	began := time.Now()
	ctx, cancel := p.bounded(req.Context())
	resp, err := h.inTurn(req.WithContext(ctx), began)
	if err != nil {
		cancel()
		h.open.Add(-1)
		p.counts.failed.Add(1)
		p.counts.noteTimeout(err)
		return nil, opError("request", c.s.name, err)
	}
	p.counts.answered(resp.StatusCode, time.Since(began))
	attach(resp, func(whole bool) {
		cancel()
		c.leave(whole)
		<-h.turn
		h.open.Add(-1)
	})
	return resp, nil
}

// inTurn makes an exchange when those before it have ended. The turn is the caller's if there is no
// error.
func (h *HTTPConnection) inTurn(req *http.Request, began time.Time) (*http.Response, error) {
	select {
	case h.turn <- struct{}{}:
	case <-req.Context().Done():
		closeBody(req)
		return nil, ended(req.Context())
	}
	resp, err := h.c.exchange(req, began)
	if err != nil {
		<-h.turn
	}
	return resp, err
}
