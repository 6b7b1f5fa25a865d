//go:build invariant

package invariant

// Enabled says that assertions are compiled in.
const Enabled = true
