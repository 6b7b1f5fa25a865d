package load

import (
	"crypto/tls"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/internal/testca"
	"github.com/ringwire/ringwire/load/request"
	"github.com/ringwire/ringwire/load/wire"
)

// every answers each request number i·n with bad, others with their echo.
func every(n int, faults *atomic.Uint64, bad func(c *peer, f wire.Frame)) func(*peer, int, wire.Frame) {
	return func(c *peer, i int, f wire.Frame) {
		if i%n != n/2 {
			c.echo(f)
			return
		}
		faults.Add(1)
		bad(c, f)
	}
}

func TestEachFaultOfAPeerIsCountedExactly(t *testing.T) {
	const requests = 3000
	for name, c := range map[string]struct {
		bad  func(c *peer, f wire.Frame)
		want func(n uint64) (Counts, Replies)
	}{
		"drop": {func(*peer, wire.Frame) {}, func(n uint64) (Counts, Replies) {
			return Counts{Sent: requests, Replied: requests - n, Timeouts: n}, Replies{}
		}},
		"duplicate": {func(c *peer, f wire.Frame) { c.echo(f); c.echo(f) }, func(n uint64) (Counts, Replies) {
			return Counts{Sent: requests, Replied: requests}, Replies{Duplicate: n}
		}},
		"unknown ID beside the reply": {func(c *peer, f wire.Frame) { c.reply(f.ID^0x40000000, nil); c.echo(f) },
			func(n uint64) (Counts, Replies) {
				return Counts{Sent: requests, Replied: requests}, Replies{UnknownID: n}
			}},
		"wrong ID": {func(c *peer, f wire.Frame) { c.reply(f.ID^0x40000000, nil) },
			func(n uint64) (Counts, Replies) {
				return Counts{Sent: requests, Replied: requests - n, Timeouts: n}, Replies{UnknownID: n}
			}},
		"other payload": {func(c *peer, f wire.Frame) { c.reply(f.ID, []byte("other")) }, func(n uint64) (Counts, Replies) {
			return Counts{Sent: requests, Replied: requests, Mismatch: n}, Replies{}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var faults atomic.Uint64
			b := serve(t, "anet", every(100, &faults, c.bad))
			cfg := to(t, b, "anet", requests)
			cfg.Timeout, cfg.Drain = time.Second, 1500*time.Millisecond
			cfg.InFlight = 64
			res := result(t, cfg)
			require.EqualValues(t, requests/100, faults.Load())
			counts, replies := c.want(faults.Load())
			assert.Equal(t, counts, res.Total.Counts)
			assert.Equal(t, replies, res.Replies)
			assert.Zero(t, res.Conns.Lost)
			assert.Equal(t, counts.Timeouts, res.Total.Counts.Lost())
		})
	}
}

func TestLateRepliesAreLateAndNotLost(t *testing.T) {
	t.Parallel()
	var faults atomic.Uint64
	b := serve(t, "anet", nil)
	b.answer = every(50, &faults, func(c *peer, f wire.Frame) {
		payload := b.codec.Payload(nil, f.Bytes)
		b.wg.Go(func() {
			time.Sleep(1500 * time.Millisecond) // longer than the timeout
			c.reply(f.ID, payload)
		})
	})
	cfg := to(t, b, "anet", 1000)
	cfg.Timeout, cfg.Drain = time.Second, 20*time.Second
	res := result(t, cfg)
	assert.Equal(t, Counts{Sent: 1000, Replied: 980, Timeouts: 20, Late: 20}, res.Total.Counts)
	assert.EqualValues(t, 20, res.Total.Late.TotalCount())
	assert.GreaterOrEqual(t, res.Total.Late.Min(), int64(1499*time.Millisecond))
	assert.Zero(t, res.Replies)
}

