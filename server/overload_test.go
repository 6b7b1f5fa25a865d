package server

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/internal/bytepool"
)

// refusing answers what was not run with an x, what failed otherwise with an f.
func refusing(_ *Conn, dst, _ []byte, err error) []byte {
	if errors.Is(err, ErrOverloaded) {
		return append(dst, 'x')
	}
	return append(dst, 'f')
}

// What has waited for too long is refused, by the loop if all workers are stuck, and so is
// what had no room among what waits.
func TestRequestsThatHaveWaitedAreRefused(t *testing.T) {
	h := &heldBack{}
	// Time enough for the worker to take the first.
	s := launch(t, Config{Workers: 1, QueueSize: 3, QueueTimeout: 300 * time.Millisecond, Handler: h, ErrorReply: refusing})
	c := dial(t, s)
	c.write(c.pipeline(10, 1))
	for range 9 {
		assert.Equal(t, "x", string(c.receive().Payload))
	}
	close(h.gate('p'))
	assert.Equal(t, "p", string(c.receive().Payload))
	st := s.Stats()
	assert.EqualValues(t, 9, st.Overloaded)
	assert.EqualValues(t, 10, st.Requests)
	assert.EqualValues(t, 1, h.calls.Load())
}

// A worker that finds a request too old does not run it either.
func TestAWorkerRefusesWhatIsTooOld(t *testing.T) {
	h := &heldBack{}
	close(h.gate('p'))
	s, err := New(Config{Workers: 1, Handler: h, ErrorReply: refusing, QueueTimeout: time.Millisecond})
	require.NoError(t, err)
	w, err := newWorkers(s)
	require.NoError(t, err)
	s.workers = w
	defer w.stop()
	c := &Conn{srv: s, link: &scripted{}, loop: newLoop()}
	c.woken.Store(true)
	d := c.needDesk()
	newRequest := func(arrived time.Duration) *Request {
		r := requestPool.Get().(*Request)
		r.conn, r.desk, r.arrived, r.buf = c, d, arrived, bytepool.Get(100)
		r.buf.B, r.reply = append(r.buf.B, 'p'), 1
		return r
	}
	s.clock.Store(1000)
	w.do(newRequest(s.now() - time.Millisecond))
	w.do(newRequest(s.now() - time.Millisecond - 1))
	for _, want := range []byte("px") {
		r, ok := d.back.TryPop()
		require.True(t, ok)
		assert.Equal(t, want, r.buf.B[len(r.buf.B)-1])
		s.free(r)
	}
	assert.EqualValues(t, 1, h.calls.Load())
}

// In place, what a connection has sent while its turn was over grows old like everything.
func TestInputThatHasWaitedIsRefused(t *testing.T) {
	c, l := offline(t, Config{Handler: HandlerFunc(echo), MaxUnsent: 4 << 10,
		ErrorReply: refusing, QueueTimeout: 50 * time.Millisecond})
	frame := []byte{0, 5, 0, 0, 0, 1, 'p'}
	l.left = 4 << 10
	require.True(t, c.serve(frame)) // answered; the peer has not read that
	require.True(t, c.serve(frame)) // waits
	require.NotNil(t, c.input)
	at := c.input.first.at
	c.srv.clock.Store(int64((at+50*time.Millisecond)/time.Millisecond) + 2)
	l.left = 0
	require.True(t, c.serve(nil))
	assert.Equal(t, "px", string([]byte{l.out[6], l.out[13]}))
	assert.Nil(t, c.input)
	assert.EqualValues(t, 1, c.srv.Stats().Overloaded)
}

func TestQueueTimeoutNeedsAnErrorReply(t *testing.T) {
	_, err := New(Config{Handler: HandlerFunc(echo), QueueTimeout: time.Second})
	require.ErrorContains(t, err, "ErrorReply")
	for _, cfg := range []struct {
		Config
		want time.Duration
	}{
		{Config{}, 0},
		{Config{QueueTimeout: -1}, -1},
		{Config{ErrorReply: refusing}, DefaultQueueTimeout},
		{Config{ErrorReply: refusing, QueueTimeout: -1}, -1},
		{Config{ErrorReply: refusing, QueueTimeout: time.Second}, time.Second},
	} {
		cfg.Handler = HandlerFunc(echo)
		s, err := New(cfg.Config)
		require.NoError(t, err)
		assert.Equal(t, cfg.want, s.cfg.QueueTimeout)
	}
}
