package resolve_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/balance"
	"github.com/ringwire/ringwire/resolve"
)

func newDNS(t *testing.T, cfg resolve.DNSConfig) *resolve.DNS {
	t.Helper()
	d, err := resolve.NewDNS(cfg)
	require.NoError(t, err)
	return d
}

// watch returns the function that waits for what d yields next.
func watch(t *testing.T, d resolve.Resolver) func() ([]resolve.Endpoint, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	next, stop := iter.Pull2(d.Watch(ctx))
	t.Cleanup(func() {
		cancel()
		stop()
	})
	return func() ([]resolve.Endpoint, error) {
		set, err, ok := next()
		require.True(t, ok, "there is no more to come")
		return set, err
	}
}

func endpoints(weight int, addrs ...string) []resolve.Endpoint {
	var set []resolve.Endpoint
	for _, a := range addrs {
		set = append(set, resolve.Endpoint{Addr: a, Weight: weight})
	}
	return set
}

func TestEachAddressOfAHostIsAServer(t *testing.T) {
	ns := newNameServer(t)
	ns.have("web.test", "10.0.0.2", "10.0.0.1", "fd00::1")
	for network, want := range map[string][]string{
		"":    {"10.0.0.1:9000", "10.0.0.2:9000", "[fd00::1]:9000"},
		"ip4": {"10.0.0.1:9000", "10.0.0.2:9000"},
		"ip6": {"[fd00::1]:9000"},
	} {
		d := newDNS(t, resolve.DNSConfig{Name: "web.test.:9000", Network: network, Lookup: ns.resolver()})
		set, err := resolve.First(t.Context(), d)
		require.NoError(t, err)
		assert.Equal(t, endpoints(1, want...), set)
		assert.Equal(t, want, resolve.Addrs(set))
	}
}

func TestANameThatMovesIsFollowedAtOnceWhenAsked(t *testing.T) {
	ns := newNameServer(t)
	ns.have("web.test", "10.0.0.1")
	d := newDNS(t, resolve.DNSConfig{Name: "web.test.:9000", MinInterval: time.Millisecond, Lookup: ns.resolver()})
	next := watch(t, d)
	set, err := next()
	require.NoError(t, err)
	require.Equal(t, endpoints(1, "10.0.0.1:9000"), set)

	d.Again() // the connection is lost before the name server knows of the new address
	set, err = next()
	require.NoError(t, err)
	require.Equal(t, endpoints(1, "10.0.0.1:9000"), set)
	ns.have("web.test", "10.0.0.9")
	set, err = next() // and nobody has to ask again
	require.NoError(t, err)
	assert.Equal(t, endpoints(1, "10.0.0.9:9000"), set)
}

func TestFailuresAndEmptyAnswersAreErrorsAndNoSets(t *testing.T) {
	ns := newNameServer(t)
	ns.have("web.test", "10.0.0.1")
	d := newDNS(t, resolve.DNSConfig{Name: "web.test.:9000", MinInterval: time.Millisecond, Lookup: ns.resolver()})
	next := watch(t, d)
	_, err := next()
	require.NoError(t, err)

	ns.fail("web.test", true)
	d.Again()
	set, err := next()
	require.ErrorContains(t, err, "resolve: look up web.test.:9000: ")
	require.NotErrorIs(t, err, resolve.ErrEmpty)
	require.Nil(t, set)

	ns.fail("web.test", false)
	ns.have("web.test")
	for !errors.Is(err, resolve.ErrEmpty) { // a lookup of before may be under way
		set, err = next()
	}
	require.Nil(t, set)

	ns.have("web.test", "10.0.0.2")
	for err != nil {
		set, err = next()
	}
	assert.Equal(t, endpoints(1, "10.0.0.2:9000"), set)
}

func TestServiceRecordsGiveServersWithPortsAndWeights(t *testing.T) {
	ns := newNameServer(t)
	const name = "_ringwire._tcp.test"
	ns.services(name,
		net.SRV{Target: "a.test.", Port: 9001, Priority: 1, Weight: 30},
		net.SRV{Target: "b.test.", Port: 9002, Priority: 1, Weight: 0},
		net.SRV{Target: "gone.test.", Port: 9003, Priority: 1, Weight: 10},
		net.SRV{Target: "spare.test.", Port: 9004, Priority: 2, Weight: 10},
		net.SRV{Target: "spare.test.", Port: 9006, Priority: 2, Weight: 10},
		net.SRV{Target: "gone.test.", Port: 9005, Priority: 0, Weight: 10},
	)
	ns.have("a.test", "10.0.0.1", "10.0.0.2")
	ns.have("b.test", "10.0.0.3")
	ns.have("spare.test", "10.0.0.4")
	d := newDNS(t, resolve.DNSConfig{Name: name, MinInterval: time.Millisecond, Lookup: ns.resolver()})
	next := watch(t, d)
	set, err := next()
	require.NoError(t, err)
	assert.Equal(t, []resolve.Endpoint{
		{Addr: "10.0.0.1:9001", Weight: 30}, {Addr: "10.0.0.2:9001", Weight: 30}, {Addr: "10.0.0.3:9002", Weight: 1},
	}, set)
	_, err = next()
	require.ErrorIs(t, err, resolve.ErrEmpty)
	require.ErrorContains(t, err, "target gone.test.", "a target without an address is told")

	ns.fail("a.test", true) // its servers are not known to be gone
	d.Again()
	set, err = next()
	require.ErrorContains(t, err, "target a.test.")
	require.Nil(t, set)

	ns.fail("a.test", false)
	ns.services(name, net.SRV{Target: "spare.test.", Port: 9004, Priority: 2, Weight: 10})
	for len(set) != 1 {
		set, err = next()
	}
	require.NoError(t, err)
	assert.Equal(t, endpoints(10, "10.0.0.4:9004"), set)

	ns.services(name, net.SRV{Target: ".", Port: 1}) // decidedly not available
	d.Again()
	for err == nil {
		set, err = next()
	}
	require.ErrorIs(t, err, resolve.ErrEmpty)
	require.Nil(t, set)
}