func TestRepliesOutOfOrderFindTheirRequests(t *testing.T) {
	b := serve(t, "anet", nil)
	held := map[*peer][]wire.Frame{}
	b.answer = func(c *peer, _ int, f wire.Frame) { // one connection: one goroutine
		f.Bytes = append([]byte(nil), f.Bytes...)
		if held[c] = append(held[c], f); len(held[c]) == 8 {
			for i := 7; i >= 0; i-- {
				c.echo(held[c][i])
			}
			held[c] = nil
		}
	}
	res := result(t, to(t, b, "anet", 4000))
	assert.Equal(t, Counts{Sent: 4000, Replied: 4000}, res.Total.Counts)
}

func TestWithoutIDsALateReplyGoesToItsTombstone(t *testing.T) {
	t.Parallel()
	b := serve(t, "fifo", func(c *peer, n int, f wire.Frame) {
		if n == 5 {
			time.Sleep(750 * time.Millisecond) // one and a half timeouts
		}
		c.echo(f)
	})
	cfg := to(t, b, "fifo", 100)
	cfg.InFlight = 1
	cfg.Timeout, cfg.Drain = 500*time.Millisecond, 20*time.Second
	res := result(t, cfg)
	n := res.Total.Counts
	assert.Zero(t, n.Mismatch, "each reply has found its request")
	assert.EqualValues(t, 100, n.Sent)
	assert.GreaterOrEqual(t, n.Late, uint64(1))
	assert.Equal(t, n.Timeouts, n.Late)
	assert.Zero(t, res.Conns.Lost)
}

func TestWithoutIDsALostReplyEndsTheConnection(t *testing.T) {
	t.Parallel()
	b := serve(t, "fifo", func(c *peer, n int, f wire.Frame) {
		if n != 5 {
			c.echo(f)
		}
	})
	cfg := to(t, b, "fifo", 200)
	cfg.InFlight = 1
	cfg.Timeout, cfg.Drain = 500*time.Millisecond, 20*time.Second
	res := result(t, cfg)
	assert.EqualValues(t, 200, res.Total.Counts.Sent)
	assert.EqualValues(t, 1, res.Conns.Lost)
	assert.EqualValues(t, 1, res.Conns.Errors["connection: "+errTombstone.Error()], "%v", res.Conns.Errors)
	assert.EqualValues(t, 2, b.conns.Load())
	assert.Zero(t, res.Total.Counts.Lost(), "which of them had no reply cannot be known")
}

func TestIDsThatAreGivenUpReplaceTheConnection(t *testing.T) {
	t.Parallel()
	b := serve(t, "anet", func(c *peer, n int, f wire.Frame) {
		if n%4 != 0 {
			c.echo(f)
		}
	})
	cfg := to(t, b, "anet", 100)
	spec := cfg.Codec.Spec()
	spec.IDMax = 15 // sixteen IDs: worn after eight
	var err error
	cfg.Codec, err = wire.New(spec)
	require.NoError(t, err)
	cfg.Timeout, cfg.InFlight, cfg.Drain = 300*time.Millisecond, 4, 500*time.Millisecond
	res := result(t, cfg)
	assert.Equal(t, Counts{Sent: 100, Replied: 75, Timeouts: 25}, res.Total.Counts)
	assert.EqualValues(t, 25, res.Total.Counts.Lost(), "we ended the connections, after they had had their time")
	assert.GreaterOrEqual(t, res.Conns.Replaced, uint64(2))
	assert.Zero(t, res.Conns.Lost)
}

func TestAConnectionThatEndsLosesWhatIsInFlight(t *testing.T) {
	for name, c := range map[string]struct {
		end   func(c *peer, f wire.Frame)
		cause string
		cut   uint64
	}{
		"closed":  {func(c *peer, _ wire.Frame) { _ = c.conn.Close() }, "", 0},
		"garbage": {func(c *peer, _ wire.Frame) { c.write([]byte{0, 0, 1, 2}) }, "connection: a length field that makes no frame", 10},
		"within a frame": {func(c *peer, _ wire.Frame) {
			c.write([]byte{0, 99, 1, 2})
			_ = c.conn.(*net.TCPConn).CloseWrite()
		}, "connection: closed by the peer", 10},
	} {
		t.Run(name, func(t *testing.T) {
			var faults atomic.Uint64
			b := serve(t, "anet", every(100, &faults, c.end))
			cfg := to(t, b, "anet", 1000)
			cfg.Conns, cfg.InFlight = 1, 1
			res := result(t, cfg)
			assert.Equal(t, Counts{Sent: 1000, Replied: 990, ConnLost: 10}, res.Total.Counts)
			assert.EqualValues(t, 10, res.Conns.Lost)
			assert.EqualValues(t, 11, res.Conns.Opened)
			assert.Equal(t, c.cut, res.Conns.Cut)
			if c.cause != "" {
				assert.EqualValues(t, 10, res.Conns.Errors[c.cause], "%v", res.Conns.Errors)
			}
		})
	}
}

