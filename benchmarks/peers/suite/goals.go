package suite

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"github.com/ringwire/ringwire/benchmarks/peers/peer"
)

// Goal is one figure that the project set itself, beside what was measured.
type Goal struct {
	Against string  `json:"against"`
	At      string  `json:"at"`
	Metric  string  `json:"metric"`
	Op      string  `json:"op"` // ">=", ">" or "<="
	Want    float64 `json:"want"`
	Unit    string  `json:"unit"` // "x" is ours divided by theirs, "B" bytes
	// Rounds are the values by round; empty when it was not measured.
	Rounds []float64 `json:"rounds,omitempty"`
	// Quiet are the values of the rounds in which the host took less than
	// bench.QuietMax of the machine's time from either row; empty where there is none.
	Quiet  []float64 `json:"quiet_rounds,omitempty"`
	Median float64   `json:"median"`
	Spread float64   `json:"spread"` // interquartile range as a part of the median
	Met    bool      `json:"met"`
}

// settle computes what follows from the rounds.
func (g *Goal) settle() {
	if len(g.Rounds) == 0 {
		return
	}
	g.Median, g.Spread = bench.Median(g.Rounds), bench.Spread(g.Rounds)
	switch g.Op {
	case ">=":
		g.Met = g.Median >= g.Want
	case ">":
		g.Met = g.Median > g.Want
	case "<=":
		g.Met = g.Median <= g.Want
	}
}

// scale multiplies every value.
func (g *Goal) scale(by float64) {
	for _, values := range [][]float64{g.Rounds, g.Quiet} {
		for i := range values {
			values[i] *= by
		}
	}
	g.settle()
}

// quietText is the median of the quiet rounds and how many they are.
func (g *Goal) quietText() string {
	if len(g.Quiet) == 0 {
		return "-"
	}
	return fmt.Sprintf("%s (%d)", g.text(bench.Median(g.Quiet)), len(g.Quiet))
}

const (
	throughput = "throughput"
	p99        = "p99 latency"
	cpuPerReq  = "cpu per request, client plus server"
)

// metricRounds are a row's values by round.
func metricRounds(r *bench.Row, metric string) []float64 {
	switch {
	case r == nil:
		return nil
	case metric == p99:
		return r.P99Rounds
	case metric == cpuPerReq:
		return r.CPUPerReqRounds
	}
	return r.ReqPerSecRounds
}

// compare makes a goal of the ratio of ours to theirs.
func compare(ours, theirs *bench.Row, against, at, metric, op string, want float64) Goal {
	g := Goal{Against: against, At: at, Metric: metric, Op: op, Want: want, Unit: "x"}
	if ours != nil && theirs != nil {
		a, b := metricRounds(ours, metric), metricRounds(theirs, metric)
		g.Rounds, g.Quiet = bench.Ratios(a, b), bench.QuietRatios(a, b, ours, theirs)
	}
	g.settle()
	return g
}

// wanted is a ratio of throughput at a number of callers.
type wanted struct {
	callers int
	ratio   float64
}

var (
	anetGoals    = []wanted{{1, 1.5}, {16, 5}, {64, 12}, {256, 22}, {1024, 26}}
	rueidisGoals = []wanted{{16, 1.4}, {64, 2.8}, {256, 4}, {1024, 5}}
	// p99Goals are for both: an eighth of anet's.
	p99Goals = []wanted{{64, 1.0 / 8}, {256, 1.0 / 8}}
)

// goals sets every goal whose section ran beside its target.
func (r *Report) goals() []Goal {
	var all []Goal
	all = append(all, r.throughputGoals()...)
	all = append(all, r.limitGoals()...)
	all = append(all, r.otherPeerGoals()...)
	all = append(all, r.bandwidthGoals()...)
	all = append(all, r.rateGoals()...)
	all = append(all, r.securedGoals()...)
	all = append(all, r.windowGoals()...)
	all = append(all, r.memoryGoals()...)
	all = append(all, r.growthGoals()...)
	all = append(all, r.optionGoals()...)
	return slices.DeleteFunc(all, func(g Goal) bool { return len(g.Rounds) == 0 })
}

func atCallers(n int) string {
	if n == 1 {
		return "1 blocking caller"
	}
	return fmt.Sprintf("%d blocking callers", n)
}

func (r *Report) throughputGoals() []Goal {
	s := r.section("throughput")
	var goals []Goal
	add := func(system string, w wanted, metric, op string) {
		goals = append(goals, compare(s.blockingRow(bench.Ringwire, w.callers), s.blockingRow(system, w.callers),
			system, atCallers(w.callers), metric, op, w.ratio))
	}
	for _, w := range anetGoals {
		add(bench.Anet, w, throughput, ">=")
	}
	for _, w := range p99Goals {
		add(bench.Anet, w, p99, "<=")
	}
	for _, w := range rueidisGoals {
		add("rueidis", w, throughput, ">=")
	}
	return goals
}

