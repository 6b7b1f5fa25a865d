package engine

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"time"

	"github.com/ringwire/ringwire/balance"
	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/health"
	"github.com/ringwire/ringwire/internal/defaults"
	"github.com/ringwire/ringwire/internal/netaddr"
	"github.com/ringwire/ringwire/internal/sockopt"
	"github.com/ringwire/ringwire/internal/stopwatch"
	"github.com/ringwire/ringwire/taskid"
)

// The defaults of Config.
const (
	DefaultQueueSize       = 1000
	DefaultMaxInFlight     = 8192
	DefaultMaxRetries      = 3
	DefaultRequestTimeout  = 30 * time.Second
	DefaultWriteTimeout    = 5 * time.Second
	DefaultReadTimeout     = 5 * time.Second
	DefaultDialTimeout     = 5 * time.Second
	DefaultShutdownTimeout = 5 * time.Second
	DefaultBusyPoll        = 100 * time.Microsecond
	DefaultKeepAlive       = 30 * time.Second
	DefaultBackoffBase     = 50 * time.Millisecond
	DefaultBackoffMax      = 5 * time.Second
	DefaultEjectionTime    = health.DefaultEjectionTime
	DefaultSlowStart       = health.DefaultSlowStart
	DefaultConnectWait     = time.Second

	DefaultMaxInFlightBytes = 8 << 20
)

// MaxTimeout is the longest timeout a Config takes; use a negative value for none.
const MaxTimeout = defaults.MaxTimeout

// userTimeout is how long sent data may stay unacknowledged before the kernel gives the
// connection up; without it a silent partition is noticed only after many minutes of
// retransmission.
const userTimeout = 10 * time.Second

// MaxBusyPoll is the longest Config.BusyPoll.
const MaxBusyPoll = time.Millisecond

// Toggle is a switch whose zero value is the default.
type Toggle int8

// The positions of a Toggle.
const (
	Off     Toggle = -1
	Default Toggle = 0
	On      Toggle = 1
)

