package resolve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ringwire/ringwire/internal/defaults"
)

// The defaults of DNSConfig.
const (
	DefaultInterval    = 30 * time.Second
	DefaultMinInterval = time.Second
	DefaultTimeout     = 15 * time.Second
)

// Lookup asks name servers. *net.Resolver does.
type Lookup interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	LookupSRV(ctx context.Context, service, proto, name string) (cname string, addrs []*net.SRV, err error)
}

// DNSConfig says what is looked up, and how often. The zero value of each field but Name is its
// default. NewDNS copies it.
type DNSConfig struct {
	// Name is "host:port": each address (A, AAAA) of the host is a server. Or it is a name of SRV
	// records, "_service._tcp.example.org": each address of each target is a server, with the
	// record's port and weight; of several priorities the first with an address counts.
	Name string
	// Network is "ip", which is the default, "ip4" or "ip6": a host with addresses of both kinds
	// would be taken for two servers.
	Network string
	// Interval is how often the name is looked up, a fifth more or less at random. Default 30 s.
	Interval time.Duration
	// MinInterval is the shortest pause between two lookups of a Watch. After a failure or Again
	// the pauses double from there up to Interval. Default 1 s.
	MinInterval time.Duration
	// Timeout bounds a lookup. Default 15 s, which lets the second name server be asked after
	// 5 s.
	Timeout time.Duration
	// Lookup does it. Default net.DefaultResolver.
	Lookup Lookup
}

// DNS is a Resolver that looks a name up again and again. Make it with NewDNS. All methods may be
// called by any number of goroutines.
type DNS struct {
	cfg  DNSConfig
	host string
	port uint16 // 0: the name is one of SRV records

	mu    sync.Mutex
	asked chan struct{} // closed by the next Again
}

// NewDNS returns a DNS. It looks nothing up yet.
func NewDNS(cfg DNSConfig) (*DNS, error) {
	defaults.Set(&cfg.Network, "ip")
	defaults.Set(&cfg.Interval, DefaultInterval)
	defaults.Set(&cfg.MinInterval, min(DefaultMinInterval, max(cfg.Interval, 0)))
	defaults.Set(&cfg.Timeout, DefaultTimeout)
	if cfg.Lookup == nil {
		cfg.Lookup = net.DefaultResolver
	}
	d := &DNS{cfg: cfg, host: cfg.Name, asked: make(chan struct{})}
	if !strings.HasPrefix(cfg.Name, "_") {
		host, port, err := net.SplitHostPort(cfg.Name)
		n, portErr := strconv.ParseUint(port, 10, 16)
		if err != nil || host == "" || portErr != nil || n == 0 {
			return nil, fmt.Errorf("resolve: DNSConfig.Name is %q; it must be host:port, with a number from 1, or a name of SRV records, which begins with _", cfg.Name)
		}
		d.host, d.port = host, uint16(n)
	}
	if cfg.Network != "ip" && cfg.Network != "ip4" && cfg.Network != "ip6" {
		return nil, fmt.Errorf("resolve: DNSConfig.Network is %q; it must be ip, ip4 or ip6", cfg.Network)
	}
	for _, t := range []struct {
		field string
		value time.Duration
	}{{"Interval", cfg.Interval}, {"MinInterval", cfg.MinInterval}, {"Timeout", cfg.Timeout}} {
		if t.value <= 0 || t.value > defaults.MaxTimeout {
			return nil, fmt.Errorf("resolve: DNSConfig.%s is %v; it must be positive and at most %v", t.field, t.value, defaults.MaxTimeout)
		}
	}
	if cfg.MinInterval > cfg.Interval {
		return nil, fmt.Errorf("resolve: DNSConfig.MinInterval %v and Interval %v must satisfy min <= interval", cfg.MinInterval, cfg.Interval)
	}
	return d, nil
}

