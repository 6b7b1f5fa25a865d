//go:build !race

package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The options of a call, and a request that nobody waits for, cost no memory either.
func TestAllocNothingForTheOptionsOfACall(t *testing.T) {
	b, err := New(oneConn(Config{Addrs: []string{rawEcho(t), rawEcho(t)}}))
	require.NoError(t, err)
	defer b.Close()
	until(func() bool { return b.Stats().Conns == 2 })

	done := make(chan error, 1)
	fn := func(_ []byte, err error) { done <- err }
	wait := func(err error) {
		if err == nil {
			err = <-done
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, call := range map[string]Call{
		"nothing":    {},
		"Timeout":    {Timeout: time.Minute},
		"no Timeout": {Timeout: -1},
		"Idempotent": {Idempotent: true},
		"both":       {Timeout: time.Minute, Idempotent: true},
		"wishes":     {Key: 7, Priority: 1, Server: b.servers()[1].name},
	} {
		for _, size := range []int{0, 64, 1000} {
			req, dst := make([]byte, size), make([]byte, 0, size)
			for way, f := range map[string]func(){
				"SendInto": func() { _, err := b.SendInto(bg, dst, req, call); must(err) },
				"Go":       func() { wait(b.Go(bg, req, fn, call)) },
				"OneWay":   func() { must(b.SendOneWay(bg, req)) },
			} {
				for range 1000 {
					f() // every slot has been used
				}
				require.Zero(t, testing.AllocsPerRun(2000, f), "%s with %s, %d bytes", way, name, size)
			}
			// Send returns the reply in memory of its own, and nothing else.
			send := func() { _, err := b.Send(bg, req, call); must(err) }
			require.LessOrEqual(t, testing.AllocsPerRun(2000, send), float64(min(size, 1)),
				"Send with %s, %d bytes", name, size)
		}
	}
}

func TestAllocLittleForAnIdempotentBatch(t *testing.T) {
	b, err := New(Config{Addrs: []string{rawEcho(t)}})
	require.NoError(t, err)
	defer b.Close()
	ready(t, b)
	reqs := make([][]byte, 10)
	fn := func(int, []byte, error) {}
	batch := func() {
		if err := b.SendBatch(bg, reqs, fn, Call{Timeout: time.Minute, Idempotent: true}); err != nil {
			t.Fatal(err)
		}
	}
	for range 1000 {
		batch()
	}
	require.LessOrEqual(t, testing.AllocsPerRun(500, batch), 1.0)
}
