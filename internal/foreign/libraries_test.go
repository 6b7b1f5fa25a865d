package foreign

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/simonvetter/modbus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/ringwire/ringwire/load/report"
)

func TestAnetServer(t *testing.T) {
	cmd := exec.Command(anetServer, "--stdin") // it ends with its standard input
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = stdin.Close()
		kill := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		assert.NoError(t, cmd.Wait())
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	require.True(t, ok, line)

	answered(t, addr, "--framing", "anet", "--data", "request ${seq}", "--expect", "echo")
}

// dnsServer serves miekg/dns, which closes a connection after so many queries, 0: 128, its
// default.
func dnsServer(t *testing.T, queries int) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	srv := &dns.Server{Listener: l, MaxTCPQueries: queries, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60},
			A: net.IPv4(192, 0, 2, 1)}}
		_ = w.WriteMsg(m)
	})}
	ended := make(chan error, 1)
	go func() { ended <- srv.ActivateAndServe() }()
	t.Cleanup(func() {
		_ = l.Close()
		<-ended
	})
	return l.Addr().String()
}

// dnsFlags ask for a name of their own each, and want it back without an error; they are what
// follows the ID: recursion desired, one question, its name, A, IN.
func dnsFlags(status string) []string {
	return []string{"--framing", "dns-tcp", "--data", "${hex:0100 0001 0000 0000 0000 07}h${seq:6}${hex:07}example${hex:00 0001 0001}",
		"--status", "off=4,len=2", "--ok", status, "--expect", "repeats:off=10"}
}

func TestMiekgDNS(t *testing.T) {
	answered(t, dnsServer(t, -1), dnsFlags("0x8100")...)
}

func TestMiekgDNSThatClosesAfter128Queries(t *testing.T) {
	flags := append(dnsFlags("0x8100"), "-n", fmt.Sprint(requests), "--inflight", fmt.Sprint(window), "-t", "30s")
	addr := dnsServer(t, 0)

	doc, code := load(t, append(flags, addr)...)
	s := counts(doc.Summary)
	assert.Positive(t, s.ConnLost)
	assert.Equal(t, report.Summary{Sent: requests, Replied: requests - s.ConnLost, ConnLost: s.ConnLost,
		ErrorRate: float64(s.ConnLost) / requests}, s, "what is lost, is with its connection")
	assert.Zero(t, code)

	doc, code = load(t, append(flags, "--requests-per-conn", "128", addr)...)
	assert.Equal(t, report.Summary{Sent: requests, Replied: requests}, counts(doc.Summary))
	assert.Zero(t, code)
}

func TestKfake(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	addr := cluster.ListenAddrs()[0]
	t.Run("ApiVersions", func(t *testing.T) {
		answered(t, addr, "--framing", "kafka", "--status", "off=8,len=2", "--ok", "0x0000")
	})
	t.Run("Metadata", func(t *testing.T) { // 3, version 1, no client, one topic: it is named in the reply
		answered(t, addr, "--framing", "kafka", "--data", "${hex:0003 0001 ffff 00000001 000c}topic-${seq:6}", "--expect", "repeats:off=12")
	})
}

// registers are a handler of which only the holding registers are there.
type registers struct{ values [16]atomic.Uint32 }

func (r *registers) HandleCoils(*modbus.CoilsRequest) ([]bool, error) {
	return nil, modbus.ErrIllegalFunction
}

func (r *registers) HandleDiscreteInputs(*modbus.DiscreteInputsRequest) ([]bool, error) {
	return nil, modbus.ErrIllegalFunction
}

func (r *registers) HandleInputRegisters(*modbus.InputRegistersRequest) ([]uint16, error) {
	return nil, modbus.ErrIllegalFunction
}

func (r *registers) HandleHoldingRegisters(req *modbus.HoldingRegistersRequest) (values []uint16, err error) {
	if int(req.Addr)+int(req.Quantity) > len(r.values) {
		return nil, modbus.ErrIllegalDataAddress
	}
	for i := range req.Quantity {
		v := &r.values[req.Addr+i]
		if req.IsWrite {
			v.Store(uint32(req.Args[i]))
		}
		values = append(values, uint16(v.Load()))
	}
	return values, nil
}

func TestSimonvetterModbus(t *testing.T) {
	addr := freeAddr(t)
	var handler registers
	srv, err := modbus.NewServer(&modbus.ServerConfiguration{URL: "tcp://" + addr, Logger: log.New(io.Discard, "", 0)}, &handler)
	require.NoError(t, err)
	require.NoError(t, srv.Start())
	t.Cleanup(func() { _ = srv.Stop() })

	t.Run("write", func(t *testing.T) { // function 6: register 1 becomes two digits; the reply is the request
		answered(t, addr, "--framing", "modbus", "--data", "${hex:0000 01 06 0001}${rand:2}", "--status", "off=7,len=1", "--ok", "0x06", "--expect", "echo")
	})
	handler.values[0].Store(0x1234)
	t.Run("read", func(t *testing.T) { // function 3 of register 0, which is what is sent without --data
		answered(t, addr, "--framing", "modbus", "--expect", "equal:${hex:0000 01 03 02 1234}")
	})
}