// miekg/dns closes a connection after 128 queries.
func TestRequestsPerConnectionSpareALimitOfThePeers(t *testing.T) {
	limited := func(t *testing.T) *backend {
		b := serve(t, "anet", nil)
		served := map[*peer]int{}
		b.answer = func(c *peer, _ int, f wire.Frame) {
			b.mu.Lock()
			served[c]++
			n := served[c]
			b.mu.Unlock()
			if n <= 128 {
				c.echo(f)
			}
			if n == 128 {
				_ = c.conn.(*net.TCPConn).CloseWrite()
			}
		}
		return b
	}
	b := limited(t)
	cfg := to(t, b, "anet", 2000)
	cfg.Conns, cfg.InFlight = 2, 16
	res := result(t, cfg)
	n := res.Total.Counts
	assert.EqualValues(t, 2000, n.Sent)
	assert.Positive(t, n.ConnLost)
	assert.Equal(t, n.Sent, n.Replied+n.ConnLost, "all losses are of connections")

	cfg = to(t, limited(t), "anet", 2000)
	cfg.Conns, cfg.InFlight, cfg.RequestsPerConn = 2, 16, 128
	res = result(t, cfg)
	assert.Equal(t, Counts{Sent: 2000, Replied: 2000}, res.Total.Counts)
	assert.GreaterOrEqual(t, res.Conns.Opened, uint64(16))
	assert.Zero(t, res.Conns.Lost, "we have ended them all")
}

func TestConnectionsAreReplacedAtTheirLifetime(t *testing.T) {
	b := serve(t, "anet", nil)
	cfg := atRate(to(t, b, "anet", 0), 1000, 300*time.Millisecond)
	cfg.ConnLifetime = 50 * time.Millisecond
	res := result(t, cfg)
	assert.Equal(t, Counts{Sent: 300, Replied: 300}, res.Total.Counts)
	assert.GreaterOrEqual(t, res.Conns.Replaced, uint64(2))
	assert.Zero(t, res.Conns.Lost)
}

// One of the connections stops reading: the others do not notice.
func TestAPeerThatStopsReadingHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	stop := make(chan struct{})
	var first atomic.Pointer[peer]
	b := serve(t, "anet", func(c *peer, _ int, f wire.Frame) {
		first.CompareAndSwap(nil, c)
		if first.Load() == c {
			<-stop
		}
		c.reply(f.ID, nil)
	})
	t.Cleanup(func() { close(stop) }) // before the backend's end
	cfg := atRate(to(t, b, "anet", 0), 400, 500*time.Millisecond)
	source, err := request.Sized(60_000, 60_000, 1) // so that the socket fills
	require.NoError(t, err)
	cfg.Mix, err = request.NewMix([]request.Kind{{Name: "r", Weight: 1, Source: source}})
	require.NoError(t, err)
	cfg.Conns, cfg.InFlight, cfg.Timeout = 4, 200, 4*time.Second
	cfg.Drain = 4500 * time.Millisecond
	res := result(t, cfg)
	n := res.Total.Counts
	assert.EqualValues(t, 200, n.Sent+res.Unsent.Total())
	assert.GreaterOrEqual(t, n.Replied, uint64(100), "three quarters, but for those of a slow machine")
	assert.Positive(t, n.Timeouts)
	assert.EqualValues(t, 4, b.conns.Load())
}

