//go:build !race && !invariant

package gate

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/benchmarks/internal/load"
)

const module = "github.com/ringwire/ringwire/"

// ours are the packages on a request's path.
var ours = []string{"engine", "server", "ring", "taskid", "framing", "internal/bytepool"}

// waits lists our functions that may wait, and in what. That is the design:
// callers and the flusher are parked on channels of their own.
var waits = map[string][]string{
	"engine.(*Broker).ask":        {"runtime.chanrecv1"},                     // a blocking caller, for its reply,
	"engine.(*Broker).await":      {"runtime.chanrecv1", "runtime.selectgo"}, // and if its context can end
	"engine.(*Broker).SendBatch":  {"runtime.chanrecv1", "runtime.selectgo"}, // for the last of its replies
	"engine.(*conn).flush":        {"runtime.selectgo"},                      // the flusher, for the right to write
	"engine.(*conn).read":         {"runtime.selectgo"},                      // the reader, for the right to read
	"engine.(*poller).wait":       {"runtime.selectgo"},                      // the poller, for replies that are due
	"engine.(*Broker).keepTime":   {"runtime.selectgo"},                      // the clock, for its tick
	"engine.(*Broker).sleepClock": {"runtime.selectgo"},                      // the clock, for a request
	"server.(*Server).sweep":      {"runtime.selectgo"},                      // the sweeper, for its tick
}

// stack is a call stack, the innermost function first.
type stack []string

// profile is how often each stack waited.
type profile map[string]int64

// record adds what the runtime has recorded.
func (p profile) record(read func([]runtime.BlockProfileRecord) (int, bool)) {
	// The profile may grow between the two calls.
	for n, _ := read(nil); ; {
		records := make([]runtime.BlockProfileRecord, n+50)
		got, ok := read(records)
		if !ok {
			n = got
			continue
		}
		for _, r := range records[:got] {
			p[strings.Join(symbolize(r.Stack()), "\n")] += r.Count
		}
		return
	}
}

func symbolize(pcs []uintptr) (s stack) {
	frames := runtime.CallersFrames(pcs)
	for {
		f, more := frames.Next()
		s = append(s, f.Function)
		if !more {
			return s
		}
	}
}

// forbidden explains why a function of ours may not wait as it does in s; "" if
// it may, or if it is not ours: the function that waits is the first one outside the
// standard library and bytebufferpool, which is no more than a sync.Pool.
func (s stack) forbidden() string {
	who := slices.IndexFunc(s, func(f string) bool {
		return !standard(f) && !strings.HasPrefix(f, "github.com/valyala/bytebufferpool.")
	})
	if who < 1 {
		return ""
	}
	name, own := strings.CutPrefix(s[who], module)
	if !own || !slices.ContainsFunc(ours, func(pkg string) bool { return strings.HasPrefix(name, pkg+".") }) {
		return ""
	}
	name = strings.ReplaceAll(name, "[...]", "")
	inner := s[:who]
	if lock := slices.IndexFunc(inner, locks); lock >= 0 {
		return fmt.Sprintf("%s waits in %s", name, inner[lock])
	}
	// What remains are channels. Inside of those, and of the scheduler, the runtime
	// may have met a lock of its own, which it records where it lets go of it.
	if strings.HasPrefix(inner[0], "runtime.unlock") {
		return ""
	}
	what := inner[len(inner)-1]
	if channelWait(what) && !slices.Contains(waits[name], what) {
		return fmt.Sprintf("%s waits in %s, which the table of waits does not allow", name, what)
	}
	return ""
}

// standard reports whether a function belongs to the standard library, whose
// import paths have no dot in their first part.
func standard(function string) bool {
	pkg := function
	if slash := strings.LastIndexByte(pkg, '/'); slash >= 0 {
		first, _, _ := strings.Cut(pkg, "/")
		return !strings.Contains(first, ".")
	}
	pkg, _, _ = strings.Cut(pkg, ".")
	return pkg != "main"
}

// locks reports whether a function is one of package sync or of a descriptor's
// lock, all of which wait for another goroutine to let go.
func locks(function string) bool {
	return strings.HasPrefix(function, "sync.") || strings.HasPrefix(function, "internal/sync.") ||
		strings.HasPrefix(function, "internal/poll.(*fdMutex).")
}

func channelWait(function string) bool {
	return strings.HasPrefix(function, "runtime.chan") || strings.HasPrefix(function, "runtime.select")
}

