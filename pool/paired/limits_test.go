package paired

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSilentClientsDoNotHoldUpOthers(t *testing.T) {
	noLeaks(t)
	cert := anyCertificate(t)
	server := newServer(t, ServerConfig{
		MaxCapacity: 4, HandshakeTimeout: time.Hour,
		TLS: &tls.Config{Certificates: []tls.Certificate{cert}},
	})
	addr := server.server.listener.Addr().String()
	const silent = 50 // more than the pool has places
	for range silent {
		nc, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		defer nc.Close()
	}
	eventually(t, "they are there", func() bool { return guests(server) == silent })
	client := newClient(t, server, ClientConfig{MinCapacity: 4, MaxCapacity: 4, TLSMode: TLSSelfSigned})
	require.NoError(t, client.WaitReady(within(t)))
	eventually(t, "the server has its halves", func() bool { return server.Idle() == 4 })
	assert.GreaterOrEqual(t, guests(server), silent, "and still waits for the others")
	require.NoError(t, server.Close(), "which Close does not")
	eventually(t, "they have gone", func() bool { return guests(server) == 0 })
}

func guests(p *Pool) int {
	p.server.mu.Lock()
	defer p.server.mu.Unlock()
	return p.server.guests.Len()
}

func TestHandshakesThatEndTogetherDoNotOverfillThePool(t *testing.T) {
	noLeaks(t)
	cert := anyCertificate(t)
	server := newServer(t, ServerConfig{
		MaxCapacity: 1, HandshakeTimeout: time.Hour, TLS: &tls.Config{Certificates: []tls.Certificate{cert}},
	})
	var sockets []net.Conn
	for range 3 {
		nc, err := net.Dial("tcp", server.server.listener.Addr().String())
		require.NoError(t, err)
		defer nc.Close()
		sockets = append(sockets, nc)
	}
	eventually(t, "they are there", func() bool { return guests(server) == 3 })
	ids := 0
	for _, nc := range sockets {
		require.NoError(t, nc.SetDeadline(time.Now().Add(patience)))
		if _, err := readID(tls.Client(nc, &tls.Config{InsecureSkipVerify: true})); err == nil {
			ids++
		}
	}
	assert.Equal(t, 1, ids)
	eventually(t, "two are refused", func() bool { return server.Stats().Rejected == 2 })
	assert.Equal(t, 1, server.Active())

	// A client that comes now is closed before a handshake.
	late, err := net.Dial("tcp", server.server.listener.Addr().String())
	require.NoError(t, err)
	defer late.Close()
	require.NoError(t, late.SetDeadline(time.Now().Add(patience)))
	_, err = late.Read(make([]byte, 1))
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	require.Error(t, err)
}

func TestAGuestWhoHasHadItsTimeMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		server := newServer(t, ServerConfig{Listener: m, MaxHandshakes: 2, HandshakeTimeout: 4 * time.Second})
		dial := func() net.Conn {
			nc, err := m.Dial(bg, "")
			require.NoError(t, err)
			synctest.Wait()
			return nc
		}
		first, second := dial(), dial()
		refused := dial()
		require.True(t, ended(t, refused), "the others came just now")
		require.EqualValues(t, 1, server.Stats().Rejected)
		time.Sleep(time.Second)
		third := dial()
		require.True(t, ended(t, first), "the oldest has had a quarter of its four seconds")
		require.False(t, ended(t, third))
		require.False(t, ended(t, second))
		require.EqualValues(t, 1, server.Stats().Rejected)
	})
}

// ended reports whether the other end of a net.Pipe has been closed.
func ended(t *testing.T, nc net.Conn) bool {
	if nc.SetReadDeadline(past) != nil {
		return true
	}
	_, err := nc.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	return false
}

