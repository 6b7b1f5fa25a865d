package stub

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ringwire/ringwire/load"
	"github.com/ringwire/ringwire/load/request"
	"github.com/ringwire/ringwire/load/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// codecOf is the codec of a preset, with a largest frame if it is above 0.
func codecOf(t testing.TB, preset string, maxFrame int) *wire.Codec {
	t.Helper()
	s, err := wire.Preset(preset)
	require.NoError(t, err)
	s.MaxFrame = maxFrame
	c, err := wire.New(s)
	require.NoError(t, err)
	return c
}

// start starts a stub that listens, unless the config says where its connections come from.
func start(t testing.TB, cfg Config) *Server {
	t.Helper()
	if cfg.Listen == nil && cfg.Dial == nil {
		cfg.Listen = func() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") }
	}
	s, err := New(cfg)
	require.NoError(t, err)
	require.NoError(t, s.Start())
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

// ended closes a stub and returns what it did, which adds up.
func ended(t testing.TB, s *Server) Stats {
	t.Helper()
	require.NoError(t, s.Close())
	st := s.Stats()
	assert.Equal(t, st.Requests, st.Replies+st.Unanswered+st.Faults[Drop]+st.Faults[Oversize]+
		st.Faults[Garbage]+st.Faults[Close]+st.Faults[Reset], "%+v", st)
	assert.EqualValues(t, st.Replies, st.Delay.TotalCount())
	return st
}

// mixOf is a mix of one kind of request.
func mixOf(t testing.TB, payload, expect string, status request.Status) *request.Mix {
	t.Helper()
	tp, err := request.Compile(payload, nil, 1)
	require.NoError(t, err)
	e, err := request.ParseExpect(expect)
	require.NoError(t, err)
	m, err := request.NewMix([]request.Kind{{Name: "r", Weight: 1, Source: tp, Expect: e, Status: status}})
	require.NoError(t, err)
	return m
}

// to is a closed loop of n requests to a stub, which expects its requests' payloads.
func to(t testing.TB, s *Server, n int64) load.Config {
	t.Helper()
	cfg := load.Config{Codec: s.cfg.Codec, Mix: mixOf(t, "payload ${seq}", "echo", request.Status{}),
		Conns: 1, InFlight: 8, Requests: n, Timeout: 20 * time.Second, Drain: 20 * time.Second}
	if s.Addr() != nil {
		target, err := load.ParseTarget(s.Addr().String())
		require.NoError(t, err)
		cfg.Targets = []load.Target{target}
	}
	return cfg
}

func run(t testing.TB, cfg load.Config) *load.Result {
	t.Helper()
	res, err := load.Run(t.Context(), cfg)
	require.NoError(t, err)
	assert.Zero(t, res.Total.Counts.Unexplained())
	return res
}
