//go:build unix

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// echo answers anet frames, and from one of its connections it does not read.
type echo struct {
	listener net.Listener
	deaf     atomic.Bool // the next connection is
	done     chan struct{}
	ended    sync.WaitGroup
}

func startEcho() (*echo, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	e := &echo{listener: l, done: make(chan struct{})}
	e.ended.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			deaf := e.deaf.Swap(false)
			e.ended.Go(func() { e.talk(conn, deaf) })
		}
	})
	return e, nil
}

func (e *echo) end() {
	close(e.done)
	_ = e.listener.Close()
	e.ended.Wait()
}

// talk ends when the client closes the connection, which it does before the echo's end.
func (e *echo) talk(conn net.Conn, deaf bool) {
	defer func() { _ = conn.Close() }()
	if deaf {
		<-e.done
		return
	}
	for buf := make([]byte, 2+65535); ; {
		if _, err := io.ReadFull(conn, buf[:2]); err != nil {
			return
		}
		n := 2 + int(binary.BigEndian.Uint16(buf))
		if _, err := io.ReadFull(conn, buf[2:n]); err != nil {
			return
		}
		if _, err := conn.Write(buf[:n]); err != nil {
			return
		}
	}
}

// dnsQuery asks for the address of a name, with the flags of load.
var dnsQuery = []string{"--framing", "dns-tcp", "--data", "${hex:0100 0001 0000 0000 0000 03}www${hex:07}example${hex:03}com${hex:00 0001 0001}"}

// startNames starts a server of miekg/dns as it is by default, and returns its end.
func startNames() (addr string, end func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	record, err := dns.NewRR("www.example.com. 60 IN A 192.0.2.1")
	if err != nil {
		return "", nil, err
	}
	srv := &dns.Server{Listener: l, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		m.Answer = []dns.RR{record}
		_ = w.WriteMsg(m)
	})}
	ended := make(chan error, 1)
	go func() { ended <- srv.ActivateAndServe() }()
	return l.Addr().String(), func() { _ = srv.Shutdown(); <-ended }, nil
}

// knot is the name server of that name.
type knot struct {
	cmd  *exec.Cmd
	addr string
}

// startKnot starts knotd with one zone.
func startKnot(ctx context.Context, s *suite) (*knot, error) {
	path, err := exec.LookPath("knotd")
	if err != nil {
		for _, there := range []string{"/usr/sbin/knotd", "/usr/local/sbin/knotd"} {
			if _, absent := os.Stat(there); absent == nil {
				path, err = there, nil
			}
		}
	}
	if err != nil {
		return nil, errAbsent{"knot is not installed: apt-get install knot"}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") // a port that is free now
	if err != nil {
		return nil, err
	}
	addr := l.Addr().(*net.TCPAddr)
	_ = l.Close()
	dir := filepath.Join(s.dir, "knot")
	conf := fmt.Sprintf("server:\n  rundir: %[1]s\n  listen: 127.0.0.1@%[2]d\ndatabase:\n  storage: %[1]s\nlog:\n  - target: stderr\n    any: error\n"+
		"zone:\n  - domain: example.com\n    storage: %[1]s\n    file: zone\n", dir, addr.Port)
	zone := "$ORIGIN example.com.\n$TTL 60\n@ SOA ns admin 1 60 60 60 60\n@ NS ns\nns A 192.0.2.2\nwww A 192.0.2.1\n"
	if err = errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "conf"), []byte(conf), 0o600),
		os.WriteFile(filepath.Join(dir, "zone"), []byte(zone), 0o600)); err != nil {
		return nil, err
	}
	k := &knot{cmd: exec.CommandContext(ctx, path, "-c", filepath.Join(dir, "conf")), addr: addr.String()}
	k.cmd.Stderr = os.Stderr
	if err := k.cmd.Start(); err != nil {
		return nil, err
	}
	for began := time.Now(); time.Since(began) < grace; {
		conn, err := net.Dial("tcp", k.addr)
		if err == nil {
			return k, conn.Close()
		}
		if !pause(ctx, 20*time.Millisecond) {
			break
		}
	}
	k.end()
	return nil, errors.New("knotd does not listen")
}

func (k *knot) end() {
	_ = k.cmd.Process.Signal(os.Interrupt)
	kill := time.AfterFunc(10*time.Second, func() { _ = k.cmd.Process.Kill() })
	defer kill.Stop()
	_ = k.cmd.Wait()
}
