package load

import (
	"bytes"
	"encoding/hex"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/load/request"
	"github.com/ringwire/ringwire/load/wire"
)

// beating is 50 requests in half a second, with heartbeats of "beat".
func beating(t *testing.T, answer func(c *peer, f wire.Frame)) (*backend, *atomic.Int64, Config) {
	t.Helper()
	beats := &atomic.Int64{}
	b := serve(t, "anet", func(c *peer, _ int, f wire.Frame) {
		if bytes.HasSuffix(f.Bytes, []byte("beat")) {
			beats.Add(1)
			answer(c, f)
			return
		}
		c.echo(f)
	})
	cfg := atRate(to(t, b, "anet", 0), 100, 500*time.Millisecond)
	expect, err := request.ParseExpect("echo")
	require.NoError(t, err)
	cfg.Heartbeat = Heartbeat{Every: 20 * time.Millisecond, Kind: request.Kind{Name: "beat", Source: request.Bytes("beat"), Expect: expect}}
	cfg.InFlight, cfg.Timeout = 1, 640*time.Millisecond // and a tick of 10 ms
	return b, beats, cfg
}

func TestHeartbeatsAreInNoFigureButTheirOwn(t *testing.T) {
	_, seen, cfg := beating(t, (*peer).echo)
	res := result(t, cfg)
	assert.Equal(t, Counts{Sent: 50, Replied: 50}, res.Total.Counts)
	h := res.Beats
	assert.GreaterOrEqual(t, h.Sent, uint64(3))
	assert.LessOrEqual(t, h.Sent, uint64(30))
	assert.EqualValues(t, h.Sent, seen.Load())
	assert.GreaterOrEqual(t, h.Answered+1, h.Sent, "the last one may be under way")
	assert.EqualValues(t, h.Answered, h.Service.TotalCount())
	assert.Zero(t, h.Missed)
	assert.Zero(t, res.Conns.Lost)
	assert.Zero(t, res.Replies)

	cfg.Heartbeat.IdleOnly = true
	cfg.Heartbeat.Every = 200 * time.Millisecond
	cfg = atRate(cfg, 2, time.Second)
	res = result(t, cfg)
	assert.GreaterOrEqual(t, res.Beats.Sent, uint64(1))
}

func TestARequestPutsOffTheHeartbeatThatIsForIdleOnesOnly(t *testing.T) {
	for _, idleOnly := range []bool{true, false} {
		cfg := openTo(t, 4)
		cfg.Heartbeat = Heartbeat{Every: time.Hour, IdleOnly: idleOnly, Kind: request.Kind{Source: request.Bytes("beat")}}
		r, s, _ := piped(t, cfg)
		s.start()
		beat := func() bool { // an hour after the last one
			return seen(s, func() bool { s.heart.last = r.uptime() - time.Hour; return s.beat() })
		}
		require.True(t, s.offer(due{n: 0}, r.now()))
		assert.Equal(t, !idleOnly, beat(), "there was a request meanwhile")
		if idleOnly {
			assert.True(t, beat(), "there was none")
		}
	}
}

func TestHeartbeatsKeepConnectionsAliveBeforeTheStart(t *testing.T) {
	_, seen, cfg := beating(t, (*peer).echo)
	cfg.StartAt = time.Now().Add(300 * time.Millisecond)
	cfg.Schedule.N = 1
	res := result(t, cfg)
	assert.EqualValues(t, 1, res.Total.Counts.Replied)
	assert.GreaterOrEqual(t, seen.Load(), int64(3))
	assert.Zero(t, res.Beats.Missed)
	assert.Less(t, time.Duration(res.Total.Response.Max()), 250*time.Millisecond)
}

