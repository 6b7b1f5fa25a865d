package prom

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ringwire/ringwire/load"
)

// family is a metric without its values.
type family struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

// all are the descriptions of every family.
var all []*prometheus.Desc

func newDesc(name, help string, labels []string) *prometheus.Desc {
	d := prometheus.NewDesc("ringwire_load_"+name, help, labels, nil)
	all = append(all, d)
	return d
}

func counter(name, help string, labels ...string) family {
	return family{newDesc(name, help, labels), prometheus.CounterValue}
}

func gauge(name, help string, labels ...string) family {
	return family{newDesc(name, help, labels), prometheus.GaugeValue}
}

func histogram(name, help string, labels ...string) *prometheus.Desc {
	return newDesc(name, help, labels)
}

// What there is of each request of the mix.
var (
	sent     = counter("sent_total", "Requests that were given to a connection.", "request")
	replied  = counter("replied_total", "Requests that had a reply, whatever it said.", "request")
	failures = counter("failures_total", "Requests that are over without a successful reply, by why: timeouts, conn_lost and abandoned had none; refused, mismatch and truncated had another.", "request", "failure")
	late     = counter("late_total", "Of the timeouts: the reply came after all.", "request")
	cut      = counter("cut_total", "Of the timeouts: the connection ended before a reply came.", "request")
	lost     = gauge("lost", "Of the timeouts: neither late nor cut, so far.", "request")

	responses = histogram("response_seconds", "From when a request was due to its reply: of successes, and of timeouts at their age.", "request")
	services  = histogram("service_seconds", "From when a request was sent to its reply, of successes.", "request")
)

// What there is of the run.
var (
	statuses = counter("statuses_total", "Replies that have a status, by the status and by whether that is success.", "status", "ok")
	strays   = counter("stray_replies_total", "Replies that no request waited for: duplicate, or of an unknown_id. The warm-up's are among them.", "kind")

	peerRequests = counter("peer_requests_total", "Requests that the peer made.")
	peerAnswered = counter("peer_answered_total", "Of those, the ones that were answered.")
	beatsSent    = counter("heartbeats_sent_total", "Heartbeats sent.")
	beats        = counter("heartbeats_total", "Heartbeats that are over: answered or missed.", "outcome")

	opened      = counter("connections_opened_total", "Connections opened; those beyond the first of each are reconnections.")
	connLost    = counter("connections_lost_total", "Connections that ended, and not by us.")
	replaced    = counter("connections_replaced_total", "Connections that we ended at their limit.")
	connCut     = counter("connections_cut_total", "Of the lost connections: those that ended within a frame.")
	connErrors  = counter("connection_errors_total", "Connections that could not be made, by the step at which they failed: dial or opening.", "step")
	bytes       = counter("bytes_total", "Bytes of open connections, the warm-up's too; of TLS what lies within.", "dir")
	inFlight    = gauge("inflight", "Requests that wait for their reply.")
	connections = gauge("connections", "Connections that are up.")
	state       = gauge("state", "1 for the state that the run is in.", "state")
)

// What only the open loop has.
var (
	unsent  = counter("unsent_total", "Requests that were due and that no connection was given, by why: the backlog was full, the generator came too late, or the run ended early.", "why")
	backlog = gauge("backlog", "Requests that are due and wait for a connection.")
	target  = gauge("target_rate", "Requests that fall due in a second.")
	lagMax  = gauge("lag_max_seconds", "Highest lag in the second before: what of a request's wait was the generator's own.")

	queues = histogram("queue_seconds", "From when a request was due to when it was sent.")
	lags   = histogram("lag_seconds", "The generator's own part of queue.")
)

// States of a run.
const (
	Connecting = "connecting" // no request was due yet
	Warmup     = "warmup"
	Sending    = "sending"
	Draining   = "draining"
	Over       = "over"
)

var states = []string{Connecting, Warmup, Sending, Draining, Over}

// put takes a value of a family.
type put func(f family, value uint64, labels ...string)

// request puts what there is of one request of the mix.
func (p put) request(name string, n *load.Counts) {
	p(sent, n.Sent, name)
	p(replied, n.Replied, name)
	p(failures, n.Timeouts, name, "timeouts")
	p(failures, n.ConnLost, name, "conn_lost")
	p(failures, n.Abandoned, name, "abandoned")
	p(failures, n.Refused, name, "refused")
	p(failures, n.Mismatch, name, "mismatch")
	p(failures, n.Truncated, name, "truncated")
	p(late, n.Late, name)
	p(cut, n.Cut, name)
	p(lost, n.Lost(), name)
}

// run puts what there is of the whole run.
func (p put) run(r *load.Result) {
	for _, c := range r.Codes {
		ok := "false"
		if c.OK {
			ok = "true"
		}
		p(statuses, c.Count, c.Name, ok)
	}
	p(strays, r.Replies.Duplicate, "duplicate")
	p(strays, r.Replies.UnknownID, "unknown_id")
	p(peerRequests, r.Replies.PeerRequests)
	p(peerAnswered, r.Replies.PeerAnswered)
	p(beatsSent, r.Beats.Sent)
	p(beats, r.Beats.Answered, "answered")
	p(beats, r.Beats.Missed, "missed")
	p(opened, r.Conns.Opened)
	p(connLost, r.Conns.Lost)
	p(replaced, r.Conns.Replaced)
	p(connCut, r.Conns.Cut)
	at := map[string]uint64{}
	for text, n := range r.Conns.Errors {
		step, _, _ := strings.Cut(text, ":")
		at[step] += n
	}
	p(connErrors, at["dial"], "dial")
	p(connErrors, at["opening"], "opening")
	p(bytes, r.Bytes.Sent, "out")
	p(bytes, r.Bytes.Received, "in")
}
