//go:build !race && !invariant

package tlswire_test

import (
	"crypto/tls"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAllocNothing(t *testing.T) {
	r := secured(t, tls.VersionTLS13, true)
	p, b := make([]byte, 64<<10), make([]byte, 2000)
	go func() { _ = echo(r.server) }()
	allocs := testing.AllocsPerRun(2000, func() {
		_ = r.client.writeAll(b)
		for got := 0; got < len(b); {
			_ = r.client.w.WaitRead()
			n, err := r.client.tryRead(p)
			if err != nil {
				panic(err)
			}
			got += n
		}
	})
	// crypto/tls makes something for the header and for the body of each record that it reads.
	const ends, parts = 2, 2
	require.Less(t, allocs, ends*parts+0.5)
}
