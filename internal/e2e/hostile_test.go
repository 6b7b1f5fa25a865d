package e2e

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/internal/e2e/chaos"
	"github.com/ringwire/ringwire/taskid"
)

const (
	hostileInFlight = 1024
	// generation is the distance between the IDs of two uses of one slot.
	generation = taskid.ID(hostileInFlight)
)

// A hostile server answers every request rightly, but not only: it sends the
// replies of other requests under IDs that are used up, not yet in use, or
// never issued, and breaks the framing now and then.
type hostile struct {
	h       *chaos.Harness
	forged  atomic.Uint64 // frames that nobody asked for
	broken  atomic.Int64  // connections on which the framing was broken
	dropped atomic.Int64  // of these, closed by the client
}

func (s *hostile) serve(c net.Conn) {
	in := framing.NewReader(c, framing.Format{})
	// Before any request: the connection is idle, so nothing can match.
	out, _ := framing.Append(nil, 1, []byte("unasked"))
	s.forged.Add(1)
	var foreign []byte // the reply of an earlier request
	for {
		if in.Buffered() == 0 {
			if _, err := c.Write(out); err != nil {
				return
			}
			out = out[:0]
		}
		f, err := in.ReadFrame()
		if err != nil {
			return
		}
		reply, err := s.h.Answer(nil, f.Payload)
		if err != nil {
			return // counted by the harness
		}
		nonce, _ := chaos.Nonce(f.Payload)
		if nonce>>20%1500 == 0 && nonce != 0 {
			s.breakFraming(c, out, nonce)
			return
		}
		out = s.answer(out, nonce, f.ID, reply, foreign)
		foreign = reply
	}
}

// answer appends the right reply, and forged ones around it. A forged ID before
// the reply is another generation of a slot that is taken, so that it cannot be
// in use; behind the reply it is one that has just been used up.
func (s *hostile) answer(out []byte, nonce uint64, id taskid.ID, reply, foreign []byte) []byte {
	var before, after []taskid.ID
	switch nonce >> 8 % 8 {
	case 0:
		after = []taskid.ID{id, id} // duplicates
	case 1:
		before = []taskid.ID{id + generation} // early: the slot's next use
	case 2:
		before = []taskid.ID{id - generation} // late: the slot's last use
	case 3:
		before = []taskid.ID{taskid.None, id ^ 1<<31, id + 3*generation} // unknown
	case 4:
		before, after = []taskid.ID{id + generation}, []taskid.ID{id}
	}
	s.forged.Add(uint64(len(before) + len(after)))
	for _, forged := range before {
		out, _ = framing.Append(out, forged, foreign)
	}
	out, _ = framing.Append(out, id, reply)
	for _, forged := range after {
		out, _ = framing.Append(out, forged, foreign)
	}
	return out
}

// breakFraming sends a length that is too small, and counts if the client hangs
// up, or ends the stream inside a frame.
func (s *hostile) breakFraming(c net.Conn, out []byte, nonce uint64) {
	if nonce>>40%2 == 0 {
		out = binary.BigEndian.AppendUint16(out, 500)
		_, _ = c.Write(append(out, "no five hundred bytes"...))
		return
	}
	s.broken.Add(1)
	out = binary.BigEndian.AppendUint16(out, uint16(nonce>>41%framing.IDSize))
	if _, err := c.Write(append(out, 0, 0, 0, 0)); err != nil {
		s.dropped.Add(1)
		return
	}
	_ = c.SetReadDeadline(time.Now().Add(testBound))
	_, err := io.Copy(io.Discard, struct{ io.Reader }{c})
	if timeout, ok := err.(net.Error); !ok || !timeout.Timeout() {
		s.dropped.Add(1)
	}
}

// TestChaosHostileServerNeverDeliversForeignReplies: what a server sends under
// an ID that is not waiting for a reply reaches nobody.
func TestChaosHostileServerNeverDeliversForeignReplies(t *testing.T) {
	checkLeaks(t)
	requests := sized[int64](30_000, 1_000_000)
	if small() {
		requests = 15_000
	}
	s := &hostile{h: newHarness(t, chaos.Config{Seed: seed(t), Requests: requests, Timeout: productTimeout})}
	p := newPeer(t, s.serve)
	b := newBroker(t, engine.Config{Addrs: []string{p.addr()}, ConnsPerAddr: 2, MaxInFlight: hostileInFlight})
	s.h.Run(context.Background(), b)
	require.NoError(t, b.Close())
	p.close()
	report, stats := s.h.Report(), b.Stats()
	t.Log(report)
	t.Logf("forged %d, broken %d\nbroker %+v", s.forged.Load(), s.broken.Load(), stats)
	for _, line := range report.CauseLines() {
		t.Log(line)
	}
	require.NoError(t, report.Err())
	checkAccounts(t, report, stats, 0)
	assert.Greater(t, report.OK, requests/2)
	assert.Positive(t, s.broken.Load())
	assert.Equal(t, s.broken.Load(), s.dropped.Load(), "a broken stream must be closed")
	assert.Greater(t, stats.UnknownReplies, uint64(requests/4))
	// What had been read of a connection when it ended may answer requests that its end has failed.
	assert.LessOrEqual(t, stats.UnknownReplies+stats.LateReplies, s.forged.Load()+stats.Failed)
}
