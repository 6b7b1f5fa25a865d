//go:build !race

package engine

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAllocFreeInSteadyState(t *testing.T) {
	b, err := New(Config{Addrs: []string{rawEcho(t)}})
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
