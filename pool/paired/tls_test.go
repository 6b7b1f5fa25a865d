package paired

import (
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/internal/liveness"
	"github.com/ringwire/ringwire/internal/testca"
)

func fingerprint(c tls.Certificate) string {
	return fmt.Sprintf("%x", sha256.Sum256(c.Certificate[0]))
}

// withColons writes a fingerprint as openssl does.
func withColons(s string) string {
	var pairs []string
	for ; s != ""; s = s[2:] {
		pairs = append(pairs, strings.ToUpper(s[:2]))
	}
	return strings.Join(pairs, ":")
}

func TestTLSModesParse(t *testing.T) {
	for text, want := range map[string]TLSMode{"0": TLSNone, "1": TLSSelfSigned, "2": TLSVerified} {
		mode, err := ParseTLSMode(text)
		require.NoError(t, err)
		assert.Equal(t, want, mode)
		assert.Equal(t, text, mode.String())
	}
	for _, text := range []string{"", "3", "-1", "01", " 1", "none", strings.Repeat("x", 1000)} {
		_, err := ParseTLSMode(text)
		require.Error(t, err, text)
		assert.Less(t, len(err.Error()), 300)
	}
	assert.Equal(t, "TLSMode(9)", TLSMode(9).String())
}

// TestHandshakes is the matrix of which clients get in and which do not. Nobody gets in
// without TLS where TLS was asked for.
func TestHandshakes(t *testing.T) {
	ca, other := testca.New(t), testca.New(t)
	later, before := time.Now().Add(time.Hour), time.Now().Add(-time.Minute)
	good := issue(t, ca, "paired.test", later)
	old := issue(t, ca, "paired.test", before)
	server := func(c tls.Certificate) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{c}} }
	mutual := &tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool()}
	roots := &tls.Config{RootCAs: ca.Pool()}
	identified := func(c tls.Certificate) *tls.Config {
		return &tls.Config{RootCAs: ca.Pool(), Certificates: []tls.Certificate{c}}
	}
	legacy := server(good)
	legacy.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		c := server(good)
		c.MaxVersion = tls.VersionTLS12
		return c, nil
	}
	refusing := &tls.Config{RootCAs: ca.Pool(), VerifyConnection: func(tls.ConnectionState) error { return errors.New("no") }}

	for name, c := range map[string]struct {
		server *tls.Config
		client ClientConfig
		ok     bool
	}{
		"plain":                       {nil, ClientConfig{}, true},
		"plain client, TLS server":    {server(good), ClientConfig{}, false},
		"TLS client, plain server":    {nil, ClientConfig{TLSMode: TLSSelfSigned}, false},
		"self-signed":                 {server(good), ClientConfig{TLSMode: TLSSelfSigned}, true},
		"self-signed, expired":        {server(old), ClientConfig{TLSMode: TLSSelfSigned}, true},
		"pinned":                      {server(good), ClientConfig{TLSMode: TLSSelfSigned, Fingerprint: fingerprint(good)}, true},
		"pinned with colons":          {server(good), ClientConfig{TLSMode: TLSSelfSigned, Fingerprint: withColons(fingerprint(good))}, true},
		"pinned to another":           {server(good), ClientConfig{TLSMode: TLSSelfSigned, Fingerprint: fingerprint(old)}, false},
		"verified by address":         {server(good), ClientConfig{TLSMode: TLSVerified, TLS: roots}, true},
		"verified by name":            {server(good), ClientConfig{TLSMode: TLSVerified, TLS: roots, ServerName: "paired.test"}, true},
		"verified and pinned":         {server(good), ClientConfig{TLSMode: TLSVerified, TLS: roots, Fingerprint: fingerprint(good)}, true},
		"verified, pinned to another": {server(good), ClientConfig{TLSMode: TLSVerified, TLS: roots, Fingerprint: fingerprint(old)}, false},
		"wrong name":                  {server(good), ClientConfig{TLSMode: TLSVerified, TLS: roots, ServerName: "else.test"}, false},
		"expired":                     {server(old), ClientConfig{TLSMode: TLSVerified, TLS: roots}, false},
		"unknown authority":           {server(good), ClientConfig{TLSMode: TLSVerified}, false},
		"the caller's own check":      {server(good), ClientConfig{TLSMode: TLSVerified, TLS: refusing, Fingerprint: fingerprint(good)}, false},
		"mutual":                      {mutual, ClientConfig{TLSMode: TLSVerified, TLS: identified(good)}, true},
		"mutual, no certificate":      {mutual, ClientConfig{TLSMode: TLSVerified, TLS: roots}, false},
		"mutual, foreign certificate": {mutual, ClientConfig{TLSMode: TLSVerified, TLS: identified(issue(t, other, "x", later))}, false},
		"mutual, expired certificate": {mutual, ClientConfig{TLSMode: TLSVerified, TLS: identified(old)}, false},
		"server of TLS 1.2":           {legacy, ClientConfig{TLSMode: TLSSelfSigned}, false},
	} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			s := newServer(t, ServerConfig{TLS: c.server})
			// A plain client reads what the server sends, nothing: the server ends that.
			c.client.HandshakeTimeout = patience
			if !c.ok {
				c.client.HandshakeTimeout = 200 * time.Millisecond
			}
			p := newClient(t, s, c.client)
			if !c.ok {
				eventually(t, "it is refused", func() bool { return p.Stats().HandshakeErrors > 0 })
				assert.Zero(t, p.Stats().Opened)
				assert.False(t, p.Ready())
				return
			}
			_, near, far := take(t, s, p)
			talk(t, near, far, "hello")
			talk(t, far, near, "hello")
			if tc, secured := near.(*Conn).NetConn().(*tls.Conn); secured {
				assert.EqualValues(t, tls.VersionTLS13, tc.ConnectionState().Version)
			}
		})
	}
}

