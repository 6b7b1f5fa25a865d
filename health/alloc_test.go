//go:build !race

package health_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/ringwire/ringwire/health"
)

func TestReportsOfAnswersAllocateNothing(t *testing.T) {
	_, all := newGroup(t, health.Config{}, 2)
	began := time.Now()
	assert.Zero(t, testing.AllocsPerRun(1000, func() { all[0].Report(health.Answered, began, nil) }))
}