func TestAFullServerRefusesAndTheClientBacksOff(t *testing.T) {
	noLeaks(t)
	server := newServer(t, ServerConfig{MaxCapacity: 2})
	client := newClient(t, server, ClientConfig{MinCapacity: 3, MaxCapacity: 3})
	eventually(t, "one is refused", func() bool { return server.Stats().Rejected > 0 && client.Stats().HandshakeErrors > 0 })
	eventually(t, "two are there", func() bool { return client.Active() == 2 && server.Active() == 2 })
	assert.False(t, client.Ready())
	eventually(t, "the error says why", func() bool {
		return strings.Contains(client.WaitReady(lookOnly()).Error(), "it is full")
	})

	id, s, err := server.ServerGet(within(t))
	require.NoError(t, err)
	assert.Equal(t, 2, server.Active(), "taken ones count")
	require.NoError(t, s.Close())
	eventually(t, "there is room again", func() bool { return server.Stats().Opened == 3 })
	require.NotEmpty(t, id)
}

func TestIDsNeverCollideInOnePool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		drawn := byte(0)
		// A source of random numbers that repeats itself.
		server, err := newServerPool(ServerConfig{Listener: m}, func() connID { drawn++; return connID{drawn / 3} })
		require.NoError(t, err)
		server.wg.Go(server.manage)
		server.wg.Go(server.acceptAll)
		defer server.Close()
		client := newClient(t, nil, ClientConfig{Dial: m.Dial, MinCapacity: 10, MaxCapacity: 10})
		require.NoError(t, client.WaitReady(bg))
		synctest.Wait()
		assert.Len(t, server.shelf.open, 10)
		assert.Positive(t, server.Stats().Collisions)
		assert.Zero(t, server.Stats().HandshakeErrors, "another ID was drawn each time")
		assert.Empty(t, server.server.promised)
		assert.Zero(t, server.Stats().Bringing)
	})
}

func TestAClientRefusesAnIDItHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		client := newClient(t, nil, ClientConfig{Dial: m.Dial, MinCapacity: 2, MaxCapacity: 2, MinInterval: time.Hour, MaxInterval: time.Hour, BackoffMax: time.Hour})
		for range 2 { // a server that is out of order
			nc := <-m.queue
			_, err := nc.Write(make([]byte, idSize))
			require.NoError(t, err)
		}
		synctest.Wait()
		assert.Equal(t, 1, client.Active())
		assert.EqualValues(t, 1, client.Stats().Collisions)
		assert.EqualValues(t, 1, client.Stats().HandshakeErrors)
		assert.Zero(t, client.Stats().Bringing)
	})
}

func TestAServerThatBreaksWithoutRandomNumbersSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		server, err := newServerPool(ServerConfig{Listener: m}, func() connID { return connID{1} })
		require.NoError(t, err)
		server.wg.Go(server.manage)
		server.wg.Go(server.acceptAll)
		defer server.Close()
		newClient(t, nil, ClientConfig{Dial: m.Dial, MinCapacity: 2, MaxCapacity: 2, MinInterval: time.Hour, MaxInterval: time.Hour, BackoffMax: time.Hour})
		synctest.Wait()
		assert.Equal(t, 1, server.Active())
		assert.EqualValues(t, 1, server.Stats().HandshakeErrors)
	})
}

func TestSettingsThatMakeNoSenseAreRefused(t *testing.T) {
	cert := anyCertificate(t)
	for want, c := range map[string]ClientConfig{
		"Addr is empty":                 {},
		"MaxCapacity":                   {Addr: "h:1", MaxCapacity: MaxCapacity + 1},
		"MaxInterval":                   {Addr: "h:1", MaxInterval: 25 * time.Hour, BackoffMax: time.Hour},
		"DialTimeout":                   {Addr: "h:1", DialTimeout: 25 * time.Hour},
		"BackoffMax":                    {Addr: "h:1", MinInterval: time.Second, BackoffMax: time.Millisecond},
		"ClientConfig.TLSMode is 7":     {Addr: "h:1", TLSMode: 7},
		"TLSMode is TLSNone beside TLS": {Addr: "h:1", TLS: &tls.Config{}},
		"Fingerprint":                   {Addr: "h:1", TLSMode: TLSSelfSigned, Fingerprint: "abc"},
		"64 digits":                     {Addr: "h:1", TLSMode: TLSSelfSigned, Fingerprint: strings.Repeat("00", 31)},
		"contradicts TLSVerified":       {Addr: "h:1", TLSMode: TLSVerified, TLS: &tls.Config{InsecureSkipVerify: true}},
		"MaxVersion is TLS 1.2":         {Addr: "h:1", TLSMode: TLSVerified, TLS: &tls.Config{MaxVersion: tls.VersionTLS12}},
		"ServerName is empty":           {Dial: newMemory().Dial, TLSMode: TLSVerified},
	} {
		p, err := NewClientPool(c)
		require.ErrorContains(t, err, want)
		require.Nil(t, p)
	}
	ln := listen(t)
	defer ln.Close()
	for want, c := range map[string]ServerConfig{
		"Listener is nil":       {},
		"MaxCapacity":           {Listener: ln, MaxCapacity: MaxCapacity + 1},
		"MaxHandshakes":         {Listener: ln, MaxHandshakes: MaxCapacity + 1},
		"Interval":              {Listener: ln, Interval: 25 * time.Hour},
		"no certificate":        {Listener: ln, TLS: &tls.Config{}},
		"MaxVersion is TLS 1.2": {Listener: ln, TLS: &tls.Config{MaxVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}},
	} {
		p, err := NewServerPool(c)
		require.ErrorContains(t, err, want)
		require.Nil(t, p)
	}
}