func TestAPeerThatIsAwayIsDialledAgain(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	target, err := ParseTarget(addr)
	require.NoError(t, err)
	res, err := Run(t.Context(), Config{Targets: []Target{target}, Codec: codecOf(t, "anet"),
		Mix: mixOf(t, "x", "any"), Conns: 3, InFlight: 1, Requests: 10})
	require.NoError(t, err)
	assert.Zero(t, res.Conns.Opened)
	assert.GreaterOrEqual(t, res.Conns.Errors["dial: connection refused"], uint64(3))
	assert.Zero(t, res.Total.Counts)
	assert.True(t, res.Started.IsZero())
}

func TestEachConnectionIsOpenedBeforeItGetsRequests(t *testing.T) {
	var logons atomic.Int64
	b := serve(t, "anet", nil)
	open := map[*peer]bool{}
	b.answer = func(c *peer, _ int, f wire.Frame) {
		b.mu.Lock()
		isOpen := open[c]
		open[c] = true
		b.mu.Unlock()
		switch {
		case isOpen:
			c.echo(f)
		case strings.HasPrefix(string(f.Bytes[6:]), "logon "):
			logons.Add(1)
			frame, _ := c.b.codec.Append(nil, f.ID, []byte("ok"))
			frame, _ = c.b.codec.Append(frame, 99, nil) // behind it, in the same packet
			c.write(frame)
		default:
			_ = c.conn.Close()
		}
	}
	opening := func(expect string) []request.Kind {
		m := mixOf(t, "logon ${seq}", expect)
		m.Kinds[0].Name = "logon"
		return m.Kinds
	}
	cfg := to(t, b, "anet", 600)
	cfg.Conns, cfg.RequestsPerConn = 2, 100
	cfg.Open = opening("equal:ok")
	res := result(t, cfg)
	assert.Equal(t, Counts{Sent: 600, Replied: 600}, res.Total.Counts)
	// The run's end may meet one of each connection's within its opening.
	assert.InDelta(t, logons.Load(), res.Conns.Opened, 2)
	assert.GreaterOrEqual(t, logons.Load(), int64(6))
	assert.InDelta(t, logons.Load(), res.Replies.UnknownID, 2, "what came behind the reply was looked at")

	cfg.Open = opening("equal:no")
	res = result(t, cfg)
	assert.Zero(t, res.Conns.Opened)
	assert.Contains(t, res.Conns.Errors, "opening: logon: the reply came and is not what was expected")

	cfg.Open = opening("any")
	cfg.Open[0].Status = request.Status{Offset: 6, Len: 2, OK: [][]byte{[]byte("no")}}
	res = result(t, cfg)
	assert.Contains(t, res.Conns.Errors, "opening: logon: the reply came and was refused: status ok")
	cfg.Open[0].Source = request.Bytes(make([]byte, 70_000))
	_, err := Run(t.Context(), cfg)
	assert.ErrorContains(t, err, `request "logon": payload of 70000 bytes`)
}

func TestAnOpeningWithoutAReplyEndsInTime(t *testing.T) {
	for want, answer := range map[string]func(*peer, int, wire.Frame){
		"opening: logon: timeout":                           silent,
		"opening: logon: closed by the peer":                func(c *peer, _ int, _ wire.Frame) { _ = c.conn.Close() },
		"opening: logon: a frame came and is not the reply": func(c *peer, _ int, _ wire.Frame) { c.reply(1<<31, nil) },
	} {
		cfg := to(t, serve(t, "anet", answer), "anet", 10)
		cfg.Open = []request.Kind{{Name: "logon", Weight: 1, Source: request.Bytes("x")}}
		cfg.Timeout = 100 * time.Millisecond
		res := result(t, cfg)
		assert.Zero(t, res.Conns.Opened)
		assert.Contains(t, res.Conns.Errors, want)
	}
}

