package engine

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/internal/greeting"
)

// requireNotConnected checks the error of a call for which there was no connection.
func requireNotConnected(t *testing.T, err error, addr string) {
	t.Helper()
	require.ErrorIs(t, err, ErrNoPoolsAvailable)
	require.ErrorIs(t, err, ErrDial)
	require.NotErrorIs(t, err, ErrTimeout)
	require.True(t, SafeToRetry(err), "%v", err)
	require.ErrorContains(t, err, addr)
	var op *OpError
	require.ErrorAs(t, err, &op)
	require.Equal(t, "dial", op.Op)
	require.False(t, op.Written)
}

func TestARefusedDialIsNamed(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ln.Close()
	b := newBroker(t, Config{Addrs: []string{ln.Addr().String()}})
	_, err = b.Send(bg, []byte("x"))
	requireNotConnected(t, err, ln.Addr().String())
	assert.ErrorIs(t, err, syscall.ECONNREFUSED)
}

func TestADialThatTakesTooLongIsNamed(t *testing.T) {
	for name, dial := range map[string]func(ctx context.Context) error{
		"until its context ends": func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		},
		"as net says it": func(ctx context.Context) error {
			<-ctx.Done()
			return &net.OpError{Op: "dial", Net: "tcp", Err: context.DeadlineExceeded}
		},
		"longer than its context": func(ctx context.Context) error {
			<-time.After(4 * time.Second) // virtual
			return errNobodyListens
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := bubbleBroker(t, Config{
					Addrs: []string{"far:1"}, DialTimeout: 2 * time.Second,
					DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return nil, dial(ctx) },
				})
				began := time.Now()
				_, err := b.Send(bg, []byte("x"))
				assert.Equal(t, 2*time.Second, time.Since(began))
				requireNotConnected(t, err, "far:1")
				assert.ErrorContains(t, err, "DialTimeout, 2s")
				closesInTheEnd(t, b)
				pass(10 * time.Second) // for a dial that is late
			})
		})
	}
}

// With TLS 1.3 the handshake is over for a client before the server has seen its
// certificate: the refusal comes where the first reply is expected.
func TestATLSServerThatRefusesOurCertificateIsNamed(t *testing.T) {
	fixture := httptest.NewTLSServer(nil)
	cert, roots := fixture.TLS.Certificates[0], x509.NewCertPool()
	roots.AddCert(fixture.Certificate())
	fixture.Close()
	for name, version := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t, echo)
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			p.serve(tls.NewListener(ln, &tls.Config{
				Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert, MinVersion: version,
			}))
			b := newBroker(t, Config{Addrs: []string{p.addr()}, ConnectWait: -1,
				BackoffBase: time.Hour, BackoffMax: time.Hour,
				TLS: &tls.Config{RootCAs: roots, MaxVersion: version}})
			mustCome(t, "the refusal", func() bool {
				s := b.Stats()
				return s.ConnsLost+s.DialErrors > 0 && b.untried.Load() == 0 && len(b.conns()) == 0
			})
			_, err = b.Send(bg, []byte("x"))
			requireNotConnected(t, err, p.addr())
			assert.ErrorContains(t, err, "remote error: tls: ")
			if version == tls.VersionTLS13 {
				assert.ErrorContains(t, err, "Config.TLS.Certificates")
				assert.ErrorIs(t, err, errNoAnswer)
			}
		})
	}
}

// greets is a server of another kind, which says what it says and reads what comes.
func greets(text string, closes bool) func(nc net.Conn) {
	return func(nc net.Conn) {
		defer nc.Close()
		if closes { // it answers the first request with its complaint
			nc.Read(make([]byte, 100))
		}
		nc.Write([]byte(text))
		if !closes {
			io.Copy(io.Discard, nc)
		}
	}
}

