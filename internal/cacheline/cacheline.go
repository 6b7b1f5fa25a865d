// Package cacheline holds the padding that keeps fields written by different
// processors apart.
package cacheline

// Size is the distance, in bytes, that two fields written by different
// processors keep from each other: two lines of 64 bytes, because amd64
// prefetches lines in pairs and arm64 servers have lines of 128 (crossbeam's
// CachePadded and Agrona choose the same).
const Size = 128

// Pad goes between such fields: `_ cacheline.Pad`.
type Pad [Size]byte
