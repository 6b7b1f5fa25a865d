package suite

import (
	"context"
	"errors"
	"fmt"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"github.com/ringwire/ringwire/benchmarks/peers/peer"
	"github.com/ringwire/ringwire/engine"
)

// What the sections measure with, unless they vary it.
const (
	payload       = 64
	window        = 1024
	streamCallers = 16
	// Fixed rates, in requests per second, and how many of them can wait at once.
	rateAnet    = 50_000
	rateRedis   = 100_000
	rateCallers = 256
	// memoryOff is the name of ringwire without the reuse of memory.
	memoryOff     = bench.Ringwire + " OptimizeMemory off"
	optionCallers = 256
)

var (
	streamPayloads = []int{16 << 10, 60 << 10}
	pollCallers    = []int{1, 16, 64}
	growthCallers  = []int{64, 256, 1024, 4096}
	growthConns    = []int{1, 2, 4, 8, 16, 32, 64}
	growthPayloads = []int{64, 1 << 10, 4 << 10, 16 << 10, 60 << 10}
)

// What the section "growth" keeps while it varies something else.
const (
	growthConnsCallers   = 256
	growthPayloadCallers = 64
)

// section is a set of cases that are interleaved with one another.
type section struct {
	name, title string
	// cases lists what is measured; none: the section has nothing to do, because
	// its peers were not asked for or are missing.
	cases func(ctx context.Context, b *builder) ([]bench.Case, error)
	// beside is the system that all rows are compared with; "": each is compared with
	// ringwire's.
	beside string
}

func sections() []section {
	return []section{
		{name: "throughput", title: "Blocking callers, 64 bytes, one connection", cases: throughputCases},
		{name: "limits", title: "Beside what the machine can do: windows of 1024, and a lone caller", cases: limitCases},
		{name: "bandwidth", title: "Large payloads, 16 outstanding, beside a bare connection", cases: bandwidthCases},
		{name: "rate", title: "At a fixed rate: processor time per request, latency from the intended time", cases: rateCases},
		{name: "everyday", title: "As people use it: a deadline for each call, workers, no polling, several servers", cases: everydayCases},
		{name: "growth", title: "Ringwire with more callers, more connections, larger payloads", cases: growthCases},
		{name: "options", title: "What an option costs", cases: optionCases},
		{name: "light", title: "Light clients: so many, each a bare connection with one request at a time", cases: lightCases,
			beside: peer.GoroutinesName},
		{name: "handlers", title: "Handlers that wait, off the event loops", cases: handlerCases},
		{name: "polling", title: "One fast client: our server beside a bare loop that only polls and echoes", cases: pollingCases},
		{name: "tls", title: "Over TLS 1.3, 64 bytes, one connection", cases: securedCases},
		{name: "tls-window", title: "Over TLS 1.3, 64 bytes, 1024 in flight", cases: windowCases},
		{name: "memory", title: memoryTitle},
	}
}

// builder makes cases of the servers that are there.
type builder struct {
	options *Options
	fleet   *fleet
	used    map[string]bool   // peers that a section has asked for
	missing map[string]string // peers that cannot be measured, and why
	note    func(text string) // tells the user
	notes   []string          // what the section that is built has to say in the report
	failed  error             // peers that should have started and did not
	files   int64             // how many a process may have open; 0: not known
	id      *peer.Identity    // of all servers over TLS; nil: nobody has asked for it
	idDir   string            // its folder
}

// say tells the user, and the reader of the section.
func (b *builder) say(text string) {
	b.note(text)
	b.notes = append(b.notes, text)
}

// wanted reports whether the peer is asked for, and can run on this machine.
func (b *builder) wanted(p peer.Peer) bool {
	if !b.options.wants(p.Name) {
		return false
	}
	b.used[p.Name] = true
	if p.Missing == nil {
		return true
	}
	why := p.Missing()
	if why != "" && b.missing[p.Name] == "" {
		b.miss(p.Name, why)
	}
	return why == ""
}

// target is the named peer's; nil without an error when it is not wanted, or is
// missing. A peer that does not start is missing from then on, and the run's
// error says so; nothing runs without ringwire.
func (b *builder) target(ctx context.Context, name string) (*bench.Target, error) {
	p, found := peer.Find(name)
	if !found {
		return nil, fmt.Errorf("no peer %q", name)
	}
	if !b.wanted(p) || b.missing[name] != "" {
		return nil, nil
	}
	t, err := b.fleet.target(ctx, p)
	switch {
	case err == nil:
		return &t, nil
	case name == bench.Ringwire || ctx.Err() != nil:
		return nil, err
	}
	b.miss(name, err.Error())
	b.failed = errors.Join(b.failed, err)
	return nil, nil
}

// miss leaves the peer out of the run.
func (b *builder) miss(name, why string) {
	b.missing[name] = why
	b.note(name + " is left out: " + why)
}

// targetsOf are the targets of the systems that are not left out: for one that is, target returns
// nil.
func targetsOf[S any](systems []S, target func(S) (*bench.Target, error)) ([]bench.Target, error) {
	var targets []bench.Target
	for _, s := range systems {
		t, err := target(s)
		if err != nil {
			return nil, err
		}
		if t != nil {
			targets = append(targets, *t)
		}
	}
	return targets, nil
}

