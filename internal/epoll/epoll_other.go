//go:build !linux

package epoll

// Available says whether there is epoll on this system.
const Available = false

// Of finds none: there is no epoll on this system.
func Of(int) (Instance, bool) { return 0, false }

// Watch must not be called here.
func (Instance) Watch(int, bool, bool) error { panic("epoll: not available on this system") }

// Ready must not be called here.
func (Instance) Ready() bool { panic("epoll: not available on this system") }
