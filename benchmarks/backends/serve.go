package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// serveHTTP is the first argument by which this program is a server.
const serveHTTP = "serve-http"

// serve answers each GET with the server's name, until its standard input closes.
func serve(args []string) error {
	flags := flag.NewFlagSet(serveHTTP, flag.ContinueOnError)
	addr := flags.String("addr", "127.0.0.1:0", "listen here")
	name := flags.String("name", "A", "the answer")
	if err := flags.Parse(args); err != nil {
		return err
	}
	l, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	srv := &http.Server{
		ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, *name)
		}),
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	go func() { _ = srv.Serve(l) }()
	fmt.Printf("listening on %s\n", l.Addr())
	<-ctx.Done()
	return srv.Close()
}
