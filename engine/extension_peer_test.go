package engine

import (
	"context"
	"encoding/binary"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/taskid"
)

// speaker is a server that speaks the extension, on whatever connections it is given.
type speaker struct {
	format framing.Format
	got    func(p *spoken, id taskid.ID, remaining uint32, req []byte) // nil: it echoes
	mute   atomic.Bool                                                 // it answers no ping
	pings  atomic.Int64
	wrong  atomic.Int64 // frames that are none of the extension's

	mu   sync.Mutex
	ends []*spoken // of all connections that have said hello
}

// spoken is one connection of it.
type spoken struct{ *far }

// serve serves one connection.
func (s *speaker) serve(nc net.Conn) {
	var p *spoken
	farEnd(s.format, func(f *far, frame framing.Frame) {
		if p == nil {
			hello, err := framing.ParseHello(frame.Payload)
			if frame.ID != framing.ControlID || err != nil || hello.Server {
				s.wrong.Add(1)
				nc.Close()
				return
			}
			p = &spoken{f}
			p.hello()
			s.mu.Lock()
			s.ends = append(s.ends, p)
			s.mu.Unlock()
			return
		}
		if frame.ID == framing.ControlID {
			kind, body, err := framing.ParseControl(frame.Payload)
			if err != nil || kind == framing.ControlHello {
				s.wrong.Add(1)
			}
			if kind == framing.ControlPing {
				s.pings.Add(1)
				if !s.mute.Load() {
					p.control(framing.ControlPong, body)
				}
			}
			return
		}
		remaining, req, err := framing.ParseRequest(frame.Payload)
		switch {
		case err != nil:
			s.wrong.Add(1)
		case s.got == nil:
			p.ok(frame.ID, req)
		default:
			s.got(p, frame.ID, remaining, req)
		}
	})(nc)
}

// all returns the connections that have said hello.
func (s *speaker) all() []*spoken {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*spoken(nil), s.ends...)
}

// last returns the newest of them.
func (s *speaker) last() *spoken {
	all := s.all()
	return all[len(all)-1]
}

// listen serves on a port until the test ends.
func (s *speaker) listen(t testing.TB) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var all sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	all.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, nc)
			mu.Unlock()
			all.Go(func() { s.serve(nc) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for _, nc := range conns {
			nc.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return ln.Addr().String()
}

// send sends a frame behind what is to be sent already.
func (p *spoken) send(frame []byte, err error) {
	if err != nil {
		panic(err)
	}
	p.work <- func() { _, _ = p.Write(frame) }
}

func (p *spoken) hello() {
	p.send(p.format.AppendHello(nil, framing.Hello{Server: true, Version: 1}))
}

func (p *spoken) ok(id taskid.ID, reply []byte) { p.send(p.format.AppendReply(nil, id, reply)) }

func (p *spoken) deny(id taskid.ID, s framing.Status, code uint32, text string) {
	p.send(p.format.AppendReason(nil, id, s, code, text))
}

func (p *spoken) control(kind framing.Control, body []byte) {
	p.send(p.format.AppendControl(nil, kind, body))
}

func (p *spoken) ping(n uint64) {
	p.control(framing.ControlPing, binary.BigEndian.AppendUint64(nil, n))
}

func (p *spoken) goaway() { p.control(framing.ControlGoaway, nil) }
func (p *spoken) done()   { p.control(framing.ControlDone, nil) }

// raw sends a frame with any payload.
func (p *spoken) raw(id taskid.ID, payload []byte) { p.send(p.format.Append(nil, id, payload)) }

// inBubble returns a broker whose connections this server has. Only for bubbles.
func (s *speaker) inBubble(t *testing.T, cfg Config) *Broker {
	t.Helper()
	cfg.Extensions, cfg.Framing = true, s.format
	cfg.DialContext = pipeDial(s.serve)
	return bubbleBroker(t, cfg)
}

// speakersOnStage returns a broker for servers by their address. Only for bubbles.
func speakersOnStage(t *testing.T, cfg Config, all map[string]*speaker, addrs ...string) *Broker {
	t.Helper()
	cfg.Extensions, cfg.Addrs = true, addrs
	cfg.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		return pipeDial(all[addr].serve)(ctx, network, addr)
	}
	b := bubbleBroker(t, cfg)
	synctest.Wait()
	require.Len(t, b.conns(), len(addrs)*b.cfg.ConnsPerAddr)
	return b
}

// counted is a server that counts its requests and answers them with one manner.
func counted(n *atomic.Int64, answer func(p *spoken, id taskid.ID, req []byte)) *speaker {
	return &speaker{got: func(p *spoken, id taskid.ID, _ uint32, req []byte) {
		n.Add(1)
		answer(p, id, req)
	}}
}

func spokenEcho(p *spoken, id taskid.ID, req []byte) { p.ok(id, req) }

// refusing answers with a refusal.
func refusing(code uint32) func(*spoken, taskid.ID, []byte) {
	return func(p *spoken, id taskid.ID, _ []byte) { p.deny(id, framing.StatusRefused, code, "no room") }
}
