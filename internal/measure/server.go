package measure

import (
	"github.com/ringwire/ringwire/server"
)

type serverStats = server.Stats

// Server returns what a server counts.
func Server() []Value[server.Stats] { return append(serverConnections(), serverRequests()...) }

func serverConnections() []Value[serverStats] {
	refused := counter("ringwire_server_connections_refused_total", "Connections closed at once, by reason.", "reason")
	closed := counter("ringwire_server_connections_closed_total", "Connections that have ended, by the reason that came first.", "reason")
	protocol := counter("ringwire_server_protocol_errors_total", "Connections closed for what the peer sent, by kind; all of them are among the closed ones with reason protocol_error.", "kind")
	return []Value[serverStats]{
		of(gauge("ringwire_server_connections", "Open connections."), func(s *serverStats) int { return s.Conns }),
		of(counter("ringwire_server_connections_accepted_total", "Connections taken."), func(s *serverStats) uint64 { return s.Accepted }),
		of(counter("ringwire_server_accept_errors_total", "Failures to accept or take over a connection."), func(s *serverStats) uint64 { return s.AcceptErrors }),
		of(refused, func(s *serverStats) uint64 { return s.Denied }, "denied"),
		of(refused, func(s *serverStats) uint64 { return s.RejectedPerIP }, "max_conns_per_ip"),
		of(refused, func(s *serverStats) uint64 { return s.RejectedRate }, "max_conn_rate_per_ip"),
		of(refused, func(s *serverStats) uint64 { return s.Rejected }, "max_conns"),
		of(refused, func(s *serverStats) uint64 { return s.RejectedHandshakes }, "handshakes"),
		of(closed, func(s *serverStats) uint64 { return s.Closed.Peer }, "peer"),
		of(closed, func(s *serverStats) uint64 { return s.Closed.Reset }, "reset"),
		of(closed, func(s *serverStats) uint64 { return s.Closed.Dead }, "dead"),
		of(closed, func(s *serverStats) uint64 { return s.Closed.Handler }, "handler"),
		of(closed, func(s *serverStats) uint64 { return s.Closed.Shutdown }, "shutdown"),
		of(closed, func(s *serverStats) uint64 { return s.Closed.ProtocolErrors() }, "protocol_error"),
		of(closed, func(s *serverStats) uint64 { return s.Closed.Idle }, "idle"),
		of(closed, func(s *serverStats) uint64 { return s.Closed.SlowReader }, "slow_reader"),
		of(closed, func(s *serverStats) uint64 { return s.Closed.Input }, "input"),
		of(closed, func(s *serverStats) uint64 { return s.Closed.Memory }, "memory"),
		of(closed, func(s *serverStats) uint64 { return s.Closed.FirstFrame }, "first_frame"),
		of(closed, func(s *serverStats) uint64 { return s.Closed.Evicted }, "evicted"),
		of(closed, func(s *serverStats) uint64 { return s.Closed.Loop }, "loop"),
		of(closed, func(s *serverStats) uint64 { return s.Closed.Internal }, "internal"),
		of(protocol, func(s *serverStats) uint64 { return s.Closed.Truncated }, "truncated"),
		of(protocol, func(s *serverStats) uint64 { return s.Closed.BadLength }, "bad_length"),
		of(protocol, func(s *serverStats) uint64 { return s.Closed.TLS }, "tls"),
		of(protocol, func(s *serverStats) uint64 { return s.Closed.NotTLS }, "not_tls"),
		of(protocol, func(s *serverStats) uint64 { return s.Closed.Handshake }, "handshake"),
		of(protocol, func(s *serverStats) uint64 { return s.Closed.HTTP }, "http"),
		of(protocol, func(s *serverStats) uint64 { return s.Closed.FrameTimeout }, "frame_timeout"),
		of(protocol, func(s *serverStats) uint64 { return s.Closed.Malformed }, "malformed"),
	}
}

func serverRequests() []Value[serverStats] {
	requests := counter("ringwire_server_requests_total", "Requests that are over, by what became of them.", "code")
	failures := counter("ringwire_server_handler_failures_total", "Failures of handlers, by kind.", "kind")
	shed := counter("ringwire_server_shed_total", "Requests that were refused or left alone instead of carried out, by reason.", "reason")
	bytes := counter("ringwire_server_bytes_total", "Bytes received, and handed to connections.", "dir")
	operations := counter("ringwire_server_socket_operations_total", "Reads and writes that moved bytes.", "dir")
	return []Value[serverStats]{
		of(counter("ringwire_server_requests_received_total", "Requests handed to the handler or to the queue of the workers."), func(s *serverStats) uint64 { return s.Requests }),
		of(requests, func(s *serverStats) uint64 { return s.Replies }, "replied"),
		of(requests, func(s *serverStats) uint64 { return s.NoReplies }, "no_reply"),
		of(requests, func(s *serverStats) uint64 { return s.Unanswered }, "unanswered"),
		of(requests, func(s *serverStats) uint64 { return s.Dropped }, "dropped"),
		of(gauge("ringwire_server_inflight", "Requests received that are not over."), serverInflight),
		of(gauge("ringwire_server_queued", "Requests that wait for a worker."), func(s *serverStats) int { return s.Queued }),
		of(gauge("ringwire_server_running", "Requests that a worker is at."), func(s *serverStats) int { return s.Running }),
		of(failures, func(s *serverStats) uint64 { return s.HandlerErrors }, "error"),
		of(failures, func(s *serverStats) uint64 { return s.Panics }, "panic"),
		of(failures, func(s *serverStats) uint64 { return s.ReplyTooLarge }, "reply_too_large"),
		of(shed, func(s *serverStats) uint64 { return s.Overloaded }, "overloaded"),
		of(shed, func(s *serverStats) uint64 { return s.Expired }, "expired"),
		of(shed, func(s *serverStats) uint64 { return s.Abandoned }, "shutdown"),
		of(counter("ringwire_server_pauses_total", "How often requests waited because of a bound."), func(s *serverStats) uint64 { return s.Pauses }),
		of(gauge("ringwire_server_stuck_loops", "Event loops that have been in one handler for longer than a second."), func(s *serverStats) int { return s.StuckLoops }),
		of(gauge("ringwire_server_held_bytes", "Bytes of requests that wait and of replies not taken: what MaxHeld bounds."), func(s *serverStats) int64 { return s.HeldBytes }),
		of(bytes, func(s *serverStats) uint64 { return s.BytesIn }, "in"),
		of(bytes, func(s *serverStats) uint64 { return s.BytesOut }, "out"),
		of(operations, func(s *serverStats) uint64 { return s.Reads }, "in"),
		of(operations, func(s *serverStats) uint64 { return s.Writes }, "out"),
		of(counter("ringwire_server_polled_reads_total", "Reads made by busy polling."), func(s *serverStats) uint64 { return s.Polled }),
	}
}

// serverInflight is at least 0 although its parts are read one after another.
func serverInflight(s *serverStats) int64 {
	return max(0, int64(s.Requests-s.Replies-s.NoReplies-s.Unanswered-s.Dropped))
}
