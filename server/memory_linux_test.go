package server

import (
	"net"
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What a connection costs the server when it has been used once and idles. The
// clients are bare descriptors, so that the heap is the server's.
func TestAConnFitsItsSizeClass(t *testing.T) {
	if unsafe.Sizeof(uintptr(0)) == 8 {
		assert.LessOrEqual(t, unsafe.Sizeof(Conn{}), uintptr(256), "the next size is 288")
	}
}

func BenchmarkIdleConn(b *testing.B) {
	for name, cfg := range map[string]Config{"handlers=loop": {}, "handlers=workers": {Workers: 2}} {
		b.Run(name, func(b *testing.B) {
			cfg.Addr, cfg.Handler = "127.0.0.1:0", HandlerFunc(echo)
			s, err := New(cfg)
			require.NoError(b, err)
			require.NoError(b, s.Start())
			defer s.Close()
			const conns = 500
			var total uint64
			for b.Loop() {
				before := heap()
				fds := make([]int, conns)
				for i := range fds {
					fds[i] = bareClient(b, s.Addr().(*net.TCPAddr))
				}
				total += heap() - before
				for _, fd := range fds {
					_ = syscall.Close(fd)
				}
				for s.Stats().Conns > 0 {
					runtime.Gosched()
				}
			}
			b.ReportMetric(float64(total)/float64(b.N)/conns, "B/conn")
		})
	}
}

func heap() uint64 {
	for range 3 { // pools are emptied by the second
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// bareClient connects, exchanges one frame and returns the descriptor.
func bareClient(b *testing.B, addr *net.TCPAddr) int {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	require.NoError(b, err)
	require.NoError(b, syscall.Connect(fd, &syscall.SockaddrInet4{Port: addr.Port, Addr: [4]byte(addr.IP.To4())}))
	frame := []byte{0, 5, 0, 0, 0, 1, 'x'}
	_, err = syscall.Write(fd, frame)
	require.NoError(b, err)
	n, err := syscall.Read(fd, frame)
	require.NoError(b, err)
	require.Equal(b, 7, n)
	return fd
}
