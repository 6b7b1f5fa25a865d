// Package rawio makes single attempts to read from and write to non-blocking
// descriptors. Who calls it vouches that the descriptor is open and stays so meanwhile.
package rawio
