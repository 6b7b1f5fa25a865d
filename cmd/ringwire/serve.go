package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"time"

	"github.com/ringwire/ringwire/cmd/ringwire/internal/echo"
	"github.com/ringwire/ringwire/server"
	"github.com/spf13/cobra"
)

const (
	// latencyWorkers is how many requests wait at once when --latency needs
	// workers and --workers does not say how many.
	latencyWorkers = 4096
	// drainTimeout bounds a graceful shutdown.
	drainTimeout = 5 * time.Second
	// serveGCPercent is the collector's target unless GOGC sets one. Requests
	// allocate nothing, so a server pays for a low target only while connections
	// come, and their garbage goes soon: a fifth less memory for idle connections.
	serveGCPercent = 25
)

// serveFlags are the flags of "ringwire serve".
type serveFlags struct {
	addr        string
	latency     []string
	stub        stubFlags
	echo        echo.Config
	workers     int
	loops       int
	admission   admissionFlags
	tls         tlsFlags
	busyPoll    time.Duration
	queue       time.Duration
	extensions  bool
	frameLength int
	stdin       bool
	json        string
	debugAddr   string
	debugRemote bool
	timed       int
}

// latencyEvery is server.Config.LatencyEvery: nobody is to pay for what nobody can see.
func (f *serveFlags) latencyEvery() int {
	if f.debugAddr == "" {
		return 0
	}
	return f.timed
}

