package resolve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/ringwire/ringwire/balance"
)

// services returns the servers of SRV records. A target without an address is left out and told;
// one that could not be looked up makes all of it a failure, or its servers would be removed.
func (d *DNS) services(ctx context.Context) ([]Endpoint, error) {
	_, records, invalid := d.cfg.Lookup.LookupSRV(ctx, "", "", d.host)
	if len(records) == 0 && invalid != nil {
		return nil, emptyIfNone(invalid)
	}
	// A target of "." says that there is decidedly no such service (RFC 2782).
	records = slices.DeleteFunc(records, func(r *net.SRV) bool { return r.Target == "." || r.Port == 0 })
	slices.SortFunc(records, func(a, b *net.SRV) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Target, b.Target), cmp.Compare(a.Port, b.Port))
	})
	var wrong problems
	if invalid != nil {
		wrong.add(invalid)
	}
	if len(records) > MaxEndpoints {
		wrong.add(fmt.Errorf("%d records are too many; the first %d are used", len(records), MaxEndpoints))
		records = records[:MaxEndpoints]
	}
	scale := weightScale(records)
	var set []Endpoint
	for i, r := range records {
		if len(set) > 0 && r.Priority != records[i-1].Priority {
			break // those after it are for when there is none before
		}
		found, err := d.addrs(ctx, r.Target, r.Port, scale(r.Weight))
		switch {
		case errors.Is(err, ErrEmpty):
			wrong.add(fmt.Errorf("target %s: %w", r.Target, err))
		case err != nil:
			return nil, fmt.Errorf("target %s: %w", r.Target, err)
		}
		set = append(set, found...)
	}
	return set, wrong.err()
}

// weightScale returns how a record's weight becomes a server's: from 1 to balance.MaxWeight.
func weightScale(records []*net.SRV) func(uint16) int {
	largest := 0
	for _, r := range records {
		largest = max(largest, int(r.Weight))
	}
	return func(w uint16) int {
		weight := int(w)
		if largest > balance.MaxWeight {
			weight = weight * balance.MaxWeight / largest
		}
		return max(weight, 1)
	}
}
