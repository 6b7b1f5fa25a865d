module github.com/ringwire/ringwire/benchmarks/backends

go 1.25.0

require (
	github.com/hashicorp/go-retryablehttp v0.7.8
	github.com/ringwire/ringwire v0.0.0
	github.com/ringwire/ringwire/benchmarks/harness v0.0.0
	github.com/stretchr/testify v1.12.1
)

require (
	github.com/HdrHistogram/hdrhistogram-go v1.4.0 // indirect
	github.com/andrei-cloud/anet v1.0.0 // indirect
	github.com/hashicorp/go-cleanhttp v0.5.2 // indirect
	github.com/valyala/bytebufferpool v1.0.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/sync v0.11.0 // indirect
	golang.org/x/sys v0.47.0 // indirect
)

replace (
	github.com/ringwire/ringwire => ../..
	github.com/ringwire/ringwire/benchmarks/harness => ../harness
)