// Again has the name looked up now, or MinInterval after the last lookup. If the answer is the
// same as before, further lookups follow, each after twice the time: name servers learn late, and
// others repeat for a while what they knew. Call it when a connection is lost or a server is not
// reached. It does not wait, and costs little if it is called often.
func (d *DNS) Again() {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.asked)
	d.asked = make(chan struct{})
}

func (d *DNS) nextAgain() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked
}

// Watch looks the name up and yields the answer, again and again.
func (d *DNS) Watch(ctx context.Context) iter.Seq2[[]Endpoint, error] {
	return func(yield func([]Endpoint, error) bool) {
		var before []Endpoint
		failed := false
		pause := d.cfg.Interval
		for {
			// Before the lookup: a caller that asks during one may know better than its answer.
			again := d.nextAgain()
			set, err := d.lookup(ctx)
			if ctx.Err() != nil {
				return
			}
			if len(set) > 0 && !yield(slices.Clone(set), nil) || err != nil && !yield(nil, err) {
				return
			}
			if len(set) > 0 && !slices.Equal(set, before) {
				before, pause = set, d.cfg.Interval // what was looked for is found
			} else if len(set) == 0 && !failed {
				pause = d.cfg.MinInterval
			}
			failed = len(set) == 0
			asked, ok := d.sleep(ctx, again, pause)
			if !ok {
				return
			}
			pause = min(2*pause, d.cfg.Interval)
			if asked {
				pause = d.cfg.MinInterval
			}
		}
	}
}

// sleep waits for a pause, or less if somebody asks again.
func (d *DNS) sleep(ctx context.Context, again <-chan struct{}, pause time.Duration) (asked, ok bool) {
	began := time.Now()
	timer := time.NewTimer(max(d.cfg.MinInterval, pause*4/5+rand.N(pause*2/5+1)))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false, false
		case <-timer.C:
			return asked, true
		case <-again:
			asked, again = true, nil
			timer.Reset(time.Until(began.Add(d.cfg.MinInterval)))
		}
	}
}

// lookup returns all servers in order, and what is wrong with the answer. Without servers there is
// an error.
func (d *DNS) lookup(ctx context.Context) ([]Endpoint, error) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Timeout)
	defer cancel()
	var set []Endpoint
	var err error
	if d.port != 0 {
		set, err = d.addrs(ctx, d.host, d.port, 1)
	} else {
		set, err = d.services(ctx)
	}
	slices.SortFunc(set, func(a, b Endpoint) int {
		return cmp.Or(cmp.Compare(a.Addr, b.Addr), cmp.Compare(b.Weight, a.Weight))
	})
	set = slices.CompactFunc(set, func(a, b Endpoint) bool { return a.Addr == b.Addr })
	if len(set) > MaxEndpoints {
		err = errors.Join(err, fmt.Errorf("%d servers are too many; the first %d are used", len(set), MaxEndpoints))
		set = set[:MaxEndpoints]
	}
	if len(set) == 0 && err == nil {
		err = ErrEmpty
	}
	if err != nil {
		err = fmt.Errorf("resolve: look up %s: %w", d.cfg.Name, err)
	}
	return set, err
}

// addrs returns a server for each address of host. Its error is ErrEmpty if there is none.
func (d *DNS) addrs(ctx context.Context, host string, port uint16, weight int) ([]Endpoint, error) {
	ips, err := d.cfg.Lookup.LookupNetIP(ctx, d.cfg.Network, host)
	if err != nil {
		return nil, emptyIfNone(err)
	}
	var set []Endpoint
	for _, ip := range ips {
		set = append(set, Endpoint{Addr: netip.AddrPortFrom(ip.Unmap(), port).String(), Weight: weight})
	}
	return set, nil
}

// emptyIfNone tells a name that has no record from a failure.
func emptyIfNone(err error) error {
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound {
		return fmt.Errorf("%w: %w", ErrEmpty, err)
	}
	return err
}
