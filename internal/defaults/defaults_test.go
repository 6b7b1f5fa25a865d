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

func TestATimeoutIsAtMostADay(t *testing.T) {
	for d, want := range map[time.Duration]time.Duration{
		0: time.Minute, 1: 1, -1: -1, defaults.MaxTimeout: defaults.MaxTimeout, 1 << 60: defaults.MaxTimeout,
	} {
		assert.Equal(t, want, defaults.Timeout(d, time.Minute))
	}
}
