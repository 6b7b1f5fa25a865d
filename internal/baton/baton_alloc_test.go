//go:build !race

package baton

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestRightDoesNotAlloc(t *testing.T) {
	r := in(t, Free)
	rounds := 0
	none := func() bool { return false }
	assert.Zero(t, testing.AllocsPerRun(1000, func() {
		if r.Take() {
			r.Renew()
		}
		if r.Borrow() {
			r.Renew()
		}
		if r.Redeem() {
			r.Keep()
			<-r.Wait()
			r.Release(none)
		}
		if r.Promise() && r.Revoke() {
			<-r.Wait()
			r.Release(none)
		}
		if r.Assign() {
			<-r.Wait()
			r.Release(none)
			rounds++
		}
	}))
	assert.Equal(t, 1001, rounds)
}
