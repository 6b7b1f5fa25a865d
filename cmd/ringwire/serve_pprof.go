package main

import (
	"fmt"
	"io"

	"github.com/ringwire/ringwire/cmd/ringwire/internal/profile/record"
)

// pprofServer serves profiles of this process; without a server it does nothing.
type pprofServer struct{ server *record.Server }

// servePprof starts what --pprof asks for.
func servePprof(f serveFlags) (pprofServer, error) {
	if f.pprof == "" {
		return pprofServer{}, nil
	}
	if err := record.CheckAddr(f.pprof, f.pprofRemote); err != nil {
		return pprofServer{}, usageError("--pprof %w; --pprof-remote allows it", err)
	}
	server, err := record.Listen(f.pprof)
	return pprofServer{server}, err
}

// announce prints where the profiles are.
func (p pprofServer) announce(out io.Writer) error {
	if p.server == nil {
		return nil
	}
	_, err := fmt.Fprintf(out, "pprof on %s\n", p.server.URL())
	return err
}

func (p pprofServer) close() {
	if p.server != nil {
		_ = p.server.Close()
	}
}