// otherPeers are those whose every row ringwire is to exceed.
var otherPeers = []string{"grpc-go", "drpc", "arpc", "gorpc", "kitex", "rpcx", "nats"}

func (r *Report) otherPeerGoals() []Goal {
	s := r.section("throughput")
	if s == nil {
		return nil
	}
	var goals []Goal
	for i := range s.Rows {
		row := &s.Rows[i]
		if !slices.Contains(otherPeers, row.System) {
			continue
		}
		goals = append(goals, compare(s.blockingRow(bench.Ringwire, row.Callers), row,
			row.System, atCallers(row.Callers), throughput, ">", 1))
	}
	slices.SortStableFunc(goals, func(a, b Goal) int {
		return slices.Index(otherPeers, a.Against) - slices.Index(otherPeers, b.Against)
	})
	return goals
}

func (r *Report) limitGoals() []Goal {
	s := r.section("limits")
	find := func(system string, api bench.API) *bench.Row {
		return s.row(func(row *bench.Row) bool { return row.System == system && row.API == api })
	}
	redis, limit := find(peer.RedisBenchmark, bench.Native), find("prebuilt frames", bench.Native)
	callback, batch := find(bench.Ringwire, bench.Callback), find(bench.Ringwire, bench.Batch)
	const redisName = "redis-benchmark -c 1 -P 1024"
	return []Goal{
		compare(callback, redis, redisName, "Go, window 1024", throughput, ">=", 3),
		compare(batch, redis, redisName, "SendBatch of 1024", throughput, ">=", 1.5),
		compare(callback, limit, "the limit (prebuilt frames, replies only counted)", "Go, window 1024", throughput, ">=", 0.6),
		compare(find(bench.Ringwire, bench.Blocking), find("net.Conn ping-pong", bench.Native),
			"one frame on a bare net.Conn, our server", atCallers(1), throughput, ">=", 0.9),
	}
}

func (r *Report) bandwidthGoals() []Goal {
	s := r.section("bandwidth")
	var goals []Goal
	for _, bytes := range streamPayloads {
		find := func(system string) *bench.Row {
			return s.row(func(row *bench.Row) bool { return row.System == system && row.PayloadBytes == bytes })
		}
		goals = append(goals, compare(find(bench.Ringwire), find("net.Conn stream"), "bare net.Conn",
			fmt.Sprintf("%d payloads of %s outstanding", streamCallers, bytesText(bytes)), throughput, ">=", 0.7))
	}
	return goals
}

func (r *Report) rateGoals() []Goal {
	s := r.section("rate")
	var goals []Goal
	for _, g := range []struct {
		system string
		rate   float64
		want   float64
	}{{bench.Anet, rateAnet, 0.5}, {"rueidis", rateRedis, 0.8}} {
		find := func(system string) *bench.Row {
			return s.row(func(row *bench.Row) bool { return row.System == system && row.Rate == g.rate })
		}
		goals = append(goals, compare(find(bench.Ringwire), find(g.system), g.system,
			fmt.Sprintf("%s requests per second", bench.RateText(g.rate)), cpuPerReq, "<=", g.want))
	}
	return goals
}

// securedGoals are all blocking callers beside everybody else's, and ringwire's beside what
// crypto/tls can do. What TLS costs ringwire itself is shown and has no target.
func (r *Report) securedGoals() []Goal {
	s := r.section("tls")
	if s == nil {
		return nil
	}
	var goals []Goal
	for i := range s.Rows {
		row := &s.Rows[i]
		if row.API == bench.Blocking && !strings.HasPrefix(row.System, bench.Ringwire) {
			goals = append(goals, compare(s.blockingRow(bench.Ringwire, row.Callers), row,
				row.System, overTLS(atCallers(row.Callers)), throughput, ">", 1))
		}
	}
	find := func(system string, api bench.API, callers int) *bench.Row {
		return s.row(func(row *bench.Row) bool { return row.System == system && row.API == api && row.Callers == callers })
	}
	goals = append(goals,
		compare(find(bench.Ringwire, bench.Callback, window), find("tls.Conn prebuilt frames", bench.Native, window),
			"raw crypto/tls (prebuilt frames, replies only counted)", overTLS("Go, window 1024"), throughput, ">=", 0.7),
		compare(find(bench.Ringwire, bench.Blocking, 1), find("tls.Conn ping-pong", bench.Native, 1),
			"raw crypto/tls (one frame, our server)", overTLS(atCallers(1)), throughput, ">=", 0.9))
	shown := func(api bench.API, callers int, at string) Goal {
		return compare(find(bench.Ringwire, api, callers), find(peer.RingwirePlainName, api, callers),
			"ringwire without TLS", overTLS(at), throughput, ">", 0)
	}
	for _, callers := range securedCallers {
		goals = append(goals, shown(bench.Blocking, callers, atCallers(callers)))
	}
	return append(goals, shown(bench.Callback, window, "Go, window 1024"), shown(bench.Batch, window, "SendBatch of 1024"))
}

