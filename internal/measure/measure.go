// Package measure names what servers, brokers and pools count, for the packages that show it:
// metrics/prom and metrics/otel. Names are Prometheus's.
package measure

import "time"

// Family is a metric: a value for each combination of its labels' values.
type Family struct {
	Name, Help string
	Counter    bool // it only grows; else it is a gauge
	Labels     []string
}

// Value is one value of a family, of a snapshot S.
type Value[S any] struct {
	Family *Family
	Of     func(*S) float64
	Labels []string // the values of the family's labels
}

// Duration is times of which there are the sum and the number.
type Duration[S any] struct {
	Family *Family
	Count  func(*S) int64
	Total  func(*S) time.Duration
}

// Each is the families of something of which there are several, such as a server, and takes the
// values of one.
type Each[S any] struct {
	Families []*Family
	Take     func(put Put, one *S)
}

// Put receives a value of a family.
type Put func(f *Family, value float64, labels ...string)

func counter(name, help string, labels ...string) *Family {
	return &Family{Name: name, Help: help, Counter: true, Labels: labels}
}

func gauge(name, help string, labels ...string) *Family {
	return &Family{Name: name, Help: help, Labels: labels}
}

// number is what snapshots have.
type number interface {
	~int | ~int64 | ~uint64 | ~float64
}

// of makes a value out of a field.
func of[S any, N number](f *Family, field func(*S) N, labels ...string) Value[S] {
	return Value[S]{f, func(s *S) float64 { return float64(field(s)) }, labels}
}