// Config says how a Broker works. The zero value of every field is its
// documented default; a negative value switches the feature off where that is
// possible. New copies the Config.
type Config struct {
	// Addrs are the servers: "host:port", "tcp://host:port" or "unix:///path".
	// At least one, none of them twice. More may be added, see Broker.AddServer.
	Addrs []string

	// Balance is how a server is chosen for each request, if there are several that are up,
	// see package balance. Default balance.RoundRobin.
	Balance balance.Strategy

	// ConnsPerAddr is the number of connections to each address. Default: a quarter of
	// GOMAXPROCS when New is called, at least 1, as many as a server on such a machine
	// has event loops. Every connection carries any number of requests at once, and
	// fewer connections make larger batches: on two processors a second one gains
	// nothing, and more lose. More pay when a connection's reader saturates a processor.
	ConnsPerAddr int

	// QueueSize bounds the requests that wait, for each address, while no connection takes
	// bytes: before one is up, and while the peers read nothing. Beside them, up to 288 KiB
	// of frames (ring.Chunks of ring.ChunkBytes) are on their way to each socket. While
	// bytes move, callers that block are bounded by MaxInFlight alone. Default 1000.
	QueueSize int

	// MaxInFlight bounds the requests without a reply, per connection, including those
	// given up whose reply may still come, and those whose callback has been told of an
	// error and has not returned. Default 8192, at most 2^20.
	MaxInFlight int

	// MaxInFlightBytes bounds the bytes of requests that were written and have no reply, per
	// connection. One request always passes, however large; what comes when it is reached
	// waits in the queue, and goes on with the next reply. A request that is given up gives
	// its bytes back. Default 8 MiB, negative: no bound.
	MaxInFlightBytes int

	// WaitQueue makes Send, SendInto and SendBatch wait for room when there is none, first
	// come, first served, until their context ends or RequestTimeout passes, instead of
	// failing with ErrQueueFull. Go never waits.
	WaitQueue bool

	// RequestTimeout bounds a whole call, queueing and repetitions included, if neither
	// its context nor Call.Timeout gives it a deadline. Default 30 s, negative: none.
	RequestTimeout time.Duration

	// ReadTimeout bounds one attempt, from when the socket has taken the request until its
	// reply has come: of calls that bring no deadline, and of those that are
	// Call.Idempotent, which then go elsewhere. Only this request fails. Its time stands
	// still while a frame of more than 64 KiB arrives on the connection. Each 64 KiB of a
	// frame that has begun to arrive must come within as long, at least a second, or the
	// connection is closed.
	// Default 5 s, negative: none.
	ReadTimeout time.Duration

	// WriteTimeout bounds how long the socket may take for 64 KiB. When it passes the
	// connection is closed. Default 5 s, negative: none.
	WriteTimeout time.Duration

	// SilenceTimeout is after how long without a byte a connection is suspect on which a
	// request is unanswered; with Extensions a ping after half of it asks for a byte. A
	// suspect connection gets no more requests, and a new one is made; the old one stays
	// until each of its requests has its reply or has met its own deadline. So it costs nobody
	// a call, but while another address is up, one that is silent gets a request at a time
	// until it replies. It doubles with each time that no reply has come since the last.
	// Default: ReadTimeout, negative: never.
	SilenceTimeout time.Duration

	// ConnectWait is for how long calls are kept, in their order, when the last connection
	// was lost. When it passes they fail with ErrNoPoolsAvailable, and so do later ones, at
	// once, until a connection is up. (At the start calls are kept until the first dial to
	// each address has ended.) Default 1 s, negative: they fail at once.
	ConnectWait time.Duration

	// DialTimeout bounds one attempt to connect, TLS handshake included.
	// Default 5 s, negative: none.
	DialTimeout time.Duration

	// ShutdownTimeout bounds Shutdown and Close. Default 5 s; negative: Shutdown
	// is bounded by its context alone, and Close by nothing.
	ShutdownTimeout time.Duration

	// BusyPoll is for how long at most the sockets are polled for replies that are due
	// before a goroutine sleeps in a read, yielding to every goroutine that can run; while
	// that is in vain it is hardly tried. It saves two wake-ups for each round trip and
	// costs processor time while replies are awaited. At most half of the processors poll.
	// Default 100 µs, at most MaxBusyPoll; negative: never. Connections that are not of
	// package net, as DialContext may return them, are not polled; TLS over such that are is.
	BusyPoll time.Duration

	// MaxRetries is how often a call is repeated within its deadline, at another server at once,
	// at the same one after a pause (see BackoffBase) if it was written: one of
	// which no byte was written, one that the server says it has not executed, and one that
	// is Call.Idempotent after ErrConnLost and ReadTimeout. A refused call goes to addresses
	// that have not refused it. Go keeps its request only if it is Call.Idempotent, so others
	// are not repeated. Of those that a server was sent and may have to do twice, or was too
	// busy for, no more are repeated than a fifth of the requests that are answered, beside ten
	// at first, and up to MaxInFlight saved up: a fault of all servers does not multiply their
	// load. Stats.RetriesDenied counts the others. Default 3, negative: never.
	MaxRetries int

	// BackoffBase and BackoffMax bound the pause after the n-th time in a row that a dial
	// failed, or a connection ended, since the last reply of the address: it is uniform in
	// [0, min(BackoffMax, BackoffBase·2ⁿ⁻¹)] (full jitter). While calls wait it ends one to
	// two seconds after the last dial. So is the pause before the n-th repetition of a call at
	// the same server, but at most half of the time that the call has left. Defaults 50 ms and 5 s.
	BackoffBase, BackoffMax time.Duration

	// EjectionTime is for how long a server gets no request whose calls fail: three times in a row
	// ReadTimeout has passed without a reply. It doubles each time, up to 5 minutes, until the
	// server has stood for as long; then one request at a time decides. At most half of the
	// servers that have a connection are out, and never the last. Default 5 s, up to a tenth less
	// at random; negative: never. MaxRetries says what becomes of the calls.
	EjectionTime time.Duration

	// Probe, if not nil, has servers probed that are up and of which nothing comes. Three probes in
	// a row that fail count as three calls that fail do, see EjectionTime. Default: the broker
	// sends nothing of its own; TCP probes an idle connection, see KeepAlive, which a server passes
	// that hangs.
	Probe *Probe

	// SlowStart is how long the share of a server grows, from a tenth, that has come back.
	// Default 3 s, negative: it has its whole share with its first reply.
	SlowStart time.Duration

	// MaxLifetime is after how long a connection is replaced, so that servers which are
	// added behind a balancer get their share: for each by up to a tenth less. The new one
	// is made first, and no request is lost. Default 0: never.
	MaxLifetime time.Duration

	// IdleTimeout is after how long without a request a connection is closed. The next call
	// waits for a new one. Default 0: never.
	IdleTimeout time.Duration

	// KeepAlive is the idle time before TCP probes a connection, and between
	// probes, also on what DialContext returns and below TLS. Default 30 s, negative:
	// off.
	KeepAlive time.Duration

	// OptimizeMemory reuses the memory of requests and replies from call to call.
	// Default on.
	OptimizeMemory Toggle

	// Framing is the wire format. The zero value is the anet frame. It must be
	// the server's.
	Framing framing.Format

	// Extensions has each connection begin with a hello, and both ends speak the extension
	// of docs/PROTOCOL.md section 8. Then a server can refuse a request (RefusedError) or
	// say that it has failed (RemoteError); it knows how long the caller waits; it can go
	// away without losing one: what it has not executed goes elsewhere; and it is asked
	// by pings whether it is alive, so that slow handlers are not taken for silence. The
	// server must have it switched on, too, else dials fail with ErrNoExtension. The largest
	// payload is 4 bytes less. Default off: then nothing on the wire is different.
	Extensions bool

	// DialContext connects; nil uses a net.Dialer. network is "tcp" or "unix".
	// It should return when ctx ends; when it does not, the broker stops waiting
	// for it and closes what it returns later. A connection other than *net.TCPConn
	// and *net.UnixConn is written to by a goroutine of its own, unless it has a
	// method PlainConn() net.Conn, by which it promises that its Write does nothing but
	// write the same bytes to the connection it returns.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)

	// TLS, if not nil, secures every connection. An empty ServerName is taken from
	// the address. Sessions are resumed if there is a ClientSessionCache; package certs
	// sets one for clients without a certificate.
	TLS *tls.Config

	// OnPush receives frames of the server that answer no request, with their task ID, any
	// that is not in flight, 0 included; what server.Conn.Push sends, for instance. It is a
	// callback like those of Broker.Go: it runs on the goroutine that reads, payload is
	// borrowed, it must not block. Default: they are dropped and counted, and more than a
	// thousand in a second end the connection.
	OnPush func(addr string, id uint32, payload []byte)

	// OnConnect and OnDisconnect are told that a connection to a server has come up, and that
	// one has ended and why; OnConnect's cause is nil. They run one after
	// another on a goroutine of their own: when one blocks, up to 64 more wait, and the
	// next are left out.
	OnConnect, OnDisconnect func(addr string, cause error)

	// LatencyEvery says that one of so many calls is timed for Broker.Latency, chosen at random:
	// quantiles stay right with 256, which costs a percent or two where millions of calls are made a
	// second (make metrics-cost); 1 times each. Default 0: none is. At most 1,048,576.
	LatencyEvery int

	// Logger receives connection events, never payload; about one address a line a second
	// at most, after the first few. Default: none.
	Logger *slog.Logger
}

