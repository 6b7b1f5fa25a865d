package foreign

import (
	"bufio"
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/avp"
	"github.com/fiorix/go-diameter/v4/diam/datatype"
	"github.com/fiorix/go-diameter/v4/diam/diamtest"
	"github.com/fiorix/go-diameter/v4/diam/dict"
	"github.com/fiorix/go-diameter/v4/diam/sm"
	"github.com/fiorix/go-smpp/smpp/pdu"
	"github.com/fiorix/go-smpp/smpp/pdu/pdufield"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// askedKey is of the context of a Diameter connection: the header of what was asked last.
type askedKey struct{}

func askedOf(c diam.Conn) *diam.Header {
	h, ok := c.Context().Value(askedKey{}).(*diam.Header)
	if !ok {
		return new(diam.Header)
	}
	return h
}

// A Diameter server asks Device-Watchdog-Requests of its own all the while: the next when it has
// the answer to the one before.
func TestGoDiameter(t *testing.T) {
	var asked, done, wrong atomic.Int64
	machine := sm.New(&sm.Settings{OriginHost: "server.example", OriginRealm: "test.example", ProductName: "go-diameter"})
	ask := func(c diam.Conn) {
		m := diam.NewRequest(diam.DeviceWatchdog, 0, dict.Default)
		_, err := m.NewAVP(avp.OriginHost, avp.Mbit, 0, datatype.DiameterIdentity("server.example"))
		if err == nil {
			_, err = m.NewAVP(avp.OriginRealm, avp.Mbit, 0, datatype.DiameterIdentity("test.example"))
		}
		if err != nil {
			wrong.Add(1)
			return
		}
		c.SetContext(context.WithValue(c.Context(), askedKey{}, m.Header))
		asked.Add(1)
		if _, err := m.WriteTo(c); err != nil {
			asked.Add(-1) // the run is over
		}
	}
	machine.HandleFunc("DWA", func(c diam.Conn, m *diam.Message) {
		code, err := m.FindAVP(avp.ResultCode, 0)
		last := askedOf(c)
		if err != nil || code.Data != datatype.Unsigned32(diam.Success) || m.Header.HopByHopID != last.HopByHopID || m.Header.EndToEndID != last.EndToEndID {
			wrong.Add(1)
		}
		done.Add(1)
		ask(c)
	})
	over := make(chan struct{})
	var notified sync.WaitGroup
	notified.Go(func() {
		for {
			select {
			case c := <-machine.HandshakeNotify():
				ask(c)
			case e := <-machine.ErrorReports():
				if ended := (*net.OpError)(nil); !errors.As(e.Error, &ended) {
					t.Errorf("go-diameter: %v", e.Error)
				}
			case <-over:
				return
			}
		}
	})
	srv := diamtest.NewServer(machine, dict.Default)
	t.Cleanup(func() { srv.Close(); close(over); notified.Wait() })

	s := answered(t, srv.Addr, "-f", scenario("diameter.yaml"))
	assert.Positive(t, s.PeerRequests)
	assert.Equal(t, s.PeerRequests, s.PeerAnswered)
	assert.Zero(t, wrong.Load())
	assert.GreaterOrEqual(t, done.Load(), int64(s.PeerAnswered)-1, "the last one may have been cut off")
	t.Logf("%d of its %d Device-Watchdog-Requests answered", done.Load(), asked.Load())
}

// smsc is a server of go-smpp's PDUs. The accepting is ours, because the server of its package
// smpptest gives the reply to a bind a number of its own.
type smsc struct {
	binds, received, asked, answered, wrong atomic.Int64
	texts                                   sync.Map // of the messages
}

// linkEvery is after how many messages a server asks enquire_link.
const linkEvery = 100

func (s *smsc) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	r := bufio.NewReader(conn)
	for {
		m, err := pdu.Decode(r)
		if err != nil {
			return // the run is over
		}
		var reply pdu.Body
		switch m.Header().ID {
		case pdu.BindTransceiverID:
			reply = pdu.NewBindTransceiverResp()
			s.check(m.Fields()[pdufield.SystemID].String() == "client" && m.Fields()[pdufield.Password].String() == "secret")
			s.check(reply.Fields().Set(pdufield.SystemID, "go-smpp") == nil)
			s.binds.Add(1)
		case pdu.EnquireLinkID:
			reply = pdu.NewEnquireLinkResp()
		case pdu.EnquireLinkRespID:
			s.answered.Add(1)
			continue
		case pdu.SubmitSMID:
			reply = pdu.NewSubmitSMResp()
			s.texts.Store(m.Fields()[pdufield.ShortMessage].String(), true)
			s.check(reply.Fields().Set(pdufield.MessageID, "4711") == nil)
		default:
			s.wrong.Add(1)
			continue
		}
		reply.Header().Seq = m.Header().Seq
		s.check(reply.SerializeTo(conn) == nil)
		if m.Header().ID == pdu.SubmitSMID && s.received.Add(1)%linkEvery == 0 && pdu.NewEnquireLink().SerializeTo(conn) == nil {
			s.asked.Add(1)
		}
	}
}

func (s *smsc) check(ok bool) {
	if !ok {
		s.wrong.Add(1)
	}
}

func TestGoSMPP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var s smsc
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { s.serve(conn) })
		}
	})
	got := answered(t, l.Addr().String(), "-f", scenario("smpp.yaml"))
	require.NoError(t, l.Close())
	serving.Wait()

	different := 0
	s.texts.Range(func(_, _ any) bool { different++; return true })
	assert.Equal(t, requests, different, "each text has come")
	assert.EqualValues(t, requests+1, s.received.Load(), "those, and the check's")
	assert.EqualValues(t, 2, s.binds.Load())
	assert.EqualValues(t, requests/linkEvery, s.asked.Load())
	assert.InDelta(t, s.asked.Load(), s.answered.Load(), 1, "the last one came with the last reply")
	assert.InDelta(t, s.asked.Load(), got.PeerAnswered, 1)
	assert.Equal(t, got.PeerRequests, got.PeerAnswered)
	assert.Zero(t, s.wrong.Load())
	t.Logf("%d of its %d enquire_links answered", s.answered.Load(), s.asked.Load())
}
