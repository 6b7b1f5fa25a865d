module github.com/ringwire/ringwire/internal/interop

go 1.25

require (
	github.com/andrei-cloud/anet v1.0.0
	github.com/ringwire/ringwire v0.0.0
	github.com/stretchr/testify v1.12.1
)

replace github.com/ringwire/ringwire => ../..
