package engine

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/taskid"
)

func TestEveryWayToCallSpeaksTheExtension(t *testing.T) {
	for _, format := range []framing.Format{{}, wideFrames, {MaxFrame: 100}} {
		eachWay(t, func(t *testing.T, call aWay) {
			s := &speaker{format: format}
			b := s.inBubble(t, Config{})
			for _, n := range []int{0, 1, 90, b.maxPayload} {
				req := strings.Repeat("x", min(n, b.maxPayload, 200_000))
				reply, err := call(b, bg, []byte(req))
				require.NoError(t, err, "%d bytes", n)
				require.Equal(t, req, string(reply))
			}
			require.NoError(t, b.SendOneWay(bg, []byte("one way")))
			synctest.Wait()
			require.Zero(t, s.wrong.Load())
			stats := b.Stats()
			require.EqualValues(t, 1, stats.Dials)
			require.EqualValues(t, 4, stats.Replies)
			require.EqualValues(t, 1, stats.OneWayReplies)
			require.Zero(t, stats.Pings)
		})
	}
}

// Over sockets, where a lone caller reads its own reply.
func TestALoneCallerTakesTheStatusOffItsReply(t *testing.T) {
	s := &speaker{got: func(p *spoken, id taskid.ID, _ uint32, req []byte) {
		if n := len(req); n%50 == 7 {
			p.deny(id, framing.StatusFailed, uint32(n), "")
			return
		}
		p.ok(id, req)
	}}
	b := newBroker(t, patient(Config{Addrs: []string{s.listen(t)}, Extensions: true}))
	goAlone(t, b)
	for i := range 3000 {
		req := make([]byte, i%100)
		reply, err := b.Send(bg, req)
		if i%50 == 7 {
			var remote *RemoteError
			require.ErrorAs(t, err, &remote)
			require.EqualValues(t, len(req), remote.Code)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, req, reply)
	}
	goAlone(t, b)
	require.Zero(t, s.wrong.Load())
}

func TestManyCallersOverSocketsSpeakTheExtension(t *testing.T) {
	one, two := new(speaker), new(speaker)
	b := newBroker(t, Config{Addrs: []string{one.listen(t), two.listen(t)}, Extensions: true, ConnsPerAddr: 2})
	manyCallers(t, b, 50, 100)
	require.Zero(t, one.wrong.Load()+two.wrong.Load())
}

func TestWithoutTheExtensionNotOneByteIsDifferent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all []byte
		b := bubbleBroker(t, Config{DialContext: pipeDial(func(nc net.Conn) {
			defer nc.Close()
			for buf := make([]byte, 1<<20); ; {
				n, err := nc.Read(buf)
				if err != nil {
					return
				}
				all = append(all, buf[:n]...)
				if _, err := nc.Write(buf[:n]); err != nil { // ID 0 too, and whatever it says
					return
				}
			}
		})})
		pass(time.Second)
		require.Empty(t, all, "it says nothing of its own accord")
		var want []byte
		for i, req := range []string{"", "\x00", "abcdef", "\x01rw-x\x01\x01", strings.Repeat("y", framing.MaxPayload)} {
			reply, err := b.Send(bg, []byte(req), Call{Timeout: time.Minute})
			require.NoError(t, err)
			require.Equal(t, req, string(reply))
			f, _, err := framing.Parse(all[len(want):])
			require.NoError(t, err, "frame %d", i)
			want, err = framing.Append(want, f.ID, []byte(req))
			require.NoError(t, err)
			require.Equal(t, want, all)
		}
		pass(time.Hour)
		require.Len(t, all, len(want))
	})
}

// answersHello is a server that answers the hello with some bytes, and perhaps closes.
func answersHello(answer []byte, closes bool) func(net.Conn) {
	return func(nc net.Conn) {
		defer nc.Close()
		_, _ = io.ReadFull(nc, make([]byte, 13))
		_, _ = nc.Write(answer)
		if !closes {
			_, _ = io.Copy(io.Discard, nc)
		}
	}
}

