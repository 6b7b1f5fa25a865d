package measure

import (
	"strings"

	"github.com/ringwire/ringwire/pool"
	"github.com/ringwire/ringwire/pool/paired"
)

type (
	poolStats   = pool.Stats
	pairedStats = paired.Stats
)

// Pool returns what a pool counts.
func Pool() []Value[pool.Stats] {
	conns := gauge("ringwire_pool_connections", "Connections, by state.", "state")
	closed := counter("ringwire_pool_connections_closed_total", "Connections closed, by reason.", "reason")
	values := []Value[poolStats]{
		of(conns, func(s *poolStats) int { return s.Idle }, "idle"),
		of(conns, func(s *poolStats) int { return s.InUse }, "in_use"),
		of(conns, func(s *poolStats) int { return s.Opening }, "opening"),
		of(conns, func(s *poolStats) int { return s.Closing }, "closing"),
		of(gauge("ringwire_pool_validating", "Idle connections that are being validated."), func(s *poolStats) int { return s.Validating }),
		of(gauge("ringwire_pool_waiting", "Gets that wait."), func(s *poolStats) int { return s.Waiting }),
		of(gauge("ringwire_pool_capacity", "Connections that there may be at present."), func(s *poolStats) int { return s.Capacity }),
		of(gauge("ringwire_pool_interval_seconds", "Pause between turns of the manager at present."), func(s *poolStats) float64 { return s.Interval.Seconds() }),
		of(counter("ringwire_pool_gets_total", "Gets that got a connection."), func(s *poolStats) uint64 { return s.Gets }),
		of(counter("ringwire_pool_waits_total", "Gets that found none idle."), func(s *poolStats) uint64 { return s.Waits }),
		of(counter("ringwire_pool_gets_cancelled_total", "Gets that gave up waiting."), func(s *poolStats) uint64 { return s.Cancelled }),
		of(counter("ringwire_pool_dials_total", "Attempts to connect."), func(s *poolStats) uint64 { return s.Dials }),
		of(counter("ringwire_pool_dial_errors_total", "Attempts to connect that failed."), func(s *poolStats) uint64 { return s.DialErrors }),
		of(counter("ringwire_pool_connections_opened_total", "Connections opened."), func(s *poolStats) uint64 { return s.Opened }),
	}
	for r := range pool.Reasons {
		label := strings.ReplaceAll(r.String(), " ", "_")
		values = append(values, of(closed, func(s *poolStats) uint64 { return s.ClosedBy[r] }, label))
	}
	return values
}

// PairedPool returns what a pool of package paired counts.
func PairedPool() []Value[paired.Stats] {
	conns := gauge("ringwire_paired_connections", "Connections, by state.", "state")
	failures := counter("ringwire_paired_failures_total", "Failures to get a connection, by reason; collisions of IDs are among the handshakes.", "reason")
	discarded := counter("ringwire_paired_connections_discarded_total", "Connections that left the pool without an owner's Close, by reason.", "reason")
	return []Value[pairedStats]{
		of(conns, func(s *pairedStats) int { return s.Idle }, "idle"),
		of(conns, func(s *pairedStats) int { return s.InUse }, "in_use"),
		of(conns, func(s *pairedStats) int { return s.Bringing }, "opening"),
		of(gauge("ringwire_paired_waiting", "Calls of ServerGet that wait."), func(s *pairedStats) int { return s.Waiting }),
		of(gauge("ringwire_paired_capacity", "Connections that there may be at present."), func(s *pairedStats) int { return s.Capacity }),
		of(gauge("ringwire_paired_interval_seconds", "Pause between turns of the manager at present."), func(s *pairedStats) float64 { return s.Interval.Seconds() }),
		of(counter("ringwire_paired_connections_opened_total", "Connections that became ready for the first time."), func(s *pairedStats) uint64 { return s.Opened }),
		of(counter("ringwire_paired_gets_total", "Connections handed out."), func(s *pairedStats) uint64 { return s.Gets }),
		of(counter("ringwire_paired_puts_total", "Connections put back."), func(s *pairedStats) uint64 { return s.Puts }),
		of(counter("ringwire_paired_get_errors_total", "Calls of ClientGet and ServerGet that failed."), func(s *pairedStats) uint64 { return s.GetErrors }),
		of(counter("ringwire_paired_id_collisions_total", "Connections whose ID was in use."), func(s *pairedStats) uint64 { return s.Collisions }),
		of(failures, func(s *pairedStats) uint64 { return s.DialErrors }, "dial"),
		of(failures, func(s *pairedStats) uint64 { return s.HandshakeErrors }, "handshake"),
		of(failures, func(s *pairedStats) uint64 { return s.IPRejects }, "client_ip"),
		of(failures, func(s *pairedStats) uint64 { return s.Rejected }, "full"),
		of(failures, func(s *pairedStats) uint64 { return s.AcceptErrors }, "accept"),
		of(discarded, func(s *pairedStats) uint64 { return s.Died }, "died"),
		of(discarded, func(s *pairedStats) uint64 { return s.Evicted }, "idle"),
		of(discarded, func(s *pairedStats) uint64 { return s.Poisoned }, "unread_bytes"),
		of(discarded, func(s *pairedStats) uint64 { return s.Broken }, "broken"),
		of(discarded, func(s *pairedStats) uint64 { return s.Full }, "full"),
		of(discarded, func(s *pairedStats) uint64 { return s.Cleaned }, "cleaned"),
	}
}
