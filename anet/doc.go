// Package anet is anet v1.0.0 by its exported API, over the engine of ringwire: a
// program that imports github.com/andrei-cloud/anet imports this package instead,
// and anet/server becomes the package server below this one. Nothing else changes.
// docs/MIGRATION.md says what behaves differently, and how to go on to the native
// packages.
//
//	pool := anet.NewPool(5, anet.NewTCPFactory(nil), "localhost:9000", nil)
//	defer pool.Close()
//	broker := anet.NewBroker([]anet.Pool{pool}, 3, nil, nil)
//	go broker.Start()
//	defer broker.Close()
//	req := []byte("hello")
//	resp, err := broker.Send(&req)
//
// # Connections
//
// A broker takes connections out of its pools when there are requests for them, and
// keeps them while there are: many requests are under way on one at the same time. A
// connection that had nothing to do for half a second is put back, in order and
// still connected; one that failed, or on which a request was given up, is released.
// In between it belongs to the broker: two brokers that share a pool need a capacity
// for both.
package anet
