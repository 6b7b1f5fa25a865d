// Package server is the server of anet v1.0.0 by its exported API, over
// [github.com/ringwire/ringwire/server]: a program that imports
// github.com/andrei-cloud/anet/server imports this package instead and is otherwise
// unchanged. docs/MIGRATION.md says what behaves differently, and how to go on to
// the native package.
//
// Handlers run on goroutines of their own, so they may block, and those of one
// connection run at the same time: replies leave in the order in which handlers
// return.
package server
