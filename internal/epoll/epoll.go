// Package epoll changes what an epoll instance watches a descriptor for that belongs to
// somebody else, an event loop which offers no such thing. It is found by what the kernel
// tells of this process's descriptors in /proc. Where there is none of this, Of says so.
//
// The caller of Watch vouches that the descriptor is open and stays so meanwhile.
package epoll

// Instance is an epoll instance of this process.
type Instance int
