// Command echo is the smallest program that uses both ends: a server, a broker
// and one request.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/server"
)

func main() {
	s, err := server.New(server.Config{Addr: "127.0.0.1:0", Handler: server.HandlerFunc(
		func(_ *server.Conn, dst, req []byte) ([]byte, error) { return append(dst, req...), nil })})
	if err != nil {
		log.Fatal(err)
	}
	if err := s.Start(); err != nil {
		log.Fatal(err)
	}
	defer s.Close()

	b, err := engine.New(engine.Config{Addrs: []string{s.Addr().String()}})
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()

	reply, err := b.Send(context.Background(), []byte("hello"))
	fmt.Println(string(reply), err)
}
