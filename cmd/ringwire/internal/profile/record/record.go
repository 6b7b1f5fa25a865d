// Package record takes profiles of a process while it works: between a Start and
// a Stop, so that the code that drives the load decides exactly what is covered. Profiles
// that cost time while they are taken (allocations, contention) are switched on
// for that span only.
package record

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"sync"
	"time"
)

// Kind is something that can be recorded.
type Kind string

const (
	CPU       Kind = "cpu"       // samples of running goroutines
	Allocs    Kind = "allocs"    // every allocation in the span, not a sample
	Mutex     Kind = "mutex"     // every contention of a mutex in the span
	Block     Kind = "block"     // what goroutines waited for in the span
	Goroutine Kind = "goroutine" // what they all do at Stop
	Trace     Kind = "trace"     // the execution trace of the span
)

// Kinds lists all of them.
func Kinds() []Kind { return []Kind{CPU, Allocs, Mutex, Block, Goroutine, Trace} }

const (
	// SpanMax is how long a recording lasts if nobody stops it; what it recorded
	// is then lost.
	SpanMax = 2 * time.Minute
	// TraceBytesMax bounds the memory that a trace may take.
	TraceBytesMax = 128 << 20
	// blockRate is the wait in nanoseconds from which on every one is recorded;
	// shorter ones are sampled in proportion. Recording all of them would cost more
	// than the waits.
	blockRate = 10_000
)

// Role is the value of the label "ringwire" on goroutines that profile, so that
// what they cost can be told from what is profiled.
const Role = "profiler"

// Label sets the profiler's Role on the calling goroutine and on those that it
// starts from now on. It keeps it through pprof.Do with the context that it returns.
func Label(ctx context.Context) context.Context {
	ctx = pprof.WithLabels(ctx, pprof.Labels("ringwire", Role))
	pprof.SetGoroutineLabels(ctx)
	return ctx
}

// Recorder records in this process. The zero value is ready; there should be one
// in a process, because the runtime's profilers are. It is safe for concurrent use.
type Recorder struct {
	mu     sync.Mutex // guards active; profilers are started and stopped under it
	active map[Kind]*recording
}

// recording is one that goes on.
type recording struct {
	finish func() ([]byte, error) // stops the profiler and returns what it recorded
	expiry *time.Timer
}

// Start begins a recording, which ends with Stop, or is given up after SpanMax.
func (r *Recorder) Start(kind Kind) error {
	begin, known := map[Kind]func() (func() ([]byte, error), error){
		CPU: beginCPU, Allocs: beginAllocs, Mutex: beginMutex,
		Block: beginBlock, Goroutine: beginGoroutine, Trace: beginTrace,
	}[kind]
	if !known {
		return fmt.Errorf("record: kind %q: must be one of %v", kind, Kinds())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.active[kind] != nil {
		return fmt.Errorf("record: %s is being recorded already: stop it first", kind)
	}
	finish, err := begin()
	if err != nil {
		return fmt.Errorf("record: start %s: %w", kind, err)
	}
	if r.active == nil {
		r.active = make(map[Kind]*recording)
	}
	recording := &recording{finish: finish}
	recording.expiry = time.AfterFunc(SpanMax, func() { r.expire(kind, recording) })
	r.active[kind] = recording
	return nil
}

// Stop ends a recording and returns it: a gzipped protocol buffer as pprof reads
// it, or an execution trace. The caller owns the bytes.
func (r *Recorder) Stop(kind Kind) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	recording := r.active[kind]
	if recording == nil {
		return nil, fmt.Errorf("record: %s is not being recorded: start it, and stop it within %v", kind, SpanMax)
	}
	recording.expiry.Stop()
	delete(r.active, kind)
	data, err := recording.finish()
	if err != nil {
		return nil, fmt.Errorf("record: %s: %w", kind, err)
	}
	return data, nil
}

// Close gives up every recording, so that no profiler stays switched on.
func (r *Recorder) Close() {
	for _, kind := range Kinds() {
		_, _ = r.Stop(kind)
	}
}

// expire gives up one that nobody stopped, unless another has begun since.
func (r *Recorder) expire(kind Kind, forgotten *recording) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.active[kind] == forgotten {
		delete(r.active, kind)
		_, _ = forgotten.finish()
	}
}

func beginCPU() (func() ([]byte, error), error) {
	var out bytes.Buffer
	if err := pprof.StartCPUProfile(&out); err != nil {
		return nil, err
	}
	return func() ([]byte, error) {
		pprof.StopCPUProfile()
		return out.Bytes(), nil
	}, nil
}

func beginTrace() (func() ([]byte, error), error) {
	out := &bounded{max: TraceBytesMax}
	if err := trace.Start(out); err != nil {
		return nil, err
	}
	return func() ([]byte, error) {
		trace.Stop()
		if out.full {
			return nil, fmt.Errorf("longer than %d MiB: record a shorter span", TraceBytesMax>>20)
		}
		return out.kept.Bytes(), nil
	}, nil
}

// beginAllocs records every allocation by setting the profile's rate to 1. The
// runtime heeds the change at once; that it cannot scale what was sampled at
// another rate does no harm, because only the difference is kept.
func beginAllocs() (func() ([]byte, error), error) {
	rate := runtime.MemProfileRate
	runtime.MemProfileRate = 1
	before, err := allocations()
	if err != nil {
		runtime.MemProfileRate = rate
		return nil, err
	}
	return func() ([]byte, error) {
		after, err := allocations()
		runtime.MemProfileRate = rate
		if err != nil {
			return nil, err
		}
		return allocated(before, after)
	}, nil
}

// allocations is the heap profile of all that was allocated until now: the
// runtime publishes it with the end of a collection.
func allocations() ([]byte, error) {
	runtime.GC()
	return lookup("heap")
}

func beginMutex() (func() ([]byte, error), error) {
	fraction := runtime.SetMutexProfileFraction(1)
	return span("mutex", func() { runtime.SetMutexProfileFraction(fraction) })
}

// beginBlock leaves the rate at 0 afterwards: the runtime does not tell what it
// was before.
func beginBlock() (func() ([]byte, error), error) {
	runtime.SetBlockProfileRate(blockRate)
	return span("block", func() { runtime.SetBlockProfileRate(0) })
}

// span records what a profile gains from now on; restore switches it off.
func span(name string, restore func()) (func() ([]byte, error), error) {
	before, err := lookup(name)
	if err != nil {
		restore()
		return nil, err
	}
	return func() ([]byte, error) {
		after, err := lookup(name)
		restore()
		if err != nil {
			return nil, err
		}
		return gained(before, after)
	}, nil
}

func beginGoroutine() (func() ([]byte, error), error) {
	return func() ([]byte, error) { return lookup("goroutine") }, nil
}

// lookup is one of the runtime's profiles as it stands.
func lookup(name string) ([]byte, error) {
	var out bytes.Buffer
	if err := pprof.Lookup(name).WriteTo(&out, 0); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

var errFull = errors.New("record: full")

// bounded keeps what is written to it, up to max bytes.
type bounded struct {
	kept bytes.Buffer
	max  int
	full bool
}

// Write fails once all does not fit.
func (b *bounded) Write(p []byte) (int, error) {
	if b.full || b.kept.Len()+len(p) > b.max {
		b.full = true
		return 0, errFull
	}
	return b.kept.Write(p)
}