func TestAnOldClientIsRefusedWhateverTheCallersHookAllows(t *testing.T) {
	noLeaks(t)
	cert := anyCertificate(t)
	server := newServer(t, ServerConfig{TLS: &tls.Config{
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return &tls.Config{Certificates: []tls.Certificate{cert}}, nil
		},
	}})
	old, err := tls.Dial("tcp", server.server.listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
	if err == nil {
		defer old.Close()
		require.NoError(t, old.SetDeadline(time.Now().Add(patience)))
		_, err = readID(old)
	}
	require.Error(t, err)
	eventually(t, "it is counted", func() bool { return server.Stats().HandshakeErrors == 1 })
	assert.Zero(t, server.Stats().Opened)
}

func TestAPinHoldsForResumedSessions(t *testing.T) {
	noLeaks(t)
	cert := anyCertificate(t)
	server := newServer(t, ServerConfig{TLS: &tls.Config{Certificates: []tls.Certificate{cert}}})
	cache := tls.NewLRUClientSessionCache(4)
	first := newClient(t, server, ClientConfig{TLSMode: TLSSelfSigned, TLS: &tls.Config{ClientSessionCache: cache}})
	require.NoError(t, first.WaitReady(within(t)))
	second := newClient(t, server, ClientConfig{TLSMode: TLSSelfSigned, TLS: &tls.Config{ClientSessionCache: cache},
		Fingerprint: strings.Repeat("00", 32)})
	eventually(t, "it is refused", func() bool { return second.Stats().HandshakeErrors > 0 })
	assert.Zero(t, second.Stats().Opened)
	_, _, err := second.ServerGet(lookOnly())
	assert.ErrorContains(t, err, "fingerprint")
}

// secured returns pools with TLS, with a connection that is taken on the side that
// is not looked at.
func secured(t *testing.T) (server, client *Pool) {
	cert := anyCertificate(t)
	server = newServer(t, ServerConfig{Interval: time.Hour, TLS: &tls.Config{Certificates: []tls.Certificate{cert}}})
	client = newClient(t, server, ClientConfig{TLSMode: TLSSelfSigned, MinInterval: time.Hour, MaxInterval: time.Hour, BackoffMax: time.Hour})
	require.NoError(t, server.WaitReady(within(t)))
	require.NoError(t, client.WaitReady(within(t)))
	return server, client
}

// Under TLS a peer that closes sends an alert first, which looks like data.
func TestAHalfClosedUnderTLSIsNotHandedOut(t *testing.T) {
	noLeaks(t)
	server, client := secured(t)
	id, s, err := server.ServerGet(within(t))
	require.NoError(t, err)
	require.NoError(t, s.Close())
	client.mu.Lock()
	half := client.shelf.idle.Back()
	client.mu.Unlock()
	eventually(t, "the alert arrives", func() bool { return liveness.Peek(socket(half.nc)) != nil })
	_, err = client.ClientGet(lookOnly(), id)
	require.ErrorIs(t, err, ErrNotFound)
	assert.EqualValues(t, 1, client.Stats().Died)
}

