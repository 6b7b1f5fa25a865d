package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/ringwire/ringwire/load"
	"github.com/ringwire/ringwire/load/check"
	"github.com/ringwire/ringwire/load/report"
	"github.com/ringwire/ringwire/load/request"
	"github.com/ringwire/ringwire/load/search"
	"github.com/spf13/cobra"
)

// loadDuration is how long a run lasts when nothing says so.
const loadDuration = 10 * time.Second

// loadFlags are the flags of "ringwire load".
type loadFlags struct {
	profile  loadProfile
	framing  framingFlags
	requests requestFlags
	session  sessionFlags
	tls      targetTLS
	find     findFlags
	metrics  metricsFlags

	conns           int
	inFlight        int
	count           int64
	warmup          time.Duration
	timeout         time.Duration
	drain           time.Duration
	dialTimeout     time.Duration
	backlog         int
	startAt         string
	failFast        bool
	connectRate     string
	requestsPerConn int64
	connLifetime    time.Duration
	localAddr       string
	listen          string

	scenario   string
	thresholds []string
	allowLost  bool
	json       string
	hlog       string
	html       string
	progress   bool
	dump       string
	noProgress bool
	check      bool
}

func newLoad() *cobra.Command {
	f := loadFlags{profile: loadProfile{fallback: loadDuration}}
	cmd := &cobra.Command{
		Use:   "load [flags] TARGET...",
		Short: "Load-test any backend that speaks length-prefixed frames",
		Long: `load sends requests to backends whose frames have a length and perhaps an ID, and
says how they were answered. A TARGET is host:port, tls://host:port or unix:///path; with
=WEIGHT behind it, its share of the connections. --listen is for backends that connect to
us. --framing says how frames look.

With --rate or --stage the loop is open: each request has its own time, and its response
time counts from then, whatever becomes of those before it. Without, the loop is closed:
each connection keeps --inflight requests under way, and a stall delays what would have
been sent; the report says so. One connection and one request in flight are the default,
and ten seconds.

A payload is all of a frame but length and ID. In --data and --request stand for what
differs: ${seq}, ${seq:6}, ${rand:8}, ${hex:00ff}, ${csv.COLUMN}, ${csv.NAME.COLUMN}, and
${stan}, six zeros for the ID in field 11 of ISO 8583; $${ is a ${ itself. --then and --extract
make flows of several steps; --heartbeat and --answer keep a peer content.

--check, instead of a run, sends one request of each kind to the first target, prints frames
field by field, without payload, and, if it fails, says why and what to try; rates, thresholds
and files of the run may stay on the command line and are not used. If nothing came it tries other
framings first, on connections of their own. A run without a single reply ends with one.

Exit codes: 0 success; 1 no connection, no reply, no success, or under 99 % of the schedule
sent; 2 usage error, before anything is dialled; 3 wrong, doubled or lost replies; 4 the
generator was the limit where a threshold was asked for; 99 threshold not met; 130
interrupted, the report is partial.

` + framingHelp(),
		Example: `  ringwire load --framing payshield --check hsm:1500
  ringwire load --framing payshield -r 500 -d 1m --inflight 16 --status off=8,len=2 --ok 00 hsm:1500
  ringwire load --find-max 'p99<5ms,error_rate<0.1%' -c 8 --inflight 64 host:9000
  ringwire load --framing dns-tcp -c 4 --inflight 25 -n 100000 127.0.0.1:53
  ringwire load --stage 30s:20k --stage 1m:20k --threshold 'p99<5ms' --size 100-400 --expect echo host:9000
  ringwire load --framing smpp --open '${hex:00000009 00000000}me${hex:00}secret${hex:00 00 34 00 00 00}' --open-status off=8,len=4 --open-ok 0x00000000 smsc:2775
  ringwire load --framing iso8583 --data '02000020000000000000${stan}' --answer '2:0800=0810${req:rest}' -r 200 switch:5000
  ringwire load --len off=0,len=4,form=dec --id none --request 'echo:20=B2${seq:4}' --request 'sale:80=${csv.iso}' --csv cards.csv host:5000`,
		RunE: func(cmd *cobra.Command, args []string) error { return runLoad(cmd, &f, args) },
	}
	f.register(cmd)
	completeValues(cmd)
	cmd.AddCommand(newSchema(), newMerge())
	return cmd
}

