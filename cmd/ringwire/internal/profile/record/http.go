package record

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

const (
	startPath = "/debug/ringwire/start"
	stopPath  = "/debug/ringwire/stop"
	// unixPrefix before a path makes it the address of a unix socket.
	unixPrefix = "unix:"
	// requestTimeout bounds one Start or Stop from afar.
	requestTimeout = 30 * time.Second
	// answerBytesMax bounds what is read of an answer.
	answerBytesMax = TraceBytesMax + 1<<20
)

// CheckAddr returns an error unless addr is HOST:PORT, with a host that is a
// loopback address if remote is false, or unix:PATH.
func CheckAddr(addr string, remote bool) error {
	if path, ok := strings.CutPrefix(addr, unixPrefix); ok {
		if path == "" {
			return fmt.Errorf("%q: must have a path after %s", addr, unixPrefix)
		}
		return nil
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%q: must be HOST:PORT or unix:PATH: %w", addr, err)
	}
	ip, err := netip.ParseAddr(host)
	if remote || host == "localhost" || err == nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("%q: is not a loopback address, and profiles show memory and command line, and cost time, to whoever asks", addr)
}

// Server answers those who profile this process: the handlers of net/http/pprof
// under /debug/pprof/, a Recorder for Remote, and others' pages.
type Server struct {
	recorder Recorder
	listener net.Listener
	http     *http.Server
	served   chan struct{} // closed when Serve has returned
}

// Listen starts a Server on an address that CheckAddr accepts; port 0 takes a
// free one. rest, which may be nil, answers requests for other paths. The caller must Close it.
func Listen(addr string, rest http.Handler) (*Server, error) {
	network, address := "tcp", addr
	if path, ok := strings.CutPrefix(addr, unixPrefix); ok {
		network, address = "unix", path
	}
	listener, err := net.Listen(network, address)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	s := &Server{listener: listener, served: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("POST "+startPath, s.start)
	mux.HandleFunc("POST "+stopPath, s.stop)
	if rest != nil {
		mux.Handle("/", rest)
	}
	// A web page in a browser on this machine must not be able to start anything.
	s.http = &http.Server{Handler: http.NewCrossOriginProtection().Handler(mux), ReadHeaderTimeout: requestTimeout}
	go func() {
		defer close(s.served)
		Label(context.Background())
		_ = s.http.Serve(listener)
	}()
	return s, nil
}

// URL is where a browser finds all pages, or the unix socket.
func (s *Server) URL() string {
	if s.listener.Addr().Network() == "unix" {
		return unixPrefix + s.listener.Addr().String()
	}
	return "http://" + s.listener.Addr().String() + "/"
}

// Close stops serving and every recording. Requests in progress are cut off.
func (s *Server) Close() error {
	err := s.http.Close()
	<-s.served
	s.recorder.Close()
	return err
}

func (s *Server) start(w http.ResponseWriter, r *http.Request) {
	if err := s.recorder.Start(Kind(r.URL.Query().Get("kind"))); err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) stop(w http.ResponseWriter, r *http.Request) {
	data, err := s.recorder.Stop(Kind(r.URL.Query().Get("kind")))
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = w.Write(data)
}

// Remote records in the process of a Server. It is safe for concurrent use.
type Remote struct {
	client *http.Client
	base   string
}

// Dial returns the Remote of the Server at addr, which is as for Listen. It
// connects with each request.
func Dial(addr string) *Remote {
	// One connection per request: none is left behind in either process.
	transport := &http.Transport{DisableKeepAlives: true}
	base := "http://" + addr
	if path, ok := strings.CutPrefix(addr, unixPrefix); ok {
		base = "http://server"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}
	}
	return &Remote{client: &http.Client{Transport: transport, Timeout: requestTimeout}, base: base}
}

// Start is Recorder.Start in the other process.
func (r *Remote) Start(ctx context.Context, kind Kind) error {
	_, err := r.post(ctx, startPath, kind)
	return err
}

// Stop is Recorder.Stop in the other process.
func (r *Remote) Stop(ctx context.Context, kind Kind) ([]byte, error) {
	return r.post(ctx, stopPath, kind)
}

func (r *Remote) post(ctx context.Context, path string, kind Kind) ([]byte, error) {
	address := r.base + path + "?kind=" + url.QueryEscape(string(kind))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, nil)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("record: ask the other process: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, answerBytesMax+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("record: answer of the other process: %w", err)
	case len(data) > answerBytesMax:
		return nil, errors.New("record: the other process's answer is too long: record a shorter span")
	case resp.StatusCode >= http.StatusMultipleChoices:
		return nil, fmt.Errorf("the other process: %s", strings.TrimSpace(string(data)))
	}
	return data, nil
}

// Local is a Recorder of this process with the methods of a Remote.
type Local struct{ Recorder *Recorder }

// Start is Recorder.Start.
func (l Local) Start(_ context.Context, kind Kind) error { return l.Recorder.Start(kind) }

// Stop is Recorder.Stop.
func (l Local) Stop(_ context.Context, kind Kind) ([]byte, error) { return l.Recorder.Stop(kind) }
