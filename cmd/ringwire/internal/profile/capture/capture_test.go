package capture

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"github.com/ringwire/ringwire/cmd/ringwire/internal/profile"
	"github.com/ringwire/ringwire/cmd/ringwire/internal/profile/record"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// world is a client, a server and their recorders in one: it notes when what
// happened.
type world struct {
	mu     sync.Mutex // guards the rest
	active []record.Kind
	events []string
	seen   map[string]bool // kinds recorded by both while a request was sent
	failAt record.Kind
	wrong  bool
}

func (w *world) Call(dst []byte, req *[]byte) ([]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := ""
	for _, kind := range w.active {
		key += string(kind) + " "
	}
	w.seen[key] = true
	if w.wrong {
		return dst, nil
	}
	return append(dst, *req...), nil
}

func (w *world) Close() error { return nil }

func (w *world) Start(_ context.Context, kind record.Kind) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if kind == w.failAt {
		return errors.New("cannot record")
	}
	w.active = append(w.active, kind)
	return nil
}

func (w *world) Stop(_ context.Context, kind record.Kind) ([]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := slices.Index(w.active, kind)
	if at < 0 {
		return nil, errors.New("not recording")
	}
	w.active = slices.Delete(w.active, at, at+1)
	return []byte(kind), nil
}

func capture(t *testing.T, w *world, duration time.Duration) (*Captured, error) {
	t.Helper()
	w.seen = make(map[string]bool)
	target := bench.Target{Name: "fake", APIs: bench.APIs(), Dial: func(context.Context, int) (bench.Client, error) { return w, nil }}
	return Run(t.Context(), Config{Suite: profile.Suite{Name: "tiny", API: bench.Blocking, Callers: 1, Payload: 16},
		Target: &target, Conns: 1, Duration: duration, Client: w, Server: w}, func(phase string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.events = append(w.events, phase)
	})
}

func TestOnlyTheCPUIsSampledWhileItIs(t *testing.T) {
	w := &world{}
	c, err := capture(t, w, DurationMin)
	require.NoError(t, err)
	assert.Empty(t, w.active, "everything is stopped")
	assert.Equal(t, []string{"warm-up", "cpu", "allocs", "contention", "goroutines", "trace"}, w.events)
	for key := range w.seen {
		assert.Contains(t, []string{"", "cpu cpu ", "allocs allocs ", "mutex mutex block block ", "goroutine goroutine ",
			"goroutine ", "trace trace "}, key, "what was recorded at the same time, in both processes")
	}
	assert.True(t, w.seen["cpu cpu "], "both processes while requests were sent")
	for _, kind := range record.Kinds() {
		assert.Positive(t, c.Phase(kind).Requests, kind)
		for _, process := range []string{profile.Client, profile.Server} {
			assert.Equal(t, []byte(kind), c.Recordings[process][kind])
		}
	}
	assert.Len(t, c.Phase(record.CPU).Slices, slicesOfCPU)
	assert.Equal(t, c.Phase(record.Mutex), c.Phase(record.Block))
	assert.Nil(t, c.Phase("heat"))
}

func TestAFailureNamesThePhase(t *testing.T) {
	_, err := capture(t, &world{failAt: record.Mutex}, DurationMin)
	require.ErrorContains(t, err, "contention of tiny: cannot record")
	_, err = capture(t, &world{wrong: true}, DurationMin)
	require.ErrorContains(t, err, "warm-up of tiny: bench:")
	require.ErrorContains(t, err, "wrong reply")
	_, err = capture(t, &world{}, time.Nanosecond)
	require.ErrorContains(t, err, "duration 1ns: must be")
}

func TestWriteMakesAFolderForEachProcess(t *testing.T) {
	c := &Captured{Recordings: map[string]map[record.Kind][]byte{
		"client": {record.CPU: []byte("a"), record.Trace: []byte("b")}, "server": {record.Allocs: []byte("c")}}}
	dir := t.TempDir()
	require.NoError(t, c.Write(dir))
	for path, want := range map[string]string{"client/cpu.pb.gz": "a", "client/trace.out": "b", "server/allocs.pb.gz": "c"} {
		data, err := os.ReadFile(filepath.Join(dir, path))
		require.NoError(t, err)
		assert.Equal(t, want, string(data))
	}
}
