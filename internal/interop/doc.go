// Package interop proves that both ends speak the anet frame as its authors do.
// It contains tests only: the client of anet v1.0.0 against our server, and our
// broker against the server of anet v0.3.0, which runs as a process of its own
// because two versions of one module cannot be linked into one binary. It also
// has the load generator's ISO 8583 against an issuer of iso8583-connection.
//
// It is a module of its own so that these are not requirements of the library.
package interop