func newServe() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run an echo server, or a stub of any backend",
		Long: `serve runs a server that answers each request with its own bytes, if wanted
late or in another size. It prints "listening on HOST:PORT" when it accepts
connections, and a summary when it ends: on Ctrl-C, on SIGTERM, or, with
--stdin, when its standard input closes. Requests received by then are answered.

Memory that is garbage may be a quarter of what is in use, not all of it as is Go's
default, unless the environment variable GOGC says otherwise.

Who may connect is the business of --allow, --deny and the limits for each client
address; who may not is closed at once. Beyond nine tenths of --max-conns the oldest
connection that has sent no frame is closed for each that comes.

With --tls-cert and --tls-key connections are secured; with --tls-client-ca clients have
to show a certificate of these authorities. The files are read again every ten seconds
and at SIGHUP, and used from then on; that, or what is wrong with them, is told on
standard error.

` + stubHelp + `

--debug-addr serves /metrics for Prometheus, /healthz, which is 200 while requests are
served, /debug/vars, the statistics as JSON, and /debug/pprof/, the profiles, with what
"ringwire profile" needs, and prints "debug on URL" after the first line. Anybody
who can reach the address reads the command line and names in memory, and can slow the
server down at any time. So it must be a loopback address or a unix socket;
--debug-remote lifts that, for networks where nobody else is.`,
		Example: `  ringwire serve
  ringwire serve --addr 127.0.0.1:0 --latency 5ms --jitter 2ms
  ringwire serve --addr :1500 --reply-size 8 --max-conns 1000 --json stats.json
  ringwire serve --addr :1500 --allow 10.0.0.0/8,::1 --max-conns-per-ip 100 --first-frame-timeout 10s
  ringwire serve --tls-cert cert.pem --tls-key key.pem --tls-client-ca clients.pem
  ringwire serve --debug-addr 127.0.0.1:6060
  ringwire serve --addr :1500 --framing payshield --reply off=7:+1 --reply off=8,insert:00=97,51=3 --latency p50=2ms,p99=20ms
  ringwire serve --framing dns-tcp --cps 2k --stall every=30s,for=2s --fault drop=0.1%,duplicate=0.1% --json stub.json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asked := f.stub.asked(cmd.Flags(), f.latency); asked != "" {
				return serveStub(cmd, &f, asked)
			}
			return serve(cmd, f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.addr, "addr", "127.0.0.1:9000", "listen here, HOST:PORT; port 0 takes a free one")
	flags.StringArrayVar(&f.latency, "latency", nil, "wait before each reply; of a stub: also p50=2ms,p99=20ms or hlog=FILE, and several with weights: see above")
	flags.DurationVar(&f.echo.Jitter, "jitter", 0, "wait up to this much longer, at random")
	flags.IntVar(&f.echo.ReplySize, "reply-size", -1, "bytes of each reply: the request cut, or padded with zeros (default the request's)")
	flags.IntVar(&f.workers, "workers", 0, "goroutines that answer; 0 answers on the event loop")
	flags.IntVar(&f.loops, "loops", 0, "event loops; 0 chooses")
	f.admission.register(cmd)
	f.tls.registerServer(cmd)
	flags.DurationVar(&f.busyPoll, "busy-poll", 0, "how long an event loop polls a connection before it sleeps; 0 is the server's default, negative never")
	flags.BoolVar(&f.extensions, "extensions", false, "let clients speak the extension of the protocol")
	flags.DurationVar(&f.queue, "queue-timeout", 0, "refuse a request that has waited so long for its turn, if its client speaks the extension; 0 is the server's default, negative never")
	flags.IntVar(&f.frameLength, "frame-length", 2, "bytes of the frame's length field, 2 or 4")
	flags.BoolVar(&f.stdin, "stdin", false, "end when standard input closes")
	flags.StringVar(&f.json, "json", "", "write the statistics to this file when the server ends")
	flags.StringVar(&f.debugAddr, "debug-addr", "", "serve metrics, health and profiles here, HOST:PORT on this machine or unix:PATH; port 0 takes a free one (default: do not)")
	flags.BoolVar(&f.debugRemote, "debug-remote", false, "let --debug-addr be an address that others can reach")
	flags.IntVar(&f.timed, "latency-every", 256, "time one of so many requests for --debug-addr, at random; 1 is each, 0 none")
	f.stub.register(flags)
	return cmd
}

func serve(cmd *cobra.Command, f serveFlags) error {
	if len(f.latency) > 0 { // one duration, or it would be a stub
		f.echo.Latency, _ = time.ParseDuration(f.latency[0])
	}
	format, err := frameFormat(f.frameLength)
	if err != nil {
		return err
	}
	if err := f.echo.Validate(format.MaxPayload()); err != nil {
		return &exitError{exitUsage, err}
	}
	secure, stopFollowing, err := f.tls.server(cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	defer stopFollowing()
	if f.echo.Waits() && f.workers == 0 {
		f.workers = latencyWorkers
		_, _ = fmt.Fprintf(cmd.ErrOrStderr(),
			"ringwire: a late reply must not hold up the event loop: using %d workers, one for each request that waits (--workers)\n",
			f.workers)
	}
	if _, set := os.LookupEnv("GOGC"); !set {
		defer debug.SetGCPercent(debug.SetGCPercent(serveGCPercent))
	}
	config := server.Config{
		Addr: f.addr, Handler: f.echo.Handler(), Framing: format, TLS: secure,
		Workers: f.workers, Loops: f.loops, BusyPoll: f.busyPoll,
		Extensions: f.extensions, QueueTimeout: f.queue, LatencyEvery: f.latencyEvery(),
		// One connection may keep all workers waiting.
		MaxInFlight: max(f.workers, server.DefaultMaxInFlight),
	}
	if err := f.admission.apply(&config); err != nil {
		return &exitError{exitUsage, err}
	}
	srv, err := server.New(config)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	pages, err := serveDebug(f, srv)
	if err != nil {
		return err
	}
	defer pages.close()
	ctx, stop := f.untilTold(cmd)
	defer stop()
	if err := srv.Start(); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(cmd.OutOrStdout(), "listening on %s\n", srv.Addr()); err != nil {
		return errors.Join(err, srv.Close())
	}
	if err := pages.announce(cmd.OutOrStdout()); err != nil {
		return errors.Join(err, srv.Close())
	}
	<-ctx.Done()
	pages.stopping.Store(true)
	stop() // a second Ctrl-C ends the program at once
	return finish(cmd.OutOrStdout(), srv, f.json)
}

// untilTold returns a context that ends on Ctrl-C, on SIGTERM and, with --stdin, with the standard
// input. After stop a second Ctrl-C ends the program.
func (f *serveFlags) untilTold(cmd *cobra.Command) (ctx context.Context, stop context.CancelFunc) {
	ctx, stop = untilSignal()
	if f.stdin {
		ctx = untilClosed(ctx, cmd.InOrStdin())
	}
	return ctx, stop
}

// untilClosed returns a context that also ends when r does. Its goroutine lasts
// as long as r.
func untilClosed(ctx context.Context, r io.Reader) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, r)
		cancel()
	}()
	return ctx
}

// finish shuts the server down and reports what it did. The file has the fields
// of server.Stats.
func finish(out io.Writer, srv *server.Server, jsonPath string) error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	err := srv.Shutdown(ctx)
	stats := srv.Stats()
	err = errors.Join(err, writeSummary(out, &stats))
	if jsonPath != "" {
		data, marshalErr := json.MarshalIndent(stats, "", "  ")
		err = errors.Join(err, marshalErr, os.WriteFile(jsonPath, append(data, '\n'), 0o644))
	}
	return err
}

// writeSummary prints the counters that tell whether all went well.
func writeSummary(out io.Writer, s *server.Stats) error {
	_, err := fmt.Fprintf(out, `connections  %d accepted, %d refused (%d not allowed, %d of one address, %d too many, %d too many handshakes), %d accept errors
ended        %d by the peer, %d reset, %d protocol errors, %d of %d for other reasons
requests     %d, replies %d, unanswered %d, dropped %d
not run      %d overloaded, %d expired, %d given up at the end
handler      %d errors, %d panics, %d replies too large
bytes        %d in by %d reads, %d out by %d writes
`,
		s.Accepted, s.Refused(), s.Denied, s.RejectedPerIP+s.RejectedRate, s.Rejected, s.RejectedHandshakes, s.AcceptErrors,
		s.Closed.Peer, s.Closed.Reset, s.Closed.ProtocolErrors(),
		s.Closed.Total()-s.Closed.Peer-s.Closed.Reset-s.Closed.ProtocolErrors(), s.Closed.Total(),
		s.Requests, s.Replies, s.Unanswered, s.Dropped,
		s.Overloaded, s.Expired, s.Abandoned,
		s.HandlerErrors, s.Panics, s.ReplyTooLarge,
		s.BytesIn, s.Reads, s.BytesOut, s.Writes)
	return err
}
