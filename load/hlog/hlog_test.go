package hlog

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ringwire/ringwire/load"
	"github.com/ringwire/ringwire/load/request"
	"github.com/ringwire/ringwire/load/schedule"
	"github.com/ringwire/ringwire/load/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// mirror is a backend that sends every byte back.
func mirror(t *testing.T) load.Target {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer func() { _ = conn.Close() }()
				_, _ = io.Copy(conn, conn)
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	target, err := load.ParseTarget(l.Addr().String())
	require.NoError(t, err)
	return target
}

// logged makes a run of a mix of two and returns it and its log.
func logged(t *testing.T, target load.Target, rate float64, length time.Duration) (*load.Result, []byte) {
	t.Helper()
	spec, err := wire.Preset("anet")
	require.NoError(t, err)
	codec, err := wire.New(spec)
	require.NoError(t, err)
	var kinds []request.Kind
	for name, payload := range map[string]string{"echo": "00", "sale": "00${seq}"} {
		source, err := request.Compile(payload, nil, 1)
		require.NoError(t, err)
		kinds = append(kinds, request.Kind{Name: name, Weight: 1, Source: source,
			Status: request.Status{Offset: 6, Len: 2, OK: [][]byte{[]byte("00")}}})
	}
	mix, err := request.NewMix(kinds)
	require.NoError(t, err)
	var out bytes.Buffer
	w, err := NewWriter(&out, time.Now())
	require.NoError(t, err)
	res, err := load.Run(t.Context(), load.Config{
		Targets: []load.Target{target}, Codec: codec, Mix: mix, Conns: 2, InFlight: 64, Log: w.Interval, Timeout: 20 * time.Second,
		Schedule: &schedule.Config{Stages: []schedule.Stage{{For: length, From: rate, To: rate}}, Poisson: true, Seed: uint64(rate)},
	})
	require.NoError(t, err)
	require.NoError(t, w.Close(res))
	return res, out.Bytes()
}

func read(t *testing.T, log []byte) *load.Result {
	t.Helper()
	r, err := Read(bytes.NewReader(log))
	require.NoError(t, err)
	return r
}

func same(t *testing.T, want, got *load.Figures) {
	t.Helper()
	assert.Equal(t, want.Name, got.Name)
	assert.Equal(t, want.Counts, got.Counts, want.Name)
	for name, pair := range map[string][2]*hdrhistogram.Histogram{"response": {want.Response, got.Response},
		"service": {want.Service, got.Service}, "queue": {want.Queue, got.Queue}, "lag": {want.Lag, got.Lag}, "late": {want.Late, got.Late}} {
		assert.Equal(t, pair[0].Export().Counts, pair[1].Export().Counts, "%s %s", want.Name, name)
	}
}

func TestWhatIsReadIsWhatTheRunGave(t *testing.T) {
	res, log := logged(t, mirror(t), 800, 1200*time.Millisecond)
	got := read(t, log)
	same(t, &res.Total, &got.Total)
	require.Len(t, got.Kinds, 2)
	for i := range res.Kinds {
		same(t, &res.Kinds[i], &got.Kinds[i])
	}
	require.Len(t, got.Codes, 1)
	assert.Equal(t, res.Codes[0].Count, got.Codes[0].Count)
	assert.True(t, res.Codes[0].Response.Equals(got.Codes[0].Response))
	assert.True(t, res.Started.Equal(got.Started))
	assert.Equal(t, res.Measured, got.Measured)
	assert.Equal(t, res.Conns, got.Conns)
	assert.Equal(t, res.Violations, got.Violations)
	assert.Equal(t, res.Generator, got.Generator)
	assert.Equal(t, res.Targets, got.Targets)
}

// Other readers find what they need: the library's own.
func TestALogIsOfFormat13(t *testing.T) {
	res, log := logged(t, mirror(t), 500, 1200*time.Millisecond)
	lines := strings.Split(string(log), "\n")
	assert.Equal(t, "#[Histogram log format version 1.3]", lines[1])
	assert.Regexp(t, `^#\[BaseTime: \d+ \(seconds since epoch\)\]$`, lines[2])
	assert.Regexp(t, `^#\[StartTime: \d+ \(seconds since epoch\), .*Z\]$`, lines[3])
	assert.Equal(t, `"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"`, lines[4])
	reader := hdrhistogram.NewHistogramLogReader(bytes.NewReader(log))
	sums := make(map[string]*hdrhistogram.Histogram)
	var first, last int64
	for {
		h, err := reader.NextIntervalHistogram()
		require.NoError(t, err)
		if h == nil {
			break
		}
		if sums[h.Tag()] == nil {
			sums[h.Tag()] = load.NewHistogram()
		}
		assert.Zero(t, sums[h.Tag()].Merge(h))
		if h.Tag() == "response" {
			if first == 0 {
				first = h.StartTimeMs()
			} else {
				assert.InDelta(t, last, h.StartTimeMs(), 2, "no gaps")
			}
			last = h.EndTimeMs()
		}
	}
	assert.InDelta(t, res.Started.UnixMilli(), first, 1500)
	assert.GreaterOrEqual(t, last-first, int64(1100))
	assert.True(t, res.Total.Response.Equals(sums["response"]))
	assert.True(t, res.Total.Service.Equals(sums["service"]))
	assert.True(t, res.Kinds[0].Response.Equals(sums[res.Kinds[0].Name+".response"]))
	assert.Len(t, sums, 2+2+4+1, "also the queue and the lag, and a code")
}

