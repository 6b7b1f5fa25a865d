package paired_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/ringwire/ringwire/pool/paired"
)

// Only the client at one address, or those in a list of networks, may connect.
func ExampleServerConfig_clientIP() {
	for _, clientIP := range []string{"", "192.168.1.10", "127.0.0.0/8, ::1"} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		check(err)
		server, err := paired.NewServerPool(paired.ServerConfig{
			Listener: listener, MaxCapacity: 20, ClientIP: clientIP, KeepAlive: 60 * time.Second,
		})
		check(err)
		client, err := paired.NewClientPool(paired.ClientConfig{Addr: listener.Addr().String()})
		check(err)
		until(func() bool { return server.Active() > 0 || server.Stats().IPRejects > 0 })
		fmt.Printf("%q: %v\n", clientIP, server.Stats().IPRejects == 0)
		check(client.Close())
		check(server.Close())
	}
	_, err := paired.NewServerPool(paired.ServerConfig{Listener: &net.TCPListener{}, ClientIP: "localhost"})
	fmt.Println(err != nil)
	// Output:
	// "": true
	// "192.168.1.10": false
	// "127.0.0.0/8, ::1": true
	// true
}

// The three modes, as configuration files name them.
func ExampleParseTLSMode() {
	cert, roots, _ := selfSigned("example.com")
	for _, code := range []string{"0", "1", "2", "3"} {
		mode, err := paired.ParseTLSMode(code)
		if err != nil {
			fmt.Println(err)
			continue
		}
		config := paired.ClientConfig{MinCapacity: 5, MaxCapacity: 20, TLSMode: mode, ServerName: "example.com"}
		var serverTLS *tls.Config
		switch mode {
		case paired.TLSSelfSigned:
			serverTLS = &tls.Config{Certificates: []tls.Certificate{cert}}
		case paired.TLSVerified:
			serverTLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}
			config.TLS = &tls.Config{RootCAs: roots} // nil: the system's
		}
		server, addr := localServer(serverTLS)
		config.Addr = addr
		client, err := paired.NewClientPool(config)
		check(err)
		check(client.WaitReady(context.Background()))
		fmt.Println(mode, client.Active())
		check(client.Close())
		check(server.Close())
	}
	// Output:
	// 0 5
	// 1 5
	// 2 5
	// paired: TLS mode "3"; write "0" (none), "1" (self-signed) or "2" (verified)
}

// A pin makes a self-signed certificate safe against a man in the middle.
func ExampleClientConfig_fingerprint() {
	cert, _, fingerprint := selfSigned("localhost")
	other, _, _ := selfSigned("localhost")
	for _, served := range []tls.Certificate{cert, other} {
		server, addr := localServer(&tls.Config{Certificates: []tls.Certificate{served}})
		client, err := paired.NewClientPool(paired.ClientConfig{
			Addr: addr, MinCapacity: 2, MaxCapacity: 5, MinInterval: time.Second, MaxInterval: 3 * time.Second,
			TLSMode: paired.TLSSelfSigned, Fingerprint: fingerprint,
		})
		check(err)
		until(func() bool { return client.Ready() || client.ErrorCount() > 0 })
		fmt.Println(client.Ready(), client.Stats().HandshakeErrors > 0)
		check(client.Close())
		check(server.Close())
	}
	// Output:
	// true false
	// false true
}

// In production: verified certificates, in both directions.
func ExampleNewClientPool_production() {
	cert, roots, _ := selfSigned("secure-api.company.com")
	own, ownRoots, _ := selfSigned("client.company.com")
	server, addr := localServer(&tls.Config{
		Certificates: []tls.Certificate{cert},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: ownRoots,
	})
	defer server.Close()

	client, err := paired.NewClientPool(paired.ClientConfig{
		Addr:        addr,
		MinCapacity: 20, MaxCapacity: 100,
		MinInterval: 500 * time.Millisecond, MaxInterval: 5 * time.Second,
		DialTimeout: 10 * time.Second, KeepAlive: 30 * time.Second,
		TLSMode: paired.TLSVerified, ServerName: "secure-api.company.com",
		TLS: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{own}},
	})
	check(err)
	defer client.Close()
	check(client.WaitReady(context.Background()))

	_, conn, err := client.ServerGet(context.Background())
	check(err)
	state := conn.(*paired.Conn).NetConn().(*tls.Conn).ConnectionState()
	fmt.Println(tls.VersionName(state.Version), state.ServerName)

	// A slip does not switch verification off.
	_, err = paired.NewClientPool(paired.ClientConfig{
		Addr: addr, TLSMode: paired.TLSVerified, TLS: &tls.Config{InsecureSkipVerify: true},
	})
	fmt.Println(errors.Unwrap(err))
	// Output:
	// TLS 1.3 secure-api.company.com
	// ClientConfig.TLS.InsecureSkipVerify contradicts TLSVerified; use TLSSelfSigned, or clear it
}