func TestAHeartbeatWithoutItsAnswerEndsTheConnection(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(c *peer, f wire.Frame)
		cause  error
	}{
		"none":  {func(*peer, wire.Frame) {}, errNoAnswer},
		"wrong": {func(c *peer, f wire.Frame) { c.reply(f.ID, []byte("deaf")) }, errWrongAnswer},
	} {
		b, _, cfg := beating(t, c.answer)
		cfg.Timeout = 100 * time.Millisecond
		res := result(t, cfg)
		n := res.Total.Counts
		assert.EqualValues(t, 50, n.Sent+res.Unsent.Total(), name)
		assert.Positive(t, n.Sent, name)
		assert.Equal(t, n.Sent, n.Replied+n.ConnLost, name)
		assert.Positive(t, res.Beats.Missed, name)
		assert.Zero(t, res.Beats.Answered, name)
		assert.Equal(t, res.Beats.Missed, res.Conns.Errors["connection: "+c.cause.Error()], name)
		assert.Equal(t, res.Beats.Missed, res.Conns.Lost, name)
		assert.Greater(t, b.conns.Load(), int64(1), name)
	}
}

func TestAHeartbeatTakesNoSlot(t *testing.T) {
	cfg := openTo(t, 1)
	cfg.Heartbeat = Heartbeat{Every: 10 * time.Millisecond, Kind: request.Kind{Source: request.Bytes("beat")}}
	r, s, _ := piped(t, cfg)
	s.start()
	require.Eventually(t, func() bool { return seen(s, s.beat) }, 10*time.Second, time.Millisecond)
	require.True(t, s.offer(due{n: 0}, r.now()), "its window is one request, and that is free")
	require.False(t, s.offer(due{n: 1}, r.now()))
	assert.False(t, seen(s, s.beat), "there is one under way")
	all, open := s.waiting()
	assert.Equal(t, []int{1, 1}, []int{all, open}, "nobody waits for a heartbeat")
}

func TestHeartbeatsThatMakeNoSenseAreRefused(t *testing.T) {
	b := serve(t, "payshield", nil)
	for want, change := range map[string]func(*Config){
		"heartbeat every 1ms: must be 10ms to 1h0m0s": func(c *Config) { c.Heartbeat.Every = time.Millisecond },
		"payload of 70000 bytes: must have 65531":     func(c *Config) { c.Heartbeat.Kind.Source = request.Bytes(make([]byte, 70000)) },
		"in flight 65537: must be 1 to 65536, less":   func(c *Config) { c.InFlight = wire.WindowMax },
	} {
		cfg := to(t, b, "payshield", 1)
		cfg.Heartbeat = Heartbeat{Every: time.Second, Kind: request.Kind{Source: request.Bytes("x")}}
		change(&cfg)
		_, err := Run(t.Context(), cfg)
		assert.ErrorContains(t, err, want)
	}
}

// rule compiles an answer.
func rule(t *testing.T, at int, is, reply string) request.Answer {
	t.Helper()
	tp, err := request.Scope{Answer: true}.Compile(reply)
	require.NoError(t, err)
	return request.Answer{Offset: at, Is: []byte(is), Reply: tp}
}

func fromHex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(t, err)
	return b
}

