package server

import (
	"bytes"
	"encoding/hex"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringwire/ringwire/framing"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(t, err)
	return b
}

const clientHello = "16 0301 00c4 01 0000c0 0303 0102030405060708"

func TestBadInputClosesOnlyItsConnection(t *testing.T) {
	small := framing.Format{MaxFrame: 1024}
	for name, bad := range map[string]struct {
		format framing.Format
		send   string
		count  func(Closed) uint64
	}{
		"length 0":              {send: "0000", count: func(c Closed) uint64 { return c.BadLength }},
		"length 1":              {send: "0001", count: func(c Closed) uint64 { return c.BadLength }},
		"length 2":              {send: "0002 0102", count: func(c Closed) uint64 { return c.BadLength }},
		"length 3":              {send: "0003 010203", count: func(c Closed) uint64 { return c.BadLength }},
		"over the limit":        {small, "0401", func(c Closed) uint64 { return c.BadLength }},
		"over the wide limit":   {framing.Format{LengthSize: 4}, "01000001", func(c Closed) uint64 { return c.BadLength }},
		"TLS":                   {send: clientHello, count: func(c Closed) uint64 { return c.TLS }},
		"TLS, length too large": {small, "160301", func(c Closed) uint64 { return c.TLS }},
		"TLS, wide":             {framing.Format{LengthSize: 4}, "16030300", func(c Closed) uint64 { return c.TLS }},
		"HTTP": {send: hex.EncodeToString([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")),
			count: func(c Closed) uint64 { return c.HTTP }},
		"HTTP/2": {send: hex.EncodeToString([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")),
			count: func(c Closed) uint64 { return c.HTTP }},
		"HTTP, length too large": {small, hex.EncodeToString([]byte("DELETE ")), func(c Closed) uint64 { return c.HTTP }},
	} {
		t.Run(name, func(t *testing.T) {
			s := launch(t, Config{Framing: bad.format})
			healthy := dial(t, s)
			healthy.call(1, []byte("before"))
			c := dial(t, s)
			c.write(unhex(t, bad.send))
			assert.Zero(t, c.closed(), "no reply")
			eventually(t, s, "the reason", func(st Stats) bool { return bad.count(st.Closed) == 1 })
			assert.EqualValues(t, 1, s.Stats().Closed.ProtocolErrors())
			healthy.call(2, []byte("after"))
			assert.EqualValues(t, 2, s.Stats().Requests)
		})
	}
}

func TestFramesBeforeABadOneAreAnswered(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		s := launch(t, cfg)
		c := dial(t, s)
		good := c.pipeline(3, 100)
		if cfg.Workers > 0 {
			c.write(good) // what workers still have in hand when the stream turns bad is dropped
			for range 3 {
				c.receive()
			}
			c.write(unhex(t, "0003"))
			assert.Zero(t, c.closed())
		} else {
			c.write(append(good, 0, 3, 9, 9, 9))
			assert.Equal(t, 3, c.closed())
		}
		assert.EqualValues(t, 3, s.Stats().Requests)
	})
}

// The signatures are also recognised when they arrive byte by byte.
func TestForeignProtocolInPiecesIsRecognised(t *testing.T) {
	s := launch(t, Config{})
	for _, stream := range [][]byte{[]byte("POST /x HTTP/1.0\r\n"), unhex(t, clientHello)} {
		before := s.Stats()
		c := dial(t, s)
		for i := range stream {
			if _, err := c.nc.Write(stream[i : i+1]); err != nil {
				break // closed as soon as it is certain
			}
			eventually(t, s, "the byte", func(st Stats) bool {
				return st.BytesIn > before.BytesIn+uint64(i) || st.Closed.ProtocolErrors() > before.Closed.ProtocolErrors()
			})
		}
		assert.Zero(t, c.closed())
	}
	eventually(t, s, "the reasons", func(st Stats) bool { return st.Closed.TLS == 1 && st.Closed.HTTP == 1 })
}

// A frame whose length and ID read "GET / " or begin like a TLS record is served,
// whole or in pieces, unless the payload plays along.
func TestFramesThatResembleOtherProtocolsAreServed(t *testing.T) {
	s := launch(t, Config{})
	for name, f := range map[string]struct {
		id   uint32
		size int
	}{
		"GET / ":      {0x54202f20, 0x4745 - framing.IDSize},
		"POST /":      {0x5354202f, 0x504f - framing.IDSize},
		"TLS record":  {0x01020001, 0x1603 - framing.IDSize},
		"TLS version": {0x03160001, 0x1603 - framing.IDSize},
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, s)
			frame := c.frame(f.id, bytes.Repeat([]byte("abc "), f.size/4+1)[:f.size])
			before := s.Stats().BytesIn
			c.write(frame[:64])
			eventually(t, s, "the first piece", func(st Stats) bool { return st.BytesIn >= before+64 })
			c.write(frame[64:])
			assert.EqualValues(t, f.id, c.receive().ID)
		})
	}
}

