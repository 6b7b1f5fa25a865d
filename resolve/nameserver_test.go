package resolve_test

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The parts of RFC 1035 and 2782 that the name server speaks.
const (
	typeA, typeAAAA, typeSRV = 1, 28, 33

	codeOK, codeServerFailure, codeNoSuchName = 0, 2, 3
)

// nameServer answers on a loopback socket, out of records that a test may change.
type nameServer struct {
	conn net.PacketConn

	mu      sync.Mutex
	addrs   map[string][]netip.Addr
	srv     map[string][]net.SRV
	failing map[string]bool
}

func newNameServer(t *testing.T) *nameServer {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &nameServer{
		conn: conn, addrs: make(map[string][]netip.Addr), srv: make(map[string][]net.SRV),
		failing: make(map[string]bool),
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.serve()
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-done
	})
	return s
}

// resolver returns one that asks this server alone.
func (s *nameServer) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		d := net.Dialer{Timeout: 5 * time.Second}
		return d.DialContext(ctx, "udp", s.conn.LocalAddr().String())
	}}
}

// have sets a host's addresses.
func (s *nameServer) have(host string, addrs ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addrs[host] = nil
	for _, a := range addrs {
		s.addrs[host] = append(s.addrs[host], netip.MustParseAddr(a))
	}
}

func (s *nameServer) services(name string, records ...net.SRV) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.srv[name] = records
}

// fail has questions about a name answered with SERVFAIL, or no longer.
func (s *nameServer) fail(name string, failing bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing[name] = failing
}

func (s *nameServer) serve() {
	query := make([]byte, 1500)
	for {
		n, from, err := s.conn.ReadFrom(query)
		if err != nil {
			return
		}
		if reply := s.answer(query[:n]); reply != nil {
			_, _ = s.conn.WriteTo(reply, from)
		}
	}
}

// answer returns the reply to a query with one question, nil to one that it does not understand.
func (s *nameServer) answer(query []byte) []byte {
	if len(query) < 12 {
		return nil
	}
	var labels []string
	at := 12
	for at < len(query) && query[at] != 0 {
		end := at + 1 + int(query[at])
		if end > len(query) {
			return nil
		}
		labels = append(labels, string(query[at+1:end]))
		at = end
	}
	if at+5 > len(query) {
		return nil
	}
	name, kind := strings.Join(labels, "."), binary.BigEndian.Uint16(query[at+1:])
	question := query[12 : at+5]

	s.mu.Lock()
	defer s.mu.Unlock()
	code := codeNoSuchName
	_, isHost := s.addrs[name]
	_, isService := s.srv[name]
	switch {
	case s.failing[name]:
		code = codeServerFailure
	case isHost || isService:
		code = codeOK
	}
	var answers []byte
	count := 0
	put := func(data []byte) {
		answers = append(answers, 0xc0, 12) // the question's name
		answers = binary.BigEndian.AppendUint16(answers, kind)
		answers = append(answers, 0, 1, 0, 0, 0, 0) // class IN, TTL 0
		answers = binary.BigEndian.AppendUint16(answers, uint16(len(data)))
		answers = append(answers, data...)
		count++
	}
	if code == codeOK {
		for _, a := range s.addrs[name] {
			if a.Is4() && kind == typeA || a.Is6() && kind == typeAAAA {
				put(a.AsSlice())
			}
		}
		if kind == typeSRV {
			for _, r := range s.srv[name] {
				put(srvData(r))
			}
		}
	}
	reply := append([]byte(nil), query[:2]...)
	reply = append(reply, 0x84, byte(code), 0, 1, byte(count>>8), byte(count), 0, 0, 0, 0) // a response, with authority
	return append(append(reply, question...), answers...)
}

func srvData(r net.SRV) []byte {
	var data []byte
	for _, n := range []uint16{r.Priority, r.Weight, r.Port} {
		data = binary.BigEndian.AppendUint16(data, n)
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(r.Target, "."), ".") {
		if label != "" {
			data = append(append(data, byte(len(label))), label...)
		}
	}
	return append(data, 0)
}

// listen listens on an address of loopback; where there are others than 127.0.0.1.
func listen(t *testing.T, addr string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil && !strings.HasPrefix(addr, "127.0.0.1:") {
		t.Skipf("this system has one loopback address only: %v", err)
	}
	require.NoError(t, err)
	return l
}