func (f *loadFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVarP(&f.scenario, "scenario", "f", "", "read all this from a YAML file; flags win over it; 'ringwire load schema' prints its schema")
	f.profile.register(flags)
	flags.IntVarP(&f.conns, "conns", "c", 1, "connections, to all targets together")
	flags.IntVar(&f.inFlight, "inflight", 1, "requests of a connection that wait for their reply at once")
	flags.Int64VarP(&f.count, "requests", "n", 0, "send exactly so many requests, the warm-up's among them (default: as many as the time has room for)")
	flags.DurationVar(&f.warmup, "warmup", 0, "leave out of the figures what is due before")
	flags.DurationVarP(&f.timeout, "timeout", "t", load.DefaultTimeout, "how long a reply is waited for")
	flags.DurationVar(&f.drain, "drain", 0, "how long replies are waited for after the last request (default the timeout and 1s)")
	flags.IntVar(&f.backlog, "backlog", 0, "requests that may be due while no connection has room; more are unsent (default what falls due in a timeout)")
	flags.StringVar(&f.startAt, "start-at", "", "begin at this time, such as 2026-01-31T12:00:00Z")
	flags.BoolVar(&f.failFast, "fail-fast", false, "end with the first request or connection that fails")
	flags.DurationVar(&f.dialTimeout, "dial-timeout", load.DefaultDialTimeout, "how long a connection may take, its TLS handshake too")
	flags.StringVar(&f.connectRate, "connect-rate", "", "begin so many connections a second (default: at once)")
	flags.Int64Var(&f.requestsPerConn, "requests-per-conn", 0, "replace a connection after so many requests")
	flags.DurationVar(&f.connLifetime, "conn-lifetime", 0, "replace a connection after this time")
	flags.StringVar(&f.localAddr, "local-addr", "", "connect from this IP address")
	flags.StringVar(&f.listen, "listen", "",
		"let the backend connect here instead of naming a TARGET: HOST:PORT, tls://HOST:PORT or unix:///path")
	f.find.register(flags)
	f.tls.register(flags)
	f.framing.register(flags)
	f.requests.register(flags)
	f.session.register(flags)
	flags.StringArrayVar(&f.thresholds, "threshold", nil, "condition such as 'p99<5ms', 'error_rate<0.1%', 'NAME.p99<6ms', 'code.68<0.1%' or 'rate>50k'; repeatable; exit 99 when not met")
	flags.BoolVar(&f.allowLost, "allow-lost", false, "requests without a reply are timeouts and no violation")
	flags.StringVar(&f.json, "json", "", "write the report to this file as JSON")
	flags.StringVar(&f.dump, "dump-failures", "", "write the first 1000 exchanges that failed to this file, a line of JSON each, mode 0600; card numbers, PIN blocks and what is no text are masked")
	flags.StringVar(&f.hlog, "hlog", "", "write the latencies of each second to this file, a HdrHistogram log; 'ringwire load merge' adds such logs up")
	flags.StringVar(&f.html, "html", "", "write the report with charts to this file, one page that needs no network")
	f.metrics.register(flags)
	flags.BoolVar(&f.progress, "progress", false, "a line a second on standard error (default if that is a terminal, and the others are not: then there is a screen)")
	flags.BoolVar(&f.noProgress, "no-progress", false, "neither line nor screen")
	flags.BoolVar(&f.check, "check", false, "send one request of each kind, show what came, and say what is wrong")
}

