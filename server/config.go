package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"net/netip"
	"runtime"
	"time"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/internal/defaults"
	"github.com/ringwire/ringwire/internal/stopwatch"
)

// The defaults of Config. Sizes are bytes.
const (
	DefaultQueueSize    = 10_000
	DefaultMaxInFlight  = 256
	DefaultQueueTimeout = 500 * time.Millisecond
	DefaultMaxUnsent    = 1 << 20
	DefaultMaxUnparsed  = 16 << 20
	DefaultMaxHeld      = 256 << 20
	DefaultFrameTimeout = 5 * time.Second
	DefaultWriteTimeout = 10 * time.Second

	DefaultHandshakeTimeout = 5 * time.Second

	DefaultShutdownTimeout = 5 * time.Second
	DefaultKeepAlive       = 15 * time.Second
	DefaultBusyPoll        = 100 * time.Microsecond
)

// MaxBusyPoll is the longest Config.BusyPoll.
const MaxBusyPoll = time.Millisecond

// MaxTimeout is the longest timeout a Config takes, 24 h; use a negative value for none.
const MaxTimeout = defaults.MaxTimeout

const (
	loopsMax = 256
	// packShare is which part of the loops, as a divisor, connections share first if Loops is
	// the default, and packSize how many each of those has before the others get any.
	packShare = 4
	packSize  = 8
)

// spareDescriptors is how many of the process's descriptors the default of
// MaxConns leaves for everything that is not a connection.
const spareDescriptors = 64

