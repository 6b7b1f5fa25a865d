package server

import (
	"bytes"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/internal/bytepool"
	"github.com/ringwire/ringwire/taskid"
)

// checkTurns feeds a connection a stream in pieces, between which its peer reads
// or does not, as script says, and compares what comes out with what a decoder
// makes of the whole stream.
func checkTurns(t *testing.T, stream, script []byte) {
	var ids, want []taskid.ID
	var payloads [][]byte
	r := framing.NewReader(bytes.NewReader(stream), framing.Format{})
	for {
		f, err := r.ReadFrame()
		if err != nil {
			break
		}
		want = append(want, f.ID)
		payloads = append(payloads, bytes.Clone(f.Payload))
	}
	lent := bytepool.Outstanding()
	c, l := offline(t, Config{MaxUnsent: 4 << 10, Handler: HandlerFunc(func(_ *Conn, dst, req []byte) ([]byte, error) {
		if len(req) > 0 && req[0] == 0xee {
			return append(dst, "junk"...), errors.New("no")
		}
		if len(req) > 0 && req[0] == 0xff {
			panic("no")
		}
		return append(dst, req...), nil
	}), ErrorReply: func(_ *Conn, _, req []byte, _ error) []byte { return req }})
	rest, alive := stream, true
	for _, step := range script {
		n := min(len(rest), int(step>>1)*3)
		// An odd step: the peer does not read, so parsing must stop.
		l.left = int(step&1) * (4 << 10)
		before := len(l.out)
		alive = alive && c.serve(bytes.Clone(rest[:n]))
		if l.left > 0 && c.unsent > 0 && len(l.out)-before > 2*(4<<10)+framing.MaxPayload {
			t.Fatal("replies for a peer that does not read")
		}
		rest = rest[n:]
		checkInput(t, c)
		if step&2 != 0 && c.input != nil && c.input.last != nil {
			c.input.last.at -= chunkSpan // what comes next has a chunk of its own
		}
	}
	l.left = 0
	for len(rest) > 0 && alive {
		n := min(len(rest), readBufferBytes)
		alive = c.serve(bytes.Clone(rest[:n]))
		rest = rest[n:]
	}
	if alive {
		c.serve(nil) // what was held up by the last unread bytes
	}
	c.end(nil)
	if n := bytepool.Outstanding() - lent; n != 0 {
		t.Fatalf("%d buffers were not given back", n)
	}
	got := l.out
	for i := range want {
		f, n, err := framing.Parse(got)
		if n == 0 || err != nil {
			t.Fatalf("reply %d of %d is missing: %v", i, len(want), err)
		}
		if f.ID != want[i] || !bytes.Equal(f.Payload, payloads[i]) {
			t.Fatalf("reply %d is %v with %d bytes", i, f.ID, len(f.Payload))
		}
		ids = append(ids, f.ID)
		got = got[n:]
	}
	if len(got) > 0 {
		t.Fatalf("%d bytes too many behind %d replies", len(got), len(ids))
	}
}

// checkInput compares what is known of the input with what is there.
func checkInput(t *testing.T, c *Conn) {
	t.Helper()
	i := c.input
	if i == nil {
		return
	}
	waiting, held := 0, 0
	var last *chunk
	for k := i.first; k != nil; k = k.next {
		waiting += len(k.buf.B) - k.head
		held += cap(k.buf.B)
		last = k
	}
	if waiting != i.bytes || last != i.last {
		t.Fatalf("%d bytes in the chunks are counted as %d", waiting, i.bytes)
	}
	if i.part != nil {
		waiting += len(i.part.B)
		held += cap(i.part.B)
	}
	if waiting == 0 || waiting != i.waiting() || held != i.held {
		t.Fatalf("%d bytes in %d are counted as %d in %d", waiting, held, i.waiting(), i.held)
	}
}