// ringwire is the address and process of our server.
func (b *builder) ringwire(ctx context.Context) (addr string, pid int, err error) {
	p, _ := peer.Find(bench.Ringwire)
	b.used[p.Name] = true
	server, err := b.fleet.server(ctx, p)
	if err != nil {
		return "", 0, err
	}
	return server.Addr, server.PID(), nil
}

func oneConn(t *bench.Target, api bench.API, callers, payloadBytes int) bench.Case {
	return bench.Case{Target: t, API: api, Callers: callers, PayloadBytes: payloadBytes, Conns: 1}
}

func throughputCases(ctx context.Context, b *builder) ([]bench.Case, error) {
	targets, err := targetsOf(PeerNames(), func(name string) (*bench.Target, error) { return b.target(ctx, name) })
	if err != nil {
		return nil, err
	}
	cfg := b.options.config()
	return cfg.Plan(targets).Cases, nil
}

func limitCases(ctx context.Context, b *builder) ([]bench.Case, error) {
	addr, pid, err := b.ringwire(ctx)
	if err != nil {
		return nil, err
	}
	ours := bench.NewRingwire(addr, pid, 1)
	limit, pingPong := peer.FramesLimit(nil, addr, pid), peer.PingPong(nil, addr, pid)
	cases := []bench.Case{
		oneConn(&ours, bench.Blocking, 1, payload),
		oneConn(&pingPong, bench.Native, 1, payload),
		oneConn(&ours, bench.Callback, window, payload),
		oneConn(&ours, bench.Batch, window, payload),
		oneConn(&limit, bench.Native, window, payload),
	}
	redis, err := b.target(ctx, "rueidis")
	if err != nil || redis == nil {
		return cases, err
	}
	p, _ := peer.Find("rueidis")
	server, err := b.fleet.server(ctx, p)
	if err != nil {
		return nil, err
	}
	pipeline, err := peer.RedisPipeline(server.Addr, server.PID())
	if err != nil {
		return nil, err
	}
	return append(cases, oneConn(&pipeline, bench.Native, window, peer.RedisValueBytes)), nil
}

func bandwidthCases(ctx context.Context, b *builder) ([]bench.Case, error) {
	ours, err := b.target(ctx, bench.Ringwire)
	if err != nil {
		return nil, err
	}
	if bare, err := b.target(ctx, "net.Conn"); err != nil || bare == nil {
		return nil, err
	}
	p, _ := peer.Find("net.Conn")
	server, err := b.fleet.server(ctx, p)
	if err != nil {
		return nil, err
	}
	raw := peer.EchoStream(server.Addr, server.PID())
	var cases []bench.Case
	for _, bytes := range streamPayloads {
		cases = append(cases,
			oneConn(ours, bench.Blocking, streamCallers, bytes),
			oneConn(&raw, bench.Native, streamCallers, bytes))
	}
	return cases, nil
}

func rateCases(ctx context.Context, b *builder) ([]bench.Case, error) {
	ours, err := b.target(ctx, bench.Ringwire)
	if err != nil {
		return nil, err
	}
	var cases []bench.Case
	for _, pair := range []struct {
		name string
		rate float64
	}{{bench.Anet, rateAnet}, {"rueidis", rateRedis}} {
		other, err := b.target(ctx, pair.name)
		if err != nil {
			return nil, err
		}
		if other == nil {
			continue
		}
		for _, t := range []*bench.Target{ours, other} {
			c := oneConn(t, bench.Blocking, rateCallers, payload)
			c.Rate = pair.rate
			cases = append(cases, c)
		}
	}
	return cases, nil
}

func growthCases(ctx context.Context, b *builder) ([]bench.Case, error) {
	addr, pid, err := b.ringwire(ctx)
	if err != nil {
		return nil, err
	}
	one := bench.NewRingwire(addr, pid, 1)
	var cases []bench.Case
	for _, callers := range growthCallers {
		cases = append(cases, oneConn(&one, bench.Blocking, callers, payload))
	}
	for _, conns := range growthConns {
		if conns == 1 {
			continue // among the above: growthCallers has growthConnsCallers
		}
		t := bench.NewRingwire(addr, pid, conns)
		cases = append(cases, bench.Case{Target: &t, API: bench.Blocking, Callers: growthConnsCallers,
			PayloadBytes: payload, Conns: conns})
	}
	for _, bytes := range growthPayloads {
		if bytes == payload {
			continue // likewise
		}
		cases = append(cases, oneConn(&one, bench.Blocking, growthPayloadCallers, bytes))
	}
	return cases, nil
}

func optionCases(ctx context.Context, b *builder) ([]bench.Case, error) {
	addr, pid, err := b.ringwire(ctx)
	if err != nil {
		return nil, err
	}
	on := bench.NewRingwire(addr, pid, 1)
	off := bench.NewRingwireVariant(memoryOff, addr, pid, func(c *engine.Config) { c.OptimizeMemory = engine.Off })
	asleep, err := b.fleet.target(ctx, peer.RingwireAsleep())
	if err != nil {
		return nil, err
	}
	cases := []bench.Case{oneConn(&on, bench.Blocking, optionCallers, payload), oneConn(&off, bench.Blocking, optionCallers, payload)}
	for _, callers := range pollCallers {
		cases = append(cases, oneConn(&on, bench.Blocking, callers, payload), oneConn(&asleep, bench.Blocking, callers, payload))
	}
	return cases, nil
}
