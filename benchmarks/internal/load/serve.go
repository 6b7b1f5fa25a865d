package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/server"
)

// Report is what a server process says of itself.
type Report struct {
	Mallocs uint64 // allocations on its heap since its start
	Server  server.Stats
}

// ServeIfStarted makes this process the server that Start wants, and does not
// return then. In any other process it does nothing.
func ServeIfStarted() {
	if Role() != roleServer {
		return
	}
	if err := serve(os.Stdin, os.Stdout); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "load: the server:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serve answers until stdin ends.
func serve(stdin io.Reader, stdout io.Writer) error {
	busyPoll, err := busyPollOf(os.Getenv(BusyPollVariable))
	if err != nil {
		return err
	}
	srv, err := NewServer("127.0.0.1:0", func(c *server.Config) { c.BusyPoll = busyPoll })
	if err != nil {
		return err
	}
	if err := srv.Start(); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(stdout, "%s%s\n", announcement, srv.Addr()); err != nil {
		return errors.Join(err, srv.Close())
	}
	_, err = io.Copy(io.Discard, stdin)
	return errors.Join(err, srv.Close())
}

// BusyPollVariable is the environment variable that sets a server process's
// server.Config.BusyPoll, such as -1ns; empty is the default.
const BusyPollVariable = "RINGWIRE_LOAD_BUSYPOLL"

func busyPollOf(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("load: %s: %w", BusyPollVariable, err)
	}
	return d, nil
}

// NewServer is the server that the processes run: it echoes, and answers an empty
// request with a Report. It has the default configuration, but for what adjust changes.
func NewServer(addr string, adjust ...func(*server.Config)) (*server.Server, error) {
	var srv *server.Server
	cfg := server.Config{Addr: addr, Handler: server.HandlerFunc(
		func(_ *server.Conn, dst, req []byte) ([]byte, error) {
			if len(req) == 0 {
				return report(dst, srv)
			}
			return append(dst, req...), nil
		})}
	for _, change := range adjust {
		change(&cfg)
	}
	srv, err := server.New(cfg)
	return srv, err
}

func report(dst []byte, srv *server.Server) ([]byte, error) {
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	text, err := json.Marshal(Report{Mallocs: mem.Mallocs, Server: srv.Stats()})
	return append(dst, text...), err
}

// Ask returns the report of the server that the broker is connected to.
func Ask(broker *engine.Broker) (Report, error) {
	var r Report
	text, err := broker.Send(context.Background(), nil)
	if err != nil {
		return r, fmt.Errorf("load: ask the server for its report: %w", err)
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("load: the server's report: %w", err)
	}
	return r, nil
}