func TestMergedLogsAreBucketEqualToTheUnion(t *testing.T) {
	target := mirror(t)
	results, logs := make([]*load.Result, 4), make([][]byte, 4)
	var wg sync.WaitGroup
	for i := range results {
		wg.Go(func() { results[i], logs[i] = logged(t, target, float64(300+100*i), 1100*time.Millisecond) })
	}
	wg.Wait()
	union := load.Figures{Response: load.NewHistogram(), Service: load.NewHistogram(), Queue: load.NewHistogram(),
		Lag: load.NewHistogram(), Late: load.NewHistogram()}
	var m Merger
	assert.Nil(t, m.Result())
	for i, r := range results {
		union.Counts.Add(&r.Total.Counts)
		union.Response.Merge(r.Total.Response)
		union.Service.Merge(r.Total.Service)
		union.Queue.Merge(r.Total.Queue)
		union.Lag.Merge(r.Total.Lag)
		require.NoError(t, m.Add(read(t, logs[i])))
	}
	got := m.Result()
	require.EqualValues(t, union.Counts.OK(), got.Total.Response.TotalCount())
	same(t, &union, &got.Total)
	assert.EqualValues(t, 8, got.Conns.Opened)
	assert.Len(t, got.Targets, 1)
	assert.Len(t, got.Kinds, 2)
	assert.EqualValues(t, union.Counts.Replied, got.Codes[0].Count)
	assert.Less(t, got.Measured.Seconds(), 3.3, "they ran at the same time")
}

func TestTimesThatAreMeasuredTwiceCountOnce(t *testing.T) {
	var m Merger
	began := time.Unix(1000, 0)
	for _, s := range [][2]time.Duration{{10 * time.Second, 5 * time.Second}, {0, 2 * time.Second}, {time.Second, 2 * time.Second}, {12 * time.Second, time.Second}} {
		r := read(t, empty(t))
		r.Started, r.Measured = began.Add(s[0]), s[1]
		require.NoError(t, m.Add(r))
	}
	assert.Equal(t, 8*time.Second, m.Result().Measured)
	assert.True(t, began.Equal(m.Result().Started))
}

// empty is the log of a run without a connection.
func empty(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, time.Now())
	require.NoError(t, err)
	require.NoError(t, w.Close(&load.Result{Conns: load.Conns{Errors: map[string]uint64{"dial: refused": 1}}}))
	return out.Bytes()
}

func TestOneBadGeneratorIsSeenInTheSum(t *testing.T) {
	var m Merger
	for _, cpu := range []float64{0.2, 0.95, -1} {
		r := read(t, empty(t))
		r.Generator.CPU, r.Interrupted = cpu, cpu == 0.95
		r.Unsent.Generator = 3
		require.NoError(t, m.Add(r))
	}
	got := m.Result()
	assert.InDelta(t, 0.95, got.Generator.CPU, 1e-9)
	assert.True(t, got.Interrupted)
	assert.EqualValues(t, 9, got.Unsent.Generator)
	assert.EqualValues(t, 3, got.Conns.Errors["dial: refused"])
}

func TestALogWithoutItsEndIsPartial(t *testing.T) {
	res, log := logged(t, mirror(t), 500, 1200*time.Millisecond)
	killed := log[:bytes.Index(log, []byte(endMark))]
	got := read(t, killed)
	assert.True(t, got.Interrupted)
	assert.EqualValues(t, res.Total.Counts.OK(), got.Total.Counts.Replied)
	assert.True(t, res.Total.Response.Equals(got.Total.Response))
	assert.Len(t, got.Kinds, 2)
	assert.GreaterOrEqual(t, got.Measured, time.Second)
	assert.InDelta(t, res.Started.Unix(), got.Started.Unix(), 2)
}

func TestLogsThatMakeNoSenseAreRefusedWithTheirLine(t *testing.T) {
	_, log := logged(t, mirror(t), 500, 300*time.Millisecond)
	text := string(log)
	line := strings.Split(text, "\n")[5]
	other := hdrhistogram.New(1, int64(1<<50), 5)
	require.NoError(t, other.RecordValue(1<<49))
	packed, err := other.EncodeV2()
	require.NoError(t, err)
	for log, want := range map[string]string{
		"":                                      "no line is tagged response",
		"0,1,2,x\n":                             "line 1: ",
		"hello\n":                               "line 1: must look like",
		"Tag=response,x,1,2,x\n":                "times x and 1: must be seconds",
		"Tag=response,0,-1,2,x\n":               "must be seconds",
		strings.Replace(text, line+"\n", "", 1): "lines are missing",
		text + text:                             "a second end",
		line + "\n" + endMark + "{]\n":          "the run's end",
		endMark + `{"version":7}]` + "\n":       `the end has version 7`,
		line[:len(line)/2] + "\n":               "line 1: ",
		line + "\nTag=response,0,1,1," + string(packed) + "\n": "has another range",
	} {
		_, err := Read(strings.NewReader(log))
		assert.ErrorContains(t, err, want)
	}
}

// full takes a number of bytes.
type full struct{ left int }

var errFull = errors.New("no space left on device")

func (f *full) Write(b []byte) (int, error) {
	if f.left -= len(b); f.left < 0 {
		return 0, errFull
	}
	return len(b), nil
}

func TestAWriteThatFailsIsToldAtTheEnd(t *testing.T) {
	_, err := NewWriter(&full{left: 10}, time.Now())
	require.ErrorIs(t, err, errFull)
	w, err := NewWriter(&full{left: 500}, time.Now())
	require.NoError(t, err)
	f := load.Figures{Response: load.NewHistogram(), Service: load.NewHistogram(), Queue: load.NewHistogram(), Lag: load.NewHistogram(), Late: load.NewHistogram()}
	require.NoError(t, f.Response.RecordValue(1e6))
	for i := range 100 {
		w.Interval(&load.Interval{From: time.Duration(i), To: time.Duration(i + 1), Total: f})
	}
	require.ErrorIs(t, w.Close(&load.Result{}), errFull)
}
