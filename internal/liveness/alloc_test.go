//go:build unix && !race

package liveness_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/internal/liveness"
)

func TestPeekerAllocatesNothing(t *testing.T) {
	nc, _ := pair(t, "tcp")
	p := liveness.NewPeeker(nc)
	var err error
	assert.Zero(t, testing.AllocsPerRun(100, func() { err = p.Peek() }))
	require.NoError(t, err)
}
