package defaults_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/ringwire/ringwire/internal/defaults"
)

func TestSetReplacesZeroOnly(t *testing.T) {
	config := struct {
		unset, set, off time.Duration
		name            string
	}{set: time.Second, off: -1}
	defaults.Set(&config.unset, time.Minute)
	defaults.Set(&config.set, time.Minute)
	defaults.Set(&config.off, time.Minute)
	defaults.Set(&config.name, "tcp")
	assert.Equal(t, time.Minute, config.unset)
	assert.Equal(t, time.Second, config.set)
	assert.Equal(t, time.Duration(-1), config.off, "off stays off")
	assert.Equal(t, "tcp", config.name)
}
