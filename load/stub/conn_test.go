package stub

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/load/request"
)

func noDial(context.Context) (net.Conn, error) { return nil, errors.New("nobody is there") }

// Every request is in the stub's histogram once, as it is in the service times of load.
func TestTheStubsDelaysAreOfTheRequestsThatLoadTimes(t *testing.T) {
	l, err := ParseLatency("p50=500us,p99=5ms")
	require.NoError(t, err)
	s := start(t, Config{Codec: codecOf(t, "payshield", 0), Latency: l, Seed: 1})
	cfg := to(t, s, 5000)
	cfg.Conns, cfg.InFlight = 4, 64
	res := run(t, cfg)
	st := ended(t, s)
	assert.EqualValues(t, 5000, res.Total.Service.TotalCount())
	assert.EqualValues(t, 5000, st.Delay.TotalCount())
	assert.EqualValues(t, 4, st.Accepted)
	assert.Greater(t, st.Delay.ValueAtPercentile(99), st.Delay.ValueAtPercentile(10), "they are spread")
}

// Without IDs replies keep the order of their requests, whatever their delays are.
func TestWithoutIDsRepliesKeepTheirOrder(t *testing.T) {
	l, err := ParseLatency("1:0s", "1:3ms")
	require.NoError(t, err)
	s := start(t, Config{Codec: codecOf(t, "fifo", 0), Latency: l})
	res := run(t, to(t, s, 500))
	assert.EqualValues(t, 500, res.Total.Counts.OK())
	ended(t, s)

	cfg := Config{Codec: codecOf(t, "fifo", 0), Latency: l}
	cfg.Faults[Swap] = 0.05
	s = start(t, cfg)
	res = run(t, to(t, s, 500))
	st := ended(t, s)
	assert.Positive(t, st.Faults[Swap])
	assert.Equal(t, 2*st.Faults[Swap], res.Total.Counts.Mismatch)
}

// A reply that nothing can be swapped with is sent after a while, and is no fault.
func TestASwapNeedsTwo(t *testing.T) {
	cfg := Config{Codec: codecOf(t, "anet", 0), Faults: Faults{Swap: 1}}
	s := start(t, cfg)
	lc := to(t, s, 3)
	lc.InFlight = 1
	res := run(t, lc)
	assert.EqualValues(t, 3, res.Total.Counts.OK())
	st := ended(t, s)
	assert.Zero(t, st.Faults[Swap])
	assert.GreaterOrEqual(t, st.Delay.Min(), int64(swapWait)*99/100)
}

func TestTheWindowOfAConnectionHasABound(t *testing.T) {
	l, err := ParseLatency("1h")
	require.NoError(t, err)
	s := start(t, Config{Codec: codecOf(t, "fifo", 0), Latency: l, InFlight: 100})
	conn, err := net.Dial("tcp", s.Addr().String())
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	_, err = conn.Write(bytes.Repeat([]byte{0, 1, 'x'}, 1000))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return s.Stats().Requests == 100 }, 20*time.Second, time.Millisecond)
	st := ended(t, s)
	assert.EqualValues(t, 100, st.Requests, "no more were taken")
	assert.EqualValues(t, 100, st.Unanswered)
}

func TestMoreConnectionsThanTheLimitAreClosed(t *testing.T) {
	s := start(t, Config{Codec: codecOf(t, "anet", 0), MaxConns: 2})
	for i := range 3 {
		conn, err := net.Dial("tcp", s.Addr().String())
		require.NoError(t, err)
		defer func() { _ = conn.Close() }()
		require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
		_, _ = conn.Write([]byte("\x00\x04\x00\x00\x00\x01"))
		_, err = conn.Read(make([]byte, 16))
		assert.Equal(t, i == 2, err != nil, "%v", err)
	}
	st := ended(t, s)
	assert.EqualValues(t, 2, st.Accepted)
	assert.EqualValues(t, 1, st.Refused)
}

func TestBadLengthsEndTheirConnection(t *testing.T) {
	s := start(t, Config{Codec: codecOf(t, "anet", 0)})
	assert.Equal(t, "\x00\x04\x00\x00\x00\x01", string(answers(t, s, []byte("\x00\x04\x00\x00\x00\x01"))))
	conn, err := net.Dial("tcp", s.Addr().String())
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = conn.Write([]byte{0, 0, 0, 0})
	require.NoError(t, err)
	_, err = conn.Read(make([]byte, 1))
	assert.Error(t, err)
	assert.EqualValues(t, 1, ended(t, s).BadFrames)
}

