package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/bits"
	"slices"
	"time"

	"github.com/ringwire/ringwire/balance"
	"github.com/ringwire/ringwire/internal/netaddr"
)

// maxServers bounds the servers of a broker.
const maxServers = 1 << 10

// errRemoved: RemoveServer was called, and ShutdownTimeout has passed.
var errRemoved = errors.New("the server was removed")

// servers returns the addresses of the broker. The list is replaced, never changed.
func (b *Broker) servers() []*address { return *b.list.Load() }

// AddServer adds a server while the broker runs; addr is written as in Config.Addrs. It
// returns at once: the server takes requests as soon as a connection is up. weight is its
// part of the requests beside the others', for strategies that weigh: 1 to
// balance.MaxWeight, 0 for 1; the servers of Config.Addrs have 1. Config.ConnsPerAddr
// connections are made.
//
// It fails if addr is no address, or is there already, if weight is out of range, or there
// are 1024 servers, and after Close and Shutdown.
func (b *Broker) AddServer(addr string, weight int) error {
	b.changing.Lock()
	defer b.changing.Unlock()
	if err := b.stateError(); err != nil {
		return err
	}
	a, err := b.newAddress(addr, weight)
	if err != nil {
		return fmt.Errorf("engine: AddServer: %w", err)
	}
	b.untried.Add(1)
	b.mu.Lock()
	if err = b.stateError(); err == nil { // looked at under the lock: Close reads the list after it
		list := append(slices.Clone(b.servers()), a)
		b.list.Store(&list)
		b.startLinks(a)
	}
	b.mu.Unlock()
	if err != nil {
		a.forgo()
		_ = a.pool.Close() // nothing was dialled
		return err
	}
	a.logOf(&a.verdicts, slog.LevelInfo, "server added")
	return nil
}

// newAddress makes an address that is not in the list yet, nor known to anybody but the judge.
func (b *Broker) newAddress(addr string, weight int) (*address, error) {
	if err := checkWeight(weight); err != nil {
		return nil, err
	}
	network, target, err := netaddr.Split(addr)
	switch {
	case err != nil:
		return nil, err
	case b.find(network, target) != nil:
		return nil, fmt.Errorf("addr %q is there already; use SetWeight to change its weight", addr)
	case len(b.servers()) >= maxServers:
		return nil, fmt.Errorf("there are %d servers; there may be no more", maxServers)
	}
	conns, err := newPool(&b.cfg, addr)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", addr, err)
	}
	judge, err := b.judges.Add(addr, asProbe)
	if err != nil {
		_ = conns.Close()
		return nil, err
	}
	a := &address{
		b: b, name: addr, network: network, target: target, pool: conns, judge: judge, untried: true,
		removed: make(chan struct{}), onTrial: make(chan struct{}, 1),
	}
	a.weight.Store(int32(weight))
	a.load = balance.LoadOf(a.unanswered)
	a.bit = b.freeBit()
	for range b.cfg.ConnsPerAddr {
		a.links = append(a.links, &link{
			b: b, addr: a, poked: make(chan struct{}, 1), dials: make(chan dialled, 1),
		})
	}
	a.left.Store(int32(len(a.links)))
	return a, nil
}

// freeBit returns a bit that no other server has, if there is one.
func (b *Broker) freeBit() uint32 {
	used := uint32(0)
	for _, a := range b.servers() {
		used |= a.bit
	}
	if used == math.MaxUint32 {
		return 1 << (len(b.servers()) % 32)
	}
	return 1 << bits.TrailingZeros32(^used)
}

// startLinks has an address probed, if that is wanted, and its links run, each with a poller:
// there are as many of these as a server on such a machine has event loops. Broker.mu is held,
// or nobody knows the broker yet.
func (b *Broker) startLinks(a *address) {
	if b.cfg.Probe != nil {
		b.wg.Add(1)
		go (&prober{Probe: b.cfg.Probe, addr: a}).run()
	}
	for _, l := range a.links {
		if b.cfg.BusyPoll >= 0 {
			if len(b.polling) < defaultConns() {
				p := newPoller(b)
				b.polling = append(b.polling, p)
				b.wg.Add(1)
				go p.run(false)
			}
			l.poller = b.polling[b.linked%len(b.polling)]
			b.linked++
		}
		b.wg.Add(1)
		go l.run()
	}
}