// Config says how a Server works. The zero value of every field is its documented
// default; a negative value switches the feature off where that is possible. New
// copies the Config.
type Config struct {
	// Addr is where Start listens: "host:port", "tcp://host:port" or
	// "unix:///path". Serve does not use it. The file of a unix socket that a dead server has
	// left is replaced, one with a live server behind it is an error; at the end it is
	// removed, unless another server has put its own in the place.
	Addr string

	// UnixMode is the mode of the file of a unix socket that Start makes, such as 0o660.
	// Default: what the umask leaves.
	UnixMode fs.FileMode

	// Handler answers the requests. Required.
	Handler Handler

	// ErrorReply makes the reply to a request that failed: the handler returned
	// an error other than ErrNoReply, it panicked (err is then a *PanicError), its
	// reply does not fit a frame (err wraps framing.ErrMaxLenExceeded), or it was not
	// run (ErrOverloaded, see QueueTimeout). It
	// has the contract of HandlerFunc, except that nil sends nothing; it must not block,
	// because some requests are refused on the event loop. If its reply
	// does not fit either, or if it panics, nothing is sent. Default: nothing is
	// sent, and the client's timeout has to tell it.
	ErrorReply func(c *Conn, dst, req []byte, err error) []byte

	// OnOpen is called with each connection before anything of it is read, but for a TLS handshake,
	// which is over then: Conn.TLS tells the client's identity. It runs where connections are
	// accepted, so until it returns no other is accepted from the listener; those that are secured,
	// or no plain *net.TCPConn or *net.UnixConn, have a goroutine each for it. It may attach a
	// value, push, and close the connection. If it panics, or ends its goroutine, the connection is
	// closed.
	OnOpen func(c *Conn)

	// OnClose is called once for each connection that OnOpen was, or would have been, called
	// with, after its end; why is the reason as the log has it, such as "closed by the peer".
	// Handlers of it may still run. The calls come one after another, on a goroutine of their
	// own. The connection keeps its place among MaxConns, and Shutdown waits, until it returns.
	OnClose func(c *Conn, why string)

	// Framing is the wire format. The zero value is the anet frame. It must be
	// the clients'.
	Framing framing.Format

	// TLS, if not nil, secures the connections of Start and Serve. It needs a certificate, by
	// Certificates, GetCertificate or GetConfigForClient; New looks at those of the first. Without a
	// MinVersion TLS 1.3 is spoken, and never less than 1.2. New copies it; its functions make it
	// possible to renew certificates while the server runs, see package certs, and to refuse
	// clients. They may wait, within HandshakeTimeout: that holds up no other handshake. One that
	// panics ends its connection only. Secured connections have goroutines of their own, see Serve.
	// Default: plain.
	TLS *tls.Config

	// HandshakeTimeout bounds a TLS handshake, and how long a connection of any other listener
	// than package net's may take to tell its addresses, see Serve. More than 1,024 of both at
	// once, beside four for each processor, are refused. Of the handshakes among them at most half as
	// many as there are processors compute at a time, one at least, because event loops need the
	// others: far fewer than the four for each processor, which are for their sum. Default 5 s,
	// negative: none.
	HandshakeTimeout time.Duration

	// Extensions lets clients speak the extension of docs/PROTOCOL.md §8, which offer it with
	// the first frame of their connection; all others are served as ever. Such a client learns
	// of a request that was refused or that failed by a status, for which ErrorReply is not
	// asked (it gets the text of a handler's error: see Error), says how long it waits, and is
	// told to go elsewhere before its connection ends.
	// Payloads have 4 bytes less room in requests and 1 byte less in replies. Default false.
	Extensions bool

	// Workers is how many handlers may run at once. Default 0 (or negative):
	// handlers run on the event loops, which is fastest and right for handlers
	// that never block. One that blocks holds up its loop with all connections of it; after
	// 100 ms it is named in the log. With Workers each request is copied and answered by
	// one of so many goroutines, so replies of one connection come in any order.
	// At most 65,536.
	Workers int

	// QueueSize bounds the requests that wait for a worker, over all connections.
	// Default 10,000. A connection whose next request finds it full waits, unless none of
	// its requests has left the loop: then one is taken, up to twice the bound.
	// Connections are served in turn, one request at a time.
	QueueSize int

	// MaxInFlight bounds the requests of one connection that workers run, whose reply
	// comes later, or whose reply waits to be written. Default 256. What it has waiting for a
	// worker is bounded by QueueSize and by a sixteenth of MaxUnparsed.
	MaxInFlight int

	// QueueTimeout is how long a request may have waited, since it was read, when its
	// handler would begin; beyond it, it is refused: ErrorReply gets ErrOverloaded, a client
	// with the extension a status. Default 500 ms. Where there is neither, nothing is
	// refused, because a refusal that is not told fills the client's table with requests that
	// have no answer. Negative: none. Set it to less than what clients wait for, or an
	// overloaded server works only for those that have given up.
	//
	// In any case, while the oldest request of a connection has waited for a tenth of a
	// second, workers take its newest and its oldest request by turns: when more is asked than
	// can be done, half of what they do is in time, and a client that waits gets all replies.
	QueueTimeout time.Duration

	// Loops is the number of event loops. At most 256. Default: GOMAXPROCS; then connections
	// share the first quarter of the loops, at least one, until each of those has 8, because a
	// few busy connections make larger batches together, and many that ask now and then are
	// served by more. Loops without a connection cost nothing. A connection gets the
	// loop with fewest among those that answer at the moment: a handler that blocks a loop
	// keeps its connections, and no others. While all are blocked a connection waits
	// for 5 s at most; then it is closed and counted in Stats.AcceptErrors, and so are those
	// that follow, sooner, until a loop moves.
	Loops int

	// BusyPoll is for how long an event loop, after it has answered the requests of a
	// connection that is the only one to send at the moment, polls its socket for more
	// before it sleeps, yielding to every goroutine that can run. It saves the wake-ups of
	// a round trip, here and in the peer's write, and costs idle processor time; while it
	// is in vain it is hardly tried. Another connection of the loop may wait for four times
	// as long, now and then. A loop that two to eight connections have among them, or one whose
	// requests go to Workers, asks as long whether any of them has sent something or has a reply,
	// if that is all that connections are packed for (Loops); then none waits. At most half of the
	// processors poll, the brokers of the process counted in. Default 100 µs, at most MaxBusyPoll;
	// negative: never. With a GOMAXPROCS of 1, and on systems that are no Unix, there is none; of
	// several connections, or with workers, on Linux only, and over TLS a stream polls only while
	// no other one has turns.
	BusyPoll time.Duration

	// Allow and Deny say which client addresses may connect; one that may not is closed right
	// after it was accepted, before anything else is done. An address in Deny may not; one
	// that is not in Allow may not, unless Allow is empty. An IPv4 address that is mapped
	// into IPv6, as a listener on [::] sees it, is an IPv4 address, here and in prefixes;
	// so ::/0 is every IPv6 address and no IPv4 one. Zones are ignored. Connections of unix
	// sockets have no address and may always. Default: everybody may.
	Allow, Deny []netip.Prefix

	// MaxConnsPerIP bounds the open connections of one client address; one more is closed
	// right after it was accepted. An IPv6 client is counted by the first 64 bits of its
	// address, because it may usually choose the others, as often as it likes. Clients
	// behind one NAT or proxy share an address; no address is special, the loopback's
	// neither. Unix sockets are not counted. Default (or negative): no limit.
	MaxConnsPerIP int

	// MaxConnRatePerIP bounds how many connections a second come from one client address,
	// counted as for MaxConnsPerIP; one more is closed right after it was accepted, and
	// does not count. A fraction is possible, down to 0.001; at most 1,000,000. Beside the
	// addresses that have a connection, 65,536 are remembered; beyond that the one that
	// came last the longest ago is forgotten, and has a whole burst when it comes again.
	// Default (or negative): no limit.
	MaxConnRatePerIP float64

	// MaxConnBurstPerIP is how many connections of an address that has been quiet may come
	// at once. Default: MaxConnRatePerIP, rounded up. At most 1,000,000. It is an error
	// without MaxConnRatePerIP.
	MaxConnBurstPerIP int

	// MaxConns bounds the open connections; one more is closed right after it was
	// accepted. Default: the process's limit of descriptors less 64. Negative: no
	// limit but the system's.
	//
	// A tenth of it, at least one, is not for connections that have never sent a whole
	// frame: while more than the rest are open, each that comes has the one of them that
	// came first closed, if that was more than a second ago. So a client that opens connections and
	// says nothing cannot keep the others out. A client that connects long before it speaks
	// may lose its connection then, and has to connect again. One that has spoken may be silent
	// for any time; when all have, none goes, and what comes beyond MaxConns is closed.
	MaxConns int

	// MaxUnsent bounds the bytes of replies that one connection has not taken.
	// From there on its requests are not parsed until it has read. The bound can
	// be exceeded by 256 KiB and one reply. Default 1 MiB, at least 4 KiB.
	MaxUnsent int

	// MaxUnparsed bounds the bytes of requests that one connection has sent while
	// they could not be parsed, because of MaxUnsent, MaxInFlight or QueueSize. From a
	// sixteenth of it on the connection is not read, so a client that sends too much is
	// slowed. Where reading cannot be paused, on systems without epoll or /proc, the
	// connection is closed beyond MaxUnparsed. Default 16 MiB, or the largest frame if
	// that is more.
	MaxUnparsed int

	// MaxHeld bounds the sum of unsent and unparsed bytes of all connections. Beyond it,
	// requests of a connection that has not taken all of its replies are not parsed, and
	// connections that are blocked are not read. What was on its way comes in addition: if
	// that is more than a quarter of MaxHeld, at least 4 MiB, the connections that hold most
	// are closed within a tenth of a second. A frame of more than 256 KiB that has begun and
	// grows beyond MaxHeld ends its connection at once. Where reading cannot be paused, the
	// largest connections are closed from MaxHeld on. With Workers,
	// the requests and replies in their hands are bounded by as much again, as by QueueSize:
	// no more are dispatched beyond it. Default 256 MiB. Negative: no bound.
	MaxHeld int64

	// FrameTimeout bounds the time between the first byte of a frame and its last, for
	// each 64 KiB of its length: so a large one may come over a slow link. Default 5 s,
	// negative: none. It does not bound the silence between frames, so pooled connections
	// may idle.
	FrameTimeout time.Duration

	// FirstFrameTimeout closes a connection that has not sent a whole frame within it, from
	// when it was accepted; silence counts. Default (or negative): none, because brokers and
	// pools connect before they have something to say. Set it longer than they wait.
	FirstFrameTimeout time.Duration

	// WriteTimeout closes a connection that has unsent bytes and takes neither all of
	// them nor 64 KiB within it. On Linux it also is the TCP user timeout. Default 10 s,
	// negative: none.
	WriteTimeout time.Duration

	// IdleTimeout closes a connection that sends nothing for so long, unless a
	// request of it is being worked on. Default: none.
	//
	// For this one, FrameTimeout and WriteTimeout the time does not count for which a handler
	// in place keeps the event loop from its connections.
	IdleTimeout time.Duration

	// ShutdownTimeout bounds Shutdown; Close takes at most a second longer.
	// Default 5 s, negative: Shutdown is bounded by its context alone, and Close
	// by the handlers.
	ShutdownTimeout time.Duration

	// KeepAlive is the idle time after which TCP probes a connection. Three
	// probes a third of it apart without an answer end the connection. Default
	// 15 s, negative: off; more than nine hours count as nine.
	KeepAlive time.Duration

	// LatencyEvery says that one of so many requests is timed for Server.Latency, chosen at random:
	// quantiles stay right with 256, which costs a percent or two where millions of requests are
	// served a second (make metrics-cost); 1 times each. Default 0: none is. At most 1,048,576.
	LatencyEvery int

	// Logger receives events, never payload; each kind at most once a second. What a
	// handler's error says is among them, up to 256 bytes of it. Default: slog.Default, from
	// warnings on; slog.New(slog.DiscardHandler) silences it.
	Logger *slog.Logger

	// noLoops has all connections run by goroutines of their own, as where gnet does not run.
	noLoops bool
	// packed is how many loops connections share first.
	packed int
	// quietTicks replaces the constant, so that a test need not rely on how busy
	// the machine is.
	quietTicks int
	// steadyTime replaces the constant, for the same reason.
	steadyTime time.Duration
	// handshakes replaces the bound, so that a test need not make so many.
	handshakes int
	// evictAge replaces the constant, so that a test need not wait.
	evictAge time.Duration
	// neverPause is for tests of what is done where reading cannot be paused.
	neverPause bool
}

