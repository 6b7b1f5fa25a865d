module github.com/ringwire/ringwire/benchmarks/peers/anetserver

go 1.25

require github.com/andrei-cloud/anet v1.0.0

require golang.org/x/sync v0.1.0 // indirect