func TestAServerThatDoesNotSpeakTheExtensionIsNotConnectedTo(t *testing.T) {
	helloOf := func(h framing.Hello) []byte {
		b, _ := framing.Format{}.AppendHello(nil, h)
		return b
	}
	good := helloOf(framing.Hello{Server: true, Version: 1})
	other, _ := framing.Append(nil, 7, good[6:])
	for name, c := range map[string]struct {
		serve func(net.Conn)
		why   string
	}{
		"hello cut short":    {answersHello(good[:10], true), "closes the connection instead"},
		"header cut short":   {answersHello(good[:3], true), "closes the connection instead"},
		"closes":             {answersHello(nil, true), "closes the connection instead"},
		"garbage":            {answersHello([]byte("HTTP/1.1 400 Bad Request\r\n"), false), "with something else"},
		"garbage in a hello": {answersHello(append([]byte{0, 11, 0, 0, 0, 0, 1}, "abcdef"...), false), "with something else"},
		"echo":               {answersHello(helloOf(framing.Hello{Version: 1}), false), "returns our own hello"},
		"another ID":         {answersHello(other, false), "with something else"},
		"later version":      {answersHello(helloOf(framing.Hello{Server: true, Version: 2}), false), "answers version 1 with 2"},
		"never answered":     {answersHello(nil, false), "in time"},
		"half an answer":     {answersHello(good[:12], false), "in time"},
		"reads nothing":      {func(net.Conn) {}, "in time"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := bubbleBroker(t, Config{Extensions: true, DialContext: pipeDial(c.serve), MaxRetries: -1})
				began := time.Now()
				_, err := b.Send(bg, []byte("secret"))
				require.ErrorIs(t, err, ErrNoExtension)
				require.ErrorIs(t, err, ErrDial)
				require.NotErrorIs(t, err, ErrTimeout)
				require.ErrorContains(t, err, "pipe:1")
				require.ErrorContains(t, err, c.why)
				require.ErrorContains(t, err, "switch Config.Extensions off or update the server")
				assert.True(t, SafeToRetry(err), "nothing was sent")
				assert.LessOrEqual(t, time.Since(began), DefaultDialTimeout)
				assert.NotZero(t, b.Stats().DialErrors)
				assert.Zero(t, b.Stats().FramesOut)
				assert.ErrorIs(t, b.AddrStats()[0].LastErr, ErrNoExtension)
			})
		})
	}
}

func TestAWaitForAHelloEndsWithTheBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bubbleBroker(t, Config{Extensions: true, DialTimeout: -1, DialContext: pipeDial(drainOnly)})
		pass(time.Hour)
		require.NoError(t, b.Close())
	})
}

func TestNoRequestIsSentBeforeTheServersHello(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var first time.Duration
		b := bubbleBroker(t, Config{Extensions: true, DialContext: pipeDial(func(nc net.Conn) {
			defer nc.Close()
			_, _ = io.ReadFull(nc, make([]byte, 13))
			_ = nc.SetReadDeadline(time.Now().Add(time.Second))
			n, _ := nc.Read(make([]byte, 100))
			if n > 0 {
				return
			}
			_ = nc.SetReadDeadline(time.Time{})
			// The hello and what comes after it in one piece: not a byte of that may be lost.
			b, _ := framing.Format{}.AppendHello(nil, framing.Hello{Server: true, Version: 1})
			b, _ = framing.Format{}.AppendReply(b, 9999, []byte("pushed"))
			_, _ = nc.Write(b)
			answerWith(func(nc net.Conn, f framing.Frame) {
				first = time.Since(began)
				reply, _ := framing.Format{}.AppendReply(nil, f.ID, f.Payload[framing.RemainingSize:])
				_, _ = nc.Write(reply)
			})(nc)
		})})
		requireServed(t, b, 1)
		require.Equal(t, time.Second, first)
		require.EqualValues(t, 1, b.Stats().UnknownReplies, "what came with the hello was read")
	})
}