// withDefaults returns a copy with every zero value replaced.
func (c Config) withDefaults() Config {
	c.Addrs = append([]string(nil), c.Addrs...)
	defaults.Set(&c.ConnsPerAddr, defaultConns())
	defaults.Set(&c.QueueSize, DefaultQueueSize)
	defaults.Set(&c.MaxInFlight, DefaultMaxInFlight)
	defaults.Set(&c.MaxInFlightBytes, DefaultMaxInFlightBytes)
	defaults.Set(&c.MaxRetries, DefaultMaxRetries)
	defaults.Set(&c.RequestTimeout, DefaultRequestTimeout)
	defaults.Set(&c.WriteTimeout, DefaultWriteTimeout)
	defaults.Set(&c.ReadTimeout, DefaultReadTimeout)
	defaults.Set(&c.DialTimeout, DefaultDialTimeout)
	defaults.Set(&c.ShutdownTimeout, DefaultShutdownTimeout)
	defaults.Set(&c.BusyPoll, DefaultBusyPoll)
	defaults.Set(&c.KeepAlive, DefaultKeepAlive)
	defaults.Set(&c.BackoffBase, DefaultBackoffBase)
	defaults.Set(&c.BackoffMax, max(DefaultBackoffMax, c.BackoffBase))
	defaults.Set(&c.EjectionTime, DefaultEjectionTime)
	defaults.Set(&c.SlowStart, DefaultSlowStart)
	defaults.Set(&c.SilenceTimeout, c.ReadTimeout)
	defaults.Set(&c.ConnectWait, DefaultConnectWait)
	c.Probe = c.Probe.withDefaults()
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.DialContext == nil {
		d := &net.Dialer{KeepAlive: -1, Control: sockopt.Dial(userTimeout)} // the pool sets it
		c.DialContext = d.DialContext
	}
	return c
}

