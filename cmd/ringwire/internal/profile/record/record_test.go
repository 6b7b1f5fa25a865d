package record

import (
	"bytes"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/pprof/profile"
	"github.com/ringwire/ringwire/benchmarks/harness/proc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// total sums the first value of all samples that have a frame with this in its name.
func total(t *testing.T, data []byte, frame string) int64 {
	t.Helper()
	p, err := profile.ParseData(data)
	require.NoError(t, err)
	sum := int64(0)
	for _, s := range p.Sample {
		if hasFrame(s, frame) {
			sum += s.Value[0]
		}
	}
	return sum
}

func hasFrame(s *profile.Sample, part string) bool {
	for _, l := range s.Location {
		for _, line := range l.Line {
			if strings.Contains(line.Function.Name, part) {
				return true
			}
		}
	}
	return false
}

var sink [][]byte

//go:noinline
func allocateHere(n int) {
	sink = sink[:0]
	for range n {
		sink = append(sink, make([]byte, 100))
	}
}

func TestAllocsCountsEveryAllocationOfTheSpan(t *testing.T) {
	sink = make([][]byte, 0, 1000)
	rate := runtime.MemProfileRate
	var r Recorder
	allocateHere(500) // before the span
	require.NoError(t, r.Start(Allocs))
	allocateHere(123)
	data, err := r.Stop(Allocs)
	require.NoError(t, err)
	assert.EqualValues(t, 123, total(t, data, "allocateHere"))
	assert.Equal(t, rate, runtime.MemProfileRate, "the rate is restored")
	p, err := profile.ParseData(data)
	require.NoError(t, err)
	require.Len(t, p.SampleType, 2)
	assert.Equal(t, "alloc_objects", p.SampleType[0].Type)
	assert.Equal(t, "alloc_space", p.SampleType[1].Type)
}

//go:noinline
func contendHere(t *testing.T) {
	var mu sync.Mutex
	mu.Lock()
	var waiter sync.WaitGroup
	waiter.Go(func() {
		mu.Lock()
		defer mu.Unlock()
	})
	require.Eventually(t, func() bool {
		var stacks bytes.Buffer
		_ = pprof.Lookup("goroutine").WriteTo(&stacks, 2)
		return strings.Contains(stacks.String(), "[sync.Mutex.Lock")
	}, time.Minute, time.Millisecond)
	mu.Unlock()
	waiter.Wait()
}

func TestMutexAndBlockCoverTheSpanOnly(t *testing.T) {
	var r Recorder
	contendHere(t) // before the span
	for _, kind := range []Kind{Mutex, Block} {
		require.NoError(t, r.Start(kind))
	}
	contendHere(t)
	mutex, err := r.Stop(Mutex)
	require.NoError(t, err)
	block, err := r.Stop(Block)
	require.NoError(t, err)
	assert.Positive(t, total(t, mutex, "contendHere"))
	assert.Positive(t, total(t, block, "contendHere"))
	assert.Zero(t, runtime.SetMutexProfileFraction(-1), "the fraction is restored")

	require.NoError(t, r.Start(Mutex))
	again, err := r.Stop(Mutex)
	require.NoError(t, err)
	assert.Zero(t, total(t, again, "contendHere"), "what earlier spans recorded is left out")
}

//go:noinline
func burnHere() {
	start, err := proc.CPUTime(0)
	deadline := time.Now().Add(200 * time.Millisecond)
	for {
		used, _ := proc.CPUTime(0)
		if err == nil && used-start > 100*time.Millisecond || err != nil && time.Now().After(deadline) {
			return
		}
	}
}

func TestCPUAndTraceAndGoroutine(t *testing.T) {
	var r Recorder
	for _, kind := range []Kind{CPU, Trace, Goroutine} {
		require.NoError(t, r.Start(kind))
	}
	burnHere()
	cpu, err := r.Stop(CPU)
	require.NoError(t, err)
	assert.Positive(t, total(t, cpu, "burnHere"))
	trace, err := r.Stop(Trace)
	require.NoError(t, err)
	assert.True(t, bytes.HasPrefix(trace, []byte("go 1.")))
	goroutines, err := r.Stop(Goroutine)
	require.NoError(t, err)
	assert.EqualValues(t, 1, total(t, goroutines, "TestCPUAndTraceAndGoroutine"))
}

func TestARecordingIsStartedOnceAndStoppedOnce(t *testing.T) {
	var r Recorder
	for _, kind := range Kinds() {
		require.NoError(t, r.Start(kind))
		require.ErrorContains(t, r.Start(kind), "already")
		_, err := r.Stop(kind)
		require.NoError(t, err)
		_, err = r.Stop(kind)
		require.ErrorContains(t, err, "not being recorded")
	}
	require.ErrorContains(t, r.Start("heat"), "must be one of")
}

func TestAForgottenRecordingIsGivenUp(t *testing.T) {
	var r Recorder
	require.NoError(t, r.Start(Mutex))
	forgotten := r.active[Mutex]
	forgotten.expiry.Stop()
	r.expire(Mutex, forgotten)
	assert.Zero(t, runtime.SetMutexProfileFraction(-1))
	_, err := r.Stop(Mutex)
	require.ErrorContains(t, err, "not being recorded")

	require.NoError(t, r.Start(Mutex))
	r.expire(Mutex, forgotten) // a timer that fires late
	_, err = r.Stop(Mutex)
	require.NoError(t, err, "the next recording is not given up with it")
}

func TestCloseSwitchesEverythingOff(t *testing.T) {
	var r Recorder
	rate := runtime.MemProfileRate
	for _, kind := range Kinds() {
		require.NoError(t, r.Start(kind))
	}
	r.Close()
	assert.Equal(t, rate, runtime.MemProfileRate)
	assert.Zero(t, runtime.SetMutexProfileFraction(-1))
	require.NoError(t, r.Start(CPU), "no other CPU profile goes on")
	r.Close()
}

func TestATraceThatIsTooLongIsRefused(t *testing.T) {
	b := bounded{max: 4}
	n, err := b.Write([]byte("abc"))
	require.NoError(t, err)
	assert.Equal(t, 3, n)
	_, err = b.Write([]byte("de"))
	require.Error(t, err)
	_, err = b.Write([]byte("f"))
	require.Error(t, err, "nothing follows a gap")
	assert.True(t, b.full)
	assert.Equal(t, "abc", b.kept.String())
}
