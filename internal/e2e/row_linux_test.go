package e2e

import (
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/server"
)

const soAttachFilter = 26 // which package syscall does not name on every architecture

// deafen has the kernel throw away whatever comes for the connection, acknowledgements
// included, as if its machine were gone: nothing is acknowledged any more, no probe is
// answered and no reset sent. It takes no privilege.
func deafen(c net.Conn) error {
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	drop := &syscall.SockFilter{Code: syscall.BPF_RET | syscall.BPF_K} // 0 bytes are let in
	prog := &syscall.SockFprog{Len: 1, Filter: drop}
	var failed error
	err = raw.Control(func(fd uintptr) {
		option := unsafe.String((*byte)(unsafe.Pointer(prog)), unsafe.Sizeof(*prog))
		failed = syscall.SetsockoptString(int(fd), syscall.SOL_SOCKET, soAttachFilter, option)
	})
	runtime.KeepAlive(drop)
	if failed != nil {
		return failed
	}
	return err
}

// vanishes makes a call and is gone: with another reply on its way to it, or silently.
func vanishes(t testing.TB, busy bool) misbehaviour {
	return func(c net.Conn) {
		if err := call(c, framing.NewReader(c, framing.Format{}), 1, []byte("present")); err != nil {
			t.Error(err)
			return
		}
		if err := deafen(c); err != nil {
			t.Error(err)
			return
		}
		if busy {
			_, err := c.Write([]byte{0, 5, 0, 0, 0, 2, 'x'})
			assert.NoError(t, err)
		}
	}
}

// Row S6. With a reply on its way TCP's user timeout finds out, without one keep-alive.
func TestServerRowClientsThatVanishAreEnded(t *testing.T) {
	dead := func(c server.Closed) uint64 { return c.Dead }
	for name, row := range map[string]siege{
		"busy": {do: vanishes(t, true), cfg: server.Config{WriteTimeout: rowTimeout, KeepAlive: -1},
			limit: 3*rowTimeout + time.Second, count: dead},
		// A second of silence and three probes, a second apart: the kernel counts in seconds.
		"idle": {do: vanishes(t, false), cfg: server.Config{WriteTimeout: -1, KeepAlive: time.Second},
			limit: 3*4*time.Second + time.Second, count: dead},
	} {
		t.Run(name, row.withstand)
	}
}
