package httppool

import (
	"context"
	"fmt"
	"net"
	"time"
)

// DialBy has pools without a DialContext dial by dial. It must be called before there are any.
func DialBy(dial func(ctx context.Context, network, addr string) (net.Conn, error)) {
	netDial = func(time.Duration) func(context.Context, string, string) (net.Conn, error) { return dial }
}

// Defaults returns the defaults.
func Defaults() HTTPPoolConfig { return HTTPPoolConfig{}.withDefaults() }

// Leftover says what a pool still holds that nobody uses.
func Leftover(p *HTTPConnectionPool) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	left := fmt.Sprintf("%d places, %d idle, %d used, %d waiting, %d leaving, %d lent, %d running",
		p.places, p.idle.Len(), p.used.Len(), p.waiting.len(), len(p.leaving), p.lent, p.running)
	if left == "0 places, 0 idle, 0 used, 0 waiting, 0 leaving, 0 lent, 0 running" {
		return ""
	}
	return left
}