func TestTheHelloComesAfterTheTLSHandshake(t *testing.T) {
	fixture := httptest.NewTLSServer(nil)
	cert, roots := fixture.TLS.Certificates[0], x509.NewCertPool()
	roots.AddCert(fixture.Certificate())
	fixture.Close()
	s := new(speaker)
	addr := s.listen(t)
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		client, server := net.Pipe()
		nc, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		go func() { // a front that ends TLS
			secure := tls.Server(server, &tls.Config{Certificates: []tls.Certificate{cert}})
			go func() {
				_, _ = io.Copy(secure, nc)
				secure.Close()
			}()
			_, _ = io.Copy(nc, secure)
			nc.Close()
		}()
		return client, nil
	}
	b := newBroker(t, Config{Addrs: []string{addr}, Extensions: true, TLS: &tls.Config{RootCAs: roots}, DialContext: dial})
	manyCallers(t, b, 10, 20)
	require.Zero(t, s.wrong.Load())
}

func TestAServerThatSpeaksNoExtensionIsServedByABrokerThatDoesNotAskForIt(t *testing.T) {
	p := newPeer(t, echo)
	b := newBroker(t, Config{Addrs: []string{p.addr()}, Extensions: true, MaxRetries: -1})
	_, err := b.Send(bg, []byte("x"))
	require.ErrorIs(t, err, ErrNoExtension)
	require.ErrorContains(t, err, p.addr()+": it returns our own hello")
	manyCallers(t, newBroker(t, Config{Addrs: []string{p.addr()}}), 5, 5)
}

func TestALimitWithoutRoomForTheExtensionIsNamed(t *testing.T) {
	cfg := Config{Addrs: []string{"a:1"}, Framing: framing.Format{MaxFrame: 19}}
	b, err := New(cfg)
	require.NoError(t, err)
	require.NoError(t, b.Close())
	cfg.Extensions = true
	_, err = New(cfg)
	require.ErrorContains(t, err, "engine: Config.Framing with Config.Extensions: framing: Format.MaxFrame is 19")
}

func TestTheLargestPayloadIsLessByTheHeader(t *testing.T) {
	for _, format := range []framing.Format{{}, {MaxFrame: 100}, {LengthSize: 4, MaxFrame: 200_000}} {
		eachWay(t, func(t *testing.T, call aWay) {
			s := &speaker{format: format}
			b := s.inBubble(t, Config{})
			most := format.MaxPayload() - framing.RemainingSize
			// The reply has a status, which is shorter than the header of the request.
			reply, err := call(b, bg, make([]byte, most))
			require.NoError(t, err)
			require.Len(t, reply, most)
			_, err = call(b, bg, make([]byte, most+1))
			require.ErrorIs(t, err, ErrMaxLenExceeded)
			var length *framing.LengthError
			require.ErrorAs(t, err, &length)
			require.EqualValues(t, format.MaxPayload()+framing.IDSize+1, length.Length)
			require.EqualValues(t, format.MaxPayload()+framing.IDSize, length.Max)
			require.False(t, SafeToRetry(err))
		})
	}
}

func TestTheServerLearnsHowLongTheCallerWaits(t *testing.T) {
	const none = -1
	for name, c := range map[string]struct {
		cfg     Config
		context time.Duration
		call    []Call
		want    time.Duration
	}{
		"RequestTimeout":           {want: DefaultRequestTimeout},
		"no limit":                 {cfg: Config{RequestTimeout: -1}, want: none},
		"ReadTimeout is none":      {cfg: Config{RequestTimeout: -1, ReadTimeout: time.Second}, want: none},
		"Call.Timeout":             {call: []Call{{Timeout: 7 * time.Second}}, want: 7 * time.Second},
		"no Call.Timeout":          {call: []Call{{Timeout: -1}}, want: none},
		"context":                  {context: 3 * time.Second, want: 3 * time.Second},
		"context before timeout":   {context: time.Second, call: []Call{{Timeout: time.Minute}}, want: time.Second},
		"timeout before context":   {context: time.Minute, call: []Call{{Timeout: time.Second}}, want: time.Second},
		"longer than ticks tell":   {context: 30 * time.Hour, want: none},
		"idempotent":               {context: 4 * time.Second, call: []Call{{Idempotent: true}}, want: 4 * time.Second},
		"less than a tick":         {context: 2 * time.Millisecond, want: 2 * time.Millisecond},
		"idempotent, Call.Timeout": {call: []Call{{Idempotent: true, Timeout: time.Second}}, want: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			eachWay(t, func(t *testing.T, call aWay) {
				var got []uint32
				s := &speaker{got: func(p *spoken, id taskid.ID, remaining uint32, req []byte) {
					got = append(got, remaining)
					p.ok(id, req)
				}}
				b := s.inBubble(t, c.cfg)
				for range 3 { // the clock sleeps before each
					pass(time.Minute)
					ctx, cancel := withTimeout(bg, c.context)
					_, err := call(b, ctx, []byte("x"), c.call...)
					cancel()
					require.NoError(t, err)
				}
				require.Len(t, got, 3)
				for _, ms := range got {
					told := time.Duration(ms) * time.Millisecond
					if c.want == none {
						require.Zero(t, ms)
						continue
					}
					require.GreaterOrEqual(t, told, c.want-b.clock.tick)
					require.LessOrEqual(t, told, c.want+2*b.clock.tick)
				}
			})
		})
	}
}

