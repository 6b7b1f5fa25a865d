//go:build !race

package balance_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/balance"
)

func TestPickAllocatesNothing(t *testing.T) {
	for _, strategy := range balance.Strategies() {
		t.Run(string(strategy), func(t *testing.T) {
			r := newRig(t, strategy, 1, 3, 2)
			refused := r.backends[1]
			client := []byte("user-123")
			var failed error
			assert.Zero(t, testing.AllocsPerRun(1000, func() {
				key := balance.KeyOf(client)
				if _, err := r.b.Pick(key, nil); err != nil {
					failed = err
				}
				if _, err := r.b.Pick(key, func(b *backend) bool { return b == refused }); err != nil {
					failed = err
				}
			}))
			require.NoError(t, failed)
		})
	}
}
