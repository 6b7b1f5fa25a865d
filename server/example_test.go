package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"net"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/server"
	"github.com/ringwire/ringwire/taskid"
)

// A server that answers in capitals, asked by a client that is nothing but a
// connection and the frames on it. Package engine has a real one.
func ExampleNew() {
	upper := func(_ *server.Conn, dst, req []byte) ([]byte, error) {
		if len(req) == 0 {
			return dst, errors.New("nothing to do")
		}
		return append(dst, bytes.ToUpper(req)...), nil
	}
	s, err := server.New(server.Config{
		Addr:    "127.0.0.1:0",
		Handler: server.HandlerFunc(upper),
		ErrorReply: func(_ *server.Conn, dst, _ []byte, err error) []byte {
			return append(append(dst, "error: "...), err.Error()...)
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := s.Start(); err != nil {
		log.Fatal(err)
	}

	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	w, r := framing.NewWriter(conn, framing.Format{}), framing.NewReader(conn, framing.Format{})
	for i, req := range []string{"hello", ""} {
		if err := w.WriteFrame(taskid.ID(7+i), []byte(req)); err != nil {
			log.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		log.Fatal(err)
	}
	for range 2 {
		reply, err := r.ReadFrame()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%v %s\n", reply.ID, reply.Payload)
	}
	if err := s.Shutdown(context.Background()); err != nil {
		log.Fatal(err)
	}
	fmt.Println(s.Stats().Requests, "requests")
	// Output:
	// 00000007 HELLO
	// 00000008 error: nothing to do
	// 2 requests
}
