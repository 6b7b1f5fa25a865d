// Package bench measures how many requests per second request/response clients
// complete against servers in other processes, what that costs, and whether
// every reply is the right one.
//
// Systems are interleaved: in each round every cell, a system, an API and a
// number of callers, runs once for a short slice, so that a machine that is slow
// for a minute is slow for all of them. Medians over rounds are reported, and
// ratios are taken within a round.
package bench

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// API is a way of sending requests.
type API string

const (
	// Blocking is one goroutine per caller, each waiting for its reply before it
	// sends again.
	Blocking API = "blocking"
	// Callback keeps one request per caller in flight without a goroutine for
	// each: a reply's callback sends the next.
	Callback API = "callback"
	// Batch is one goroutine that submits one request per caller and waits until
	// all have been answered.
	Batch API = "batch"
	// Native is what a target does that measures itself; its note says what.
	Native API = "native"
	// Idle sends nothing: the client is connected, and that is all.
	Idle API = "idle"
)

// APIs lists the ways in which clients send, in the order in which they are
// reported.
func APIs() []API { return []API{Blocking, Callback, Batch} }

// Limits of a Config's fields.
const (
	CallersMax      = 16384
	PayloadBytesMin = identityBytes
	PayloadBytesMax = 65531
	ConnsMax        = 256
	RoundsMax       = 1000
	SliceMin        = time.Millisecond
	SliceMax        = time.Minute
)

// Config says what to measure: every combination of callers and APIs, of every
// target that has it. Every field must be set.
type Config struct {
	Callers      []int // requests in flight; 1 to CallersMax each
	APIs         []API
	PayloadBytes int           // PayloadBytesMin to PayloadBytesMax
	Conns        int           // connections per client, 1 to ConnsMax
	Rounds       int           // 1 to RoundsMax
	Slice        time.Duration // measured time per cell and round, SliceMin to SliceMax
}

// Validate returns an error that names the first field that makes no sense, its
// value and its range.
func (c *Config) Validate() error {
	if len(c.Callers) == 0 {
		return fmt.Errorf("bench: no callers: give at least one number from 1 to %d", CallersMax)
	}
	for i, n := range c.Callers {
		if n < 1 || n > CallersMax {
			return fmt.Errorf("bench: callers %d: must be 1 to %d", n, CallersMax)
		}
		if slices.Contains(c.Callers[:i], n) {
			return fmt.Errorf("bench: callers %d: given twice", n)
		}
	}
	if len(c.APIs) == 0 {
		return fmt.Errorf("bench: no api: give at least one of %s", apiNames())
	}
	for i, api := range c.APIs {
		if !slices.Contains(APIs(), api) {
			return fmt.Errorf("bench: api %q: must be one of %s", api, apiNames())
		}
		if slices.Contains(c.APIs[:i], api) {
			return fmt.Errorf("bench: api %q: given twice", api)
		}
	}
	if err := checkRanges(
		field{"payload", c.PayloadBytes, PayloadBytesMin, PayloadBytesMax},
		field{"conns", c.Conns, 1, ConnsMax},
		field{"rounds", c.Rounds, 1, RoundsMax}); err != nil {
		return err
	}
	if c.Slice < SliceMin || c.Slice > SliceMax {
		return fmt.Errorf("bench: slice %v: must be %v to %v", c.Slice, SliceMin, SliceMax)
	}
	return nil
}

func apiNames() string {
	var names []string
	for _, api := range APIs() {
		names = append(names, string(api))
	}
	return strings.Join(names, ", ")
}
