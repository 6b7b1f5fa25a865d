module github.com/ringwire/ringwire/internal/foreign

go 1.26.0

require (
	github.com/fiorix/go-diameter/v4 v4.3.0
	github.com/fiorix/go-smpp v0.0.0-20210403173735-2894b96e70ba
	github.com/miekg/dns v1.1.73
	github.com/ringwire/ringwire/load v0.0.0
	github.com/simonvetter/modbus v1.6.4
	github.com/stretchr/testify v1.12.1
	github.com/twmb/franz-go/pkg/kfake v0.0.0-20260918054303-01f206a7e32c
)

require (
	github.com/HdrHistogram/hdrhistogram-go v1.4.0 // indirect
	github.com/goburrow/serial v0.1.0 // indirect
	github.com/ishidawataru/sctp v0.0.0-20251114114122-19ddcbc6aae2 // indirect
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/pierrec/lz4/v4 v4.1.33 // indirect
	github.com/ringwire/ringwire v0.0.0
	github.com/twmb/franz-go v1.22.2 // indirect; kfake does not say that it needs this one
	github.com/twmb/franz-go/pkg/kmsg v1.15.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/net v0.57.0 // indirect
	golang.org/x/sys v0.47.0 // indirect
	golang.org/x/text v0.40.0 // indirect
)

replace (
	github.com/ringwire/ringwire => ../..
	github.com/ringwire/ringwire/load => ../../load
)
