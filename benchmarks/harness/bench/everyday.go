package bench

import (
	"context"
	"crypto/tls"
	"fmt"
	"slices"
	"time"
)

// Setup is how a server is started.
type Setup struct {
	Number    int           // tells servers of the same setup apart; counts from 0
	Workers   int           // goroutines that answer; 0: on the event loops
	NoPolling bool          // event loops sleep at once
	Latency   time.Duration // of the handler
}

// Server is one that runs.
type Server struct {
	Addr string
	PID  int
}

// Everyday says with what the conditions of everyday use are measured: what callers,
// servers and configurations have that the best case leaves out.
type Everyday struct {
	// Targets are the systems under the best conditions, ours and the baselines.
	Targets []Target
	// Start returns a server of the system, the same one for the same setup.
	Start func(system string, setup Setup) (Server, error)
	// BusyPoll is our client's, unless the condition is not to poll.
	BusyPoll time.Duration
	// TLS secures our client's connections; nil: they are plain.
	TLS   *tls.Config
	Slice time.Duration // measured time per case and round, idle twice that; 0: the plan's
}

// calling is how calls are bounded.
type calling int

const (
	unbounded    calling = iota
	ownDeadline          // a context with a deadline for each call
	ownTimeout           // engine.Call.Timeout beside anet's ReadTimeout
	sharedCancel         // one context that can be cancelled for all calls
)

// callLimit is the deadline of a call that has one. None of them meets it.
const callLimit = time.Second

// condition is one of everyday use.
type condition struct {
	name    string
	callers []int
	calls   calling
	setup   Setup
	servers int // 0: one
	conns   int // per server; 0: the config's
	// ours tells that the baselines have no such setting. Their rows of the condition
	// beside are what ours is compared with.
	ours   bool
	beside string

	// Of processor time.
	cpu  bool
	api  API     // Idle, or "": Blocking
	rate float64 // a second
}

const (
	everydayWorkers = 64
	everydayConns   = 4
	everydayServers = 4
	lateHandler     = 5 * time.Millisecond
)

// bestCallers are those of the best case that conditions are compared with.
var bestCallers = []int{1, 16, 64}

// conditions in the order of the report.
var conditions = slices.Concat([]condition{
	{name: "deadline", callers: []int{16, 64}, calls: ownDeadline},
	{name: "call timeout", callers: []int{16, 64}, calls: ownTimeout},
	{name: "shared cancel", callers: []int{16, 64}, calls: sharedCancel},
	{name: "64 workers", callers: bestCallers, setup: Setup{Workers: everydayWorkers}, ours: true},
	{name: "no polling", callers: bestCallers, setup: Setup{NoPolling: true}, ours: true},
	{name: "deadline, workers, no polling", callers: []int{16, 64}, calls: ownDeadline,
		setup: Setup{Workers: everydayWorkers, NoPolling: true}, ours: true, beside: "deadline"},
	{name: "4 connections", callers: []int{16, 64}, conns: everydayConns},
	{name: "4 servers", callers: []int{16, 64}, servers: everydayServers},
},
	withAndWithoutPolling(condition{name: "idle", callers: []int{1}, api: Idle}),
	withAndWithoutPolling(condition{name: "100 req/s", callers: []int{1}, rate: 100}),
	withAndWithoutPolling(condition{name: "5 ms handlers", callers: []int{16},
		setup: Setup{Workers: everydayWorkers, Latency: lateHandler}}),
)

// withAndWithoutPolling is the condition for processor time, and ours without polling.
func withAndWithoutPolling(c condition) []condition {
	c.cpu = true
	quiet := c
	quiet.name, quiet.ours, quiet.beside = c.name+", no polling", true, c.name
	quiet.setup.NoPolling = true
	return []condition{c, quiet}
}

// sortEveryday puts rows into the order of the report.
func sortEveryday(rows []Row) {
	place := func(r *Row) int {
		return slices.IndexFunc(conditions, func(c condition) bool { return c.name == r.Condition })
	}
	slices.SortStableFunc(rows, func(a, b Row) int { return place(&a) - place(&b) })
}