func TestRequestsOfThePeerAreAnsweredByRulesAndNeverUnknown(t *testing.T) {
	const requests = 10_000
	for name, c := range map[string]struct {
		preset    string
		payload   string
		request   []byte // the peer's
		rule      request.Answer
		want      []byte
		wantFrame func(f wire.Frame) bool // it is an answer
		reply     func(c *peer, f wire.Frame)
	}{
		"SMPP's enquire_link": {
			preset: "smpp", payload: "${hex:00000004 00000000}", request: fromHex(t, "00000010 00000015 00000000 11223344"),
			rule: rule(t, 4, "\x00\x00\x00\x15", "${hex:80000015 00000000}"), want: fromHex(t, "00000010 80000015 00000000 11223344"),
			wantFrame: func(f wire.Frame) bool { return f.Bytes[4] == 0x80 },
			reply:     func(c *peer, f wire.Frame) { b := bytes.Clone(f.Bytes); b[4] |= 0x80; c.write(b) },
		},
		"Diameter's watchdog": {
			preset: "diameter", payload: "${hex:01 80 000110 00000004 00000000}", request: fromHex(t, "01000014 80000118 00000000 aabbccdd 01020304"),
			rule:      rule(t, 4, "\x80\x00\x01\x18", "${hex:01 00 000118 00000000}${req:16:4}${hex:0000010c 4000000c 000007d1}"),
			want:      fromHex(t, "01000020 00000118 00000000 aabbccdd 01020304 0000010c 4000000c 000007d1"),
			wantFrame: func(f wire.Frame) bool { return f.Bytes[4] == 0 },
			reply:     func(c *peer, f wire.Frame) { b := bytes.Clone(f.Bytes); b[4] = 0; c.write(b) },
		},
		"0800": {
			preset: "iso8583", payload: "02000020000000000000${stan}",
			request: []byte("\x00\x3708008220000000000000040000000000000011281700000000420" + "01"),
			rule:    rule(t, 2, "0800", "0810${req:rest}"), want: []byte("\x00\x370810822000000000000004000000000000001128170000000042001"),
			wantFrame: func(f wire.Frame) bool { return f.Bytes[4] == '1' },
			reply:     func(c *peer, f wire.Frame) { c.write(approve(f)) },
		},
		"0800, answered anew": {
			preset: "iso8583", payload: "02000020000000000000${stan}", request: []byte("\x00\x1a08000020000000000000000042"),
			rule: rule(t, 2, "0800", "08100020000002000000${stan}00"), want: []byte("\x00\x1c0810002000000200000000004200"),
			wantFrame: func(f wire.Frame) bool { return f.Bytes[4] == '1' },
			reply:     func(c *peer, f wire.Frame) { c.write(approve(f)) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked, right, wrong atomic.Int64
			b := serve(t, c.preset, func(p *peer, n int, f wire.Frame) {
				switch {
				case !c.wantFrame(f):
					if n%10 == 0 {
						asked.Add(1)
						p.write(c.request)
					}
					c.reply(p, f)
				case bytes.Equal(f.Bytes, c.want):
					right.Add(1)
				default:
					wrong.Add(1)
				}
			})
			cfg := to(t, b, c.preset, requests)
			cfg.Mix = mixOf(t, c.payload, "any")
			cfg.Answers = []request.Answer{rule(t, 0, "never", "02000020000000000000000000"), c.rule}
			cfg.Conns, cfg.InFlight = 2, 32
			res := result(t, cfg)
			assert.Equal(t, Counts{Sent: requests, Replied: requests}, res.Total.Counts)
			asks := uint64(asked.Load())
			assert.Greater(t, asks, uint64(requests/20))
			assert.Equal(t, Replies{PeerRequests: asks, PeerAnswered: asks}, res.Replies)
			assert.Eventually(t, func() bool { return right.Load() == asked.Load() }, 10*time.Second, time.Millisecond)
			assert.Zero(t, wrong.Load())
		})
	}
}

func TestWhatNoRuleIsForIsOnlyCounted(t *testing.T) {
	var answers atomic.Int64
	b := serve(t, "smpp", func(c *peer, n int, f wire.Frame) {
		if f.Bytes[4] == 0x80 {
			answers.Add(1)
			return
		}
		c.write(fromHex(t, "00000010 00000005 00000000 11223344"))
		b := bytes.Clone(f.Bytes)
		b[4] = 0x80
		c.write(b)
	})
	cfg := to(t, b, "smpp", 10)
	cfg.Mix = mixOf(t, "${hex:00000004 00000000}", "any")
	cfg.Answers = []request.Answer{rule(t, 4, "\x00\x00\x00\x15", "${hex:80000015 00000000}"), rule(t, 4, "\x00\x00\x00\x05", "${hex:80000005 00000000}${req:16:4}")}
	res := result(t, cfg)
	assert.Equal(t, Replies{PeerRequests: 10}, res.Replies, "it has no bytes 16 to 20")
	assert.Zero(t, answers.Load())
}

func TestRequestsOfThePeerDuringTheOpeningAreAnswered(t *testing.T) {
	answered := make(chan struct{}, 1)
	b := serve(t, "smpp", func(c *peer, n int, f wire.Frame) {
		switch f.Bytes[7] {
		case 9: // bind
			c.write(fromHex(t, "00000010 00000015 00000000 11223344"))
		case 0x15: // and only then answers the bind, which has the first ID
			answered <- struct{}{}
			c.write(fromHex(t, "00000010 80000009 00000000 00000001"))
		default:
			b := bytes.Clone(f.Bytes)
			b[4] = 0x80
			c.write(b)
		}
	})
	cfg := to(t, b, "smpp", 3)
	cfg.Mix = mixOf(t, "${hex:00000004 00000000}", "any")
	cfg.Open = []request.Kind{{Name: "bind", Source: request.Bytes("\x00\x00\x00\x09\x00\x00\x00\x00")}}
	cfg.Answers = []request.Answer{rule(t, 4, "\x00\x00\x00\x15", "${hex:80000015 00000000}")}
	res := result(t, cfg)
	<-answered
	assert.EqualValues(t, 3, res.Total.Counts.Replied)
	assert.Equal(t, Replies{PeerRequests: 1, PeerAnswered: 1}, res.Replies)
}

