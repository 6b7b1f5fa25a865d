package server

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
)

func TestRecorder(t *testing.T) {
	checkLeaks(t)
	ctx := context.Background()
	failed := errors.New("failed")
	var forgotten *Later
	rec := NewRecorder(RequestFunc(func(r *Request, dst []byte) ([]byte, error) {
		switch req := string(r.Payload()); req {
		case "error":
			return dst, failed
		case "none":
			return dst, ErrNoReply
		case "large":
			return make([]byte, framing.MaxPayload+1), nil
		case "panic":
			panic(failed)
		case "push":
			return dst, r.Conn().Push([]byte{0, 4, 0, 0, 0, 9})
		case "later":
			l := r.Later()
			go func() { _ = l.Reply([]byte("at last")) }()
		case "fail later":
			l := r.Later()
			go func() { _ = l.Fail(failed) }()
		case "drop later":
			return dst, r.Later().Drop()
		case "forget":
			forgotten = r.Later()
		default:
			return append(dst, req...), nil
		}
		return dst, nil
	}))
	for req, want := range map[string]string{"echo": "echo", "": "", "later": "at last"} {
		reply, err := rec.Call(ctx, []byte(req))
		require.NoError(t, err, req)
		assert.Equal(t, want, string(reply))
	}
	for req, want := range map[string]error{"error": failed, "none": ErrNoReply, "large": framing.ErrMaxLenExceeded,
		"fail later": failed, "drop later": ErrNoReply} {
		_, err := rec.Call(ctx, []byte(req))
		assert.ErrorIs(t, err, want, req)
	}
	assert.PanicsWithValue(t, failed, func() { _, _ = rec.Call(ctx, []byte("panic")) })
	_, err := rec.Call(ctx, []byte("push"))
	require.NoError(t, err)
	assert.Equal(t, []byte{0, 4, 0, 0, 0, 9}, rec.Pushed())
	assert.Empty(t, rec.Pushed())
	short, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	_, err = rec.Call(short, []byte("forget"))
	assert.ErrorIs(t, err, context.DeadlineExceeded)

	assert.NoError(t, rec.Conn().Context().Err())
	rec.Close()
	rec.Close()
	<-rec.Conn().Context().Done()
	assert.NoError(t, forgotten.Drop())
	assert.Panics(t, func() { NewRecorder(nil) })
}

// Of calls that overlap each has the error of its own request.
func TestRecorderTellsErrorsOfCallsThatOverlapApart(t *testing.T) {
	rec := NewRecorder(RequestFunc(func(r *Request, dst []byte) ([]byte, error) {
		later, why := r.Later(), errors.New(string(r.Payload()))
		go func() { _ = later.Fail(why) }()
		return dst, nil
	}))
	defer rec.Close()
	var callers sync.WaitGroup
	for _, req := range []string{"a", "b", "c", "d"} {
		callers.Go(func() {
			for range 500 {
				_, err := rec.Call(context.Background(), []byte(req))
				assert.EqualError(t, err, req)
			}
		})
	}
	callers.Wait()
}

func TestRecorderThatIsClosedEndsItsCalls(t *testing.T) {
	h := make(laters, 1)
	rec := NewRecorder(h)
	failed := make(chan error, 1)
	go func() {
		_, err := rec.Call(context.Background(), nil)
		failed <- err
	}()
	l := <-h
	rec.Close()
	assert.ErrorIs(t, <-failed, net.ErrClosed)
	assert.NoError(t, l.Drop())
	_, err := rec.Call(context.Background(), nil)
	assert.ErrorIs(t, err, net.ErrClosed)
	assert.Empty(t, h, "the handler does not run")
}
