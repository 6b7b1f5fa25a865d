// Package load sends requests to a backend that speaks length-prefixed frames, and says
// how it answered: latencies from when each request was due, an outcome for each, and
// whether the figures are the backend's or the generator's own. docs/LOAD-DESIGN.md says
// how it works.
package load
