//go:build !race

package engine

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/balance"
)

func TestAllocFreeInSteadyState(t *testing.T) {
	for _, every := range []int{0, 1} { // calls timed now and then, and all
		t.Run(fmt.Sprint("LatencyEvery ", every), func(t *testing.T) { allocFree(t, every) })
	}
}

func allocFree(t *testing.T, every int) {
	b, err := New(Config{Addrs: []string{rawEcho(t)}, LatencyEvery: every})
	require.NoError(t, err)
	defer b.Close()
	ready(t, b)

	for _, size := range []int{0, 64, 1000} {
		req, dst := make([]byte, size), make([]byte, 0, size)
		sendInto := func() {
			if _, err := b.SendInto(bg, dst, req); err != nil {
				t.Fatal(err)
			}
		}
		done := make(chan error, 1)
		fn := func(_ []byte, err error) { done <- err }
		goOnce := func() {
			if err := b.Go(bg, req, fn); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		reqs := [][]byte{req, req, req, req}
		each := func(_ int, _ []byte, err error) {
			if err != nil {
				t.Error(err)
			}
		}
		batch := func() {
			if err := b.SendBatch(bg, reqs, each); err != nil {
				t.Fatal(err)
			}
		}
		for name, f := range map[string]func(){"SendInto": sendInto, "Go": goOnce} {
			for range 1000 {
				f() // every slot has been used
			}
			require.Zero(t, testing.AllocsPerRun(2000, f), "%s of %d bytes", name, size)
		}
		for range 1000 {
			batch()
		}
		require.LessOrEqual(t, testing.AllocsPerRun(500, batch), 1.0, "SendBatch of 4 requests, %d bytes each", size)
	}
}

// Over several servers, with all that a call may ask for.
func TestChoosingAServerAllocatesNothing(t *testing.T) {
	for _, strategy := range balance.Strategies() {
		t.Run(string(strategy), func(t *testing.T) {
			addrs := []string{rawEcho(t), rawEcho(t), rawEcho(t)}
			b, err := New(Config{Addrs: addrs, ConnsPerAddr: 2, Balance: strategy})
			require.NoError(t, err)
			defer b.Close()
			until(func() bool { return b.Stats().Conns == 6 })
			req, dst := make([]byte, 64), make([]byte, 0, 64)
			done := make(chan error, 1)
			fn := func(_ []byte, err error) { done <- err }
			for name, o := range map[string]Call{
				"nothing": {}, "key": {Key: 7}, "server": {Server: addrs[1]}, "priority": {Priority: 2},
			} {
				call := func() {
					if _, err := b.SendInto(bg, dst, req, o); err != nil {
						t.Fatal(err)
					}
					if err := b.Go(bg, req, fn, o); err != nil {
						t.Fatal(err)
					}
					if err := <-done; err != nil {
						t.Fatal(err)
					}
				}
				for range 3000 {
					call() // every slot has been used
				}
				require.Zero(t, testing.AllocsPerRun(1000, call), name)
			}
			// And when the first choice is not taken.
			r := request{payload: req, blocks: true, shun: b.servers()[0].bit}
			rt := b.routes.Load()
			require.Zero(t, testing.AllocsPerRun(100, func() {
				if !b.offerElsewhere(rt, &r, rt.servers[1], false) {
					t.Fatal("nobody takes it")
				}
			}))
		})
	}
}