func TestTheCallersTLSSettingsAreNotChanged(t *testing.T) {
	conf := &tls.Config{}
	c := ClientConfig{Addr: "host.test:1", TLSMode: TLSSelfSigned, TLS: conf, Fingerprint: strings.Repeat("ab", 32)}
	got, err := clientTLS(&c)
	require.NoError(t, err)
	assert.True(t, got.InsecureSkipVerify)
	assert.Equal(t, "host.test", got.ServerName)
	assert.EqualValues(t, tls.VersionTLS13, got.MinVersion)
	assert.False(t, conf.InsecureSkipVerify)
	assert.Empty(t, conf.ServerName)
	assert.Nil(t, conf.VerifyConnection)
	c = ClientConfig{Addr: "[::1]:1", TLSMode: TLSVerified}
	got, err = clientTLS(&c)
	require.NoError(t, err)
	assert.Equal(t, "::1", got.ServerName)
	assert.False(t, got.InsecureSkipVerify)
}

func TestErrorsAreCountedByHandAndByThePool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := memoryPair(t, ServerConfig{}, ClientConfig{})
		require.NoError(t, client.WaitReady(bg))
		require.Zero(t, client.ErrorCount())
		client.AddError()
		client.AddError()
		require.Equal(t, uint64(2), client.ErrorCount())
		client.ResetError()
		require.Zero(t, client.ErrorCount())
		require.NoError(t, server.Close())
		client.Clean()
		time.Sleep(time.Minute)
		require.EqualValues(t, client.Stats().DialErrors+client.Stats().HandshakeErrors, client.ErrorCount())
		require.Positive(t, client.ErrorCount())
	})
}

func TestTheLogNamesConnectionsAndLimitsFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var text bytes.Buffer
		logger := slog.New(slog.NewTextHandler(locked{&mu, &text}, &slog.HandlerOptions{Level: slog.LevelDebug}))
		server, client := memoryPair(t, ServerConfig{Logger: logger}, ClientConfig{Logger: logger})
		id, s, err := server.ServerGet(bg)
		require.NoError(t, err)
		c, err := client.ClientGet(bg, id)
		require.NoError(t, err)
		require.NoError(t, c.Close())
		require.NoError(t, s.Close())
		for range 100 {
			server.failed(failedAddress, io.ErrUnexpectedEOF, "192.0.2.1")
		}
		time.Sleep(logEvery)
		server.failed(failedAddress, io.ErrUnexpectedEOF, "192.0.2.1")
		mu.Lock()
		defer mu.Unlock()
		lines := text.String()
		assert.Contains(t, lines, "id="+id)
		assert.Equal(t, 2, strings.Count(lines, "peer not allowed"))
		assert.Contains(t, lines, "suppressed=99")
	})
}

type locked struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

