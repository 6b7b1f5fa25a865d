package engine

import (
	"context"
	"errors"
	"net"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/internal/cacheline"
)

func TestZeroConfigMeansTheDocumentedDefaults(t *testing.T) {
	c := Config{Addrs: []string{"a:1"}}.withDefaults()
	require.NoError(t, c.validate())
	assert.Equal(t, max(1, runtime.GOMAXPROCS(0)/4), c.ConnsPerAddr)
	assert.Equal(t, 1000, c.QueueSize)
	assert.Equal(t, 8192, c.MaxInFlight)
	assert.Equal(t, 3, c.MaxRetries)
	assert.Equal(t, 30*time.Second, c.RequestTimeout)
	assert.Equal(t, 5*time.Second, c.ReadTimeout)
	assert.Equal(t, 5*time.Second, c.WriteTimeout)
	assert.Equal(t, 5*time.Second, c.DialTimeout)
	assert.Equal(t, 5*time.Second, c.ShutdownTimeout)
	assert.Equal(t, 100*time.Microsecond, c.BusyPoll)
	assert.Equal(t, 30*time.Second, c.KeepAlive)
	assert.Equal(t, 50*time.Millisecond, c.BackoffBase)
	assert.Equal(t, 5*time.Second, c.BackoffMax)
	assert.Equal(t, 5*time.Second, c.EjectionTime)
	assert.Equal(t, 3*time.Second, c.SlowStart)
	assert.NotNil(t, c.DialContext)
	assert.NotNil(t, c.Logger)
}

func TestNonsenseInTheConfigIsNamed(t *testing.T) {
	for want, c := range map[string]Config{
		"Addrs is empty":          {},
		"write host:port":         {Addrs: []string{"localhost"}},
		"has no path":             {Addrs: []string{"unix://"}},
		"ConnsPerAddr is -1":      {Addrs: []string{"a:1"}, ConnsPerAddr: -1},
		"QueueSize is -5":         {Addrs: []string{"a:1"}, QueueSize: -5},
		"MaxInFlight is 1048577":  {Addrs: []string{"a:1"}, MaxInFlight: 1<<20 + 1},
		"OptimizeMemory is 7":     {Addrs: []string{"a:1"}, OptimizeMemory: 7},
		"ReadTimeout is 25h0m0s":  {Addrs: []string{"a:1"}, ReadTimeout: 25 * time.Hour},
		"EjectionTime is 25h0m0s": {Addrs: []string{"a:1"}, EjectionTime: 25 * time.Hour},
		"SlowStart is 25h0m0s":    {Addrs: []string{"a:1"}, SlowStart: 25 * time.Hour},
		"BusyPoll":                {Addrs: []string{"a:1"}, BusyPoll: time.Second},
		"BackoffBase":             {Addrs: []string{"a:1"}, BackoffBase: time.Second, BackoffMax: time.Millisecond},
		`Config.Balance: balance: strategy "fastest" is unknown`: {Addrs: []string{"a:1"}, Balance: "fastest"},
		`Config.Addrs: addr "tcp://a:1" is there already`:        {Addrs: []string{"a:1", "tcp://a:1"}},
		"LengthSize is 3": {Addrs: []string{"a:1"}, Framing: framing.Format{LengthSize: 3}},
	} {
		_, err := New(c)
		assert.ErrorContains(t, err, want)
	}
}

func TestCallersConfigIsNotTouched(t *testing.T) {
	addrs := []string{newPeer(t, echo).addr()}
	cfg := Config{Addrs: addrs}
	b := newBroker(t, cfg)
	addrs[0] = "elsewhere:1"
	_, err := b.Send(bg, nil)
	require.NoError(t, err)
	assert.Zero(t, cfg.QueueSize)
}

func TestErrorsMatchWhatUsersCompareWith(t *testing.T) {
	assert.ErrorIs(t, ErrTimeout, context.DeadlineExceeded)
	assert.ErrorIs(t, ErrQuit, net.ErrClosed)
	assert.ErrorIs(t, ErrClosingBroker, net.ErrClosed)
	assert.NotErrorIs(t, ErrQuit, ErrClosingBroker)
	for err, text := range map[error]string{
		ErrQuit: "broker is quitting", ErrClosingBroker: "broker is closing", ErrQueueFull: "broker queue full",
		ErrNoPoolsAvailable: "no connection pools available", ErrClosing: "pool is closing",
		ErrInvalidMsgLength: "invalid message length", ErrMaxLenExceeded: "maximum message length exceeded",
	} {
		assert.Equal(t, text, err.Error())
	}
	op := &OpError{Op: "wait", Addr: "a:1", Written: true, Err: ErrTimeout}
	assert.EqualError(t, op, "engine: wait a:1: no reply in time (the request may have been received)")
	var ne net.Error = op
	assert.True(t, ne.Timeout())
	assert.False(t, (&OpError{Op: "read", Err: ErrConnLost}).Timeout())
}

func TestSafeToRetryOnlyIfNoByteWasWritten(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{errors.New("foreign"), false},
		{&OpError{Err: lost(net.ErrClosed)}, true},
		{&OpError{Err: ErrQueueFull}, true},
		{&OpError{Err: ErrNoPoolsAvailable}, true},
		{&OpError{Err: ErrConnLost, Written: true}, false},
		{&OpError{Err: ErrTimeout}, false},
		{&OpError{Err: context.Canceled}, false},
		{&OpError{Err: ErrMaxLenExceeded}, false},
		{&OpError{Err: ErrClosingBroker}, false},
		{&OpError{Err: ErrQuit}, false},
	} {
		assert.Equal(t, c.want, SafeToRetry(c.err), "%v", c.err)
		if c.err != nil {
			assert.Equal(t, c.want, SafeToRetry(errors.Join(errors.New("outer"), c.err)))
		}
	}
}

func TestFieldsWrittenByDifferentGoroutinesShareNoCacheLine(t *testing.T) {
	var b Broker
	assert.GreaterOrEqual(t, unsafe.Offsetof(b.retries)-unsafe.Offsetof(b.wg), uintptr(cacheline.Size))
	var a address
	assert.GreaterOrEqual(t, unsafe.Offsetof(a.turn)-unsafe.Offsetof(a.lines), uintptr(cacheline.Size))
	assert.GreaterOrEqual(t, unsafe.Offsetof(a.past)-unsafe.Offsetof(a.turn), uintptr(cacheline.Size))
	var o outbox
	assert.GreaterOrEqual(t, unsafe.Offsetof(o.part)-unsafe.Offsetof(o.large), uintptr(cacheline.Size))
	assert.GreaterOrEqual(t, unsafe.Offsetof(o.credit)-unsafe.Offsetof(o.sent), uintptr(cacheline.Size))
}

func TestAnIdleRequestsPlaceIsSmall(t *testing.T) {
	assert.LessOrEqual(t, unsafe.Sizeof(slot{}), uintptr(32), "two in a cache line")
}
