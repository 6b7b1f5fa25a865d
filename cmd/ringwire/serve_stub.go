package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ringwire/ringwire/internal/netaddr"
	"github.com/ringwire/ringwire/load"
	"github.com/ringwire/ringwire/load/stub"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// stubFlags are those of "ringwire serve" that make it a stub.
type stubFlags struct {
	framing  framingFlags
	cps      string
	queue    int
	stalls   []string
	replies  []string
	faults   []string
	lateBy   time.Duration
	seed     uint64
	inFlight int
	connect  string
	conns    int
	tls      targetTLS // of --connect
	names    []string  // of the flags that nothing else has
}

const stubHelp = `With --framing, --reply, --fault, --cps, --stall, --connect or another flag that begins with
"stub:" below, serve is a stub of a backend with that framing, for tests of clients. It
answers each request with its payload, or as --reply says: data=TEXT with ${hex:00ff} in it,
size=BYTES, and rules about bytes counted from the frame's first: off=8,len=2:00=97,51=3 sets
one of several values by weight, off=8,insert:00=97,51=3 puts it between, off=7:+1 adds,
off=20,len=8,from=12 copies bytes of the request. Its --latency is a duration, log-normal by
two percentiles, p50=2ms,p99=20ms, replayed from a histogram log, hlog=FILE,tag=NAME,unit=us,
or several of these with weights: --latency 97:2ms --latency 3:p50=50ms,p99=1s. A --fault is
drop, duplicate, wrong-id, swap (with the next reply), late, truncate, oversize, garbage,
split (two writes), close or reset. At its end it prints what it did, what it injected, and
how late its replies really were.`

// sharedFlags are those of the stub and of the product's server alike.
var sharedFlags = []string{"addr", "latency", "stdin", "json", "max-conns", flagCert, flagKey, flagClientCA, "help"}

func (f *stubFlags) register(flags *pflag.FlagSet) {
	own := pflag.NewFlagSet("", pflag.ContinueOnError)
	f.framing.register(own)
	own.Lookup("framing").Usage = "stub: name of a framing; the flags below change it; see 'ringwire load --help'"
	own.StringVar(&f.cps, "cps", "", "stub: a licence's rate, such as 2k: so many requests a second are begun, of all connections together")
	own.IntVar(&f.queue, "cps-queue", stub.DefaultQueue, "stub: requests that wait for the licence; while there are more, their connections are not read")
	own.StringArrayVar(&f.stalls, "stall", nil, "stub: answer nothing for a time: every=10s,for=2s or at=5s,for=2s; repeatable")
	own.StringArrayVar(&f.replies, "reply", nil, "stub: what a reply is: echo, data=TEXT, size=BYTES; or a rule about it: see above; repeatable")
	own.StringArrayVar(&f.faults, "fault", nil, "stub: what goes wrong, and how often: drop=1%,late=0.1%; see above; repeatable")
	own.DurationVar(&f.lateBy, "late-by", stub.DefaultLateBy, "stub: how much later a late reply is")
	own.Uint64Var(&f.seed, "seed", 1, "stub: of everything random, so that a run can be repeated")
	own.IntVar(&f.inFlight, "inflight", stub.DefaultInFlight, "stub: requests of a connection that have no reply yet; at more it is not read")
	own.StringVar(&f.connect, "connect", "", "stub: connect to a client that waits for it, instead of listening: HOST:PORT, tls://HOST:PORT or unix:///path")
	own.IntVar(&f.conns, "conns", 1, "stub: how many connections to make")
	own.StringVar(&f.tls.ca, flagCA, "", "stub: trust these certificate authorities at --connect, a PEM file (default the system's)")
	own.StringVar(&f.tls.serverName, flagServerName, "", "stub: name that the certificate at --connect must have (default its host)")
	own.BoolVar(&f.tls.insecure, "tls-insecure", false, "stub: do not check the certificate at --connect")
	own.VisitAll(func(flag *pflag.Flag) {
		if !strings.HasPrefix(flag.Usage, "stub: ") {
			flag.Usage = "stub: " + flag.Usage
		}
		f.names = append(f.names, flag.Name)
	})
	flags.AddFlagSet(own)
}

// asked returns the flag that makes serve a stub, "" if none does: one of the stub's own, or
// a latency that is more than a duration.
func (f *stubFlags) asked(flags *pflag.FlagSet, latency []string) (name string) {
	if _, err := time.ParseDuration(strings.Join(latency, ",")); err != nil && len(latency) > 0 {
		name = "latency"
	}
	flags.Visit(func(flag *pflag.Flag) {
		if slices.Contains(f.names, flag.Name) {
			name = flag.Name
		}
	})
	return name
}

// conflict returns an error if a flag is given that only the product's server has.
func (f *stubFlags) conflict(flags *pflag.FlagSet, asked string) (err error) {
	flags.Visit(func(flag *pflag.Flag) {
		if err == nil && !slices.Contains(f.names, flag.Name) && !slices.Contains(sharedFlags, flag.Name) {
			err = fmt.Errorf("--%s and --%s: the first makes serve a stub, the second is of the ringwire server: leave one out", asked, flag.Name)
		}
	})
	if err == nil && f.connect != "" && flags.Changed("addr") {
		err = errors.New("--connect and --addr: a stub that connects does not listen: leave one out")
	}
	return err
}

