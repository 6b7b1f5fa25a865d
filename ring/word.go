package ring

import "sync/atomic"

// word is the atomic cell of every index and sequence here: the seam at which an
// interleaving explorer can take over scheduling. Under a build tag explore it
// becomes a struct with the same methods, each of which yields before it acts.
// An alias, declared here and not in another package, because only then are Load
// and Store inlined.
type word = atomic.Uint64

// chunkCell holds a chunk of a Bytes, for the same reason.
type chunkCell = atomic.Pointer[chunk]
