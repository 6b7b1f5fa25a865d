//go:build unix

package main

import (
	"context"
	"time"
)

// rowStalled is C5.
func rowStalled(ctx context.Context, s *suite, r *report) error {
	e, err := startEcho()
	if err != nil {
		return err
	}
	defer e.end()
	const conns, window = 8, 64
	timeout := time.Second
	lasts := of(s, 10*time.Second, 3*time.Second)
	args := []string{"-r", "10k", "-d", lasts.String(), "-c", "8", "--inflight", "64", "-t", timeout.String(), e.listener.Addr().String()}
	without, err := s.load(ctx, r, lasts, nil, args...)
	if err != nil {
		return err
	}
	e.deaf.Store(true)
	with, err := s.load(ctx, r, lasts, nil, args...)
	if err != nil {
		return err
	}
	// One window of the deaf connection times out in each timeout.
	most := uint64(window * (lasts/timeout + 1))
	r.exactly(with.Sent == with.Replied+with.Timeouts && with.Timeouts >= window, "each request is replied to or times out",
		"sent %d, replied %d, timeouts %d", with.Sent, with.Replied, with.Timeouts)
	r.check(with.Timeouts <= most && with.Unsent == 0 && with.Replied*conns >= with.Sent*(conns-1),
		"those that time out are of the connection that is not read, 64 a second; 7/8 and more are unaffected",
		"%d timeouts of %d, %d unsent", with.Timeouts, with.Sent, with.Unsent)
	r.check(with.Lag.P99 <= max(2*without.Lag.P99, without.Lag.P99+250e3),
		"lag p99 as in the run before, in which all are read: at most twice, or 250 µs more",
		"%s, %s before", milliseconds(with.Lag.P99), milliseconds(without.Lag.P99))
	return nil
}

// rowClosed is C10.
func rowClosed(ctx context.Context, s *suite, r *report) error {
	addr, end, err := startNames()
	if err != nil {
		return err
	}
	defer end()
	args := append(append([]string{}, dnsQuery...), "-n", "10000", "-c", "2", "--inflight", "32")
	plain, err := s.load(ctx, r, time.Minute, nil, append(args, addr)...)
	if err != nil {
		return err
	}
	r.exactly(plain.Sent == 10_000 && plain.ConnLost > 0 && plain.Sent == plain.Replied+plain.ConnLost && plain.Timeouts+plain.Lost == 0,
		"plain: all losses are of connections, and the sum is exact",
		"sent %d = replied %d + connection lost %d; timeouts %d", plain.Sent, plain.Replied, plain.ConnLost, plain.Timeouts)
	limit, err := s.load(ctx, r, time.Minute, nil, append(append(args, "--requests-per-conn", "128"), addr)...)
	if err != nil {
		return err
	}
	r.exactly(limit.Sent == 10_000 && limit.Replied == 10_000, "--requests-per-conn 128: no failure",
		"sent %d, replied %d, connection lost %d", limit.Sent, limit.Replied, limit.ConnLost)
	return nil
}
