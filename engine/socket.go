package engine

import (
	"context"
	"crypto/tls"
	"net"
	"syscall"

	"github.com/ringwire/ringwire/internal/rawio"
	"github.com/ringwire/ringwire/internal/tlswire"
)

// socket is the connection below, and how it is read and written. One goroutine at a time
// reads, and one writes: the holders of the rights.
type socket struct {
	net  net.Conn
	out  attempt       // to write; without raw only the flusher writes
	in   attempt       // to read; without raw only the reader reads
	tls  *tls.Conn     // net, if it is secured and lies over a wire: then
	wire *tlswire.Wire // it is asked instead of out and in
}

// attempt makes single system calls that do not wait. What they need is kept here: a closure
// for each would allocate.
type attempt struct {
	raw  syscall.RawConn
	once func(fd uintptr) bool
	b    []byte
	n    int
	err  error
}

func (a *attempt) init(raw syscall.RawConn, call func(fd uintptr, b []byte) (int, error)) {
	a.raw = raw
	a.once = func(fd uintptr) bool {
		a.n, a.err = call(fd, a.b)
		return true // always: raw is never to wait for the descriptor
	}
}

func (s *socket) init(nc net.Conn) {
	s.net = nc
	if tc, wire := tlswire.Below(nc); wire != nil {
		s.tls, s.wire = tc, wire
		return
	}
	s.out.init(descriptor(plainOf(nc)), rawio.Write)
	s.in.init(descriptor(nc), rawio.Read)
}

// triesReads reports whether tryRead may be called.
func (s *socket) triesReads() bool { return s.in.raw != nil || s.wire != nil }

// triesWrites reports whether tryWrite may be called.
func (s *socket) triesWrites() bool { return s.out.raw != nil || s.wire != nil }

// tryRead reads what there is, without waiting. Nothing is no error; the end is io.EOF.
func (s *socket) tryRead(b []byte) (int, error) {
	if s.wire != nil {
		return s.wire.TryRead(s.tls, b)
	}
	a := &s.in
	a.b, a.n, a.err = b, 0, nil
	if err := a.raw.Read(a.once); err != nil && a.err == nil {
		a.err = err
	}
	return a.n, a.err
}

// waitRead reads when there is something.
func (s *socket) waitRead(b []byte) (int, error) {
	if s.wire == nil {
		return s.net.Read(b)
	}
	for {
		if err := s.wire.WaitRead(); err != nil {
			return 0, err
		}
		if n, err := s.wire.TryRead(s.tls, b); n > 0 || err != nil {
			return n, err
		}
	}
}

// tryWrite writes what the socket takes of b at once. If that is not all, and unsure is true
// afterwards, it has to be called again with the same bytes, or waitWrite.
func (s *socket) tryWrite(b []byte) (n int, err error) {
	if s.wire == nil {
		a := &s.out
		a.b, a.n, a.err = b, 0, nil
		if err := a.raw.Write(a.once); err != nil && a.err == nil {
			a.err = err
		}
		return a.n, a.err
	}
	return s.wire.TryWritePieces(s.tls, b, writePiece)
}

// waitWrite writes a part of b, and waits until the socket has taken it.
func (s *socket) waitWrite(b []byte) (int, error) {
	b = b[:min(len(b), writePiece)]
	if s.wire != nil {
		return s.wire.WriteAll(s.tls, b)
	}
	return s.net.Write(b)
}

// unsure reports whether bytes may have gone that a write has not reported, which has returned
// err.
func (s *socket) unsure(err error) bool {
	if s.wire != nil {
		return err != nil || s.wire.Pending()
	}
	return err != nil && s.out.raw == nil // what others say after an error is no proof
}

// release gives memory back when nobody reads or writes any more.
func (s *socket) release() {
	if s.wire != nil {
		s.wire.Release()
	}
}

// dialer returns what connects for the pool. Below TLS it puts what can be asked without waiting,
// if the connection is one of package net.
func dialer(cfg *Config, network string) func(ctx context.Context, addr string) (net.Conn, error) {
	return func(ctx context.Context, addr string) (net.Conn, error) {
		nc, err := cfg.DialContext(ctx, network, addr)
		if err == nil && cfg.TLS != nil {
			if wire, ok := tlswire.New(nc); ok {
				return wire, nil
			}
		}
		return nc, err
	}
}

// tlsConfig returns the configuration of secured connections, nil for none. A batch is as few
// records as can be, because they are read together anyway.
func tlsConfig(cfg *Config) *tls.Config {
	if cfg.TLS == nil {
		return nil
	}
	c := cfg.TLS.Clone()
	c.DynamicRecordSizingDisabled = true
	return c
}