func TestDataThatIsThereBeforeTheGetIsKept(t *testing.T) {
	for _, repeated := range []bool{false, true} {
		noLeaks(t)
		server, client := secured(t)
		id, s, err := server.ServerGet(within(t))
		require.NoError(t, err)
		client.mu.Lock()
		half := client.shelf.idle.Back()
		client.mu.Unlock()
		sent := make(chan error, 1)
		go func() { _, err := s.Write([]byte("hello")); sent <- err }()
		require.NoError(t, <-sent)
		eventually(t, "it arrives", func() bool { return liveness.Peek(socket(half.nc)) != nil })
		if repeated {
			client.sweep() // keeps a byte already
			require.True(t, half.ahead.full())
		}
		c, err := client.ClientGet(lookOnly(), id)
		require.NoError(t, err)
		if repeated {
			var got strings.Builder
			go s.Close()
			_, err := c.(*Conn).WriteTo(&got)
			require.NoError(t, err)
			assert.Equal(t, "hello", got.String())
			require.ErrorIs(t, client.Put(id, c), ErrBroken)
			continue
		}
		got := make([]byte, 5)
		n, err := c.Read(got[:0])
		require.NoError(t, err)
		require.Zero(t, n)
		n, err = c.Read(got)
		require.NoError(t, err)
		require.Equal(t, 1, n, "what was read ahead")
		n, err = c.Read(got[1:])
		require.NoError(t, err)
		require.Equal(t, "hello", string(got[:1+n]))
		talk(t, c, s, "hello yourself")
		require.NoError(t, client.Put(id, c))
	}
}

// Part of a record says nothing, and does not hold up the get for long.
func TestPartOfARecordIsNoReasonToClose(t *testing.T) {
	noLeaks(t)
	server, client := secured(t)
	id, s, err := server.ServerGet(within(t))
	require.NoError(t, err)
	_, err = socket(s.(*Conn).NetConn()).Write([]byte{23, 3, 3})
	require.NoError(t, err)
	client.mu.Lock()
	half := client.shelf.idle.Back()
	client.mu.Unlock()
	eventually(t, "it arrives", func() bool { return liveness.Peek(socket(half.nc)) != nil })
	client.sweep()
	require.True(t, half.partial, "sweeps leave it alone from now on")
	c, err := client.ClientGet(lookOnly(), id)
	require.NoError(t, err)
	require.False(t, half.ahead.full())
	require.NoError(t, c.Close())
}

func TestPutFindsWhatTLSHasBuffered(t *testing.T) {
	noLeaks(t)
	server, client := secured(t)
	id, s, c := take(t, server, client)
	_, err := s.Write([]byte("hello"))
	require.NoError(t, err)
	require.NoError(t, c.SetReadDeadline(time.Now().Add(patience)))
	_, err = c.Read(make([]byte, 1))
	require.NoError(t, err)
	require.NoError(t, liveness.Peek(socket(c.(*Conn).e.nc)), "nothing waits on the socket")
	require.ErrorIs(t, client.Put(id, c), ErrUnread)

	// A byte that was read ahead and that nobody wanted counts as well.
	server, client = secured(t)
	id, s, err = server.ServerGet(within(t))
	require.NoError(t, err)
	_, err = s.Write([]byte("h"))
	require.NoError(t, err)
	half := client.shelf.idle.Back()
	eventually(t, "it arrives", func() bool { return liveness.Peek(socket(half.nc)) != nil })
	c, err = client.ClientGet(lookOnly(), id)
	require.NoError(t, err)
	require.True(t, half.ahead.full())
	require.ErrorIs(t, client.Put(id, c), ErrUnread)
}

func TestAReadDeadlineDoesNotBreakTLS(t *testing.T) {
	noLeaks(t)
	server, client := secured(t)
	for range 3 {
		id, s, c := take(t, server, client)
		require.NoError(t, c.SetReadDeadline(time.Unix(1, 0)))
		_, err := c.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.NoError(t, c.SetReadDeadline(time.Time{}))
		talk(t, s, c, "hello")
		talk(t, c, s, "hello")
		require.NoError(t, client.Put(id, c))
		require.NoError(t, server.Put(id, s))
	}
	assert.EqualValues(t, 1, server.Stats().Opened)
}

func TestAListenerOfTLSConnectionsWorksToo(t *testing.T) {
	noLeaks(t)
	cert := anyCertificate(t)
	ln := tls.NewListener(listen(t), &tls.Config{Certificates: []tls.Certificate{cert}})
	server := newServer(t, ServerConfig{Listener: ln})
	client := newClient(t, server, ClientConfig{TLSMode: TLSSelfSigned})
	_, s, c := take(t, server, client)
	talk(t, s, c, "hello")
}
