// Package rawio makes single attempts to read from and write to non-blocking
// descriptors. The caller vouches that the descriptor is open and stays so meanwhile.
package rawio