func TestForeignNeedsTheWholeSignature(t *testing.T) {
	for text, want := range map[string]reason{
		"":                              reasonNone,
		"GET ":                          reasonNone,
		"GET / HTTP/1.1":                reasonNone, // the line may go on
		"GET / HTTP/1.1\r\n":            reasonHTTP,
		"OPTIONS * HTTP/1.1\r\nHost: a": reasonHTTP,
		"GET / HTTP/1.1 and more\r\n":   reasonNone,
		"GET /\r\n":                     reasonNone,
		"FETCH / HTTP/1.1\r\n":          reasonNone,
		"get / HTTP/1.1\r\n":            reasonNone,
		strings.Repeat("GET ", 5000):    reasonNone,
		"GET " + strings.Repeat("x", 9000) + " HTTP/1.1\r\n": reasonNone,
	} {
		assert.Equal(t, want, foreign([]byte(text)), "%.40q", text)
	}
	hello := unhex(t, clientHello)
	assert.Equal(t, reasonTLS, foreign(hello))
	for i := range 11 {
		assert.Equal(t, reasonNone, foreign(hello[:i]), "cut to %d bytes", i)
		broken := bytes.Clone(hello)
		broken[i] ^= 0x80
		assert.Equal(t, reasonNone, foreign(broken), "byte %d changed", i)
	}
}

func TestEndOfStreamInsideAFrameIsCounted(t *testing.T) {
	s := launch(t, Config{})
	for _, n := range []int{1, 2, 5, 9} {
		c := dial(t, s)
		c.write(c.frame(1, []byte("whole"))[:n])
		require.NoError(t, c.nc.Close())
	}
	eventually(t, s, "the ends", func(st Stats) bool { return st.Closed.Truncated == 4 })
	c := dial(t, s)
	c.call(1, nil)
	require.NoError(t, c.nc.Close())
	eventually(t, s, "the ordinary end", func(st Stats) bool { return st.Closed.Peer == 1 })
}

// The kernel can report a reset in two steps, and the event loop, if it looks in
// between, sees a connection that merely ended: so not every single one is told
// apart, but most are.
func TestResetsAreCounted(t *testing.T) {
	s := launch(t, Config{})
	const resets = 20
	for range resets {
		c := dial(t, s)
		c.call(1, nil)
		require.NoError(t, c.tcp().SetLinger(0))
		require.NoError(t, c.tcp().Close())
	}
	eventually(t, s, "the ends", func(st Stats) bool { return st.Closed.Reset+st.Closed.Peer == resets })
	assert.Greater(t, s.Stats().Closed.Reset, uint64(resets/2))
}

func TestSlowFrameIsCutOff(t *testing.T) {
	s := launch(t, Config{FrameTimeout: 100 * time.Millisecond})
	idle, slow := dial(t, s), dial(t, s)
	idle.call(1, []byte("x"))
	slow.write([]byte{0})
	assert.Zero(t, slow.closed())
	eventually(t, s, "the reason", func(st Stats) bool { return st.Closed.FrameTimeout == 1 })
	idle.call(2, []byte("silence between frames is no fault"))
}

// lapse has the clock of a connection's server go on, and the sweep look at the connection.
// It says why the connection is to go, if it is.
func lapse(c *Conn, ms int64) reason {
	c.srv.inspect(c, c.srv.clock.Add(ms))
	return reason(c.why.Load())
}