// waitsDuring runs a load while the runtime records every wait, and returns those
// that ended meanwhile.
func waitsDuring(t *testing.T, run func() error) profile {
	t.Helper()
	before, after := profile{}, profile{}
	before.record(runtime.MutexProfile)
	before.record(runtime.BlockProfile)
	old := runtime.SetMutexProfileFraction(1)
	runtime.SetBlockProfileRate(1)
	err := run()
	runtime.SetBlockProfileRate(0)
	runtime.SetMutexProfileFraction(old)
	require.NoError(t, err)
	after.record(runtime.MutexProfile)
	after.record(runtime.BlockProfile)
	for s, n := range before {
		if after[s] -= n; after[s] <= 0 {
			delete(after, s)
		}
	}
	return after
}

// requireNoContention fails for each wait of ours that is not by design.
func requireNoContention(t *testing.T, p profile) {
	t.Helper()
	require.NotEmpty(t, p, "the runtime recorded nothing, not even callers that wait for replies")
	seen := make(map[string]int64)
	for text, n := range p {
		s := stack(strings.Split(text, "\n"))
		if why := s.forbidden(); why != "" {
			t.Errorf("%d times: %s\n\t%s", n, why, strings.Join(s, "\n\t"))
			continue
		}
		for i, f := range s {
			if name, own := strings.CutPrefix(f, module); own && i > 0 {
				seen[name+" in "+s[i-1]] += n
				break
			}
		}
	}
	t.Logf("waits by design: %v", seen)
}

// contentionLoads are the loads under which nothing of ours may wait for a lock.
var contentionLoads = []budget{
	{api: load.SendInto, callers: 64, requests: 200_000},
	{api: load.SendInto, callers: 1024, requests: 200_000},
	{api: load.Go, callers: 1024, requests: 500_000},
	{api: load.Batch, callers: 1024, requests: 500_000},
}

func TestLoadedEngineWaitsForNoLock(t *testing.T) {
	srv := startServer(t)
	for _, b := range contentionLoads {
		t.Run(b.String(), func(t *testing.T) {
			_, l := connect(t, srv.Addr, b)
			requireNoContention(t, waitsDuring(t, func() error { return l.Run(b.requests) }))
		})
	}
}

// The server is in this process, to be seen; so is its client, which is seen too.
func TestLoadedServerWaitsForNoLock(t *testing.T) {
	srv, err := load.NewServer("127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, srv.Start())
	defer func() { require.NoError(t, srv.Close()) }()
	for _, b := range contentionLoads {
		t.Run(b.String(), func(t *testing.T) {
			_, l := connect(t, srv.Addr().String(), b)
			requireNoContention(t, waitsDuring(t, func() error { return l.Run(b.requests) }))
		})
	}
}

func TestContentionCheckKnowsWhoWaits(t *testing.T) {
	submit, await := module+"engine.(*conn).submit", module+"engine.(*Broker).ask"
	for _, s := range []stack{
		{"runtime.chanrecv1", await, module + "engine.(*Broker).SendInto"},
		{"runtime.goparkunlock", "runtime.chanrecv", "runtime.chanrecv1", await},
		{"runtime.unlock", "runtime.wakep", "runtime.ready", "runtime.send", "runtime.chansend1", submit},
		{"sync.(*Mutex).Lock", "github.com/panjf2000/gnet/v2.(*eventloop).run", submit},
		{"sync.(*Mutex).Lock", "sync.(*Pool).pinSlow", "sync.(*Pool).Get",
			"github.com/valyala/bytebufferpool.(*Pool).Get",
			"github.com/panjf2000/gnet/v2.(*eventloop).run"},
		{"sync.(*Mutex).Lock", module + "benchmarks/internal/load.(*Load).Run", submit},
		{"sync.(*Mutex).Lock"},
		{await},
	} {
		assert.Empty(t, s.forbidden(), "%q", s)
	}
	for _, s := range []stack{
		{"sync.(*Mutex).Lock", submit},
		{"sync.(*Mutex).Unlock", submit},
		{"internal/sync.(*Mutex).lockSlow", "internal/sync.(*Mutex).Lock", "sync.(*Mutex).Lock", submit},
		{"runtime.unlock2", "sync.runtime_notifyListWait", "sync.(*Cond).Wait", await},
		{"sync.(*RWMutex).RLock", module + "taskid.(*Table[...]).Acquire", submit},
		{"sync.(*Mutex).Lock", "sync.(*Pool).pinSlow", "sync.(*Pool).Get",
			"github.com/valyala/bytebufferpool.(*Pool).Get", module + "internal/bytepool.find"},
		{"internal/poll.runtime_Semacquire", "internal/poll.(*fdMutex).rwlock", "internal/poll.(*FD).Write", "net.(*conn).Write", submit},
		{"runtime.chanrecv1", submit},
		{"runtime.chansend1", await},
	} {
		assert.NotEmpty(t, s.forbidden(), "%q", s)
	}
}