func TestAnswersThatNobodyReadsAreBounded(t *testing.T) {
	cfg := atRate(to(t, serve(t, "smpp", nil), "smpp", 0), 1, time.Hour)
	cfg.Mix = mixOf(t, "${hex:00000004 00000000}", "any")
	cfg.Answers = []request.Answer{rule(t, 4, "\x00\x00\x00\x15", "${hex:80000015 00000000}")}
	_, s, _ := piped(t, cfg)
	f := wire.Frame{Bytes: fromHex(t, "00000010 00000015 00000000 11223344"), Request: true}
	s.mu.Lock()
	for range 200_000 {
		s.peer(&f)
	}
	assert.Len(t, s.out.bytes, answersMax)
	assert.Equal(t, Replies{PeerRequests: 200_000, PeerAnswered: answersMax / 16}, s.shard.replies)
	s.mu.Unlock()
}

func TestAnswersThatMakeNoSenseAreRefused(t *testing.T) {
	b := serve(t, "smpp", nil)
	for want, a := range map[string]request.Answer{
		"no bytes to tell the peer's request by":     rule(t, 4, "", "${hex:80000015 00000000}"),
		"at -1: must be 0 to 16777215":               rule(t, -1, "x", "${hex:80000015 00000000}"),
		"payload of 1 bytes: must have 8 at least":   rule(t, 4, "x", "1"),
		"field 70: the framing has no messages":      rule(t, 4, "x", "${req:field:70}"),
		"at 16777000, len 999: must end at 16777216": rule(t, 4, "x", "${req:16777000:999}"),
	} {
		cfg := to(t, b, "smpp", 1)
		cfg.Mix = mixOf(t, "${hex:00000004 00000000}", "any")
		cfg.Answers = []request.Answer{a}
		_, err := Run(t.Context(), cfg)
		assert.ErrorContains(t, err, want)
	}
	cfg := to(t, b, "anet", 1)
	cfg.Answers = []request.Answer{rule(t, 4, "x", "y")}
	_, err := Run(t.Context(), cfg)
	assert.ErrorContains(t, err, "nothing tells the peer's requests from replies")
	assert.Zero(t, b.conns.Load())
}

// A backend that dials us and asks for a sign of life is answered.
func TestABackendThatDialsUsIsAnswered(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	cfg := to(t, serve(t, "iso8583", nil), "iso8583", 10_000)
	cfg.Targets, cfg.Listener = nil, l
	cfg.Mix = mixOf(t, "02000020000000000000${stan}", "any")
	cfg.Answers = []request.Answer{rule(t, 2, "0800", "0810${req:rest}")}
	cfg.InFlight = 16
	conn, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	var asked, answered int
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b := &backend{codec: cfg.Codec}
		c := &peer{b: b, conn: conn, dec: wire.NewDecoder(b.codec)}
		for n := 0; ; {
			got, err := conn.Read(c.dec.Room())
			c.dec.Filled(got)
			for f, _ := c.dec.Next(); f != nil; f, _ = c.dec.Next() {
				if !f.Request {
					answered++
					continue
				}
				if n++; n%100 == 0 {
					asked++
					c.write([]byte("\x00\x1a08000020000000000000000042"))
				}
				c.write(approve(*f))
			}
			if err != nil {
				return
			}
		}
	}()
	res := result(t, cfg)
	<-ended
	assert.Equal(t, Counts{Sent: 10_000, Replied: 10_000}, res.Total.Counts)
	assert.Equal(t, Replies{PeerRequests: 100, PeerAnswered: 100}, res.Replies)
	assert.Equal(t, 100, asked)
	assert.InDelta(t, 100, answered, 1, "the last one may be under way")
}