// A large frame over a slow, steady link has its time for each 64 KiB.
func TestLargeFrameHasTimeForEachPiece(t *testing.T) {
	const pieces = 8
	wide := framing.Format{LengthSize: 4}
	frame, err := wide.Append(nil, 1, make([]byte, (pieces-1)*framePiece))
	require.NoError(t, err)
	c, l := offline(t, Config{Handler: HandlerFunc(echo), FrameTimeout: time.Second, Framing: wide})
	limit := c.srv.patience(time.Second)
	for piece := range slices.Chunk(frame, framePiece) {
		require.Equal(t, reasonNone, lapse(c, limit)) // each takes all of its time
		require.True(t, c.serve(piece))
	}
	assert.Equal(t, frame, l.out)

	require.True(t, c.serve(frame[:framePiece+1])) // and no more
	require.Equal(t, reasonNone, lapse(c, pieces*limit), "not before its time is over")
	require.Equal(t, reasonFrameTime, lapse(c, 1))
}

// Frames that complete now and then must not add up to one that is late.
func TestSlowStreamOfWholeFramesIsNotCutOff(t *testing.T) {
	c, l := offline(t, Config{Handler: HandlerFunc(echo), FrameTimeout: time.Second})
	limit := c.srv.patience(time.Second)
	// Every read ends one frame and begins the next.
	frame := oneFrame(t, 1)
	require.True(t, c.serve(frame[:8]))
	for range 15 {
		require.Equal(t, reasonNone, lapse(c, limit))
		require.True(t, c.serve(slices.Concat(frame[8:], frame[:8])))
	}
	assert.Equal(t, bytes.Repeat(frame, 15), l.out)
	require.Equal(t, reasonFrameTime, lapse(c, limit+1), "one that is late is")
}

func TestIdleConnectionIsClosedOnlyIfAskedFor(t *testing.T) {
	release := make(chan struct{})
	s := launch(t, Config{IdleTimeout: 500 * time.Millisecond, Workers: 1, // the request of the busy one comes before
		Handler: HandlerFunc(func(_ *Conn, dst, _ []byte) ([]byte, error) { <-release; return dst, nil })})
	silent, busy := dial(t, s), dial(t, s)
	busy.send(1, nil)
	assert.Zero(t, silent.closed())
	assert.EqualValues(t, 1, s.Stats().Closed.Idle, "a connection whose request is being worked on is not idle")
	close(release)
	busy.receive()
	assert.Zero(t, busy.closed())
}

func TestLogNamesReasonsOnceASecondWithoutPayload(t *testing.T) {
	var log lines
	s := launch(t, Config{
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Handler: HandlerFunc(func(_ *Conn, dst, req []byte) ([]byte, error) {
			if req[0] == 'p' {
				panic("panicked over " + string(req))
			}
			return dst, errors.New("no such account")
		}),
	})
	const secret = "secret"
	for range 50 {
		c := dial(t, s)
		c.send(1, []byte("p"+secret))
		c.send(2, []byte("e"+secret))
		c.write([]byte("\x00\x03" + secret))
		c.closed()
	}
	st := s.Stats()
	require.EqualValues(t, 50, st.Closed.BadLength)
	require.EqualValues(t, 100, st.Panics+st.HandlerErrors)
	text := log.String()
	assert.NotContains(t, text, secret)
	assert.Contains(t, text, "invalid frame length")
	assert.Contains(t, text, "no such account", "what the handler says")
	assert.Contains(t, text, "handler panicked with a string")
	assert.Contains(t, text, "input_test.go", "the stack shows where")
	// A second may pass during the test, even several; fifty times three may not.
	assert.Less(t, strings.Count(text, "\n"), 40)
}

func TestNothingIsPrinted(t *testing.T) {
	// The event-loop library prints to standard output unless told otherwise; an
	// example's Output would catch it, and does: see ExampleNew.
	var log lines
	s := launch(t, Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	dial(t, s).call(1, nil)
	require.NoError(t, s.Close())
	assert.Empty(t, log.String(), "ordinary life is not worth a line")
}
