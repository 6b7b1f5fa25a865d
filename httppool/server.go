package httppool

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/balance"
	"github.com/ringwire/ringwire/health"
	"github.com/ringwire/ringwire/internal/list"
	"github.com/ringwire/ringwire/internal/loglines"
)

// server is one backend.
type server struct {
	p     *HTTPConnectionPool
	url   *url.URL    // as given; never changed
	name  string      // scheme://host:port
	addr  string      // host:port
	tls   *tls.Config // nil without https
	judge *health.Server
	load  balance.Load // leases

	requests, succeeded atomic.Uint64
	response            atomic.Int64 // nanoseconds, smoothed

	// Guarded by the pool's lock.
	weight  int
	places  *int            // shared with one of the same name that was removed and still has some
	idle    list.List[conn] // the one that was used last at the back
	waiting lanes           // for this server and no other
	removed bool
	warm    warmth
	told    health.State   // as the log was last told
	lines   loglines.Limit // of the log
}

// AddServer adds a server: scheme http or https, a host and perhaps a port of 1 to 65535, nothing
// else. weight counts for strategies that weigh; 0 is 1.
func (p *HTTPConnectionPool) AddServer(rawURL string, weight int) error {
	s, err := p.newServer(rawURL, weight)
	if err != nil {
		return err
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return &Error{Op: "add", Server: s.name, Err: ErrClosed}
	}
	for _, other := range p.servers {
		if other.name == s.name {
			p.mu.Unlock()
			return fmt.Errorf("httppool: url %q is there already", rawURL)
		}
	}
	if len(p.servers) >= ServersLimit {
		p.mu.Unlock()
		return fmt.Errorf("httppool: url %q is one server too many; there may be %d", rawURL, ServersLimit)
	}
	var probe health.Probe
	if p.cfg.HealthCheckInterval > 0 {
		probe = s.probe
	}
	if s.judge, err = p.judges.Add(s.name, probe); err != nil {
		p.mu.Unlock()
		return err
	}
	if s.places = p.leaving[s.name]; s.places == nil {
		s.places = new(int)
	}
	p.servers = append(p.servers, s)
	s.logLocked(slog.LevelInfo, "server added")
	p.hostsLocked()
	p.mu.Unlock()
	p.rotate()
	return nil
}

func (p *HTTPConnectionPool) newServer(rawURL string, weight int) (*server, error) {
	u, err := parse(rawURL)
	if err != nil {
		return nil, err
	}
	switch {
	case weight < 0 || weight > balance.MaxWeight:
		return nil, fmt.Errorf("httppool: weight of %q is %d; it must lie in 1 to %d, or be 0 for 1", u.Redacted(), weight, balance.MaxWeight)
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("httppool: url %q has scheme %q; it must be http or https", u.Redacted(), u.Scheme)
	case u.Hostname() == "":
		return nil, fmt.Errorf("httppool: url %q has no host", u.Redacted())
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		return nil, fmt.Errorf("httppool: url %q must be scheme and host alone; the rest belongs to the requests", u.Redacted())
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, fmt.Errorf("httppool: url %q has port %s; it must lie in 1 to 65535", u.Redacted(), port)
		}
	}
	s := &server{p: p, url: u, weight: max(weight, 1), addr: hostPort(u)}
	s.name = u.Scheme + "://" + s.addr
	if u.Scheme == "https" {
		s.tls = p.cfg.TLSConfig.Clone()
		if s.tls == nil {
			s.tls = new(tls.Config)
		}
		if s.tls.ServerName == "" {
			s.tls.ServerName = u.Hostname()
		}
		s.tls.NextProtos = []string{"http/1.1"}
	}
	return s, nil
}

// parse is url.Parse whose error does not repeat the URL: there may be a password in it.
func parse(rawURL string) (*url.URL, error) {
	u, err := url.Parse(rawURL)
	var where *url.Error
	if errors.As(err, &where) {
		err = where.Err
	}
	if err != nil {
		return nil, fmt.Errorf("httppool: url: %w", err)
	}
	return u, nil
}