// withDefaults returns a copy with every zero value replaced.
func (c Config) withDefaults() Config {
	c.Framing = c.Framing.WithDefaults()
	defaults.Set(&c.QueueSize, DefaultQueueSize)
	defaults.Set(&c.MaxInFlight, DefaultMaxInFlight)
	if c.ErrorReply != nil || c.Extensions {
		defaults.Set(&c.QueueTimeout, DefaultQueueTimeout)
	}
	c.packed = c.Loops
	if c.Loops == 0 {
		processors := runtime.GOMAXPROCS(0)
		c.Loops, c.packed = min(processors, loopsMax), max(1, processors/packShare)
	}
	defaults.Set(&c.MaxUnsent, DefaultMaxUnsent)
	defaults.Set(&c.MaxUnparsed, max(DefaultMaxUnparsed, maxFrameSize(c.Framing)))
	defaults.Set(&c.MaxHeld, DefaultMaxHeld)
	defaults.Set(&c.FrameTimeout, DefaultFrameTimeout)
	defaults.Set(&c.HandshakeTimeout, DefaultHandshakeTimeout)
	defaults.Set(&c.WriteTimeout, DefaultWriteTimeout)
	defaults.Set(&c.ShutdownTimeout, DefaultShutdownTimeout)
	defaults.Set(&c.KeepAlive, DefaultKeepAlive)
	defaults.Set(&c.BusyPoll, DefaultBusyPoll)
	defaults.Set(&c.quietTicks, quietTicks)
	defaults.Set(&c.steadyTime, steadyTime)
	defaults.Set(&c.evictAge, evictAge)
	defaults.Set(&c.handshakes, handshakesPerProcessor*runtime.GOMAXPROCS(0)+handshakesWaiting)
	c.Workers = max(c.Workers, 0)
	c.noLoops = c.noLoops || !loopsRun
	if c.MaxConns == 0 {
		c.MaxConns = -1
		if limit, ok := descriptorLimit(); ok {
			c.MaxConns = int(max(1, min(limit, math.MaxInt32)-spareDescriptors))
		}
	}
	if c.MaxHeld < 0 {
		c.MaxHeld = math.MaxInt64
	}
	if c.Logger == nil {
		c.Logger = slog.New(warnings{})
	}
	return c
}

