//go:build !race

package engine

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
)

// rawSpokenEcho is rawEcho with the extension: it does not allocate.
func rawSpokenEcho(tb testing.TB) (addr string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	tb.Cleanup(func() { ln.Close() })
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				var hello, in [13]byte
				out := make([]byte, 0, 64<<10)
				if _, err := io.ReadFull(nc, in[:]); err != nil {
					return
				}
				answer, _ := framing.Format{}.AppendHello(hello[:0], framing.Hello{Server: true, Version: 1})
				_, _ = nc.Write(answer)
				for buf, end := make([]byte, 256<<10), 0; ; {
					n, err := nc.Read(buf[end:])
					if err != nil {
						return
					}
					end += n
					used := 0
					for out = out[:0]; ; {
						f, n, _ := framing.Parse(buf[used:end])
						if n == 0 {
							break
						}
						used += n
						_, req, _ := framing.ParseRequest(f.Payload)
						out, _ = framing.Format{}.AppendReply(out, f.ID, req)
					}
					end = copy(buf, buf[used:end])
					if _, err := nc.Write(out); err != nil {
						return
					}
				}
			}()
		}
	}()
	return ln.Addr().String()
}

func TestAllocNothingForTheExtension(t *testing.T) {
	b, err := New(oneConn(Config{Addrs: []string{rawSpokenEcho(t)}, Extensions: true}))
	require.NoError(t, err)
	defer b.Close()
	ready(t, b)
	ctx, cancel := context.WithTimeout(bg, time.Hour)
	defer cancel()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan error, 1)
	fn := func(_ []byte, err error) { done <- err }
	req, dst := make([]byte, 64), make([]byte, 0, 64)
	binary.BigEndian.PutUint64(req, 1)
	reqs := [][]byte{req, req, req, req}
	for name, c := range map[string]struct {
		f    func()
		most float64
	}{
		"SendInto":            {func() { _, err := b.SendInto(bg, dst, req); must(err) }, 0},
		"SendInto, a context": {func() { _, err := b.SendInto(ctx, dst, req); must(err) }, 0},
		"SendInto, a timeout": {func() { _, err := b.SendInto(bg, dst, req, Call{Timeout: time.Minute}); must(err) }, 0},
		"Go":                  {func() { must(b.Go(bg, req, fn)); must(<-done) }, 0},
		"SendBatch":           {func() { must(b.SendBatch(bg, reqs, func(int, []byte, error) {})) }, 1},
	} {
		for range 1000 {
			c.f()
		}
		require.LessOrEqual(t, testing.AllocsPerRun(2000, c.f), c.most, name)
	}
}
