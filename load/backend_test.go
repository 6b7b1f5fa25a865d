package load

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ringwire/ringwire/load/request"
	"github.com/ringwire/ringwire/load/schedule"
	"github.com/ringwire/ringwire/load/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// backend is a server whose peer is the load. Its answer is called for each request, in
// their order on a connection, with how many there were before on all connections.
type backend struct {
	codec    *wire.Codec
	listener net.Listener
	answer   func(c *peer, n int, f wire.Frame)
	requests atomic.Int64
	conns    atomic.Int64
	wg       sync.WaitGroup

	mu   sync.Mutex // guards what follows
	open map[net.Conn]bool
}

// peer is one connection of a backend's.
type peer struct {
	b    *backend
	conn net.Conn
	dec  *wire.Decoder
	mu   sync.Mutex // for writes
}

func codecOf(t testing.TB, preset string) *wire.Codec {
	t.Helper()
	s, err := wire.Preset(preset)
	require.NoError(t, err)
	c, err := wire.New(s)
	require.NoError(t, err)
	return c
}

// reversed is the codec with which a server of a preset reads requests.
func reversed(t testing.TB, preset string) *wire.Codec {
	t.Helper()
	s, err := wire.Preset(preset)
	require.NoError(t, err)
	s.ReplyID, s.ID.Offset = s.ID.Offset, s.ReplyID
	s.Reply = wire.Mark{}
	c, err := wire.New(s)
	require.NoError(t, err)
	return c
}

// serve starts a backend that ends with the test; nil echoes.
func serve(t testing.TB, preset string, answer func(c *peer, n int, f wire.Frame)) *backend {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return serveOn(t, l, preset, answer)
}

func serveOn(t testing.TB, l net.Listener, preset string, answer func(c *peer, n int, f wire.Frame)) *backend {
	b := &backend{codec: reversed(t, preset), listener: l, answer: answer, open: make(map[net.Conn]bool)}
	if answer == nil {
		b.answer = func(c *peer, _ int, f wire.Frame) { c.echo(f) }
	}
	b.wg.Go(b.accept)
	t.Cleanup(b.close)
	return b
}

func (b *backend) close() {
	_ = b.listener.Close()
	b.mu.Lock()
	for c := range b.open {
		_ = c.Close()
	}
	b.open = nil
	b.mu.Unlock()
	b.wg.Wait()
}

func (b *backend) accept() {
	for {
		conn, err := b.listener.Accept()
		if err != nil {
			return
		}
		b.mu.Lock()
		if b.open == nil {
			_ = conn.Close()
		} else {
			b.open[conn] = true
			b.conns.Add(1)
			b.wg.Go(func() { b.talk(conn) })
		}
		b.mu.Unlock()
	}
}

func (b *backend) talk(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	c := &peer{b: b, conn: conn, dec: wire.NewDecoder(b.codec)}
	for {
		n, err := conn.Read(c.dec.Room())
		c.dec.Filled(n)
		for {
			f, bad := c.dec.Next()
			if bad != nil {
				return
			}
			if f == nil {
				break
			}
			b.answer(c, int(b.requests.Add(1)-1), *f)
		}
		if err != nil {
			return
		}
	}
}

func (c *peer) write(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = c.conn.Write(b)
}

// reply sends a payload with an ID.
func (c *peer) reply(id uint64, payload []byte) {
	b, err := c.b.codec.Append(nil, id, payload)
	if err != nil {
		panic(err)
	}
	c.write(b)
}

// echo sends a request's payload back.
func (c *peer) echo(f wire.Frame) { c.reply(f.ID, c.b.codec.Payload(nil, f.Bytes)) }

func (b *backend) addr() string { return b.listener.Addr().String() }

// silent reads and never answers.
func silent(*peer, int, wire.Frame) {}

// mixOf is a mix of one kind that expects something.
func mixOf(t testing.TB, payload, expect string) *request.Mix {
	t.Helper()
	tp, err := request.Compile(payload, nil, 1)
	require.NoError(t, err)
	e, err := request.ParseExpect(expect)
	require.NoError(t, err)
	m, err := request.NewMix([]request.Kind{{Name: "request", Weight: 1, Source: tp, Expect: e}})
	require.NoError(t, err)
	return m
}

// to is a closed loop of n requests to a backend that echoes.
func to(t testing.TB, b *backend, preset string, n int64) Config {
	t.Helper()
	target, err := ParseTarget(b.addr())
	require.NoError(t, err)
	return Config{Targets: []Target{target}, Codec: codecOf(t, preset), Mix: mixOf(t, "payload ${seq}", "echo"),
		Conns: 1, InFlight: 8, Requests: n, Timeout: 20 * time.Second, Drain: 20 * time.Second}
}

// atRate makes a config's loop open.
func atRate(c Config, rate float64, d time.Duration) Config {
	c.Schedule = &schedule.Config{Stages: []schedule.Stage{{For: d, From: rate, To: rate}}, N: c.Requests}
	c.Requests = 0
	return c
}

// result runs a config and checks what always holds.
func result(t testing.TB, c Config) *Result {
	t.Helper()
	res, err := Run(t.Context(), c)
	require.NoError(t, err)
	holds(t, res)
	return res
}

func holds(t testing.TB, res *Result) {
	t.Helper()
	for _, c := range []Counts{res.Total.Counts, res.Violations} {
		assert.Zero(t, c.Unexplained(), "%+v", c)
		assert.LessOrEqual(t, c.Late+c.Cut, c.Timeouts)
	}
	n := res.Total.Counts
	assert.EqualValues(t, n.OK()+n.Timeouts, res.Total.Response.TotalCount(), "response")
	assert.EqualValues(t, n.OK(), res.Total.Service.TotalCount(), "service")
	assert.EqualValues(t, n.Replied+n.Timeouts, res.Total.Lag.TotalCount(), "lag")
	var sums Counts
	for _, s := range res.Stages {
		sums.Add(&s.Counts)
	}
	if res.Open {
		assert.Equal(t, n, sums, "the stages together are all")
	}
	sums = Counts{}
	for _, k := range res.Kinds {
		sums.Add(&k.Counts)
	}
	if len(res.Kinds) > 0 {
		assert.Equal(t, n, sums, "the kinds together are all")
	}
}
