module github.com/ringwire/ringwire/benchmarks/pools

go 1.25.0

require (
	github.com/andrei-cloud/anet v1.0.0
	github.com/jackc/puddle/v2 v2.2.3
	github.com/ringwire/ringwire v0.0.0
	github.com/stretchr/testify v1.12.1
)

require (
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/sync v0.11.0 // indirect
)

replace github.com/ringwire/ringwire => ../..