// RemoveServer takes a server out while the broker runs. It returns at once: from then on
// the server gets no new request. Its connections go on until each of their requests has its
// outcome, at most for Config.ShutdownTimeout: what has no reply by then fails with
// ErrConnLost, and goes elsewhere if it is Call.Idempotent. Until then AddrStats has it as
// AddrLeaving. The same addr may be added again at once.
//
// When the last one is gone, calls fail with ErrNoHealthyServer. It fails if addr is no server
// of the broker, and after Close and Shutdown.
func (b *Broker) RemoveServer(addr string) error {
	b.changing.Lock()
	defer b.changing.Unlock()
	a, err := b.server(addr)
	if err != nil {
		return fmt.Errorf("engine: RemoveServer: %w", err)
	}
	b.mu.Lock()
	list := slices.DeleteFunc(slices.Clone(b.servers()), func(o *address) bool { return o == a })
	b.list.Store(&list)
	b.leaving = append(b.leaving, a)
	b.mu.Unlock()
	a.logOf(&a.verdicts, slog.LevelInfo, "server removed")
	b.reroute()
	a.forgo()
	a.pool.Retire() // ends its dials
	close(a.removed)
	return nil
}

// SetWeight changes a server's weight while the broker runs, see AddServer. It fails if addr
// is no server of the broker, if weight is out of range, and after Close and Shutdown.
func (b *Broker) SetWeight(addr string, weight int) error {
	b.changing.Lock()
	defer b.changing.Unlock()
	if err := checkWeight(weight); err != nil {
		return fmt.Errorf("engine: SetWeight: %w", err)
	}
	a, err := b.server(addr)
	if err != nil {
		return fmt.Errorf("engine: SetWeight: %w", err)
	}
	a.weight.Store(int32(weight))
	b.mu.Lock()
	b.balance(b.routes.Load())
	b.mu.Unlock()
	return nil
}

func checkWeight(weight int) error {
	if weight < 0 || weight > balance.MaxWeight {
		return fmt.Errorf("weight is %d; it must lie in 1 to %d, or be 0 for 1", weight, balance.MaxWeight)
	}
	return nil
}

// server returns the address of that name, however it is written.
func (b *Broker) server(addr string) (*address, error) {
	if err := b.stateError(); err != nil {
		return nil, err
	}
	network, target, err := netaddr.Split(addr)
	if err != nil {
		return nil, err
	}
	if a := b.find(network, target); a != nil {
		return a, nil
	}
	return nil, fmt.Errorf("addr %q is no server of this broker", addr)
}

func (b *Broker) find(network, target string) *address {
	for _, a := range b.servers() {
		if a.network == network && a.target == target {
			return a
		}
	}
	return nil
}

// forgo ends what others expect of an address that takes no more requests.
func (a *address) forgo() {
	_ = a.b.judges.Remove(a.judge) // what its connections still meet has no effect
	a.tested()
}

// unanswered returns how many requests have no reply. Any number of goroutines may ask.
func (a *address) unanswered() (n int) {
	for _, l := range a.links {
		if c := l.current.Load(); c != nil {
			n += c.unanswered()
		}
	}
	return n
}

// drain ends the link of a server that was removed: its connections go on for what they have.
func (l *link) drain(c *conn) {
	if c != nil {
		l.use(nil)
		l.b.reroute()
		l.let(c)
	}
	l.abandonDial()
	var bound <-chan time.Time
	if d := l.b.cfg.ShutdownTimeout; d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		bound = timer.C
	}
	late := false
	for _, o := range l.old {
		if late {
			o.fail("close", lost(errRemoved))
		}
		select {
		case <-o.dead:
		case <-bound:
			late = true
			o.fail("close", lost(errRemoved))
		case <-l.b.ctx.Done():
			for _, o := range l.old { // one may have come up after Close has looked
				o.fail("close", ErrClosingBroker)
			}
			return
		}
	}
	if l.addr.left.Add(-1) == 0 {
		l.addr.depart()
	}
}

// depart has an address forgotten whose connections have all ended. Its counts stay.
func (a *address) depart() {
	_ = a.pool.Close() // its only error: a dial goes on that ignores its context
	var last Stats
	a.addTo(&last)
	b := a.b
	b.mu.Lock()
	b.leaving = slices.DeleteFunc(b.leaving, func(o *address) bool { return o == a })
	b.past.Dials += last.Dials
	b.past.DialErrors += last.DialErrors
	b.past.ConnsLost += last.ConnsLost
	b.past.Suspected += last.Suspected
	b.past.Probes += last.Probes
	b.past.ProbesFailed += last.ProbesFailed
	b.mu.Unlock()
}

// allServers returns the addresses of the broker and those that were removed and are not gone.
func (b *Broker) allServers() []*address {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Concat(b.servers(), b.leaving)
}