// config makes the stub's configuration, without the source of its connections.
func (f *stubFlags) config(flags *pflag.FlagSet, latency []string, maxConns int) (cfg stub.Config, err error) {
	cfg = stub.Config{Queue: f.queue, LateBy: f.lateBy, Seed: f.seed, InFlight: f.inFlight, Dials: f.conns, MaxConns: maxConns}
	for _, given := range []struct {
		name string
		ok   bool
	}{{"cps-queue", f.queue > 0}, {"late-by", f.lateBy > 0}, {"inflight", f.inFlight > 0}, {"conns", f.conns > 0}, {"max-conns", maxConns >= 0}} {
		if !given.ok {
			return cfg, fmt.Errorf("--%s %s: must be above 0", given.name, flags.Lookup(given.name).Value)
		}
	}
	if flags.Changed("conns") && f.connect == "" {
		return cfg, errors.New("--conns: is how many connections --connect makes: give that, too")
	}
	if cfg.Codec, err = f.framing.codec(flags.Changed); err != nil {
		return cfg, err
	}
	if cfg.Latency, err = stub.ParseLatency(latency...); err != nil {
		return cfg, fmt.Errorf("--%w", err)
	}
	if f.cps != "" {
		if cfg.CPS, err = parseRate(f.cps); err != nil {
			return cfg, fmt.Errorf("--cps %w", err)
		}
	}
	for _, text := range f.stalls {
		st, err := stub.ParseStall(text)
		if err != nil {
			return cfg, fmt.Errorf("--%w", err)
		}
		cfg.Stalls = append(cfg.Stalls, st)
	}
	for _, text := range f.replies {
		if err := cfg.Reply.Parse(text); err != nil {
			return cfg, fmt.Errorf("--%w", err)
		}
	}
	for _, text := range f.faults {
		if err := cfg.Faults.ParseFaults(text); err != nil {
			return cfg, fmt.Errorf("--%w", err)
		}
	}
	return cfg, nil
}

// serveStub runs the stub until its end, and reports.
func serveStub(cmd *cobra.Command, f *serveFlags, asked string) error {
	flags := cmd.Flags()
	if err := f.stub.conflict(flags, asked); err != nil {
		return &exitError{exitUsage, err}
	}
	cfg, err := f.stub.config(flags, f.latency, f.admission.maxConns)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	stopFollowing, err := f.connections(cmd.ErrOrStderr(), &cfg)
	if err != nil {
		return err
	}
	defer stopFollowing()
	srv, err := stub.New(cfg)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	var file *os.File
	if f.json != "" {
		if file, err = os.Create(f.json); err != nil {
			return usageError("--json: %w", err)
		}
		defer func() { _ = file.Close() }()
	}
	ctx, stop := f.untilTold(cmd)
	defer stop()
	if err := srv.Start(); err != nil {
		return err
	}
	said := "connecting to " + f.stub.connect
	if srv.Addr() != nil {
		said = "listening on " + srv.Addr().String()
	}
	if _, err := fmt.Fprintln(cmd.OutOrStdout(), said); err != nil {
		return errors.Join(err, srv.Close())
	}
	<-ctx.Done()
	stop() // a second Ctrl-C ends the program at once
	return finishStub(cmd.OutOrStdout(), srv, file)
}

// finishStub ends the stub and reports; file may be nil.
func finishStub(out io.Writer, srv *stub.Server, file *os.File) error {
	err := srv.Close()
	stats := srv.Stats()
	err = errors.Join(err, stats.Text(out))
	if file == nil {
		return err
	}
	return errors.Join(err, writeJSON(file, stats), file.Close())
}

// connections says where the stub's connections come from. Nothing listens or is dialled yet.
func (f *serveFlags) connections(stderr io.Writer, cfg *stub.Config) (stopFollowing func(), err error) {
	if f.stub.connect != "" {
		err = f.dialled(cfg)
		if err != nil {
			err = &exitError{exitUsage, err}
		}
		return func() {}, err
	}
	if own := f.stub.tls; own != (targetTLS{}) {
		return nil, usageError("--%s, --%s and --tls-insecure: are for --connect tls://HOST:PORT", flagCA, flagServerName)
	}
	network, address, err := netaddr.Split(f.addr)
	if err == nil && network != "tcp" && cfg.Faults[stub.Reset] > 0 {
		err = errors.New("a reset needs TCP: leave it out of --fault")
	}
	if err != nil {
		return nil, usageError("--addr: %w", err)
	}
	secure, stopFollowing, err := f.tls.server(stderr)
	if err != nil {
		return nil, err
	}
	cfg.Listen = func() (net.Listener, error) {
		l, err := net.Listen(network, address)
		if err == nil && secure != nil {
			l = tls.NewListener(l, secure)
		}
		return l, err
	}
	return stopFollowing, nil
}

// dialled makes the stub dial out.
func (f *serveFlags) dialled(cfg *stub.Config) error {
	target, err := load.ParseTarget(f.stub.connect)
	switch {
	case err != nil:
		return fmt.Errorf("--connect: %w", err)
	case target.Weight != 1:
		return fmt.Errorf("--connect %q: has no weight: --conns says how many connections", f.stub.connect)
	case target.Network != "tcp" && cfg.Faults[stub.Reset] > 0:
		return errors.New("--connect: a reset needs TCP: leave it out of --fault")
	case f.tls.ca != "":
		return fmt.Errorf("--%s: is for a server that listens; with --connect, --%s names the authorities", flagClientCA, flagCA)
	}
	secure := f.stub.tls
	secure.cert, secure.key = f.tls.cert, f.tls.key
	var dialer load.Config
	if dialer.TLS, err = secure.config([]load.Target{target}); err != nil {
		return fmt.Errorf("--connect: %w", err)
	}
	cfg.Dial = func(ctx context.Context) (net.Conn, error) { return dialer.Dial(ctx, target) }
	return nil
}