func TestFramesThatAreMarkedAsRepliesAreNotAnswered(t *testing.T) {
	s := start(t, Config{Codec: codecOf(t, "smpp", 0)})
	assert.Empty(t, answers(t, s, unhex(t, "00000010 80000015 00000000 00000009")))
	st := ended(t, s)
	assert.EqualValues(t, 1, st.NotRequests)
	assert.Zero(t, st.Requests)
}

// The stub connects to a load that listens, and again when a fault has ended its connection.
func TestTheStubConnectsToWhoListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var d net.Dialer
	cfg := Config{Codec: codecOf(t, "anet", 0), Dials: 2,
		Dial: func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, "tcp", l.Addr().String()) }}
	cfg.Faults[Close] = 0.01
	s := start(t, cfg)
	lc := to(t, s, 1000)
	lc.Listener, lc.Conns, lc.InFlight = l, 2, 1
	res := run(t, lc)
	st := ended(t, s)
	assert.EqualValues(t, 1000, st.Requests)
	assert.Positive(t, st.Faults[Close])
	assert.Equal(t, st.Faults[Close], res.Total.Counts.ConnLost)
	assert.GreaterOrEqual(t, st.Dialled, res.Conns.Opened)
	assert.Zero(t, st.Accepted)
}

func TestWhatMakesNoStubIsRefused(t *testing.T) {
	ok := Config{Codec: codecOf(t, "anet", 0), Dial: noDial}
	for want, change := range map[string]func(*Config){
		"no framing":                         func(c *Config) { c.Codec = nil },
		"either a way to listen":             func(c *Config) { c.Dial = nil },
		"cps -1: must be 0 to":               func(c *Config) { c.CPS = -1 },
		"cps 1e-09: must be one an hour":     func(c *Config) { c.CPS = 1e-9 },
		"cps queue -1: must be 1 to 1048576": func(c *Config) { c.Queue = -1 },
		"late by -1s":                        func(c *Config) { c.LateBy = -time.Second },
		"in flight -1: must be 1 to":         func(c *Config) { c.InFlight = -1 },
		"connections -1: must be 1 to":       func(c *Config) { c.Dials = -1 },
		"17 stalls: must be at most 16":      func(c *Config) { c.Stalls = make([]Stall, 17) },
	} {
		cfg := ok
		change(&cfg)
		_, err := New(cfg)
		assert.ErrorContains(t, err, want)
	}
	s := start(t, ok)
	assert.ErrorContains(t, s.Start(), "before")
	require.Eventually(t, func() bool { return s.Stats().DialFailures > 2 }, 20*time.Second, time.Millisecond)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "twice")

	failing := Config{Codec: ok.Codec, Listen: func() (net.Listener, error) { return nil, errors.New("taken") }}
	s, err := New(failing)
	require.NoError(t, err)
	assert.EqualError(t, s.Start(), "taken")
	assert.Nil(t, s.Addr())
	require.NoError(t, s.Close())
}

func TestStatisticsAreShownToPeopleAndPrograms(t *testing.T) {
	cfg := Config{Codec: codecOf(t, "anet", 0), Seed: 5}
	cfg.Faults[Truncate] = 0.5
	s := start(t, cfg)
	lc := to(t, s, 100)
	lc.Mix = mixOf(t, "some payload", "any", request.Status{})
	run(t, lc)
	st := ended(t, s)
	var b bytes.Buffer
	require.NoError(t, st.Text(&b))
	assert.Contains(t, b.String(), "1 accepted, 0 refused\n")
	assert.Contains(t, b.String(), "replies 100, unanswered 0")
	assert.Regexp(t, `injected     truncate \d\d \n`, b.String())
	assert.Contains(t, b.String(), "real delay")
	assert.NotContains(t, b.String(), "some payload")
	data, err := json.Marshal(st)
	require.NoError(t, err)
	var read struct {
		Requests uint64            `json:"requests"`
		Faults   map[string]uint64 `json:"faults"`
		Delay    map[string]int64  `json:"delay_ns"`
		Buckets  []bucket          `json:"delay_histogram"`
	}
	require.NoError(t, json.Unmarshal(data, &read))
	assert.EqualValues(t, 100, read.Requests)
	assert.Len(t, read.Faults, int(faultCount)-1)
	assert.Equal(t, st.Faults[Truncate], read.Faults["truncate"])
	assert.EqualValues(t, 100, read.Delay["count"])
	var sum int64
	for _, k := range read.Buckets {
		sum += k.Count
	}
	assert.EqualValues(t, 100, sum)

	b.Reset()
	require.NoError(t, Stats{Delay: newHistogram()}.Text(&b))
	assert.Contains(t, b.String(), "injected     nothing")
	assert.NotContains(t, b.String(), "real delay")
}
