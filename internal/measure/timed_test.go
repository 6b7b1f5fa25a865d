package measure_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/internal/measure"
	"github.com/ringwire/ringwire/memnet"
	"github.com/ringwire/ringwire/server"
)

// slow is a Client whose calls take a second each, and end with err. It notes what it was given.
type slow struct {
	engine.Client
	err   error
	opts  []engine.Call
	reply []byte
}

var errNoFn = errors.New("no function")

func (s *slow) Send(_ context.Context, _ []byte, opts ...engine.Call) ([]byte, error) {
	time.Sleep(time.Second)
	s.opts = opts
	return s.reply, s.err
}

func (s *slow) SendInto(_ context.Context, dst, _ []byte, opts ...engine.Call) ([]byte, error) {
	time.Sleep(time.Second)
	s.opts = opts
	return append(dst, s.reply...), s.err
}

func (s *slow) Go(_ context.Context, _ []byte, fn func([]byte, error), opts ...engine.Call) error {
	s.opts = opts
	if fn == nil {
		return errNoFn
	}
	time.Sleep(time.Second)
	fn(s.reply, s.err)
	return nil
}

func (s *slow) SendBatch(_ context.Context, reqs [][]byte, fn func(int, []byte, error), opts ...engine.Call) error {
	s.opts = opts
	if fn == nil {
		return errNoFn
	}
	for i := range reqs {
		time.Sleep(time.Second)
		fn(i, s.reply, s.err)
	}
	return s.err
}

// told is what Timed has told of a call.
type told struct {
	took time.Duration
	err  error
}

func TestATimedCallIsTheCallAndItsTime(t *testing.T) {
	failed := errors.New("failed")
	const second = time.Second
	for name, tc := range map[string]struct {
		call func(c engine.Client, o engine.Call) error
		want []told
	}{
		"Send": {func(c engine.Client, o engine.Call) error {
			reply, err := c.Send(t.Context(), nil, o)
			assert.Equal(t, "reply", string(reply))
			return err
		}, []told{{second, failed}}},
		"SendInto": {func(c engine.Client, o engine.Call) error {
			reply, err := c.SendInto(t.Context(), []byte("a "), nil, o)
			assert.Equal(t, "a reply", string(reply))
			return err
		}, []told{{second, failed}}},
		"Go": {func(c engine.Client, o engine.Call) (err error) {
			assert.NoError(t, c.Go(t.Context(), nil, func(reply []byte, e error) {
				assert.Equal(t, "reply", string(reply))
				err = e
			}, o))
			return err
		}, []told{{second, failed}}},
		"SendBatch": {func(c engine.Client, o engine.Call) error {
			next := 0
			return c.SendBatch(t.Context(), [][]byte{nil, nil}, func(i int, reply []byte, e error) {
				assert.Equal(t, next, i)
				assert.Equal(t, "reply", string(reply))
				assert.Equal(t, failed, e)
				next++
			}, o)
		}, []told{{second, failed}, {2 * second, failed}}},
		"Go without a function": {func(c engine.Client, o engine.Call) error {
			assert.Equal(t, errNoFn, c.Go(t.Context(), nil, nil, o))
			return failed
		}, nil},
		"SendBatch without one": {func(c engine.Client, o engine.Call) error {
			assert.Equal(t, errNoFn, c.SendBatch(t.Context(), nil, nil, o))
			return failed
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inner := &slow{err: failed, reply: []byte("reply")}
				var got []told
				c := measure.Timed(inner, 1, func(_ context.Context, d time.Duration, err error) { got = append(got, told{d, err}) })
				assert.Equal(t, failed, tc.call(c, engine.Call{Priority: 1}))
				assert.Equal(t, tc.want, got)
				assert.Equal(t, []engine.Call{{Priority: 1}}, inner.opts)
			})
		})
	}
}

// The time comes first: a function that panics does not take it along.
func TestAFunctionThatPanicsWasTimed(t *testing.T) {
	told := 0
	c := measure.Timed(&slow{}, 1, func(context.Context, time.Duration, error) { told++ })
	synctest.Test(t, func(t *testing.T) {
		assert.PanicsWithValue(t, "go", func() { _ = c.Go(t.Context(), nil, func([]byte, error) { panic("go") }) })
		assert.PanicsWithValue(t, "batch", func() {
			_ = c.SendBatch(t.Context(), make([][]byte, 2), func(int, []byte, error) { panic("batch") })
		})
	})
	assert.Equal(t, 2, told)
}

// What a request has waited is in its time.
func TestATimedHandlersTimeBeginsWhenTheRequestHasCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failed := errors.New("failed")
		var got []told
		h := measure.TimedHandler(server.HandlerFunc(func(*server.Conn, []byte, []byte) ([]byte, error) {
			time.Sleep(time.Second)
			return nil, failed
		}), func(d time.Duration, err error) { got = append(got, told{d, err}) })
		s, err := server.New(server.Config{Handler: h, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		ln := memnet.Listen()
		require.NoError(t, s.Serve(ln))
		defer func() { require.NoError(t, s.Close()) }()
		nc, err := ln.DialContext(t.Context(), "", "")
		require.NoError(t, err)
		defer nc.Close()
		frame := []byte{0, 4, 0, 0, 0, 1}
		_, err = nc.Write(append(frame, 0, 4, 0, 0, 0, 2)) // both come at once, and one waits for the other
		require.NoError(t, err)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		assert.Equal(t, []told{{time.Second, failed}, {2 * time.Second, failed}}, got)
	})
}