// windowGoals are ringwire's callbacks beside everybody else's way to have as many in flight.
func (r *Report) windowGoals() []Goal {
	s := r.section("tls-window")
	if s == nil {
		return nil
	}
	ours := s.row(func(row *bench.Row) bool { return row.System == bench.Ringwire && row.API == bench.Callback })
	var goals []Goal
	for i := range s.Rows {
		if row := &s.Rows[i]; row.System != bench.Ringwire {
			goals = append(goals, compare(ours, row, row.System, overTLS("Go, window 1024"), throughput, ">", 1))
		}
	}
	return goals
}

func overTLS(at string) string { return at + ", over TLS" }

// Bytes of memory that our server may use for an idle connection.
const (
	memoryWant    = 1 << 10
	memoryTLSWant = 24 << 10
)

func (r *Report) memoryGoals() []Goal {
	goal := func(system, against string, want float64) Goal {
		g := Goal{Against: against, Metric: "memory", Op: "<=", Want: want, Unit: "B"}
		if i := slices.IndexFunc(r.Memory, func(m Memory) bool { return m.System == system }); i >= 0 {
			g.At = fmt.Sprintf("%d idle used connections, each", r.Memory[i].Conns)
			g.Rounds = r.Memory[i].BytesPerConn
		}
		g.settle()
		return g
	}
	return []Goal{goal(bench.Ringwire, "memory of our server", memoryWant),
		goal(securedName(bench.Ringwire), "memory of our server over TLS", memoryTLSWant)}
}

// oursBefore is the system that a step of growth is compared with.
const oursBefore = "ringwire itself"

// stepMin is where a series is said to have a cliff: a step that loses more than
// half of what the last one carried.
const stepMin = 0.5

func (r *Report) growthGoals() []Goal {
	s := r.section("growth")
	at := func(callers, conns, bytes int) *bench.Row {
		return s.row(func(row *bench.Row) bool {
			return row.Callers == callers && row.Conns == conns && row.PayloadBytes == bytes
		})
	}
	goals := []Goal{compare(at(4096, 1, payload), at(1024, 1, payload), oursBefore, "4096 callers beside 1024", throughput, ">=", 0.9)}
	for i, n := range growthCallers[1 : len(growthCallers)-1] {
		last := growthCallers[i]
		goals = append(goals, compare(at(n, 1, payload), at(last, 1, payload), oursBefore,
			fmt.Sprintf("%d callers beside %d", n, last), throughput, ">=", stepMin))
	}
	for i, n := range growthConns[1:] {
		last := growthConns[i]
		goals = append(goals, compare(at(growthConnsCallers, n, payload), at(growthConnsCallers, last, payload), oursBefore,
			fmt.Sprintf("%d connections beside %d", n, last), throughput, ">=", stepMin))
	}
	for i, n := range growthPayloads[1:] {
		last := growthPayloads[i]
		g := compare(at(growthPayloadCallers, 1, n), at(growthPayloadCallers, 1, last), oursBefore,
			fmt.Sprintf("payloads of %s beside %s", bytesText(n), bytesText(last)), "bytes per second", ">=", stepMin)
		g.scale(float64(n) / float64(last))
		goals = append(goals, g)
	}
	return goals
}

// optionGoals has no target: what the option costs is shown beside the default,
// which it should not beat by far.
func (r *Report) optionGoals() []Goal {
	s := r.section("options")
	shown := func(option, name string, callers int) Goal {
		return compare(s.blockingRow(option, callers), s.blockingRow(bench.Ringwire, callers),
			"ringwire's default", name+", "+atCallers(callers), throughput, ">", 0)
	}
	goals := []Goal{shown(memoryOff, "OptimizeMemory off", optionCallers)}
	for _, callers := range pollCallers {
		goals = append(goals, shown(peer.RingwireAsleep().Name, "BusyPoll off", callers))
	}
	return goals
}

func bytesText(n int) string {
	if n >= 1<<10 && n%(1<<10) == 0 {
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}
