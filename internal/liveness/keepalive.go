package liveness

import (
	"net"
	"time"
)

// KeepAliveMost is the longest interval, some nine hours: the most that Linux takes
// (MAX_TCP_KEEPIDLE).
const KeepAliveMost = 32_767 * time.Second

// probes is how many unanswered probes end a connection: with an interval of
// 30 s a dead peer is noticed after two minutes.
const probes = 3

// KeepAlive has the kernel probe a silent TCP connection after interval, and
// then every interval, and end it after three probes without an answer. A
// wrapper with a method NetConn() net.Conn, such as *tls.Conn, is looked
// through. An interval <= 0 switches probing off. Connections other than TCP are
// left alone, without an error. The kernel counts in seconds: a fraction is
// rounded up. More than KeepAliveMost counts as that.
func KeepAlive(nc net.Conn, interval time.Duration) error {
	bottom, _ := below(nc)
	tc, ok := bottom.(interface {
		SetKeepAliveConfig(net.KeepAliveConfig) error
	})
	if !ok {
		return nil
	}
	if interval <= 0 {
		return tc.SetKeepAliveConfig(net.KeepAliveConfig{Enable: false, Idle: -1, Interval: -1, Count: -1})
	}
	interval = min(interval, KeepAliveMost)
	return tc.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: interval, Interval: interval, Count: probes})
}
