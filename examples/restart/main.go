//go:build unix

// Command restart is a server that is replaced by a new process without losing a request: its
// clients speak the extension (engine.Config.Extensions), and the new process inherits the
// listening socket.
//
//	go build -o restart . && ./restart -addr 127.0.0.1:9000 &
//	kill -HUP <its process ID>    # starts the program anew; the old process then ends
//	kill <the new one's process ID>
package main

import (
	"context"
	"flag"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/ringwire/ringwire/server"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:9000", "where to listen, unless the socket is inherited")
	flag.Parse()
	log.SetPrefix("restart: ")
	if err := serve(*addr); err != nil {
		log.Fatal(err)
	}
}

func echo(_ *server.Conn, dst, req []byte) ([]byte, error) { return append(dst, req...), nil }

// serve runs until SIGTERM or an interrupt. At SIGHUP it starts a successor.
func serve(addr string) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM, os.Interrupt)

	s, err := server.New(server.Config{Addr: addr, Handler: server.HandlerFunc(echo), Extensions: true})
	if err != nil {
		return err
	}
	if err := begin(s); err != nil {
		return err
	}
	log.Printf("process %d serves %v", os.Getpid(), s.Addr())
	for got := range signals {
		if got != syscall.SIGHUP {
			break
		}
		if err := handOver(s); err != nil {
			log.Print(err) // and go on as before
		}
	}
	// Everything that was begun is answered, and clients are told to go elsewhere.
	return s.Shutdown(context.Background())
}

// begin serves what a predecessor or systemd has passed on, or else listens, and tells both.
func begin(s *server.Server) error {
	listeners, err := server.Inherited()
	if err == nil && len(listeners) == 0 {
		err = s.Start()
	}
	if err != nil {
		return err
	}
	for _, ln := range listeners {
		if err := s.Serve(ln); err != nil {
			return err
		}
	}
	if err := ready(); err != nil {
		return err // before the predecessor ends: systemd has to know of this process first
	}
	predecessor := os.Getppid()
	if os.Getenv("PREDECESSOR") != strconv.Itoa(predecessor) {
		return nil // it has ended, or there was none: systemd has passed the sockets
	}
	return syscall.Kill(predecessor, syscall.SIGTERM)
}

// handOver starts this program anew. The new process tells this one when it serves; if it
// fails before, this one goes on.
func handOver(s *server.Server) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(program, os.Args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), "PREDECESSOR="+strconv.Itoa(os.Getpid()))
	if err := s.HandOver(cmd); err != nil {
		return err
	}
	go func() {
		if err := cmd.Wait(); err != nil {
			log.Printf("successor: %v", err)
		}
	}()
	return nil
}
