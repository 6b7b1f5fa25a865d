package main

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/ringwire/ringwire/load"
	"github.com/ringwire/ringwire/load/request"
	"github.com/spf13/pflag"
)

// sessionFlags are what a connection needs beside its requests: those that begin it,
// heartbeats, and answers to requests of the peer's.
type sessionFlags struct {
	open       []string
	openStatus string
	openOK     []string

	beat       string
	beatEvery  time.Duration
	beatIdle   bool
	beatExpect string
	beatStatus string
	beatOK     []string

	answers []string
}

func (f *sessionFlags) register(flags *pflag.FlagSet) {
	flags.StringArrayVar(&f.open, "open", nil, "request that begins each connection, such as a log-on, DATA as in --data; repeatable, in order")
	flags.StringVar(&f.openStatus, "open-status", "", "where the status of the replies to --open stands")
	flags.StringSliceVar(&f.openOK, "open-ok", nil, "their statuses that are success, a list")
	flags.StringVar(&f.beat, "heartbeat", "", "request that each connection makes from time to time, DATA as in --data; in no figure; a missing answer ends the connection")
	flags.DurationVar(&f.beatEvery, "heartbeat-every", 30*time.Second, "how often")
	flags.BoolVar(&f.beatIdle, "heartbeat-idle", false, "only when the connection has had no other request for as long")
	flags.StringVar(&f.beatExpect, "heartbeat-expect", "any", "payload of the answers, as in --expect")
	flags.StringVar(&f.beatStatus, "heartbeat-status", "", "where their status stands")
	flags.StringSliceVar(&f.beatOK, "heartbeat-ok", nil, "their statuses that are success, a list")
	flags.StringArrayVar(&f.answers, "answer", nil, "OFFSET:VALUE=DATA: answer the peer's requests that have this value, such as 0800 or 0x00000015, at this offset of the frame; "+
		"DATA as in --data, with ${req:OFFSET:LEN}, ${req:field:N} and ${req:rest} of the request, whose ID it has; repeatable")
}

// apply puts session.open, session.heartbeat and session.answer into a run.
func (f *sessionFlags) apply(cfg *load.Config, q *requestFlags, seed uint64, given func(string) bool) (err error) {
	for _, name := range []string{"heartbeat-every", "heartbeat-expect"} {
		if given(name) && f.beat == "" {
			return fmt.Errorf("--%s: give --heartbeat, too", name)
		}
	}
	tables, err := q.tables(seed)
	if err != nil {
		return err
	}
	scope := request.Scope{Tables: tables, Seed: seed}
	if cfg.Open, err = f.opening(q.scenario, scope); err != nil {
		return err
	}
	if cfg.Heartbeat, err = f.heartbeat(q.scenario, scope); err != nil {
		return err
	}
	scope.Answer = true
	cfg.Answers, err = f.rules(q.scenario, scope)
	return err
}

// opening compiles the requests that begin each connection.
func (f *sessionFlags) opening(s *scenario, scope request.Scope) (kinds []request.Kind, err error) {
	if len(f.open) == 0 {
		if f.openStatus != "" || len(f.openOK) > 0 {
			return nil, errors.New("--open-status and --open-ok: give --open, too")
		}
		if s == nil {
			return nil, nil
		}
		for i := range s.Session.Open {
			k, err := s.Session.Open[i].kind(fmt.Sprintf("open-%d", i+1), scope)
			if err != nil {
				return nil, fmt.Errorf("session.open %d: %w", i+1, err)
			}
			kinds = append(kinds, k)
		}
		return kinds, nil
	}
	status, err := parseStatus("open-status", f.openStatus, "open-ok", f.openOK)
	if err != nil {
		return nil, err
	}
	for i, text := range f.open {
		k := request.Kind{Name: fmt.Sprintf("open-%d", i+1), Weight: 1, Status: status}
		if k.Source, err = text2source(text, scope); err != nil {
			return nil, fmt.Errorf("--open: %w", err)
		}
		kinds = append(kinds, k)
	}
	return kinds, nil
}

