package server

import (
	"log/slog"
	"math"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
)

func TestZeroConfigHasDocumentedDefaults(t *testing.T) {
	s, err := New(Config{Handler: HandlerFunc(echo)})
	require.NoError(t, err)
	c := s.cfg
	assert.Equal(t, framing.Format{LengthSize: 2, MaxFrame: 65_535}, c.Framing)
	assert.Equal(t, 0, c.Workers)
	assert.Equal(t, 10_000, c.QueueSize)
	assert.Equal(t, 256, c.MaxInFlight)
	assert.Equal(t, runtime.GOMAXPROCS(0), c.Loops)
	assert.Equal(t, max(1, runtime.GOMAXPROCS(0)/4), c.packed)
	assert.Equal(t, 3, Config{Loops: 3}.withDefaults().packed, "who says how many gets as many")
	assert.Equal(t, 1<<20, c.MaxUnsent)
	assert.Equal(t, 16<<20, c.MaxUnparsed)
	assert.EqualValues(t, 256<<20, c.MaxHeld)
	assert.Equal(t, 5*time.Second, c.FrameTimeout)
	assert.Equal(t, 10*time.Second, c.WriteTimeout)
	assert.Equal(t, time.Duration(0), c.IdleTimeout)
	assert.Equal(t, 5*time.Second, c.ShutdownTimeout)
	assert.Equal(t, 15*time.Second, c.KeepAlive)
	if limit, ok := descriptorLimit(); ok {
		assert.EqualValues(t, min(limit, math.MaxInt32)-64, c.MaxConns)
	}
	assert.Equal(t, sweepEvery, s.interval)
}

func TestNegativeSwitchesOff(t *testing.T) {
	s, err := New(Config{Handler: HandlerFunc(echo), Workers: -1, MaxConns: -1, MaxHeld: -1, FrameTimeout: -1,
		WriteTimeout: -1, IdleTimeout: -1, ShutdownTimeout: -1, KeepAlive: -1})
	require.NoError(t, err)
	assert.Zero(t, s.cfg.Workers)
	assert.Equal(t, int64(math.MaxInt64), s.cfg.MaxHeld)
	assert.Negative(t, s.cfg.MaxConns)
	off := launch(t, s.cfg)
	dial(t, off).call(1, []byte("x"))
}

func TestNonsenseIsRefusedByName(t *testing.T) {
	for want, c := range map[string]Config{
		"Config.Handler is nil":                                      {Addr: ":0"},
		"Config.Addr":                                                {Addr: "no port"},
		"unix:///path":                                               {Addr: "unix://"},
		"framing: Format.LengthSize is 3":                            {Framing: framing.Format{LengthSize: 3}},
		"Config.Workers is 65537":                                    {Workers: 1<<16 + 1},
		"Config.QueueSize is -1":                                     {QueueSize: -1},
		"Config.QueueSize is 1048577":                                {QueueSize: 1<<20 + 1},
		"Config.MaxInFlight is -1":                                   {MaxInFlight: -1},
		"Config.Loops is 257; it must lie in 1 to 256":               {Loops: 257},
		"Config.Loops is -1":                                         {Loops: -1},
		"Config.MaxUnsent is 4095":                                   {MaxUnsent: 4095},
		"Config.MaxUnparsed is 65536; it must lie in 65537":          {MaxUnparsed: 65_536},
		"Config.FrameTimeout is 25h0m0s; it must be at most 24h0m0s": {FrameTimeout: 25 * time.Hour},
		"Config.WriteTimeout is 25h":                                 {WriteTimeout: 25 * time.Hour},
		"Config.IdleTimeout is 25h":                                  {IdleTimeout: 25 * time.Hour},
		"Config.ShutdownTimeout is 25h":                              {ShutdownTimeout: 25 * time.Hour},
		"Config.KeepAlive is 25h":                                    {KeepAlive: 25 * time.Hour},
	} {
		if want != "Config.Handler is nil" {
			c.Handler = HandlerFunc(echo)
		}
		_, err := New(c)
		assert.ErrorContains(t, err, want)
		assert.ErrorContains(t, err, "server: ")
	}
}

func TestLargestWideFrameIsConfigurable(t *testing.T) {
	s, err := New(Config{Handler: HandlerFunc(echo), Framing: framing.Format{LengthSize: 4, MaxFrame: 1 << 30}})
	require.NoError(t, err)
	assert.Equal(t, 1<<30+4, s.cfg.MaxUnparsed)
}

func TestSweepIsFineEnoughForTheShortestTimeout(t *testing.T) {
	for timeout, want := range map[time.Duration]time.Duration{
		-1: sweepEvery, 0: sweepEvery, time.Hour: sweepEvery, 400 * time.Millisecond: sweepEvery,
		200 * time.Millisecond: 50 * time.Millisecond, time.Millisecond: sweepEveryMin,
	} {
		assert.Equal(t, want, sweepInterval(time.Second, timeout))
	}
}

func TestReasonsHaveNames(t *testing.T) {
	for r := range reasonCount {
		assert.NotEmpty(t, r.String())
	}
	assert.NotPanics(t, func() { loopLog{slog.New(slog.DiscardHandler)}.Fatalf("%d", 1) })
}
