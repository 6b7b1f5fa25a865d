// Package invariant holds assertions that exist only under the build tag
// "invariant", which `make test` sets.
package invariant

// Check panics when ok is false and the build tag is set. Guard costly conditions
// with `if invariant.Enabled`, so that they vanish too.
func Check(ok bool, msg string) {
	if Enabled && !ok {
		panic("invariant violated: " + msg)
	}
}
