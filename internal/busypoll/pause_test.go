package busypoll

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// leftOut returns how many attempts p has left out, up to one that it has not.
func leftOut(p *Pause) (n int) {
	for n <= pauseMax && p.Skip() {
		n++
	}
	return n
}

func TestPollingInVainBecomesRare(t *testing.T) {
	var p Pause
	require.Zero(t, leftOut(&p))
	for _, pause := range []int{1, 3, 7, 15, 31, 63, 127, 255, 511, 1023, 1023} {
		p.Vain()
		require.Equal(t, pause, leftOut(&p))
		require.Zero(t, leftOut(&p), "once")
	}
}

func TestASuccessEndsThePauses(t *testing.T) {
	var p Pause
	for range 5 {
		p.Vain()
	}
	require.True(t, p.Skip())
	p.Hit()
	require.Zero(t, leftOut(&p))
	p.Vain()
	require.Equal(t, 1, leftOut(&p))
}
