package liveness

import (
	"encoding/binary"
	"syscall"
)

// established is TCP_ESTABLISHED, the state of a connection that both ends keep up.
const established = 1

// ended reports whether a TCP connection is past its established state, although
// bytes may wait on it. The state is the first byte of TCP_INFO.
func ended(fd uintptr) bool {
	info, err := syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_INFO)
	if err != nil {
		return false // not TCP
	}
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], uint32(info))
	return b[0] != established
}
