//go:build race

// Package race tells tests whether the race detector is compiled in.
package race

// Enabled: anet's client reuses a request's memory while it is being written,
// which the detector reports in every mode but its slowest, so tests leave anet
// out then.
const Enabled = true