// AddEveryday adds the cases of everyday use to the plan, each beside those it is
// compared with, and those of the best case that the plan lacks.
func (p *Plan) AddEveryday(cfg *Config, e Everyday) error {
	base := Case{API: Blocking, PayloadBytes: cfg.PayloadBytes, Conns: cfg.Conns, Slice: e.Slice}
	for _, callers := range bestCallers {
		for i := range e.Targets {
			c := base
			c.Target, c.Callers = &e.Targets[i], callers
			p.addBest(c)
		}
	}
	for _, cond := range conditions {
		for i := range e.Targets {
			system := e.Targets[i].Name
			if cond.ours && isBaseline(system) {
				continue
			}
			c := base
			if err := e.target(&c, system, cond); err != nil {
				return fmt.Errorf("bench: %s of %s: %w", cond.name, system, err)
			}
			for _, callers := range cond.callers {
				c.Callers = callers
				p.addBeside(c)
			}
		}
	}
	return nil
}

// addBest adds a case of the best conditions unless it is there.
func (p *Plan) addBest(c Case) {
	same := func(o *Case) bool { return o.sameLoad(&c, "") && o.Target.Name == c.Target.Name }
	if p.last(same) >= 0 {
		return
	}
	at := 1 + p.last(func(o *Case) bool { return o.Callers <= c.Callers })
	p.Cases = slices.Insert(p.Cases, at, c)
}

// addBeside adds a case after the last that it is compared with, or that is compared
// with the same ones.
func (p *Plan) addBeside(c Case) {
	at := 1 + p.last(func(o *Case) bool {
		return o.sameLoad(&c, c.Beside) || o.sameLoad(&c, c.Condition)
	})
	if at == 0 {
		at = len(p.Cases)
	}
	p.Cases = slices.Insert(p.Cases, at, c)
}

// last is the index of the last case of that kind; -1 when there is none.
func (p *Plan) last(is func(*Case) bool) int {
	for i := len(p.Cases) - 1; i >= 0; i-- {
		if is(&p.Cases[i]) {
			return i
		}
	}
	return -1
}

// sameLoad tells whether c has the condition and o's load.
func (c *Case) sameLoad(o *Case, condition string) bool {
	return c.Condition == condition && c.API == o.API && c.Callers == o.Callers
}

// target makes c a case of the system under the condition.
func (e *Everyday) target(c *Case, system string, cond condition) error {
	c.Condition, c.Beside = cond.name, cond.name
	if cond.ours {
		c.Beside = cond.beside
	}
	c.CPU, c.Rate = cond.cpu, cond.rate
	if cond.api == Idle {
		c.API, c.Slice = Idle, 2*e.Slice // little happens in it
	}
	if cond.conns > 0 {
		c.Conns = cond.conns
	}
	servers, err := e.servers(system, cond)
	if err != nil {
		return err
	}
	var t Target
	if isBaseline(system) {
		t = newAnet(system, servers, c.Conns, cond.calls)
	} else {
		t = e.ringwire(system, servers, c.Conns, cond)
	}
	t.APIs = []API{Blocking, Idle}
	c.Target = &t
	return nil
}

// servers are the system's for the condition. The baselines' have neither workers to
// number nor polling to switch off: they start a goroutine for each request.
func (e *Everyday) servers(system string, cond condition) ([]Server, error) {
	var servers []Server
	for i := range max(cond.servers, 1) {
		setup := cond.setup
		setup.Number = i
		if isBaseline(system) {
			setup.Workers, setup.NoPolling = 0, false
		}
		s, err := e.Start(system, setup)
		if err != nil {
			return nil, err
		}
		servers = append(servers, s)
	}
	return servers, nil
}

// addressesOf takes the servers apart.
func addressesOf(servers []Server) (addrs []string, pids []int) {
	for _, s := range servers {
		addrs, pids = append(addrs, s.Addr), append(pids, s.PID)
	}
	return addrs, pids
}

// contextClient is a client whose calls can have a context.
type contextClient interface {
	Client
	callContext(ctx context.Context, dst []byte, req *[]byte) ([]byte, error)
}

// bounded is the client whose calls are bounded that way.
func bounded(c contextClient, calls calling) Client {
	switch calls {
	case ownDeadline:
		return deadlineClient{c}
	case sharedCancel:
		ctx, cancel := context.WithCancel(context.Background())
		return sharedClient{c, ctx, cancel}
	}
	return c
}

// deadlineClient makes a context for each call and cancels it, as callers do.
type deadlineClient struct{ contextClient }

func (c deadlineClient) Call(dst []byte, req *[]byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	return c.callContext(ctx, dst, req)
}

// sharedClient gives all calls one context.
type sharedClient struct {
	contextClient
	ctx    context.Context
	cancel context.CancelFunc
}

func (c sharedClient) Call(dst []byte, req *[]byte) ([]byte, error) {
	return c.callContext(c.ctx, dst, req)
}

func (c sharedClient) Close() error {
	c.cancel()
	return c.contextClient.Close()
}