func TestCopiesThroughAConnectionReachItsPeer(t *testing.T) {
	noLeaks(t)
	server := newServer(t, ServerConfig{})
	client := newClient(t, server, ClientConfig{})
	_, s, c := take(t, server, client)
	_, err := s.(*Conn).ReadFrom(io.MultiReader(strings.NewReader("so: "), failing{}))
	require.ErrorIs(t, err, io.ErrNoProgress)
	n, err := io.Copy(s, strings.NewReader("hello"))
	require.NoError(t, err)
	require.EqualValues(t, 5, n)
	require.NoError(t, s.(*Conn).NetConn().(*net.TCPConn).CloseWrite())
	var got bytes.Buffer
	_, err = io.Copy(&got, c)
	require.NoError(t, err)
	assert.Equal(t, "so: hello", got.String())
	require.ErrorIs(t, server.Put(s.(*Conn).ID(), s), ErrBroken, "a copy has failed")
	require.ErrorIs(t, client.Put(c.(*Conn).ID(), c), ErrBroken, "its end has been read")
}

type failing struct{}

func (failing) Read([]byte) (int, error)  { return 0, io.ErrNoProgress }
func (failing) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestAConnectionWhoseDataWasLostCannotBePutBack(t *testing.T) {
	noLeaks(t)
	server := newServer(t, ServerConfig{})
	client := newClient(t, server, ClientConfig{})
	id, s, c := take(t, server, client)
	_, err := s.Write([]byte("x"))
	require.NoError(t, err)
	_, err = c.(*Conn).WriteTo(failing{})
	require.ErrorIs(t, err, io.ErrShortWrite)
	require.ErrorIs(t, client.Put(id, c), ErrBroken)
}

func TestFlushReachesWhatIsTakenAndCleanDoesNot(t *testing.T) {
	noLeaks(t)
	server := newServer(t, ServerConfig{})
	client := newClient(t, server, ClientConfig{MinCapacity: 2, MaxCapacity: 2})
	require.NoError(t, client.WaitReady(within(t)))
	id, s, c := take(t, server, client)
	require.Equal(t, 1, client.Clean())
	talk(t, s, c, "undisturbed")
	require.Equal(t, 1, client.InUse())
	eventually(t, "another is dialled", func() bool { return client.Idle() == 1 })
	require.Equal(t, 2, client.Flush())
	_, err := c.Read(make([]byte, 1))
	require.ErrorIs(t, err, net.ErrClosed)
	require.ErrorIs(t, client.Put(id, c), ErrBroken)
	require.NoError(t, client.WaitReady(within(t)))
	ctx, cancel := context.WithCancel(bg)
	cancel()
	require.NoError(t, client.WaitReady(ctx), "it is ready")
}

// Between a look at a connection, or a handshake, and the lock, the pool may be
// flushed or closed.
func TestWhatComesTooLateIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := memoryPair(t, ServerConfig{}, ClientConfig{})
		_, nc, err := server.ServerGet(bg)
		require.NoError(t, err)
		server.Flush()
		require.ErrorIs(t, server.giveBack(nc.(*Conn).e), ErrBroken)
		_, nc, err = server.ServerGet(bg)
		require.NoError(t, err)
		require.NoError(t, client.Close())
		require.NoError(t, server.Close())
		require.ErrorIs(t, server.giveBack(nc.(*Conn).e), ErrClosed)
		require.ErrorIs(t, server.Put(nc.(*Conn).ID(), nc), ErrClosed)
		server.mu.Lock()
		defer server.mu.Unlock()
		server.bringing++
		_, err = server.joinLocked(connID{}, nil, time.Now())
		require.ErrorIs(t, err, ErrClosed)
		require.Zero(t, server.bringing)
		require.Empty(t, server.shelf.open)
	})
}

func TestASuccessForgetsTheLastFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		newServer(t, ServerConfig{Listener: m})
		tries := 0
		client := newClient(t, nil, ClientConfig{Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			if tries++; tries == 1 {
				return nil, io.ErrNoProgress
			}
			return m.Dial(ctx, addr)
		}})
		require.NoError(t, client.WaitReady(bg))
		synctest.Wait()
		_, err := client.ClientGet(lookOnly(), "0123456789abcdef")
		require.NotErrorIs(t, err, io.ErrNoProgress)
		assert.EqualValues(t, 1, client.ErrorCount())
	})
}
