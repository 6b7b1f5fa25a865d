// Command inmemory is a small service, a counter for each name. Its test runs the service and its
// client without a socket, in virtual time.
package main

import (
	"context"
	"log"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/ringwire/ringwire/server"
)

// counters is the service: each request is a name, its reply how often that was asked for within
// the last hour.
type counters struct {
	mu   sync.Mutex
	seen map[string][]time.Time
}

// keep is how long a request counts.
const keep = time.Hour

// Handle implements server.Handler. It waits for nothing, so it runs on the event loops.
func (c *counters) Handle(r *server.Request, dst []byte) ([]byte, error) {
	name := string(r.Payload())
	if name == "" {
		return dst, &server.Error{Code: 400, Text: "which name?"}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil {
		c.seen = map[string][]time.Time{}
	}
	now := time.Now()
	times := append(c.seen[name], now)
	for now.Sub(times[0]) > keep {
		times = times[1:]
	}
	c.seen[name] = times
	return strconv.AppendInt(dst, int64(len(times)), 10), nil
}

// config is how the service runs, here and in its test.
func config() server.Config {
	return server.Config{Handler: &counters{}, Extensions: true, IdleTimeout: 10 * time.Minute}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cfg := config()
	cfg.Addr = "127.0.0.1:9000"
	s, err := server.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	if err := s.Start(); err != nil {
		log.Fatal(err)
	}
	<-ctx.Done()
	if err := s.Shutdown(context.Background()); err != nil {
		log.Fatal(err)
	}
}
