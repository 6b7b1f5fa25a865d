package bench

import (
	"context"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// driver drives four callers of a fake.
func driver(t *testing.T, api API, client Client, pid int) *Driver {
	t.Helper()
	target := Target{Name: Ringwire, APIs: APIs(), PID: pid,
		Dial: func(context.Context, int) (Client, error) { return client, nil }}
	d, err := NewDriver(t.Context(), Case{Target: &target, API: api, Callers: 4, PayloadBytes: 16, Conns: 1})
	require.NoError(t, err)
	return d
}

func TestADriverCountsEachRunOnItsOwn(t *testing.T) {
	for _, api := range APIs() {
		t.Run(string(api), func(t *testing.T) {
			client := &fake{}
			d := driver(t, api, client, os.Getpid())
			first, err := d.Run(t.Context(), 2*time.Millisecond)
			require.NoError(t, err)
			assert.EqualValues(t, client.sent.Load(), first.Requests)
			second, err := d.Run(t.Context(), 2*time.Millisecond)
			require.NoError(t, err)
			assert.EqualValues(t, client.sent.Load(), first.Requests+second.Requests)
			assert.Zero(t, second.Errors)
			assert.GreaterOrEqual(t, second.Elapsed, 2*time.Millisecond)
			if runtime.GOOS == "linux" {
				assert.Positive(t, second.ClientCPU)
				assert.Positive(t, second.ServerCPU)
			}
			require.NoError(t, d.Close())
			assert.True(t, client.closed.Load())
		})
	}
}

func TestADriverWithoutAServerHasNoServerTime(t *testing.T) {
	d := driver(t, Blocking, &fake{}, 0)
	defer func() { _ = d.Close() }()
	driven, err := d.Run(t.Context(), time.Millisecond)
	require.NoError(t, err)
	assert.Zero(t, driven.ServerCPU)
}

func TestADriverFailsOnAWrongReplyAndWithoutAnyReply(t *testing.T) {
	for want, client := range map[string]*fake{
		"wrong reply":          {wrong: true},
		"no request succeeded": {failing: true},
	} {
		d := driver(t, Blocking, client, 0)
		_, err := d.Run(t.Context(), time.Millisecond)
		require.ErrorContains(t, err, want)
		require.NoError(t, d.Close())
	}
}

func TestADriverRefusesWhatItCannotDrive(t *testing.T) {
	_, err := NewDriver(t.Context(), Case{})
	require.ErrorContains(t, err, "without a target")
	native := Target{Name: "native", APIs: []API{Native},
		Measure: func(context.Context, Case, time.Duration) (Sample, error) { return Sample{}, nil }}
	_, err = NewDriver(t.Context(), Case{Target: &native, API: Native, Callers: 1, PayloadBytes: 16, Conns: 1})
	require.ErrorContains(t, err, "cannot be driven")
	failing := Target{Name: Ringwire, APIs: APIs(),
		Dial: func(context.Context, int) (Client, error) { return nil, errFake }}
	_, err = NewDriver(t.Context(), Case{Target: &failing, API: Blocking, Callers: 1, PayloadBytes: 16, Conns: 1})
	require.ErrorIs(t, err, errFake)
}

// labelled is a client that notes whether its callers have their label.
type labelled struct {
	fake
	looked, found atomic.Bool
}

func (l *labelled) Call(dst []byte, req *[]byte) ([]byte, error) {
	if !l.looked.Swap(true) {
		var text strings.Builder
		_ = pprof.Lookup("goroutine").WriteTo(&text, 1)
		l.found.Store(strings.Contains(text.String(), `"`+Label+`":"`+CallerRole+`"`))
	}
	return l.fake.Call(dst, req)
}

func TestADriversCallersCarryTheirRole(t *testing.T) {
	client := &labelled{}
	d := driver(t, Blocking, client, 0)
	defer func() { _ = d.Close() }()
	_, err := d.Run(t.Context(), time.Millisecond)
	require.NoError(t, err)
	assert.True(t, client.found.Load())
}
