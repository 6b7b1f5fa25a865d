//go:build unix

package main

import (
	"testing"
	"time"

	"github.com/ringwire/ringwire/benchmarks/harness/backends"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The short form of what "make backends" draws: counts alone.
func TestNoCallFailsThatIsSafeToRepeatWhenServersDieHangComeAndGo(t *testing.T) {
	result, err := backends.Failover{Binary: binary, Rate: 5000, Silent: time.Second, Pause: 700 * time.Millisecond}.Run(t.Context())
	require.NoError(t, err)
	assert.Empty(t, result.Faults, "%q", result.Facts)
	assert.Len(t, result.Figure.Panels, 3)
}