// fakeLookup answers from its fields. It counts.
type fakeLookup struct {
	mu    sync.Mutex
	ips   []netip.Addr
	srv   []*net.SRV
	err   error
	times []time.Time
}

func (f *fakeLookup) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.times = append(f.times, time.Now())
	return f.ips, f.err
}

func (f *fakeLookup) LookupSRV(context.Context, string, string, string) (string, []*net.SRV, error) {
	return "", f.srv, f.err
}

func (f *fakeLookup) set(err error, ips ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ips, f.err = nil, err
	for _, ip := range ips {
		f.ips = append(f.ips, netip.MustParseAddr(ip))
	}
}

// pauses returns those between the lookups so far, and forgets all lookups but the last.
func (f *fakeLookup) pauses() (pauses []time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := 1; i < len(f.times); i++ {
		pauses = append(pauses, f.times[i].Sub(f.times[i-1]))
	}
	f.times = f.times[len(f.times)-1:]
	return pauses
}

// consume receives all that r yields until the test's bubble ends.
func consume(t *testing.T, r resolve.Resolver) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range r.Watch(ctx) {
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

// near says that pauses are those wanted, each a fifth more or less and at least a second.
func near(t *testing.T, pauses []time.Duration, want ...time.Duration) {
	t.Helper()
	require.GreaterOrEqual(t, len(pauses), len(want), "%v", pauses)
	for i, w := range want {
		require.GreaterOrEqual(t, pauses[i], max(w*4/5, time.Second), "%v", pauses)
		require.LessOrEqual(t, pauses[i], w*6/5, "%v", pauses)
	}
}

func TestANameIsLookedUpEveryIntervalWithJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeLookup{}
		f.set(nil, "10.0.0.1")
		consume(t, newDNS(t, resolve.DNSConfig{Name: "web.test:9000", Lookup: f}))
		time.Sleep(time.Hour)
		pauses := f.pauses()
		assert.InDelta(t, 120, len(pauses), 20)
		different := make(map[time.Duration]bool)
		for _, p := range pauses {
			near(t, []time.Duration{p}, 30*time.Second)
			different[p] = true
		}
		assert.Greater(t, len(different), len(pauses)/2, "jitter")
	})
}

func TestAgainIsAtOnceAndThenEverLaterUntilTheNameHasMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeLookup{}
		f.set(nil, "10.0.0.1")
		d := newDNS(t, resolve.DNSConfig{Name: "web.test:9000", Lookup: f})
		consume(t, d)
		time.Sleep(10 * time.Second)
		d.Again()
		synctest.Wait()
		require.Equal(t, []time.Duration{10 * time.Second}, f.pauses(), "at once")
		time.Sleep(10 * time.Minute)
		const s = time.Second
		near(t, f.pauses(), 1*s, 2*s, 4*s, 8*s, 16*s, 30*s, 30*s)

		d.Again()
		synctest.Wait()
		f.pauses()
		f.set(nil, "10.0.0.2")
		time.Sleep(10 * time.Minute)
		near(t, f.pauses(), 1*s, 30*s, 30*s)
	})
}

func TestAgainIsBoundedByMinInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeLookup{}
		f.set(nil, "10.0.0.1")
		d := newDNS(t, resolve.DNSConfig{Name: "web.test:9000", Lookup: f})
		consume(t, d)
		for range 9_999 { // ten seconds in which connections are lost all the time
			d.Again()
			time.Sleep(time.Millisecond)
		}
		pauses := f.pauses()
		assert.Len(t, pauses, 9)
		for _, p := range pauses {
			assert.GreaterOrEqual(t, p, time.Second)
		}
	})
}

func TestAgainDuringALookupHasAnotherOneFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeLookup{}
		f.set(nil, "10.0.0.1")
		var d *resolve.DNS
		d = newDNS(t, resolve.DNSConfig{Name: "web.test:9000", Lookup: askingLookup{f, func() *resolve.DNS { return d }}})
		consume(t, d)
		time.Sleep(1500 * time.Millisecond)
		near(t, f.pauses(), time.Second)
	})
}

// askingLookup calls Again in the middle of each lookup.
type askingLookup struct {
	*fakeLookup
	dns func() *resolve.DNS
}

func (l askingLookup) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	l.dns().Again()
	return l.fakeLookup.LookupNetIP(ctx, network, host)
}

func TestAFailedLookupIsRepeatedSoonerAndThenEverLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeLookup{}
		f.set(errors.New("no answer"))
		consume(t, newDNS(t, resolve.DNSConfig{Name: "web.test:9000", Lookup: f}))
		time.Sleep(24 * time.Hour)
		const s = time.Second
		pauses := f.pauses()
		near(t, pauses, 1*s, 2*s, 4*s, 8*s, 16*s, 30*s, 30*s)
		for _, p := range pauses[6:] {
			near(t, []time.Duration{p}, 30*s)
		}
	})
}

func TestALookupIsBoundedByItsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDNS(t, resolve.DNSConfig{Name: "web.test:9000", Lookup: hangingLookup{}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		for _, err := range d.Watch(ctx) {
			require.ErrorIs(t, err, context.DeadlineExceeded)
			break
		}
		assert.Equal(t, resolve.DefaultTimeout, time.Since(began))

		_, err := resolve.First(ctx, d)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorContains(t, err, "resolve: no servers known: ")
		assert.ErrorContains(t, err, "look up web.test:9000")
		assert.Equal(t, time.Minute, time.Since(began))
	})
}

// hangingLookup is a name server that does not answer.
type hangingLookup struct{}

func (hangingLookup) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (hangingLookup) LookupSRV(ctx context.Context, _, _, _ string) (string, []*net.SRV, error) {
	<-ctx.Done()
	return "", nil, ctx.Err()
}

func TestAnAnswerIsBoundedAndWithoutDuplicates(t *testing.T) {
	f := &fakeLookup{}
	f.set(nil, "10.0.0.2", "::ffff:10.0.0.2", "10.0.0.1")
	d := newDNS(t, resolve.DNSConfig{Name: "web.test:9000", Lookup: f, MinInterval: time.Millisecond})
	set, err := resolve.First(t.Context(), d)
	require.NoError(t, err)
	assert.Equal(t, endpoints(1, "10.0.0.1:9000", "10.0.0.2:9000"), set)

	var many []string
	for i := range resolve.MaxEndpoints + 1 {
		many = append(many, fmt.Sprintf("10.0.%d.%d", i/200, i%200))
	}
	f.set(nil, many...)
	next := watch(t, d)
	set, err = next()
	require.NoError(t, err)
	assert.Len(t, set, resolve.MaxEndpoints)
	_, err = next()
	assert.ErrorContains(t, err, "1001 servers are too many; the first 1000 are used")
}

func TestWeightsOfRecordsFitTheBalancer(t *testing.T) {
	f := &fakeLookup{srv: []*net.SRV{
		{Target: "a.", Port: 1, Weight: 65535}, {Target: "a.", Port: 2, Weight: 32768}, {Target: "a.", Port: 3, Weight: 1},
		{Target: ".", Port: 4, Weight: 1}, // says that there is no such service
	}}
	f.set(nil, "10.0.0.1")
	set, err := resolve.First(t.Context(), newDNS(t, resolve.DNSConfig{Name: "_a._tcp.test", Lookup: f}))
	require.NoError(t, err)
	assert.Equal(t, []resolve.Endpoint{
		{Addr: "10.0.0.1:1", Weight: balance.MaxWeight}, {Addr: "10.0.0.1:2", Weight: balance.MaxWeight / 2}, {Addr: "10.0.0.1:3", Weight: 1},
	}, set)
}

func TestABadDNSConfigIsRefusedByField(t *testing.T) {
	for want, cfg := range map[string]resolve.DNSConfig{
		`Name is ""`:             {},
		`Name is "web.test"`:     {Name: "web.test"},
		`Name is ":9000"`:        {Name: ":9000"},
		`Name is "web.test:0"`:   {Name: "web.test:0"},
		`Name is "web:http"`:     {Name: "web:http"},
		`Network is "tcp"`:       {Name: "a:1", Network: "tcp"},
		`Interval is -1s`:        {Name: "a:1", Interval: -time.Second},
		`MinInterval is -1s`:     {Name: "a:1", MinInterval: -time.Second},
		`Timeout is 25h0m0s`:     {Name: "a:1", Timeout: 25 * time.Hour},
		`MinInterval 2s and Int`: {Name: "a:1", MinInterval: 2 * time.Second, Interval: time.Second},
	} {
		_, err := resolve.NewDNS(cfg)
		assert.ErrorContains(t, err, "resolve: DNSConfig."+want)
	}
}
