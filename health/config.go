package health

import (
	"fmt"
	"time"

	"github.com/ringwire/ringwire/internal/backoff"
	"github.com/ringwire/ringwire/internal/defaults"
)

// The defaults of Config.
const (
	DefaultInterval           = 30 * time.Second
	DefaultTimeout            = 5 * time.Second
	DefaultUnhealthyThreshold = 3
	DefaultHealthyThreshold   = 2
	DefaultBackoffBase        = 500 * time.Millisecond
	DefaultBackoffMax         = 5 * time.Second
	DefaultEjectionTime       = 5 * time.Second
	DefaultMaxEjectionTime    = 5 * time.Minute
	DefaultSlowStart          = 3 * time.Second
)

// thresholdMax bounds the thresholds.
const thresholdMax = 1000

// Config says how servers are judged. The zero value of every field is its default. New copies
// it.
type Config struct {
	// Interval is how often a server is probed that has answered nothing meanwhile, 10 % more
	// or less at random. Default 30 s, negative: only those that are Down are probed.
	Interval time.Duration
	// Timeout bounds a probe, and how long a call on Trial keeps others out. Default 5 s.
	Timeout time.Duration
	// UnhealthyThreshold is how many times in a row a server that is not reached makes it Down.
	// Default 3.
	UnhealthyThreshold int
	// EjectionThreshold is how many calls in a row that fail have a server Ejected. Default
	// UnhealthyThreshold.
	EjectionThreshold int
	// HealthyThreshold is how many successes in a row bring it back. Default 2.
	HealthyThreshold int
	// BackoffBase and BackoffMax bound the pause before a server that was not reached is probed
	// again, after the n-th time in a row: it is uniform in [0, min(BackoffMax,
	// BackoffBase·2ⁿ⁻¹)]. Defaults 500 ms and 5 s.
	BackoffBase, BackoffMax time.Duration
	// EjectionTime is how long the first ejection lasts, up to 10 % less at random. It doubles
	// with each further one, up to MaxEjectionTime. Defaults 5 s and 5 min. A negative
	// EjectionTime: none is ejected.
	EjectionTime, MaxEjectionTime time.Duration
	// SlowStart is how long the share of a server grows that has come back. Default 3 s,
	// negative: it has its whole share at once.
	SlowStart time.Duration
	// OnlyConnected has only those servers count into the half that have a connection, as
	// Server.AddConnections has told: one without stands in for nobody. Default: all count that
	// are not Down.
	OnlyConnected bool
	// OnChange, if not nil, is called after a State or Share has changed, on the goroutine that
	// reported or that Advance or Run is on, without a lock. Calls may overlap: it must read
	// what is true now. It must not block.
	OnChange func()
}

func (c Config) withDefaults() Config {
	defaults.Set(&c.Interval, DefaultInterval)
	defaults.Set(&c.Timeout, DefaultTimeout)
	defaults.Set(&c.UnhealthyThreshold, DefaultUnhealthyThreshold)
	defaults.Set(&c.EjectionThreshold, c.UnhealthyThreshold)
	defaults.Set(&c.HealthyThreshold, DefaultHealthyThreshold)
	defaults.Set(&c.BackoffBase, DefaultBackoffBase)
	defaults.Set(&c.BackoffMax, max(DefaultBackoffMax, c.BackoffBase))
	defaults.Set(&c.EjectionTime, DefaultEjectionTime)
	defaults.Set(&c.MaxEjectionTime, max(DefaultMaxEjectionTime, c.EjectionTime))
	defaults.Set(&c.SlowStart, DefaultSlowStart)
	return c
}

// validate reports the first field that makes no sense. It runs after withDefaults.
func (c *Config) validate() error {
	for _, t := range []struct {
		field string
		value int
	}{
		{"UnhealthyThreshold", c.UnhealthyThreshold},
		{"EjectionThreshold", c.EjectionThreshold},
		{"HealthyThreshold", c.HealthyThreshold},
	} {
		if t.value < 1 || t.value > thresholdMax {
			return fmt.Errorf("health: Config.%s is %d; it must lie in 1 to %d", t.field, t.value, thresholdMax)
		}
	}
	for _, d := range []struct {
		field    string
		value    time.Duration
		negative bool // allowed
	}{
		{"Interval", c.Interval, true},
		{"Timeout", c.Timeout, false},
		{"BackoffBase", c.BackoffBase, false},
		{"BackoffMax", c.BackoffMax, false},
		{"EjectionTime", c.EjectionTime, true},
		{"MaxEjectionTime", c.MaxEjectionTime, false},
		{"SlowStart", c.SlowStart, true},
	} {
		if d.value > defaults.MaxTimeout || d.value < 0 && !d.negative {
			return fmt.Errorf("health: Config.%s is %v; it must be positive and at most %v", d.field, d.value, defaults.MaxTimeout)
		}
	}
	if c.BackoffMax < c.BackoffBase {
		return fmt.Errorf("health: Config.BackoffBase %v and BackoffMax %v must satisfy base <= max", c.BackoffBase, c.BackoffMax)
	}
	if c.MaxEjectionTime < c.EjectionTime {
		return fmt.Errorf("health: Config.EjectionTime %v and MaxEjectionTime %v must satisfy first <= max", c.EjectionTime, c.MaxEjectionTime)
	}
	return nil
}

func (c *Config) pause() backoff.Policy {
	return backoff.Policy{Min: c.BackoffBase, Max: c.BackoffMax}
}
