package prom_test

import (
	"context"
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/metrics/prom"
	"github.com/ringwire/ringwire/server"
)

func Example() {
	s, err := server.New(server.Config{Addr: "127.0.0.1:0", Handler: server.HandlerFunc(
		func(_ *server.Conn, dst, req []byte) ([]byte, error) { return append(dst, req...), nil })})
	if err != nil {
		panic(err)
	}
	if err := s.Start(); err != nil {
		panic(err)
	}
	defer s.Close()
	b, err := engine.New(engine.Config{Addrs: []string{s.Addr().String()}})
	if err != nil {
		panic(err)
	}
	defer b.Close()

	durations := prom.NewDurations()
	reg := prometheus.NewRegistry()
	reg.MustRegister(prom.Server(s.Stats), prom.Broker(b.Stats, b.AddrStats), durations)
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))

	client := prom.Timed(b, durations) // what the program calls instead of b
	reply, err := client.Send(context.Background(), []byte("hello"))
	fmt.Println(string(reply), err)
	// Output: hello <nil>
}
