package measure

import (
	"github.com/ringwire/ringwire/engine"
)

type brokerStats = engine.Stats

// Broker returns what a broker counts.
func Broker() []Value[engine.Stats] { return append(brokerRequests(), brokerConnections()...) }

// BrokerServers returns what a broker counts for each server.
func BrokerServers() Each[engine.AddrStats] {
	f := newBrokerServers()
	return Each[engine.AddrStats]{f.all(), f.take}
}

func brokerRequests() []Value[brokerStats] {
	requests := counter("ringwire_client_requests_total", "Requests accepted that are over, by what became of them; one that is repeated counts each time.", "code")
	refusals := counter("ringwire_client_error_replies_total", "Replies that say that the request was refused or has failed, by kind; they count as replied.", "kind")
	shed := counter("ringwire_client_shed_total", "Requests that were not accepted, by reason.", "reason")
	dropped := counter("ringwire_client_replies_dropped_total", "Replies that nobody waited for, by reason.", "reason")
	return []Value[brokerStats]{
		of(requests, func(s *brokerStats) uint64 { return s.Replies }, "replied"),
		of(requests, func(s *brokerStats) uint64 { return s.Failed }, "connection_lost"),
		of(requests, func(s *brokerStats) uint64 { return s.Timeouts }, "timeout"),
		of(requests, func(s *brokerStats) uint64 { return s.Cancelled }, "cancelled"),
		of(refusals, func(s *brokerStats) uint64 { return s.Refused }, "refused"),
		of(refusals, func(s *brokerStats) uint64 { return s.RemoteErrors }, "failed"),
		of(shed, func(s *brokerStats) uint64 { return s.QueueFull }, "queue_full"),
		of(counter("ringwire_client_retries_total", "Repetitions of requests."), func(s *brokerStats) uint64 { return s.Retries }),
		of(counter("ringwire_client_retries_denied_total", "Repetitions that the budget refused."), func(s *brokerStats) uint64 { return s.RetriesDenied }),
		of(counter("ringwire_client_one_way_requests_total", "Requests without a reply."), func(s *brokerStats) uint64 { return s.OneWay }),
		of(gauge("ringwire_client_inflight", "Requests accepted that are not over."), func(s *brokerStats) int { return s.InFlight }),
		of(gauge("ringwire_client_queued", "Requests in flight that are not written yet."), func(s *brokerStats) int { return s.Queued }),
		of(gauge("ringwire_client_quarantined_ids", "IDs of requests that were written, given up and not answered."), func(s *brokerStats) int { return s.Orphans }),
		of(counter("ringwire_client_callback_panics_total", "Callbacks that panicked or ended their goroutine."), func(s *brokerStats) uint64 { return s.Panics }),
		of(dropped, func(s *brokerStats) uint64 { return s.LateReplies }, "late"),
		of(dropped, func(s *brokerStats) uint64 { return s.OneWayReplies }, "one_way"),
		of(counter("ringwire_client_unknown_id_total", "Replies to no request, dropped."), func(s *brokerStats) uint64 { return s.UnknownReplies }),
		of(counter("ringwire_client_pushes_total", "Frames that a server pushed."), func(s *brokerStats) uint64 { return s.Pushes }),
	}
}

func brokerConnections() []Value[brokerStats] {
	bytes := counter("ringwire_client_bytes_total", "Bytes received and sent.", "dir")
	frames := counter("ringwire_client_frames_total", "Frames received and sent.", "dir")
	operations := counter("ringwire_client_socket_operations_total", "Reads and writes that moved bytes.", "dir")
	return []Value[brokerStats]{
		of(gauge("ringwire_client_connections", "Connections that are up."), func(s *brokerStats) int { return s.Conns }),
		of(counter("ringwire_client_dials_total", "Attempts to connect."), func(s *brokerStats) uint64 { return s.Dials }),
		of(counter("ringwire_client_dial_errors_total", "Attempts to connect that failed."), func(s *brokerStats) uint64 { return s.DialErrors }),
		of(counter("ringwire_client_connections_lost_total", "Connections that ended without being closed by the broker."), func(s *brokerStats) uint64 { return s.ConnsLost }),
		of(counter("ringwire_client_connections_suspected_total", "Connections that were silent for SilenceTimeout."), func(s *brokerStats) uint64 { return s.Suspected }),
		of(counter("ringwire_client_probes_total", "Probes of servers that were up and of which nothing came."), func(s *brokerStats) uint64 { return s.Probes }),
		of(counter("ringwire_client_probes_failed_total", "Probes that had no reply in time, or one that the check refused."), func(s *brokerStats) uint64 { return s.ProbesFailed }),
		of(counter("ringwire_client_pings_total", "Pings begun because a server was silent."), func(s *brokerStats) uint64 { return s.Pings }),
		of(counter("ringwire_client_goaways_total", "Servers' announcements that they end a connection."), func(s *brokerStats) uint64 { return s.Goaways }),
		of(counter("ringwire_client_unknown_controls_total", "Control frames of an unknown type, dropped."), func(s *brokerStats) uint64 { return s.UnknownControls }),
		of(bytes, func(s *brokerStats) uint64 { return s.BytesIn }, "in"),
		of(bytes, func(s *brokerStats) uint64 { return s.BytesOut }, "out"),
		of(frames, func(s *brokerStats) uint64 { return s.FramesIn }, "in"),
		of(frames, func(s *brokerStats) uint64 { return s.FramesOut }, "out"),
		of(operations, func(s *brokerStats) uint64 { return s.Reads }, "in"),
		of(operations, func(s *brokerStats) uint64 { return s.Writes }, "out"),
		of(counter("ringwire_client_polled_reads_total", "Reads made by busy polling."), func(s *brokerStats) uint64 { return s.Polled }),
		of(counter("ringwire_client_led_requests_total", "Lone requests whose caller set out to read the reply itself."), func(s *brokerStats) uint64 { return s.Led }),
		of(counter("ringwire_client_yields_total", "How often the poller gave its processor up."), func(s *brokerStats) uint64 { return s.Yields }),
	}
}

