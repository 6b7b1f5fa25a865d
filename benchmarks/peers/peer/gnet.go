package peer

import (
	"context"
	"fmt"
	"net"
	"os"

	"github.com/panjf2000/gnet/v2"
	"github.com/panjf2000/gnet/v2/pkg/logging"
)

// Gnet is panjf2000/gnet with an echo of the anet frame, and with as many event loops
// as processors, as its documentation has it.
func Gnet() Peer {
	return Peer{Name: "gnet", Module: "github.com/panjf2000/gnet/v2", ServerNote: "multicore; echoes whole frames from where they lie, in one write",
		Serve: serveGnet}
}

func serveGnet(addr string) (*Server, error) {
	echo := &gnetEcho{booted: make(chan gnet.Engine, 1)}
	ended := make(chan error, 1)
	go func() {
		ended <- gnet.Run(echo, "tcp://"+addr, gnet.WithMulticore(true), gnet.WithLogLevel(logging.ErrorLevel))
	}()
	var engine gnet.Engine
	select {
	case err := <-ended:
		return nil, fmt.Errorf("gnet: %w", err)
	case engine = <-echo.booted:
	}
	stop := func() {
		at, cancel := context.WithCancel(context.Background())
		cancel() // Stop itself would look twice a second whether it has ended
		_ = engine.Stop(at)
		<-ended
	}
	bound, err := gnetAddr(engine)
	if err != nil {
		stop()
		return nil, fmt.Errorf("gnet: its listener's address: %w", err)
	}
	return &Server{Addr: bound, Close: stop}, nil
}

// gnetAddr asks the listener, because gnet does not tell which port it got.
func gnetAddr(engine gnet.Engine) (string, error) {
	fd, err := engine.Dup()
	if err != nil {
		return "", err
	}
	file := os.NewFile(uintptr(fd), "gnet's listener")
	defer func() { _ = file.Close() }()
	listener, err := net.FileListener(file)
	if err != nil {
		return "", err
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String(), nil
}

// gnetEcho runs on the event loops.
type gnetEcho struct {
	gnet.BuiltinEventEngine
	booted chan gnet.Engine // its capacity is its one value
}

func (e *gnetEcho) OnBoot(engine gnet.Engine) gnet.Action {
	e.booted <- engine
	return gnet.None
}

func (e *gnetEcho) OnTraffic(c gnet.Conn) gnet.Action {
	in, err := c.Peek(-1)
	if err != nil {
		return gnet.Close
	}
	whole, ok := wholeFrames(in)
	if !ok {
		return gnet.Close
	}
	if whole == 0 {
		return gnet.None
	}
	if _, err := c.Write(in[:whole]); err != nil {
		return gnet.Close
	}
	if _, err := c.Discard(whole); err != nil {
		return gnet.Close
	}
	return gnet.None
}