// hostPort returns the host in lower case with the port, the scheme's if it has none.
func hostPort(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// RemoveServer takes a server out; its URL is written as for AddServer. It gets no more requests;
// those that it has go on, and each of its connections is closed when it is released.
func (p *HTTPConnectionPool) RemoveServer(rawURL string) error {
	gone, err := p.newServer(rawURL, 0)
	if err != nil {
		return err
	}
	p.mu.Lock()
	for i, s := range p.servers {
		if s.name != gone.name {
			continue
		}
		p.servers = append(append([]*server(nil), p.servers[:i]...), p.servers[i+1:]...)
		s.removed = true
		s.logLocked(slog.LevelInfo, "server removed")
		if *s.places > 0 {
			p.leaving[s.name] = s.places
		}
		s.waiting.fail(errElsewhere)
		var unused []*conn
		for c := s.idle.Front(); c != nil; c = s.idle.Front() {
			p.unlistLocked(c)
			unused = append(unused, c)
		}
		p.hostsLocked()
		p.mu.Unlock()
		err := p.judges.Remove(s.judge)
		p.rotate()
		p.discard(unused)
		return err
	}
	p.mu.Unlock()
	return fmt.Errorf("httppool: url %q is not a server of the pool", rawURL)
}

// SetWeight changes a server's weight; 0 is 1.
func (p *HTTPConnectionPool) SetWeight(rawURL string, weight int) error {
	s, err := p.newServer(rawURL, weight)
	if err != nil {
		return err
	}
	p.mu.Lock()
	for _, other := range p.servers {
		if other.name == s.name {
			other.weight = s.weight
			p.mu.Unlock()
			p.rotate()
			return nil
		}
	}
	p.mu.Unlock()
	return fmt.Errorf("httppool: url %q is not a server of the pool", rawURL)
}

// hostsLocked publishes by what hosts requests may name a server.
func (p *HTTPConnectionPool) hostsLocked() {
	hosts := make(map[string]bool)
	for _, s := range p.servers {
		hosts[s.name] = true
		hosts[s.url.Scheme+"://"+s.url.Host] = true
	}
	p.hosts.Store(&hosts)
}

// answered counts a response.
func (s *server) answered(took time.Duration, ok bool) {
	s.requests.Add(1)
	if ok {
		s.succeeded.Add(1)
	}
	s.smooth(took)
}

// smooth takes an eighth of the newest time into the mean. Of those that overlap one may be
// lost.
func (s *server) smooth(took time.Duration) {
	old := s.response.Load()
	if old == 0 {
		s.response.Store(int64(took))
		return
	}
	s.response.Store(old + (int64(took)-old)/8)
}

// ServerTarget is a server as GetServerStats and GetConnection see it at one moment.
type ServerTarget struct {
	URL    *url.URL // a copy
	Weight int
	// MaxConnections is HTTPPoolConfig.MaxConnectionsPerServer, CurrentConnections how many there
	// are, open or being dialled.
	MaxConnections, CurrentConnections int
	// IsHealthy says that it takes requests in turn; State says more.
	IsHealthy bool
	State     health.State
	// LastHealthCheck is when the last check ended, zero if none has.
	LastHealthCheck time.Time
	// FailureCount is how many failures in a row there were.
	FailureCount int
	// TotalRequests counts requests that were made to it, SuccessfulRequests those with a status
	// below 500.
	TotalRequests, SuccessfulRequests int64
	// ResponseTime is the mean time until a response's header had come, requests and checks
	// alike; each counts an eighth.
	ResponseTime time.Duration
	// LastError is the last one met there, also if it has answered since.
	LastError error
}

func (s *server) targetLocked() *ServerTarget {
	st := s.judge.Status()
	u := *s.url
	return &ServerTarget{
		URL: &u, Weight: s.weight,
		MaxConnections: s.p.cfg.MaxConnectionsPerServer, CurrentConnections: *s.places,
		IsHealthy: st.Share > 0, State: st.State, LastHealthCheck: st.LastProbe, FailureCount: st.Failures,
		TotalRequests: int64(s.requests.Load()), SuccessfulRequests: int64(s.succeeded.Load()),
		ResponseTime: time.Duration(s.response.Load()), LastError: st.LastError,
	}
}

// GetServerStats returns all servers, in the order they were added.
func (p *HTTPConnectionPool) GetServerStats() []*ServerTarget {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]*ServerTarget, len(p.servers))
	for i, s := range p.servers {
		all[i] = s.targetLocked()
	}
	return all
}
