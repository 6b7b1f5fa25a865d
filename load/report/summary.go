// Package report says what a run gave, for people and for programs: its summary, the
// thresholds that it met, its exit code.
package report

import (
	"fmt"

	"github.com/ringwire/ringwire/load"
	"github.com/ringwire/ringwire/load/quantile"
)

// Exit codes, by precedence where more than one would do: 3, 130, 4, 1, 99.
const (
	ExitOK           = 0
	ExitFailed       = 1   // no connection, no reply, no success, or under 99 % of the schedule sent
	ExitViolated     = 3   // wrong, doubled or lost replies
	ExitInconclusive = 4   // the generator was the limit where a figure was asked for
	ExitThreshold    = 99  // a threshold is not met, or has no value
	ExitInterrupted  = 130 // the report is partial
)

// scheduleShare is the part of the schedule that must be sent.
const scheduleShare = 0.99

// Limits of the generator, beyond which figures are its own: its part in the 99th
// percentile of the response, and of the processors.
const (
	lagShare = 0.10
	cpuShare = 0.90
	// stolenShare is what the host may take of the machine.
	stolenShare = 0.05
)

// Summary is a run in a few figures, without its warm-up. Sent = Replied + Timeouts +
// ConnLost + Abandoned, and Timeouts = Lost + Late + Cut.
type Summary struct {
	Sent         uint64 `json:"sent"`
	Replied      uint64 `json:"replied"`
	Unsent       uint64 `json:"unsent"`
	Timeouts     uint64 `json:"timeouts"`
	Lost         uint64 `json:"lost"`
	Late         uint64 `json:"late"`
	Cut          uint64 `json:"cut"`
	ConnLost     uint64 `json:"conn_lost"`
	Abandoned    uint64 `json:"abandoned"`
	Duplicate    uint64 `json:"duplicate"`
	UnknownID    uint64 `json:"unknown_id"`
	Mismatch     uint64 `json:"mismatch"`
	Refused      uint64 `json:"refused"`
	Truncated    uint64 `json:"truncated"`
	PeerRequests uint64 `json:"peer_requests"`
	PeerAnswered uint64 `json:"peer_answered"`
	// HeartbeatsMissed had no answer in time, or a wrong one, and ended their connections.
	HeartbeatsMissed uint64 `json:"heartbeats_missed"`
	// ErrorRate is the part of what was due that had no successful reply.
	ErrorRate float64 `json:"error_rate"`
	// Rate is replies a second.
	Rate     float64               `json:"rate"`
	Lag      *quantile.Percentiles `json:"lag_ns"` // null where nothing was recorded
	Response *quantile.Percentiles `json:"response_ns"`
	Service  *quantile.Percentiles `json:"service_ns"`
	Queue    *quantile.Percentiles `json:"queue_ns"`
	// GeneratorLimited says that figures may be the generator's own; GeneratorWhy says why.
	GeneratorLimited bool   `json:"generator_limited"`
	GeneratorWhy     string `json:"generator_why,omitempty"`
	Verdict          string `json:"verdict"`
	ExitCode         int    `json:"exit_code"`
}

// Options are what a run is judged by.
type Options struct {
	Thresholds []Threshold
	AllowLost  bool // lost replies are no violation
	// Compared says that figures are compared with others of the same generator, and have no
	// lag in them (load.Config.LeaveOutLag): lag and stolen time are no limit then, because
	// both sides have them, and what they vary by shows.
	Compared bool
}

// Summarize judges a run.
func Summarize(r *load.Result, o Options) *Summary {
	n := &r.Total.Counts
	s := &Summary{
		Sent: n.Sent, Replied: n.Replied, Unsent: r.Unsent.Total(), Timeouts: n.Timeouts, Lost: n.Lost(),
		Late: n.Late, Cut: n.Cut, ConnLost: n.ConnLost, Abandoned: n.Abandoned,
		Duplicate: r.Replies.Duplicate, UnknownID: r.Replies.UnknownID, PeerRequests: r.Replies.PeerRequests,
		PeerAnswered: r.Replies.PeerAnswered, HeartbeatsMissed: r.Beats.Missed,
		Mismatch: n.Mismatch, Refused: n.Refused, Truncated: n.Truncated,
		Lag: quantile.Of(r.Total.Lag), Response: quantile.Of(r.Total.Response),
		Service: quantile.Of(r.Total.Service), Queue: quantile.Of(r.Total.Queue),
	}
	unsent := r.Unsent.Total() - r.Unsent.Early
	failed := n.Failed()
	if r.Interrupted {
		failed -= n.Abandoned // we gave them up
	}
	if due := n.Sent + unsent; due > 0 {
		s.ErrorRate = float64(failed+unsent) / float64(due)
	}
	if r.Measured > 0 {
		s.Rate = float64(n.Replied) / r.Measured.Seconds()
	}
	s.GeneratorWhy = limit(r, s, o)
	lags := ""
	if s.GeneratorWhy == "" && !o.Compared {
		lags = lagLimit(r, s)
		s.GeneratorWhy = lags
	}
	s.GeneratorLimited = s.GeneratorWhy != ""
	s.ExitCode, s.Verdict = verdict(r, s, o, lags != "")
	return s
}

