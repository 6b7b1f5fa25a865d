//go:build !race

package interop

// anetReusesMemory: the default, which the race detector does not let pass.
const anetReusesMemory = true
