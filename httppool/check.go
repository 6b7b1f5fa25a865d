package httppool

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/ringwire/ringwire/health"
	"github.com/ringwire/ringwire/internal/list"
)

// drainMax is how much of a check's response is read, so that its connection can be used again.
const drainMax = 64 << 10

// probe checks the server: GET HealthCheckPath, on a connection that counts like any other.
func (s *server) probe(ctx context.Context) error {
	p := s.p
	c, _, err := p.lease(ctx, &want{only: s, lane: list.LaneUrgent})
	if err != nil {
		if e, ok := err.(*Error); !ok || e.Op != "dial" {
			return health.ErrNoVerdict // all its connections are taken, or the pool closes
		}
		p.counts.checksFailed.Add(1)
		return err
	}
	if err = s.check(ctx, c); err != nil {
		p.counts.checksFailed.Add(1)
		p.scrap(c)
		return err
	}
	p.counts.checksPassed.Add(1)
	p.release(c)
	return nil
}

// checkError is the status with which a check was not passed. It goes into the log: the path has no
// query, in which there may be a password, and the status none of the server's words.
type checkError struct {
	path   string
	status int
}

func (e *checkError) Error() string {
	return fmt.Sprintf("httppool: health check: GET %s: status %d; HealthCheckPath must be a path that answers 200 to 299",
		withoutQuery(e.path), e.status)
}

func withoutQuery(path string) string {
	path, _, _ = strings.Cut(path, "?")
	return path
}

// check makes the request of a probe.
func (s *server) check(ctx context.Context, c *conn) error {
	cfg := &s.p.cfg
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url.Scheme+"://"+s.url.Host+cfg.HealthCheckPath, nil)
	if err != nil {
		return err
	}
	began := time.Now()
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("httppool: health check: %w", err)
	}
	defer resp.Body.Close()
	s.smooth(time.Since(began))
	if _, err := io.CopyN(io.Discard, resp.Body, drainMax); err != nil && err != io.EOF {
		return fmt.Errorf("httppool: health check: %w", err)
	}
	c.ending.Store(resp.Close)
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return &checkError{path: cfg.HealthCheckPath, status: resp.StatusCode}
	}
	return nil
}