func TestAServerOfAnotherKindIsNamedInTheErrorOfACall(t *testing.T) {
	for _, c := range []struct {
		name, text string
		closes     bool
		kind       greeting.Kind
	}{
		{"SSH", "SSH-2.0-OpenSSH_9.6p1 Debian-4\r\n", false, greeting.SSH},
		{"SMTP", "220 mail.example.com ESMTP Postfix\r\n", false, greeting.SMTPOrFTP},
		{"HTTP", "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\r\n", true, greeting.HTTP},
		{"HTTP, wide", "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\r\n", true, greeting.HTTP},
		{"SSH, wide", "SSH-2.0-OpenSSH_9.6p1 Debian-4\r\n", true, greeting.SSH},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := Config{
					DialContext: pipeDial(greets(c.text, c.closes)), ReadTimeout: time.Second, MaxRetries: -1,
				}
				if c.name == "HTTP, wide" || c.name == "SSH, wide" {
					cfg.Framing = framing.Format{LengthSize: 4}
				}
				b := bubbleBroker(t, cfg)
				ready(t, b)
				synctest.Wait()
				began := time.Now()
				_, err := b.Send(bg, []byte("x"))
				require.ErrorContains(t, err, "it looks like "+c.kind.String())
				assert.LessOrEqual(t, time.Since(began), time.Second+coarse(b))
				// And so do calls for which there is no connection any more.
				for time.Since(began) < time.Minute && !errors.Is(err, ErrNoPoolsAvailable) {
					_, err = b.Send(bg, []byte("x"))
					require.ErrorContains(t, err, "it looks like "+c.kind.String())
				}
			})
		})
	}
}

func TestAConnectionOnWhichHalfAFrameStaysIsEnded(t *testing.T) {
	frame, err := framing.Append(nil, 77, []byte("somebody's"))
	require.NoError(t, err)
	for name, c := range map[string]struct {
		answered bool // the server has answered before
		silent   bool // nothing is asked
	}{
		"never answered":           {},
		"answered":                 {answered: true},
		"nothing asked":            {silent: true},
		"answered, nothing asked.": {answered: true, silent: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var dials atomic.Int64
				var k told
				b := bubbleBroker(t, Config{
					ReadTimeout: 2 * time.Second, SilenceTimeout: -1, OnDisconnect: k.note("down"),
					DialContext: pipeDial(func(nc net.Conn) {
						defer nc.Close()
						if dials.Add(1) > 1 {
							answerWith(unlessQuiet)(nc)
							return
						}
						if c.answered {
							first := framing.NewReader(nc, framing.Format{})
							f, _ := first.ReadFrame()
							unlessQuiet(nc, f)
						}
						nc.Write(frame[:9])
						io.Copy(io.Discard, nc)
					}),
				})
				ready(t, b)
				if c.answered {
					requireServed(t, b, 1)
				}
				synctest.Wait()
				if !c.silent {
					require.NoError(t, b.Go(bg, []byte("x"), func(_ []byte, err error) { assert.Error(t, err) }))
				}
				pass(2*time.Second - time.Millisecond)
				require.EqualValues(t, 1, dials.Load(), "not before ReadTimeout")
				pass(time.Second)
				ready(t, b)
				require.EqualValues(t, 2, dials.Load())
				requireServed(t, b, 10)
				k.mu.Lock()
				defer k.mu.Unlock()
				require.Len(t, k.why, 1)
				require.ErrorIs(t, k.why[0], ErrConnLost)
				require.ErrorContains(t, k.why[0], "a part of a frame")
			})
		})
	}
}

// Frames that come in halves, each less than ReadTimeout after the other, are in order.
func TestAConnectionWhoseFramesComeInHalvesGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bubbleBroker(t, Config{ReadTimeout: 2 * time.Second,
			DialContext: pipeDial(answerWith(func(nc net.Conn, f framing.Frame) {
				frame, _ := framing.Append(nil, f.ID, f.Payload)
				nc.Write(frame[:5])
				<-time.After(1500 * time.Millisecond) // virtual
				nc.Write(frame[5:])
			}))})
		requireServed(t, b, 20)
		assert.EqualValues(t, 1, b.Stats().Dials)
		assert.Zero(t, b.Stats().Suspected)
	})
}

// The last connection has ended before any reply, so its loss is why there is none; but a
// call that finds none has lost nothing, and is not made again.
func TestAnIdempotentCallIsNotMadeAgainWhereNobodyIs(t *testing.T) {
	eachWay(t, func(t *testing.T, call aWay) {
		s := newStage("door:1")
		s["door:1"].behave(shuts)
		b := s.broker(t, Config{ConnectWait: -1, BackoffBase: 1e6 * time.Hour, BackoffMax: 1e6 * time.Hour}, "door:1")
		s["door:1"].cut()
		synctest.Wait()
		require.Empty(t, b.conns())
		began := time.Now()
		_, err := call(b, bg, []byte("x"), Call{Idempotent: true})
		requireNotConnected(t, err, "door:1")
		require.ErrorIs(t, err, errNoAnswer)
		assert.Zero(t, b.Stats().Retries)
		assert.Zero(t, time.Since(began), "at once")
	})
}
