package load

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

// A peer that refuses each opening with another status does not make the run grow.
func TestCausesAreBounded(t *testing.T) {
	c := conns{errors: make(map[string]uint64)}
	const n = 10 * causesMax
	for i := range n {
		c.dialFailed(&openError{"log-on", fmt.Errorf("status %d", i)}, context.Background())
		c.ended(false, errors.New("connection reset"), false)
	}
	if len(c.errors) > causesMax+1 {
		t.Fatalf("%d causes", len(c.errors))
	}
	sum := uint64(0)
	for _, k := range c.errors {
		sum += k
	}
	if sum != 2*n || c.errors["connection: connection reset"] != n {
		t.Fatalf("%d counted: %v", sum, c.errors)
	}
}