func FuzzTurns(f *testing.F) {
	frames := func(sizes ...int) (b []byte) {
		for i, size := range sizes {
			b, _ = framing.Append(b, taskid.ID(i), bytes.Repeat([]byte{byte(i)}, size))
		}
		return b
	}
	f.Add(frames(0, 1, 2, 3, 500, 1000), []byte{2, 2, 4, 6, 80})
	f.Add(frames(3000, 3000, 3000, 10, 10, 10, 2000), []byte{255, 255, 255, 255, 1, 1, 0, 1, 0, 255, 254, 253})
	f.Add(frames(60_000, 10), []byte{3, 1, 254, 254, 255})
	f.Add(append(frames(10, 10), 0, 3, 9, 9), []byte{10, 11, 2, 2, 1})
	f.Add(append(frames(4, 4), 0, 5, 0, 0, 0, 1, 0xff, 0, 5, 0, 0, 0, 2, 0xee, 0, 4, 0, 0, 0, 3), []byte{8, 10, 2, 3})
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), []byte{4, 4, 4})
	f.Fuzz(func(t *testing.T, stream, script []byte) {
		if len(stream) > 100_000 || len(script) > 300 {
			return
		}
		if foreign(stream) != reasonNone && len(stream) > 0x1603 {
			return // the decoder does not know these, and might find a frame
		}
		checkTurns(t, stream, script)
	})
}

// A backlog that is worked off in several turns while more arrives.
func TestBacklogIsWorkedOffInOrder(t *testing.T) {
	var stream []byte
	for id := range taskid.ID(400) {
		stream, _ = framing.Append(stream, id, bytes.Repeat([]byte{byte(id % 200)}, int(id%97)*11))
	}
	for pattern := range byte(50) {
		script := make([]byte, 900)
		for i := range script {
			script[i] = byte(i)*pattern | byte(i>>(pattern%5))&1
		}
		checkTurns(t, stream, script)
	}
}

// Only what a straddling frame lacks is copied; the frames behind it are parsed
// where they were read.
func TestOnlyTheStraddlingFrameIsCopied(t *testing.T) {
	var in []byte
	inPlace := 0
	c, l := offline(t, Config{Handler: HandlerFunc(func(_ *Conn, dst, req []byte) ([]byte, error) {
		for i := range in {
			if &in[i] == &req[0] {
				inPlace++
			}
		}
		return append(dst, req...), nil
	})})
	var stream []byte
	for id := range taskid.ID(3) {
		stream, _ = framing.Append(stream, id, bytes.Repeat([]byte{byte(id)}, 10))
	}
	for _, cut := range []int{1, 2, 5, 6, 15} {
		l.out, inPlace = nil, 0
		in = stream[:cut]
		require.True(t, c.serve(in))
		in = stream[cut:]
		require.True(t, c.serve(in))
		assert.Equal(t, 2, inPlace, "cut at %d", cut)
		assert.Equal(t, stream, l.out)
		assert.Nil(t, c.input)
	}
}

func TestNothingIsWrittenAfterAFailedWrite(t *testing.T) {
	c, l := offline(t, Config{Handler: HandlerFunc(amplify)})
	var stream []byte
	for range 40 { // replies for several flushes
		stream = append(stream, 0, 4, 0, 0, 0, 1)
	}
	l.fail = errors.New("reset")
	assert.False(t, c.serve(stream))
	l.fail = nil // the descriptor is somebody else's now
	assert.False(t, c.serve(stream))
	assert.False(t, c.serve(nil))
	assert.Empty(t, l.out)
}

func TestNothingIsWrittenAfterTheEnd(t *testing.T) {
	c, l := offline(t, Config{Handler: HandlerFunc(echo)})
	require.True(t, c.serve([]byte{0, 5, 0, 0, 0, 1, 'x', 0}))
	before := len(l.out)
	c.end(nil)
	assert.False(t, c.serve([]byte{4, 0, 0, 0, 1}))
	assert.Len(t, l.out, before)
	assert.Nil(t, c.input)
}

// A fault of the server's own is not a handler's panic.
func TestPanicOutsideAHandlerIsPassedOn(t *testing.T) {
	c, _ := offline(t, Config{Handler: HandlerFunc(echo)})
	c.loop.panicked, c.loop.handling = "fault", false
	assert.PanicsWithValue(t, "fault", c.afterPanic)
}

// A client that has a reply must find it in the counters.
func TestRepliesAreCountedBeforeTheyAreWritten(t *testing.T) {
	c, l := offline(t, Config{Handler: HandlerFunc(echo)})
	var counted tally
	l.onWrite = func() { counted = c.loop.counted() }
	require.True(t, c.serve([]byte{0, 4, 0, 0, 0, 1, 0, 4, 0, 0, 0, 2}))
	assert.Equal(t, tally{Reads: 1, Writes: 1, BytesIn: 12, BytesOut: 12, Requests: 2, Replies: 2}, counted)
}