func TestTheRemainingTimeIsThatOfWhenTheRequestIsQueuedForItsConnection(t *testing.T) {
	eachWay(t, func(t *testing.T, call aWay) {
		var got uint32
		s := &speaker{got: func(p *spoken, id taskid.ID, remaining uint32, req []byte) {
			got = remaining
			p.ok(id, req)
		}}
		dial := pipeDial(s.serve)
		b := bubbleBroker(t, Config{
			Extensions: true, ReadTimeout: 5 * time.Second,
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				<-time.After(2 * time.Second) // virtual
				return dial(ctx, network, addr)
			},
		})
		ctx, cancel := withTimeout(bg, 10*time.Second)
		defer cancel()
		_, err := call(b, ctx, []byte("x"))
		require.NoError(t, err)
		told := time.Duration(got) * time.Millisecond
		require.GreaterOrEqual(t, told, 8*time.Second-b.clock.tick)
		require.LessOrEqual(t, told, 8*time.Second+coarse(b))
	})
}

// What has moved from a connection that has ended is framed anew, without the old header.
func TestRequestsThatMoveAreFramedAnew(t *testing.T) {
	type way = struct {
		size    int
		context time.Duration // else RequestTimeout
		call    aWay
	}
	const limit = 20 * time.Second
	for name, w := range map[string]way{
		"small": {10, 0, byGo}, "large": {100_000, 0, byGo}, "context": {10, limit, byGo},
		"Send": {10, limit, (*Broker).Send}, "SendBatch": {10, limit, byBatch},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got []string
				var left []uint32
				s := &speaker{format: wideFrames, got: func(p *spoken, id taskid.ID, remaining uint32, req []byte) {
					got, left = append(got, string(req)), append(left, remaining)
					p.ok(id, req)
				}}
				cfg := Config{ConnectWait: time.Minute, RequestTimeout: limit}
				if w.context > 0 {
					cfg.RequestTimeout = -1
				}
				b := s.inBubble(t, cfg)
				synctest.Wait()
				c := onlyConn(t, b)
				require.True(t, c.out.right.Take(), "nobody writes")
				var want []string
				outcomes := make(chan error, 4)
				for i := range 4 {
					req := fmt.Sprint(i, strings.Repeat("z", w.size))
					want = append(want, req)
					go func() {
						ctx, cancel := withTimeout(bg, w.context)
						defer cancel()
						reply, err := w.call(b, ctx, []byte(req))
						if err == nil && string(reply) != req {
							err = errors.New("another's reply")
						}
						outcomes <- err
					}()
					synctest.Wait()
				}
				pass(2 * time.Second)
				s.last().Close()
				<-c.dead
				c.out.right.Keep()
				for range 4 {
					require.NoError(t, <-outcomes)
				}
				require.Equal(t, want, got)
				for _, ms := range left {
					require.InDelta(t, 18_000, ms, float64(unit(b).Milliseconds()+coarse(b).Milliseconds()))
				}
				require.Zero(t, s.wrong.Load())
			})
		})
	}
}
