module github.com/ringwire/ringwire/benchmarks/queues

go 1.25.0

require (
	github.com/puzpuzpuz/xsync/v4 v4.5.0
	github.com/ringwire/ringwire v0.0.0
	github.com/stretchr/testify v1.12.1
)

require go.yaml.in/yaml/v3 v3.0.5 // indirect

replace github.com/ringwire/ringwire => ../..
