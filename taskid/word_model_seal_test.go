//go:build !race

package taskid

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// seal is one of the two steps of the goroutine that seals a table, and ends the
// connection if then nothing is open on it.
func (s *wordState) seal(look bool) {
	if look {
		s.gone = !s.word.is(live)
	} else {
		s.closed = true
	}
}

func TestNoInterleavingSendsARequestOnASealedTableThatWasSeenEmpty(t *testing.T) {
	const S, R, C, L, X = modelSubmitter, modelReader, modelCanceller, modelSealer, modelCloser
	parties := []wordActor{{S, 2}, {R, 2}, {C, 1}, {L, 1}, {X, 1}}
	m := &wordModel{parties: parties}
	states, problem := m.explore()
	require.Empty(t, problem)
	t.Log(states, "states")
	for name, m := range map[string]*wordModel{
		"Seal looks, then seals": {sealsLast: true},
		"Arm does not look":      {noLook: true},
	} {
		t.Run(name, func(t *testing.T) {
			m.parties, m.want = parties, "has ended as idle"
			states, problem := m.explore()
			require.Contains(t, problem, m.want)
			t.Log(states, "states:", problem)
		})
	}
}
