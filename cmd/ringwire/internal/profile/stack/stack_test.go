package stack

import (
	"testing"

	"github.com/google/pprof/profile"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const own = "github.com/ringwire/ringwire/"

func TestShortNamesDropWhatEveryReaderKnows(t *testing.T) {
	for name, want := range map[string]string{
		own + "engine.(*conn).flush":                                                   "engine.(*conn).flush",
		own + "internal/bytepool.Get":                                                  "internal/bytepool.Get",
		own + "benchmarks/harness/bench.(*load).call":                                  "bench.(*load).call",
		own + "ring.(*MPSC[go.shape.uint32]).TryPush":                                  "ring.(*MPSC[...]).TryPush",
		own + "taskid.(*Table[go.shape.struct { " + own + "engine.dst []uint8 }]).put": "taskid.(*Table[...]).put",
		"github.com/panjf2000/gnet/v2.(*eventloop).run":                                "gnet.(*eventloop).run",
		"golang.org/x/sys/unix.Write":                                                  "unix.Write",
		"internal/runtime/syscall/linux.Syscall6":                                      "internal/runtime/syscall/linux.Syscall6",
		"runtime.mcall": "runtime.mcall",
		"unknown":       "unknown",
	} {
		assert.Equal(t, want, Short(name))
	}
}

func TestOwnerOfTellsWhoseCodeItIs(t *testing.T) {
	for name, want := range map[string]Owner{
		own + "engine.(*conn).flush":                    Ours,
		own + "internal/bytepool.Get":                   Ours,
		own + "benchmarks/harness/bench.(*load).call":   Harness,
		own + "cmd/ringwire/internal/echo.Config.reply": Harness,
		"main.serve": Harness,
		own + "cmd/ringwire/internal/profile/record.beginCPU":   Profiler,
		"runtime/pprof.profileWriter":                           Profiler,
		"net/http.(*conn).serve":                                Profiler,
		"github.com/panjf2000/gnet/v2.(*eventloop).run":         Loop,
		"runtime.mcall":                                         Runtime,
		"internal/runtime/atomic.(*Uint32).Add":                 Runtime,
		"sync.(*Mutex).Lock":                                    Sync,
		"internal/sync.(*Mutex).lockSlow":                       Sync,
		"internal/poll.(*fdMutex).rwlock":                       Sync,
		"internal/poll.(*FD).Write":                             Other,
		"net.(*conn).Write":                                     Other,
		"github.com/ringwire/ringwireness/engine.(*conn).flush": Other,
		"github.com/valyala/bytebufferpool.(*Pool).Get":         Other,
	} {
		assert.Equal(t, want, OwnerOf(name), name)
	}
}

func TestResponsibleIsTheNearestThatIsNotTheStandardLibrary(t *testing.T) {
	assert.Equal(t, Ours, Responsible([]string{"runtime.makeslice", "sync.(*Pool).pin", own + "taskid.lend", own + "benchmarks/harness/bench.x"}))
	assert.Equal(t, Harness, Responsible([]string{"runtime.makeslice", own + "benchmarks/harness/bench.x", own + "cmd/ringwire/internal/profile/capture.drive"}))
	assert.Equal(t, Profiler, Responsible([]string{"runtime.makeslice", "net/http.(*conn).serve"}))
	assert.Equal(t, Other, Responsible([]string{"runtime.makeslice", "net.x"}))
}

func TestGroupSaysWhatTheProcessorDid(t *testing.T) {
	const syscall6 = "internal/runtime/syscall/linux.Syscall6"
	for want, stacks := range map[string][][]string{
		"syscall write": {
			{syscall6, "syscall.RawSyscall6", "syscall.Syscall", "syscall.write", "syscall.Write", "internal/poll.(*FD).Write", own + "engine.(*conn).writeAll"},
			{syscall6, "syscall.Syscall", "golang.org/x/sys/unix.write", "golang.org/x/sys/unix.Write", "github.com/panjf2000/gnet/v2.(*conn).write"},
		},
		"syscall read": {{syscall6, "syscall.Syscall", "syscall.read", "syscall.Read", own + "engine.(*conn).read"}},
		"syscall epoll_wait": {
			{syscall6, "internal/runtime/syscall/linux.EpollWait", "runtime.netpoll", "runtime.findRunnable"},
			{syscall6, "syscall.Syscall6", "github.com/panjf2000/gnet/v2/pkg/netpoll.epollWait"},
		},
		"syscall other":   {{syscall6, "syscall.Syscall", own + "engine.x", "syscall.write"}},
		"syscall futex":   {{"runtime.futex", "runtime.futexwakeup", "runtime.notewakeup", "runtime.startm"}},
		GroupScheduler:    {{"runtime.unlock2", "runtime.schedule", "runtime.park_m", "runtime.mcall"}, {"runtime.casgstatus", "runtime.ready", "runtime.goready", "runtime.send", "runtime.chansend"}},
		GroupChannel:      {{"runtime.lock2", "runtime.chanrecv", own + "engine.(*conn).await"}},
		GroupCopy:         {{"runtime.memmove", own + "engine.(*conn).take"}},
		GroupGC:           {{"runtime.nextFreeFast", "runtime.mallocgcSmallNoscan", "runtime.mallocgc", own + "engine.x"}, {"runtime.scanobject", "runtime.gcDrain", "runtime.gcBgMarkWorker"}},
		GroupRuntime:      {{"runtime.memequal", own + "engine.x"}, {"memeqbody", "bytes.Equal"}, {"runtime.nanotime"}},
		GroupSync:         {{"sync.(*Mutex).Lock", own + "engine.x"}},
		GroupLoop:         {{"github.com/panjf2000/gnet/v2.(*eventloop).read"}},
		GroupHarness:      {{own + "benchmarks/harness/bench.(*load).call"}},
		GroupOther:        {{"net.(*conn).Write", own + "engine.x"}, {"unknown", "engine.x"}},
		"ringwire engine": {{own + "engine.x", own + "benchmarks/harness/bench.x"}, {"sync/atomic.(*Bool).Load", own + "engine.x"}},
		"ringwire taskid": {{"sync/atomic.(*Uint64).CompareAndSwap", own + "taskid.x", own + "engine.x"}},
	} {
		for _, frames := range stacks {
			assert.Equal(t, want, Group(frames), frames)
		}
	}
}

func TestStateSaysWhatAGoroutineWaitsFor(t *testing.T) {
	for want, frames := range map[string][]string{
		"chan receive": {"runtime.gopark", "runtime.chanrecv", "runtime.chanrecv1", own + "engine.x"},
		"chan send":    {"runtime.gopark", "runtime.chansend", own + "engine.x"},
		"select":       {"runtime.gopark", "runtime.selectgo", own + "engine.x"},
		"network":      {"runtime.gopark", "runtime.netpollblock", "internal/poll.runtime_pollWait"},
		"lock":         {"runtime.gopark", "runtime.goparkunlock", "runtime.semacquire1", "sync.runtime_SemacquireMutex"},
		"condition":    {"runtime.gopark", "runtime.goparkunlock", "sync.runtime_notifyListWait", "sync.(*Cond).Wait"},
		"sleep":        {"runtime.gopark", "time.Sleep"},
		"parked":       {"runtime.gopark", own + "engine.x", "time.Sleep"},
		"runnable":     {own + "engine.x"},
		"syscall":      {"syscall.Syscall6", "golang.org/x/sys/unix.EpollWait"},
		"signal":       {"os/signal.signal_recv"},
	} {
		assert.Equal(t, want, State(frames))
	}
}

// sample has the frames, leaf first; one location may hold inlined functions.
func sample(labels map[string][]string, locations ...[]string) *profile.Sample {
	s := &profile.Sample{Value: []int64{1}, Label: labels}
	for _, names := range locations {
		l := &profile.Location{}
		for _, name := range names {
			l.Line = append(l.Line, profile.Line{Function: &profile.Function{Name: name}})
		}
		s.Location = append(s.Location, l)
	}
	return s
}

func TestReadGivesFramesAndRoles(t *testing.T) {
	p := &profile.Profile{Sample: []*profile.Sample{
		sample(map[string][]string{Label: {"reader"}}, []string{"inlined", "leaf"}, nil, []string{"root"}),
		sample(nil),
		sample(nil, []string{"x"}, []string{"github.com/panjf2000/gnet/v2.(*eventloop).run"}),
		sample(nil, []string{"runtime.scanobject"}, []string{"runtime.gcBgMarkWorker"}),
		sample(nil, []string{"runtime.futex"}, []string{"runtime.mcall"}),
		sample(nil, []string{"runtime.futex"}, []string{"main.main"}, []string{"runtime.main"}),
		sample(nil, []string{"runtime.read"}, []string{"runtime/pprof.profileWriter"}),
	}}
	stacks := Read(p)
	require.Len(t, stacks, 6, "a sample without a stack says nothing")
	assert.Equal(t, []string{"inlined", "leaf", "unknown", "root"}, stacks[0].Frames)
	var roles []string
	for _, s := range stacks {
		roles = append(roles, s.Role)
	}
	assert.Equal(t, []string{"reader", RoleLoop, RoleGC, RoleScheduler, RoleNone, RoleProfiler}, roles)
}