func runLoad(cmd *cobra.Command, f *loadFlags, args []string) error {
	var find search.Config
	var err error
	if f.find.conditions != "" {
		find, err = f.find.prepare(f, cmd.Flags())
	} else if cmd.Flags().Changed("find-range") || cmd.Flags().Changed("find-within") || cmd.Flags().Changed("find-max") {
		err = errors.New("--find-range and --find-within: give --find-max a condition such as 'p99<5ms'")
	}
	if err != nil {
		return &exitError{exitUsage, err}
	}
	cfg, options, err := f.config(cmd, args)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	ctx, stop := untilSignal()
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	if f.find.conditions != "" {
		return runFind(ctx, cmd, f, find, cfg, options)
	}
	if f.check {
		if cfg.Listener != nil {
			defer func() { _ = cfg.Listener.Close() }()
		}
		return checkTarget(ctx, cmd.OutOrStdout(), cfg)
	}
	metrics, err := f.metrics.serve(cmd, &cfg)
	if err != nil {
		return err
	}
	defer metrics.close()
	files, err := createLoadOutputs(f.json, f.hlog, f.html, f.dump)
	if err != nil {
		return err
	}
	defer files.close()
	end := files.follow(&cfg, func() (observe func(load.Snapshot), end func()) { return f.show(cmd, &cfg, stop) })
	metrics.follow(&cfg)
	res, err := load.Run(ctx, cfg)
	end()
	if err != nil {
		return &exitError{exitUsage, err}
	}
	metrics.end(res)
	s := report.Summarize(res, options)
	err = errors.Join(report.Text(cmd.OutOrStdout(), res, s, options), files.write(res, s, options))
	if v := &res.Violations; v.Replied == 0 && v.Timeouts > 0 && ctx.Err() == nil && cfg.Listener == nil {
		_, _ = fmt.Fprint(cmd.OutOrStdout(), "\nno reply came; a check of one request says:\n\n")
		_ = checkTarget(ctx, cmd.OutOrStdout(), cfg)
	}
	metrics.stay(ctx, cmd.ErrOrStderr())
	return loadExit(s, err)
}

// loadExit is the error of a run with its exit code, nil if all is well.
func loadExit(s *report.Summary, err error) error {
	if s.ExitCode != report.ExitOK {
		return &exitError{s.ExitCode, errors.Join(errors.New(s.Verdict), err)}
	}
	return err
}

// createPrivate creates a file that only its owner reads, also if there was one.
func createPrivate(name string) (*os.File, error) {
	const mode = 0o600
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return nil, err
	}
	if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
		if err := file.Chmod(mode); err != nil {
			_ = file.Close()
			return nil, err
		}
	}
	return file, nil
}

// checkTarget prints what a check of the first target finds.
func checkTarget(ctx context.Context, out io.Writer, cfg load.Config) error {
	r := check.Run(ctx, cfg)
	_, err := io.WriteString(out, r.String())
	switch {
	case ctx.Err() != nil:
		return &exitError{exitInterrupted, errors.New("interrupted")}
	case r.Statement != check.Fine:
		return &exitError{exitFailed, errors.New("check: " + r.Verdict)}
	}
	return err
}

