package server_test

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/ringwire/ringwire/server"
)

// A server stops in order when a signal comes: what was begun is answered.
func ExampleServer_Shutdown() {
	stop, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	begun := make(chan struct{})
	s := start(server.Config{
		Workers: 1,
		Handler: server.HandlerFunc(func(_ *server.Conn, dst, _ []byte) ([]byte, error) {
			close(begun)
			<-stop.Done() // a request that takes until then
			return append(dst, "answered all the same"...), nil
		}),
	})

	c := connect(s)
	defer c.Close()
	c.send("request")
	replies := make(chan string, 1)
	go func() {
		_, reply := c.receive()
		replies <- reply
		c.Close()
	}()

	<-begun
	cancel() // stands for the signal
	<-stop.Done()
	err := s.Shutdown(context.Background()) // bounded by Config.ShutdownTimeout
	fmt.Println(<-replies)
	fmt.Println("stopped:", err)
	fmt.Println("and again:", s.Wait(), s.Start())
	// Output:
	// answered all the same
	// stopped: <nil>
	// and again: <nil> server: closed; make a new one
}
