package peer

import (
	"fmt"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

const (
	// pollingRounds of reads are made between two looks at epoll.
	pollingRounds = 256
	// pollingBuffer holds what one connection has sent and is not written back. It has
	// room for a whole frame, so something always moves.
	pollingBuffer = 4 * frameMax
	pollingEvents = 16
)

func pollingMissing() string { return "" }

// polling is the server. Its fields belong to the goroutine of run.
type polling struct {
	listener *os.File
	accepts  int // its descriptor, non-blocking
	wake     int // an eventfd that is written to when run is to end
	epoll    int // watches these two
	conns    []*pollingConn
}

// pollingConn is a connection that is read and written without waiting.
type pollingConn struct {
	fd    int
	buf   []byte
	have  int // bytes in buf
	whole int // of them, in whole frames, which are to be written
}

func servePolling(addr string) (*Server, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer func() { _ = listener.Close() }() // its copy stays
	tcp, ok := listener.(*net.TCPListener)
	if !ok {
		return nil, fmt.Errorf("polling: %s is no TCP address", addr)
	}
	file, err := tcp.File()
	if err != nil {
		return nil, err
	}
	p := &polling{listener: file, wake: -1, epoll: -1}
	if err := p.prepare(); err != nil {
		p.close()
		return nil, fmt.Errorf("polling: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // the thread ends with the goroutine
		p.run()
	}()
	return &Server{Addr: listener.Addr().String(), Close: func() {
		_, _ = unix.Write(p.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		<-ended
		p.close()
	}}, nil
}

func (p *polling) prepare() (err error) {
	p.accepts = int(p.listener.Fd()) // asked for once: Fd may make it block
	if err := unix.SetNonblock(p.accepts, true); err != nil {
		return err
	}
	if p.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return err
	}
	if p.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	for _, fd := range []int{p.wake, p.accepts} {
		event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
		if err := unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
			return err
		}
	}
	return nil
}

func (p *polling) close() {
	for _, c := range p.conns {
		_ = unix.Close(c.fd)
	}
	for _, fd := range []int{p.wake, p.epoll} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
	_ = p.listener.Close()
}

// run serves until it is woken. While there are connections it never sleeps.
func (p *polling) run() {
	events := make([]unix.EpollEvent, pollingEvents)
	for {
		wait := -1
		if len(p.conns) > 0 {
			wait = 0
		}
		n, err := unix.EpollWait(p.epoll, events, wait)
		if err != nil && err != unix.EINTR {
			return
		}
		for _, event := range events[:max(n, 0)] {
			if event.Fd == int32(p.wake) {
				return
			}
			p.accept()
		}
		for range pollingRounds {
			if !p.round() {
				_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
			}
		}
	}
}

func (p *polling) accept() {
	fd, _, err := unix.Accept4(p.accepts, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	if err != nil {
		return // it went away, or epoll tells again
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	p.conns = append(p.conns, &pollingConn{fd: fd, buf: make([]byte, pollingBuffer)})
}

// round serves every connection once, and reports whether anybody had sent something.
func (p *polling) round() (moved bool) {
	for i := 0; i < len(p.conns); {
		n, lives := p.conns[i].serve()
		moved = moved || n > 0
		if lives {
			i++
			continue
		}
		_ = unix.Close(p.conns[i].fd)
		p.conns[i] = p.conns[len(p.conns)-1]
		p.conns = p.conns[:len(p.conns)-1]
	}
	return moved
}

// serve reads once if there is room, and writes the whole frames back. It returns how
// many bytes it has read, and whether the connection lives.
func (c *pollingConn) serve() (read int, lives bool) {
	if c.have < len(c.buf) {
		n, err := unix.Read(c.fd, c.buf[c.have:])
		if err == unix.EAGAIN || err == unix.EINTR {
			n = 0
		} else if err != nil || n == 0 {
			return 0, false
		}
		c.have += n
		read = n
	}
	more, ok := wholeFrames(c.buf[c.whole:c.have])
	c.whole += more
	if !ok {
		return read, false
	}
	if c.whole == 0 {
		return read, true
	}
	n, err := unix.Write(c.fd, c.buf[:c.whole])
	if err == unix.EAGAIN || err == unix.EINTR {
		return read, true
	}
	if err != nil {
		return read, false
	}
	c.have = copy(c.buf, c.buf[n:c.have])
	c.whole -= n
	return read, true
}
