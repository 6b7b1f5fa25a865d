package chaos

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ringwire/ringwire/engine"
)

// Client is what every client under test can do. A client that also is one of
// the three below is driven through those methods too, as Config.Mix says.
type Client interface {
	// Send returns the reply, which belongs to the caller.
	Send(ctx context.Context, req []byte, opts ...engine.Call) ([]byte, error)
}

type (
	// IntoSender appends the reply to dst.
	IntoSender interface {
		SendInto(ctx context.Context, dst, req []byte, opts ...engine.Call) ([]byte, error)
	}
	// Goer runs fn exactly once if Go returned nil, never otherwise; it copies
	// req, and reply is valid until fn returns.
	Goer interface {
		Go(ctx context.Context, req []byte, fn func(reply []byte, err error), opts ...engine.Call) error
	}
	// Batcher runs fn exactly once for each request before SendBatch returns.
	Batcher interface {
		SendBatch(ctx context.Context, reqs [][]byte, fn func(i int, reply []byte, err error),
			opts ...engine.Call) error
	}
)

// Mix weighs the methods of a client against each other. The zero Mix is one of
// each. A method the client does not have is replaced by Send.
type Mix struct{ Send, SendInto, Go, SendBatch int }

type api uint8

const (
	apiSend api = iota
	apiInto
	apiGo
	apiBatch
)

// Config describes a run.
type Config struct {
	Seed     uint64
	Client   uint32        // first part of every identity
	Callers  int           // goroutines; default 64
	Requests int64         // over all callers; default 100,000
	Timeout  time.Duration // how long the client says a call can take; default 1 s

	Mix        Mix
	Window     int // calls of Go a caller has outstanding at most; default 8
	BatchMax   int // requests of a SendBatch at most; default 16
	MaxPayload int // default 65,531, the anet frame's limit

	// Context makes the context of one call, or one batch, from the nonce of
	// its (first) request. Default: the run's own. The harness calls the cancel
	// function when the call has completed.
	Context func(run context.Context, nonce uint64) (context.Context, context.CancelFunc)
	// Callback, if not nil, runs at the end of each callback of Go, with the request's
	// nonce. It may do what a user's function may: block, panic, end its goroutine. The
	// call counts as completed before, and its reply must not change meanwhile.
	Callback func(nonce uint64)
	// Unwritten reports whether err promises that no byte of the request was
	// written. Default: no error does.
	Unwritten func(err error) bool
	// StopAtMisdelivery ends a run as soon as a reply has reached the wrong call.
	StopAtMisdelivery bool
}

func (c Config) withDefaults() Config {
	orElse := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	orElse(&c.Callers, 64)
	orElse(&c.Window, 8)
	orElse(&c.BatchMax, 16)
	orElse(&c.MaxPayload, 65531)
	if c.Requests == 0 {
		c.Requests = 100_000
	}
	if c.Timeout == 0 {
		c.Timeout = time.Second
	}
	if c.Mix == (Mix{}) {
		c.Mix = Mix{1, 1, 1, 1}
	}
	if c.Context == nil {
		c.Context = func(run context.Context, _ uint64) (context.Context, context.CancelFunc) {
			return run, func() {}
		}
	}
	if c.Unwritten == nil {
		c.Unwritten = func(error) bool { return false }
	}
	return c
}

func (c Config) validate() error {
	for _, f := range []struct {
		name        string
		v, min, max int64
	}{
		{"Callers", int64(c.Callers), 1, 1 << 12},
		{"Requests", c.Requests, 1, maxSeq},
		{"Timeout (ms)", c.Timeout.Milliseconds(), 1, 3_600_000},
		{"Window", int64(c.Window), 1, 1 << 12},
		{"BatchMax", int64(c.BatchMax), 1, 1 << 12},
		{"MaxPayload", int64(c.MaxPayload), headerSize + 16, 1 << 30},
		{"Mix.Send", int64(c.Mix.Send), 0, 100},
		{"Mix.SendInto", int64(c.Mix.SendInto), 0, 100},
		{"Mix.Go", int64(c.Mix.Go), 0, 100},
		{"Mix.SendBatch", int64(c.Mix.SendBatch), 0, 100},
	} {
		if f.v < f.min || f.v > f.max {
			return fmt.Errorf("chaos: Config.%s is %d; it must lie in %d to %d", f.name, f.v, f.min, f.max)
		}
	}
	return nil
}