// brokerServers are the families with a label for the server.
type brokerServers struct {
	state, weight, share, failures, conns, inflight, requests, dials, dialErrors, lost *Family
}

var addrStates = []engine.AddrState{
	engine.AddrUp, engine.AddrTrial, engine.AddrEjected, engine.AddrSilent, engine.AddrDown, engine.AddrIdle, engine.AddrLeaving,
}

func newBrokerServers() *brokerServers {
	const s = "server"
	return &brokerServers{
		state:      gauge("ringwire_client_server_state", "1 for the state that the server is in, 0 for the others.", s, "state"),
		weight:     gauge("ringwire_client_server_weight", "The server's weight.", s),
		share:      gauge("ringwire_client_server_share_ratio", "Part of its weight that the server takes, 0 to 1: less than 1 when it is back, see SlowStart.", s),
		failures:   gauge("ringwire_client_server_failures", "Failed dials, lost and silent connections in a row since the last reply.", s),
		conns:      gauge("ringwire_client_server_connections", "Connections to the server that are up.", s),
		inflight:   gauge("ringwire_client_server_inflight", "Requests on its connections that are not over.", s),
		requests:   counter("ringwire_client_server_requests_total", "Requests on its connections that are over, by what became of them.", s, "code"),
		dials:      counter("ringwire_client_server_dials_total", "Attempts to connect to the server.", s),
		dialErrors: counter("ringwire_client_server_dial_errors_total", "Attempts to connect to the server that failed.", s),
		lost:       counter("ringwire_client_server_connections_lost_total", "Connections to the server that ended without being closed by the broker.", s),
	}
}

func (f *brokerServers) all() []*Family {
	return []*Family{f.state, f.weight, f.share, f.failures, f.conns, f.inflight, f.requests, f.dials, f.dialErrors, f.lost}
}

// Merged makes one of those with the same address: a server that was removed and is back may still
// be leaving. State, weight and share are those of the one that stays.
func Merged(all []engine.AddrStats) (each []engine.AddrStats) {
	at := make(map[string]int, len(all))
	for _, s := range all {
		i, there := at[s.Addr]
		if !there {
			at[s.Addr] = len(each)
			each = append(each, s)
			continue
		}
		sum := &each[i]
		if s.State == engine.AddrUp || sum.State == engine.AddrLeaving {
			sum.State, sum.Weight, sum.Share = s.State, s.Weight, s.Share
		}
		sum.Failures = min(sum.Failures, s.Failures)
		sum.Conns += s.Conns
		sum.InFlight += s.InFlight
		sum.Replies += s.Replies
		sum.Failed += s.Failed
		sum.Timeouts += s.Timeouts
		sum.Cancelled += s.Cancelled
		sum.Dials += s.Dials
		sum.DialErrors += s.DialErrors
		sum.ConnsLost += s.ConnsLost
	}
	return each
}

func (f *brokerServers) take(put Put, s *engine.AddrStats) {
	known := false
	for _, state := range addrStates {
		is := 0.0
		if s.State == state {
			is, known = 1, true
		}
		put(f.state, is, s.Addr, string(state))
	}
	if !known { // of a newer engine
		put(f.state, 1, s.Addr, string(s.State))
	}
	put(f.weight, float64(s.Weight), s.Addr)
	put(f.share, float64(s.Share)/100, s.Addr)
	put(f.failures, float64(s.Failures), s.Addr)
	put(f.conns, float64(s.Conns), s.Addr)
	put(f.inflight, float64(s.InFlight), s.Addr)
	put(f.requests, float64(s.Replies), s.Addr, "replied")
	put(f.requests, float64(s.Failed), s.Addr, "connection_lost")
	put(f.requests, float64(s.Timeouts), s.Addr, "timeout")
	put(f.requests, float64(s.Cancelled), s.Addr, "cancelled")
	put(f.dials, float64(s.Dials), s.Addr)
	put(f.dialErrors, float64(s.DialErrors), s.Addr)
	put(f.lost, float64(s.ConnsLost), s.Addr)
}