// limit says why figures may be the generator's own, "" if they are the backend's.
func limit(r *load.Result, s *Summary, o Options) string {
	switch {
	case r.Generator.CPU > cpuShare:
		return fmt.Sprintf("it used %.0f %% of its processors", 100*r.Generator.CPU)
	case r.Generator.Stolen > stolenShare && !o.Compared:
		return fmt.Sprintf("the machine's host took %.0f %% of its time", 100*r.Generator.Stolen)
	case r.Unsent.Generator > 0:
		return fmt.Sprintf("it came to %d requests later than their timeout", r.Unsent.Generator)
	case !r.Little.Agrees():
		return fmt.Sprintf("its figures do not agree: %.4g requests in flight were seen, and rate times time in flight is %.4g", r.Little.Sampled, r.Little.ByLaw)
	}
	return ""
}

// lagLimit is limit for the lag.
func lagLimit(r *load.Result, s *Summary) string {
	if r.Open && s.Lag != nil && s.Response != nil && float64(s.Lag.P99) > lagShare*float64(s.Response.P99) {
		return fmt.Sprintf("its lag, p99 %s, is over %.0f %% of the response's, %s",
			Duration(s.Lag.P99), 100*lagShare, Duration(s.Response.P99))
	}
	return ""
}

// verdict chooses the exit code, and says why. If the generator is limited by its lag alone,
// what is missed by more than that is missed by the backend.
func verdict(r *load.Result, s *Summary, o Options, byLag bool) (code int, why string) {
	all := &r.Violations
	wrong := violations(r, s, o)
	unmet, sure := 0, false
	for _, t := range o.Thresholds {
		if !t.Met(r, s) {
			unmet++
			sure = sure || byLag && t.missedWithoutLag(r, s)
		}
	}
	unsent := r.Unsent.Backlog + r.Unsent.Generator
	short := float64(unsent) > (1-scheduleShare)*float64(s.Sent+unsent)
	asked := len(o.Thresholds) > 0
	switch {
	case wrong != "":
		return ExitViolated, wrong
	case r.Interrupted:
		return ExitInterrupted, "interrupted: these figures are of a part"
	case s.GeneratorLimited && asked && (unmet > 0 && !sure || short && r.Unsent.Generator >= r.Unsent.Backlog):
		return ExitInconclusive, "inconclusive: the generator was the limit: " + s.GeneratorWhy
	case r.Conns.Opened == 0:
		return ExitFailed, "no connection"
	case all.Replied == 0:
		return ExitFailed, "no reply"
	case s.Response == nil || r.Total.Counts.OK() == 0:
		return ExitFailed, "no successful reply"
	case r.Broke != "":
		return ExitFailed, "ended early: " + r.Broke
	case short:
		return ExitFailed, fmt.Sprintf("%.1f %% of the schedule was sent, less than %.0f %%",
			100*float64(s.Sent)/float64(s.Sent+unsent), 100*scheduleShare)
	case unmet > 0:
		return ExitThreshold, fmt.Sprintf("%d of %d thresholds not met", unmet, len(o.Thresholds))
	}
	return ExitOK, "ok"
}

// violations says what was wrong with replies in the whole run, "" if nothing. A backend
// that never replied has lost nothing.
func violations(r *load.Result, s *Summary, o Options) string {
	all := &r.Violations
	text := ""
	for _, v := range []struct {
		n    uint64
		what string
	}{
		{r.Replies.Duplicate, "duplicate"}, {r.Replies.UnknownID, "of unknown ID"},
		{all.Mismatch, "not what was expected"}, {all.Truncated, "truncated"},
	} {
		if v.n > 0 {
			text += fmt.Sprintf(", %d %s", v.n, v.what)
		}
	}
	if lost := all.Lost(); lost > 0 && all.Replied > 0 && !o.AllowLost {
		text += fmt.Sprintf(", %d lost", lost)
	}
	if text == "" {
		return ""
	}
	return "wrong replies: " + text[2:]
}