// config makes the run's configuration of the flags. Its errors are the user's.
func (f *loadFlags) config(cmd *cobra.Command, args []string) (cfg load.Config, o report.Options, err error) {
	if f.scenario != "" {
		s, err := readScenario(f.scenario)
		if err == nil {
			args, err = s.apply(f, cmd.Flags(), args)
		}
		if err != nil {
			return cfg, o, fmt.Errorf("--scenario: %w", err)
		}
	}
	cfg = load.Config{
		Conns: f.conns, InFlight: f.inFlight, Warmup: f.warmup, Timeout: f.timeout, Drain: f.drain,
		DialTimeout: f.dialTimeout, Backlog: f.backlog, RequestsPerConn: f.requestsPerConn,
		ConnLifetime: f.connLifetime, FailFast: f.failFast,
	}
	for _, given := range []struct {
		name string
		ok   bool
		need string
	}{
		{"timeout", f.timeout > 0, "above 0"}, {"dial-timeout", f.dialTimeout > 0, "above 0"}, {"drain", f.drain > 0, "above 0"},
		{"requests", f.count > 0, "1 or more"}, {"backlog", f.backlog > 0, "1 or more"},
		{"requests-per-conn", f.requestsPerConn > 0, "1 or more"}, {"conn-lifetime", f.connLifetime > 0, "above 0"},
	} {
		if cmd.Flags().Changed(given.name) && !given.ok {
			return cfg, o, fmt.Errorf("--%s %s: must be %s", given.name, cmd.Flags().Lookup(given.name).Value, given.need)
		}
	}
	if err = f.metrics.check(cmd.Flags().Changed); err != nil {
		return cfg, o, err
	}
	if cfg.Targets, err = parseTargets(args, cmd.Flags().Changed("conns"), &cfg.Conns); err != nil {
		return cfg, o, err
	}
	if cfg.Codec, err = f.framing.codec(cmd.Flags().Changed); err != nil {
		return cfg, o, err
	}
	if cfg.Mix, err = f.requests.mix(cfg.Codec, f.profile.seed); err != nil {
		return cfg, o, err
	}
	if err = f.session.apply(&cfg, &f.requests, f.profile.seed, cmd.Flags().Changed); err != nil {
		return cfg, o, err
	}
	if err = f.profile.apply(&cfg, f.count, cmd.Flags().Changed); err != nil {
		return cfg, o, err
	}
	if err = f.connections(&cfg); err != nil {
		return cfg, o, err
	}
	o.AllowLost = f.allowLost
	if o.Thresholds, err = parseThresholds(f.thresholds, kindNames(cfg.Mix)); err != nil {
		return cfg, o, err
	}
	if f.listen != "" {
		if cfg.Listener, err = f.tls.listen(f.listen); err != nil {
			return cfg, o, fmt.Errorf("--listen: %w", err)
		}
		_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "listening on %s\n", cfg.Listener.Addr())
	}
	if err = cfg.Validate(); err != nil && cfg.Listener != nil {
		_ = cfg.Listener.Close()
	}
	return cfg, o, err
}

// parseTargets reads the targets. There is one connection to each unless a number is given.
func parseTargets(args []string, connsGiven bool, conns *int) (targets []load.Target, err error) {
	for _, arg := range args {
		t, err := load.ParseTarget(arg)
		if err != nil {
			return nil, err
		}
		targets = append(targets, t)
	}
	if !connsGiven {
		*conns = max(*conns, len(targets))
	}
	return targets, nil
}

func (f *loadFlags) connections(cfg *load.Config) (err error) {
	if f.connectRate != "" {
		if cfg.ConnectRate, err = parseRate(f.connectRate); err != nil {
			return fmt.Errorf("--connect-rate %w", err)
		}
	}
	if f.localAddr != "" {
		ip := net.ParseIP(f.localAddr)
		if ip == nil {
			return fmt.Errorf("--local-addr %q: must be an IP address", f.localAddr)
		}
		cfg.LocalAddr = &net.TCPAddr{IP: ip}
		for _, t := range cfg.Targets {
			if t.Network != "tcp" {
				return fmt.Errorf("--local-addr: target %v is not reached by TCP", t)
			}
		}
	}
	if f.startAt != "" {
		if cfg.StartAt, err = time.Parse(time.RFC3339, f.startAt); err != nil {
			return fmt.Errorf("--start-at %q: must look like 2026-01-31T12:00:00Z", f.startAt)
		}
		if time.Until(cfg.StartAt) <= 0 {
			return fmt.Errorf("--start-at %s: must not have passed", f.startAt)
		}
	}
	if f.listen != "" {
		if len(cfg.Targets) > 0 || f.localAddr != "" || f.connectRate != "" {
			return errors.New("--listen: the backend makes the connections: no TARGET, --local-addr or --connect-rate")
		}
		return nil
	}
	cfg.TLS, err = f.tls.config(cfg.Targets)
	return err
}

// kindNames are the names of a mix, which thresholds may have.
func kindNames(mix *request.Mix) (names []string) {
	for _, k := range mix.Kinds {
		names = append(names, k.Name)
	}
	return names
}

func parseThresholds(texts, names []string) (all []report.Threshold, err error) {
	for _, text := range texts {
		t, err := report.ParseThreshold(text, names)
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return all, nil
}