// heartbeat compiles the request that keeps connections alive.
func (f *sessionFlags) heartbeat(s *scenario, scope request.Scope) (h load.Heartbeat, err error) {
	switch {
	case f.beat != "":
	case f.beatStatus != "" || len(f.beatOK) > 0 || f.beatIdle:
		return h, errors.New("--heartbeat-status, --heartbeat-ok and --heartbeat-idle: give --heartbeat, too")
	case s == nil || s.Session.Heartbeat == nil:
		return h, nil
	default:
		return s.Session.Heartbeat.compile(scope)
	}
	h = load.Heartbeat{Every: f.beatEvery, IdleOnly: f.beatIdle, Kind: request.Kind{Name: "heartbeat", Weight: 1}}
	if h.Every <= 0 {
		return h, fmt.Errorf("--heartbeat-every %v: must be above 0", h.Every)
	}
	if h.Kind.Expect, err = request.ParseExpect(f.beatExpect); err != nil {
		return h, fmt.Errorf("--heartbeat-%w", err)
	}
	if h.Kind.Status, err = parseStatus("heartbeat-status", f.beatStatus, "heartbeat-ok", f.beatOK); err != nil {
		return h, err
	}
	if h.Kind.Source, err = text2source(f.beat, scope); err != nil {
		err = fmt.Errorf("--heartbeat: %w", err)
	}
	return h, err
}

var answerForm = regexp.MustCompile(`^([0-9]+):([^=]+)=((?s).*)$`)

// rules compiles the rules by which the peer's requests are answered.
func (f *sessionFlags) rules(s *scenario, scope request.Scope) (rules []request.Answer, err error) {
	if len(f.answers) == 0 && s != nil {
		for i, a := range s.Session.Answer {
			reply := a.Reply
			if a.Echo {
				reply += "${req:rest}"
			}
			rule, err := newRule(a.When.At, a.When.Is, reply, scope)
			if err != nil {
				return nil, fmt.Errorf("session.answer %d: %w", i+1, err)
			}
			rules = append(rules, rule)
		}
		return rules, nil
	}
	for _, text := range f.answers {
		parts := answerForm.FindStringSubmatch(text)
		if parts == nil {
			return nil, errors.New("--answer: must look like OFFSET:VALUE=DATA, such as 2:0800=0810${req:rest}")
		}
		at, err := strconv.Atoi(parts[1])
		if err != nil {
			return nil, fmt.Errorf("--answer: offset %s: must be a number of bytes", parts[1])
		}
		rule, err := newRule(at, parts[2], parts[3], scope)
		if err != nil {
			return nil, fmt.Errorf("--answer %d: %w", at, err)
		}
		rules = append(rules, rule)
	}
	return rules, nil
}

func newRule(at int, is, reply string, scope request.Scope) (a request.Answer, err error) {
	a.Offset = at
	if a.Is, err = request.ParseCode(is); err != nil {
		return a, err
	}
	a.Reply, err = scope.Compile(reply)
	return a, err
}

// scenarioSession is the session of a scenario.
type scenarioSession struct {
	Open      []scenarioStep     `yaml:"open"`
	Heartbeat *scenarioHeartbeat `yaml:"heartbeat"`
	Answer    []scenarioAnswer   `yaml:"answer"`
}

// scenarioStep is a request that begins each connection.
type scenarioStep struct {
	Send   string         `yaml:"send"`
	Expect string         `yaml:"expect"`
	Status scenarioStatus `yaml:"status"`
}

func (s *scenarioStep) kind(name string, scope request.Scope) (request.Kind, error) {
	q := scenarioRequest{Name: name, Payload: s.Send, Expect: s.Expect, Status: s.Status}
	return q.kind(scope)
}

// scenarioHeartbeat is a request that each connection makes from time to time.
type scenarioHeartbeat struct {
	Every    string         `yaml:"every"` // 30s unless given
	IdleOnly bool           `yaml:"idle_only"`
	Send     string         `yaml:"send"`
	Expect   string         `yaml:"expect"`
	Status   scenarioStatus `yaml:"status"`
}

func (b *scenarioHeartbeat) compile(scope request.Scope) (h load.Heartbeat, err error) {
	h = load.Heartbeat{Every: 30 * time.Second, IdleOnly: b.IdleOnly}
	if b.Every != "" {
		if h.Every, err = time.ParseDuration(b.Every); err == nil && h.Every <= 0 {
			err = errors.New("must be above 0")
		}
		if err != nil {
			return h, fmt.Errorf("session.heartbeat: every %q: %w", b.Every, err)
		}
	}
	step := scenarioStep{b.Send, b.Expect, b.Status}
	if h.Kind, err = step.kind("heartbeat", scope); err != nil {
		err = fmt.Errorf("session.heartbeat: %w", err)
	}
	return h, err
}

// scenarioAnswer is a rule by which requests of the peer's are answered.
type scenarioAnswer struct {
	When struct {
		At int    `yaml:"at"` // from the frame's first byte
		Is string `yaml:"is"` // as in --ok
	} `yaml:"when"`
	Reply string `yaml:"reply"`
	Echo  bool   `yaml:"echo"` // the request's payload, but for as many bytes as reply has
}