// Harness is one run: New, then Run against a client whose server calls Answer,
// then close both, then Report.
type Harness struct {
	cfg   Config
	apis  []api         // one entry per unit of weight
	bound time.Duration // a call that takes longer is lost

	executed  ledger // written by Answer
	unwritten ledger // written by callers
	tally     tally

	client  Client
	started atomic.Int64
	run     context.Context
	epoch   time.Time
	elapsed time.Duration
	callers []*caller
	left    sync.WaitGroup // callers that are neither done nor abandoned
}

// New prepares a run, or fails when cfg makes no sense.
func New(cfg Config) (*Harness, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	h := &Harness{
		cfg: cfg, bound: 3*cfg.Timeout + time.Second,
		executed: make(ledger, cfg.Callers), unwritten: make(ledger, cfg.Callers),
	}
	for a, weight := range []int{cfg.Mix.Send, cfg.Mix.SendInto, cfg.Mix.Go, cfg.Mix.SendBatch} {
		h.apis = append(h.apis, slices.Repeat([]api{api(a)}, weight)...)
	}
	return h, nil
}

// ErrBadRequest is what Answer returns for a request that came damaged.
var ErrBadRequest = errors.New("chaos: request is damaged")

// Answer is the server's side: it enters req in the ledger and appends the reply
// to dst. It keeps neither slice and may be called from any goroutine. It
// returns dst and ErrBadRequest, counted, when req is damaged.
func (h *Harness) Answer(dst, req []byte) ([]byte, error) {
	if len(req) == 0 {
		return dst, nil
	}
	id, err := parsePayload(req, requestMagic)
	if err != nil || id.client != h.cfg.Client || int(id.caller) >= len(h.executed) || id.want < headerSize {
		h.tally.violation(&h.tally.badRequests, "bad request: %d bytes at the server", len(req))
		return dst, ErrBadRequest
	}
	if h.executed[id.caller].set(id.seq) {
		h.tally.violation(&h.tally.executedTwice, "executed twice: %v", id)
	}
	return appendPayload(dst, replyMagic, id, int(id.want)), nil
}

// Run drives client until Config.Requests calls were made or ctx has ended, and
// returns when each has completed or is lost: at most the lost bound, 3 times
// Timeout and a second, after the last was made.
func (h *Harness) Run(ctx context.Context, client Client) {
	h.client, h.run, h.epoch = client, ctx, time.Now()
	for i := range h.cfg.Callers {
		h.callers = append(h.callers, newCaller(h, uint32(i)))
	}
	h.left.Add(len(h.callers))
	for _, c := range h.callers {
		go c.run()
	}
	ended := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() { h.watch(ended) })
	h.left.Wait()
	close(ended)
	watch.Wait()
	h.elapsed = time.Since(h.epoch)
}

// more takes n requests from the run's budget, or reports that it is over.
func (h *Harness) more(n int) bool {
	if h.run.Err() != nil || h.cfg.StopAtMisdelivery && h.tally.misdelivered.Load() > 0 {
		return false
	}
	if h.started.Add(int64(n)) > h.cfg.Requests {
		h.started.Add(int64(-n))
		return false
	}
	return true
}

// now is the time since the run began, never 0.
func (h *Harness) now() int64 { return int64(time.Since(h.epoch)) + 1 }

// watch looks for calls that take too long until ended is closed.
func (h *Harness) watch(ended <-chan struct{}) {
	tick := time.NewTicker(h.bound / 20)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
			limit := h.now() - int64(h.bound)
			for _, c := range h.callers {
				c.giveUp(limit)
			}
		}
	}
}

// Report returns what was found. Call it when client and server are closed: only
// then is it known that nothing that was reported as unwritten is carried out.
func (h *Harness) Report() Report {
	t := &h.tally
	t.executedUnwritten.Store(0)
	for i := range h.executed {
		h.executed[i].both(&h.unwritten[i], func(seq uint32) {
			t.violation(&t.executedUnwritten, "executed, but reported as unwritten: %v", h.shapeOf(uint32(i), seq).id)
		})
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return Report{
		Seed: h.cfg.Seed, Elapsed: h.elapsed, Requests: h.started.Load(),
		OK: t.ok.Load(), Failed: t.failed.Load(), Timeouts: t.timeouts.Load(), Cancelled: t.cancelled.Load(),
		Unwritten: t.unwritten.Load(), Misdelivered: t.misdelivered.Load(), Corrupt: t.corrupt.Load(),
		Duplicates: t.duplicates.Load(), Lost: t.lost.Load(), BadRequests: t.badRequests.Load(),
		ExecutedTwice: t.executedTwice.Load(), ExecutedUnwritten: t.executedUnwritten.Load(),
		Notes: slices.Clone(t.notes), Causes: maps.Clone(t.causes),
	}
}
