package server

import (
	"errors"
	"log/slog"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/latency"
)

// took is a histogram of durations.
func took(all ...time.Duration) (h latency.Histogram) {
	for _, d := range all {
		h.Record(d)
	}
	return h
}

// timed are what becomes of requests by name, each after a second of virtual time.
var timed = RequestFunc(func(r *Request, dst []byte) ([]byte, error) {
	switch string(r.Payload()) {
	case "later":
		l := r.Later()
		go func() {
			time.Sleep(3 * time.Second)
			_ = l.Reply(nil)
		}()
	case "later, failed":
		defer func() { _ = r.Later().Fail(errors.New("failed")) }()
	case "failed":
		defer time.Sleep(time.Second)
		return nil, errors.New("failed")
	}
	time.Sleep(time.Second)
	return dst, nil
})

func TestLatencyIsTheHandlersTime(t *testing.T) {
	for req, want := range map[string]time.Duration{
		"": time.Second, "failed": time.Second, "later": 3 * time.Second, "later, failed": time.Second,
	} {
		t.Run(req, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rec := NewRecorder(timed)
				rec.srv.timing = newTiming(1, rec.srv.epoch)
				defer rec.Close()
				for range 2 {
					_, _ = rec.Call(t.Context(), []byte(req))
				}
				got := rec.srv.Latency()
				assert.Equal(t, took(want, want), got.Service)
				assert.Equal(t, took(want, want), got.Response)
			})
		})
	}
}

// With one worker the second request waits for the first one's handler.
func TestResponseIsServiceAndWhatWasWaitedFor(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	s := launch(t, Config{Workers: 1, LatencyEvery: 1, Handler: HandlerFunc(func(_ *Conn, dst, req []byte) ([]byte, error) {
		if string(req) == "hold" {
			close(entered)
			<-release
		}
		return append(dst, req...), nil
	})})
	c := dial(t, s)
	c.send(1, []byte("hold"))
	<-entered
	c.send(2, []byte("waits"))
	waitFor(t, "the second to wait", func() bool { return s.Stats().Queued == 1 })
	begin := time.Now()
	for time.Since(begin) < 20*time.Millisecond {
		runtime.Gosched()
	}
	close(release)
	c.receive()
	c.receive()
	got := s.Latency()
	assert.EqualValues(t, 2, got.Service.Count())
	assert.EqualValues(t, 2, got.Response.Count())
	assert.GreaterOrEqual(t, got.Response.Sum(), 40*time.Millisecond)
	assert.GreaterOrEqual(t, got.Service.Sum(), 20*time.Millisecond)
	assert.GreaterOrEqual(t, got.Response.Sum()-got.Service.Sum(), 20*time.Millisecond)
}

func TestHandlersThatDoNotReturnAreTimed(t *testing.T) {
	for name, fail := range map[string]func(){"panic": func() { panic("no") }, "Goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			s := launch(t, Config{Workers: 1, LatencyEvery: 1, Logger: slog.New(slog.DiscardHandler),
				Handler: HandlerFunc(func(*Conn, []byte, []byte) ([]byte, error) { fail(); return nil, nil })})
			dial(t, s).send(1, nil)
			waitFor(t, "it to be over", func() bool { return s.Stats().Unanswered == 1 })
			got := s.Latency()
			assert.EqualValues(t, 1, got.Service.Count())
			assert.EqualValues(t, 1, got.Response.Count())
		})
	}
}

func TestOneOfSoManyRequestsIsTimed(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		const every, n = 16, 16_000
		cfg.LatencyEvery = every
		s := launch(t, cfg)
		c := dial(t, s)
		for range n / 100 {
			c.write(c.pipeline(100, 1))
			for range 100 {
				c.receive()
			}
		}
		got := s.Latency()
		assert.InDelta(t, n/every, got.Service.Count(), 250, "seven standard deviations")
		assert.Equal(t, got.Service.Count(), got.Response.Count())
	})
}

func TestLatencyIsOffAndBounded(t *testing.T) {
	s := launch(t, Config{})
	c := dial(t, s)
	for range 100 {
		c.call(1, nil)
	}
	assert.Zero(t, s.Latency())
	_, err := New(Config{Handler: HandlerFunc(echo), LatencyEvery: 1<<20 + 1})
	require.EqualError(t, err, "server: Config.LatencyEvery is 1048577; it must lie in 0 to 1048576")
}
