package peer

import (
	"context"
	"encoding/binary"
	"net"
	"runtime"

	"github.com/cloudwego/netpoll"
)

// Netpoll is cloudwego/netpoll with an echo of the anet frame: as in its examples, the
// handler reads one message without a copy, and writes and flushes one.
func Netpoll() Peer {
	return Peer{Name: "netpoll", Module: "github.com/cloudwego/netpoll", ServerNote: "defaults; a frame is read without a copy, copied into the writer and flushed",
		Serve: serveNetpoll, Missing: netpollMissing}
}

func netpollMissing() string {
	if runtime.GOOS == "windows" {
		return "it has no event loop on Windows"
	}
	return ""
}

func serveNetpoll(addr string) (*Server, error) {
	loop, err := netpoll.NewEventLoop(netpollEcho)
	if err != nil {
		return nil, err
	}
	stop := func() {
		ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
		defer cancel()
		_ = loop.Shutdown(ctx)
	}
	return serve(addr, func(l net.Listener) { _ = loop.Serve(l) }, stop)
}

// netpollEcho answers one frame. It is called again while there is more to read, so
// a connection on which something comes that is no frame is closed.
func netpollEcho(_ context.Context, conn netpoll.Connection) error {
	err := netpollEchoOne(conn.Reader(), conn.Writer())
	if err != nil {
		_ = conn.Close()
	}
	return err
}

func netpollEchoOne(in netpoll.Reader, out netpoll.Writer) error {
	head, err := in.Peek(2)
	if err != nil {
		return err
	}
	length := int(binary.BigEndian.Uint16(head))
	if length < idBytes {
		return net.ErrClosed
	}
	frame, err := in.Next(2 + length)
	if err != nil {
		return err
	}
	reply, err := out.Malloc(len(frame))
	if err != nil {
		return err
	}
	copy(reply, frame)
	if err := in.Release(); err != nil {
		return err
	}
	return out.Flush()
}
