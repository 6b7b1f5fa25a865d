// Command tls is a service with mutual TLS: each end knows who the other one is, and both follow
// the files of their certificates, which may be renewed while it runs. To be complete it makes the
// certificates itself; in earnest somebody else does, and renames the new files over the old ones.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/ringwire/ringwire/certs"
	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/server"
)

func main() {
	dir, err := os.MkdirTemp("", "ringwire-tls-")
	if err == nil {
		err = errors.Join(run(dir), os.RemoveAll(dir))
	}
	if err != nil {
		log.Fatal(err)
	}
}

// run makes the certificates of both ends, has them talk, renews the server's, and has them talk
// again.
func run(dir string) error {
	servers, err := newAuthority(filepath.Join(dir, "servers.pem"))
	if err != nil {
		return err
	}
	clients, err := newAuthority(filepath.Join(dir, "clients.pem"))
	if err != nil {
		return err
	}
	own := pair{filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key")}
	theirs := pair{filepath.Join(dir, "client.pem"), filepath.Join(dir, "client.key")}
	if err := errors.Join(servers.issue(own, "shop.example"), clients.issue(theirs, "till 7")); err != nil {
		return err
	}

	files, err := certs.Load(certs.Config{
		Cert: own.cert, Key: own.key,
		CA: clients.file, // nobody else is let in
		OnReload: func(err error) {
			if err != nil {
				log.Printf("the certificates before stay in use: %v", err)
			}
		},
	})
	if err != nil {
		return err
	}
	defer files.Close()
	s, err := server.New(server.Config{Addr: "127.0.0.1:0", TLS: files.Server(), Handler: server.HandlerFunc(greet)})
	if err != nil {
		return err
	}
	if err := s.Start(); err != nil {
		return err
	}
	defer s.Close()

	if err := call(s.Addr().String(), servers.file, theirs); err != nil {
		return err
	}
	if err := servers.issue(own, "shop.example"); err != nil {
		return err
	}
	// The files are looked at every ten seconds. A program that does not want to wait, as
	// at a signal, calls Reload:
	if err := files.Reload(); err != nil {
		return err
	}
	return call(s.Addr().String(), servers.file, theirs)
}

// greet answers with the name of the client, which its certificate proves.
func greet(c *server.Conn, dst, _ []byte) ([]byte, error) {
	return fmt.Appendf(dst, "good morning, %s", c.TLS().VerifiedChains[0][0].Subject.CommonName), nil
}

// call is a client. One that runs for long keeps its Files open, so that its connections show the
// certificate that is there when they are made.
func call(addr, authority string, p pair) error {
	files, err := certs.Load(certs.Config{Cert: p.cert, Key: p.key, CA: authority})
	if err != nil {
		return err
	}
	defer files.Close()
	b, err := engine.New(engine.Config{Addrs: []string{addr}, TLS: files.Client("shop.example")})
	if err != nil {
		return err
	}
	defer b.Close()
	reply, err := b.Send(context.Background(), nil)
	if err == nil {
		fmt.Println(string(reply))
	}
	return err
}
