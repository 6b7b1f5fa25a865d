// Package suite runs the comparison: its sections, the targets that the project
// set itself, and the tables, results and charts that come of it.
package suite

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"github.com/ringwire/ringwire/benchmarks/peers/peer"
)

// Options says what to measure.
type Options struct {
	Peers    []string // names; empty: all
	Sections []string // names; empty: all
	Callers  []int    // of the section "throughput"; at least one
	Clients  []int    // of the section "light"; at least one
	Rounds   int
	Slice    time.Duration // measured time per row and round
	// Programs is the folder of the servers that are programs of their own;
	// empty: where this program lies.
	Programs string
}

// Validate returns an error that names the first field that makes no sense.
func (o *Options) Validate() error {
	for _, name := range o.Peers {
		if _, found := peer.Find(name); !found {
			return fmt.Errorf("no peer %q: must be one of %s", name, strings.Join(slices.Concat(PeerNames(), ServerNames()), ", "))
		}
	}
	for _, name := range o.Sections {
		if !slices.Contains(SectionNames(), name) {
			return fmt.Errorf("no section %q: must be one of %s", name, strings.Join(SectionNames(), ", "))
		}
	}
	cfg := o.config()
	light := cfg
	light.Callers = o.Clients
	if err := cfg.Validate(); err != nil {
		return err
	}
	if err := light.Validate(); err != nil {
		return fmt.Errorf("light clients: %w", err)
	}
	return nil
}

// config is that of the section "throughput".
func (o *Options) config() bench.Config {
	return bench.Config{Callers: o.Callers, APIs: []bench.API{bench.Blocking}, PayloadBytes: payload, Conns: 1,
		Rounds: o.Rounds, Slice: o.Slice}
}

// wants reports whether the peer is to be measured. Ringwire always is, in whatever form.
func (o *Options) wants(name string) bool {
	return len(o.Peers) == 0 || strings.HasPrefix(name, bench.Ringwire) || slices.Contains(o.Peers, name)
}

// PeerNames lists ringwire and its peers.
func PeerNames() []string { return namesOf(peer.All()) }

// ServerNames lists the servers without a client of their own.
func ServerNames() []string { return namesOf(peer.Servers()) }

func namesOf(peers []peer.Peer) []string {
	var names []string
	for _, p := range peers {
		names = append(names, p.Name)
	}
	return names
}

// SectionNames lists the sections in the order in which they run.
func SectionNames() []string {
	var names []string
	for _, s := range sections() {
		names = append(names, s.name)
	}
	return names
}