func TestABackendThatConnectsIsLoadedAsOneThatIsDialled(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	cfg := to(t, serve(t, "anet", nil), "anet", 500)
	cfg.Targets, cfg.Listener = nil, l
	b := &backend{codec: reversed(t, "anet"), answer: func(c *peer, n int, f wire.Frame) {
		if n == 100 {
			_ = c.conn.Close() // and connects again
			return
		}
		c.echo(f)
	}}
	b.wg.Go(func() {
		for {
			conn, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				return // the run has closed its listener
			}
			b.talk(conn)
		}
	})
	res := result(t, cfg)
	b.wg.Wait()
	assert.EqualValues(t, 500, res.Total.Counts.Sent)
	assert.Positive(t, res.Total.Counts.ConnLost)
	assert.EqualValues(t, 2, res.Conns.Opened)
	assert.Equal(t, []string{"listening on " + l.Addr().String()}, res.Targets)

	l, err = net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	cfg.Listener, cfg.DialTimeout = l, 30*time.Millisecond
	res = result(t, cfg)
	assert.Zero(t, res.Conns.Opened)
	assert.Contains(t, res.Conns.Errors, "dial: the backend has not connected")
	_, err = net.Dial("tcp", l.Addr().String())
	assert.Error(t, err, "the run has closed it")
}

func TestDialsArePausedWhileConnectionsComeToNothing(t *testing.T) {
	b := serve(t, "anet", func(c *peer, _ int, _ wire.Frame) { _ = c.conn.Close() })
	cfg := to(t, b, "anet", 0)
	cfg.Duration = 300 * time.Millisecond
	res := result(t, cfg)
	assert.Less(t, res.Conns.Opened, uint64(150), "without a pause there are thousands")
	assert.Greater(t, res.Conns.Opened, uint64(1))
}

func TestFailFastEndsWithTheFirstFailure(t *testing.T) {
	for want, answer := range map[string]func(*peer, int, wire.Frame){
		"a request that timed out":   silent,
		"a reply that is no success": func(c *peer, _ int, f wire.Frame) { c.reply(f.ID, nil) },
		"a connection that was lost": func(c *peer, _ int, _ wire.Frame) { _ = c.conn.Close() },
	} {
		b := serve(t, "anet", answer)
		cfg := to(t, b, "anet", 1<<40)
		cfg.FailFast, cfg.Timeout, cfg.Drain = true, 30*time.Millisecond, 100*time.Millisecond
		res := result(t, cfg)
		assert.Equal(t, want, res.Broke)
		assert.False(t, res.Interrupted)
	}
}

func TestRequestsOfThePeersAreNeitherRepliesNorUnknown(t *testing.T) {
	b := serve(t, "diameter", func(c *peer, n int, f wire.Frame) {
		if n%10 == 0 {
			c.write(f.Bytes) // its request bit is set
		}
		answer := append([]byte(nil), f.Bytes...)
		answer[4] &^= 0x80
		c.write(answer)
	})
	cfg := to(t, b, "diameter", 500)
	cfg.Mix = mixOf(t, "${hex:01 80 000118 00000000 55667788}", "any")
	res := result(t, cfg)
	assert.Equal(t, Counts{Sent: 500, Replied: 500}, res.Total.Counts)
	assert.Equal(t, Replies{PeerRequests: 50}, res.Replies)
}

func TestTLSConnectionsCarryTheSameLoad(t *testing.T) {
	ca := testca.New(t)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{ca.Server(t, "127.0.0.1")}})
	require.NoError(t, err)
	b := serveOn(t, l, "anet", nil)
	cfg := to(t, b, "anet", 3000)
	cfg.Targets[0].TLS = true
	cfg.TLS = &tls.Config{RootCAs: ca.Pool()}
	cfg.Conns = 2
	assert.Equal(t, Counts{Sent: 3000, Replied: 3000}, result(t, cfg).Total.Counts)
	res := result(t, atRate(cfg, 10_000, time.Second))
	assert.Equal(t, Counts{Sent: 3000, Replied: 3000}, res.Total.Counts)

	cfg.TLS = nil // the system does not know the certificate
	res, err = Run(t.Context(), cfg)
	require.NoError(t, err)
	assert.Zero(t, res.Conns.Opened)
	require.NotEmpty(t, res.Conns.Errors)
	for text := range res.Conns.Errors {
		assert.Contains(t, text, "dial: TLS handshake: ")
	}
}