// maxFrameSize returns the size in bytes of the largest frame, header included.
func maxFrameSize(f framing.Format) int { return f.HeaderSize() + f.MaxPayload() }

// validate reports the first field that makes no sense, with its range. It runs
// after withDefaults, which takes a valid Framing.
func (c *Config) validate() error {
	if isNil(c.Handler) {
		return errors.New("server: Config.Handler is nil; it is what answers the requests")
	}
	if c.Addr != "" {
		if _, _, err := c.listenOn(); err != nil {
			return err
		}
	}
	if c.QueueTimeout > 0 && c.ErrorReply == nil && !c.Extensions {
		return errors.New("server: Config.QueueTimeout needs an ErrorReply or Extensions, which tell the client of a refusal")
	}
	if c.Extensions {
		if err := c.Framing.ValidateExtension(); err != nil {
			return fmt.Errorf("server: Config.Extensions: %w", err)
		}
	}
	ranges := []struct {
		field           string
		value, min, max int64
	}{
		{"Workers", int64(c.Workers), 0, 1 << 16},
		{"QueueSize", int64(c.QueueSize), 1, 1 << 20},
		{"MaxInFlight", int64(c.MaxInFlight), 1, 1 << 16},
		{"Loops", int64(c.Loops), 1, loopsMax},
		{"BusyPoll", int64(max(c.BusyPoll, 0)), 0, int64(MaxBusyPoll)},
		{"LatencyEvery", int64(max(c.LatencyEvery, 0)), 0, stopwatch.EveryMost},
		{"MaxUnsent", int64(c.MaxUnsent), 4 << 10, 1 << 30},
		{"MaxUnparsed", int64(c.MaxUnparsed), int64(maxFrameSize(c.Framing)), 1<<30 + 8},
		{"QueueTimeout", int64(c.QueueTimeout), math.MinInt64, int64(MaxTimeout)},
		{"FrameTimeout", int64(c.FrameTimeout), math.MinInt64, int64(MaxTimeout)},
		{"FirstFrameTimeout", int64(c.FirstFrameTimeout), math.MinInt64, int64(MaxTimeout)},
		{"HandshakeTimeout", int64(c.HandshakeTimeout), math.MinInt64, int64(MaxTimeout)},
		{"WriteTimeout", int64(c.WriteTimeout), math.MinInt64, int64(MaxTimeout)},
		{"IdleTimeout", int64(c.IdleTimeout), math.MinInt64, int64(MaxTimeout)},
		{"ShutdownTimeout", int64(c.ShutdownTimeout), math.MinInt64, int64(MaxTimeout)},
		{"KeepAlive", int64(c.KeepAlive), math.MinInt64, int64(MaxTimeout)},
	}
	for _, r := range ranges {
		switch {
		case r.value > r.max && r.min == math.MinInt64:
			return fmt.Errorf("server: Config.%s is %v; it must be at most %v, or negative for none",
				r.field, time.Duration(r.value), MaxTimeout)
		case r.value < r.min || r.value > r.max:
			return fmt.Errorf("server: Config.%s is %d; it must lie in %d to %d", r.field, r.value, r.min, r.max)
		}
	}
	return c.validateAdmission()
}