// defaultConns is as many connections as a server on this machine has event loops.
func defaultConns() int { return max(1, runtime.GOMAXPROCS(0)/4) }

// maxPayload is the largest payload of a request.
func (c *Config) maxPayload() int {
	if c.Extensions {
		return c.Framing.MaxPayload() - framing.RemainingSize
	}
	return c.Framing.MaxPayload()
}

// validate reports the first field that makes no sense, with its range. It runs
// after withDefaults.
func (c *Config) validate() error {
	if len(c.Addrs) == 0 {
		return errors.New("engine: Config.Addrs is empty; name at least one server")
	}
	for _, a := range c.Addrs {
		if _, _, err := netaddr.Split(a); err != nil {
			return fmt.Errorf("engine: %w", err)
		}
	}
	if err := c.Framing.Validate(); err != nil {
		return fmt.Errorf("engine: Config.Framing: %w", err)
	}
	if err := c.Framing.ValidateExtension(); c.Extensions && err != nil {
		return fmt.Errorf("engine: Config.Framing with Config.Extensions: %w", err)
	}
	ranges := []struct {
		field    string
		value    int64
		min, max int64
	}{
		{"ConnsPerAddr", int64(c.ConnsPerAddr), 1, 1024},
		{"QueueSize", int64(c.QueueSize), 1, 1 << 20},
		{"MaxInFlight", int64(c.MaxInFlight), 1, taskid.MaxCapacity},
		{"BusyPoll", int64(max(c.BusyPoll, 0)), 0, int64(MaxBusyPoll)},
		{"OptimizeMemory", int64(c.OptimizeMemory), int64(Off), int64(On)},
		{"LatencyEvery", int64(max(c.LatencyEvery, 0)), 0, stopwatch.EveryMost},
	}
	for _, r := range ranges {
		if r.value < r.min || r.value > r.max {
			return fmt.Errorf("engine: Config.%s is %d; it must lie in %d to %d", r.field, r.value, r.min, r.max)
		}
	}
	for _, t := range []struct {
		field string
		value time.Duration
	}{
		{"RequestTimeout", c.RequestTimeout}, {"ReadTimeout", c.ReadTimeout},
		{"WriteTimeout", c.WriteTimeout}, {"DialTimeout", c.DialTimeout},
		{"ShutdownTimeout", c.ShutdownTimeout}, {"SilenceTimeout", c.SilenceTimeout},
		{"ConnectWait", c.ConnectWait}, {"EjectionTime", c.EjectionTime}, {"SlowStart", c.SlowStart},
	} {
		if t.value > MaxTimeout {
			return fmt.Errorf("engine: Config.%s is %v; it must be at most %v, or negative for none",
				t.field, t.value, MaxTimeout)
		}
	}
	if err := c.Probe.validate(c.maxPayload()); err != nil {
		return err
	}
	if c.BackoffBase < 0 || c.BackoffMax < c.BackoffBase {
		return fmt.Errorf("engine: Config.BackoffBase %v and BackoffMax %v must satisfy 0 < base <= max", c.BackoffBase, c.BackoffMax)
	}
	return nil
}
