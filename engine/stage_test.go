package engine

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
)

// Servers that change their manners, in virtual time, and the brokers that call them.

// manner is how a server behaves that a test plays.
type manner int32

const (
	answers  manner = iota // each request at once; "in 5s" after five seconds
	swallows               // takes requests, and keeps the replies
	shuts                  // accepts, and closes at once
	refuses                // accepts nothing
)

var errNobodyListens = errors.New("nobody listens")

// player is one server on net.Pipe, whose manner a test changes as it goes. Only for
// bubbles.
type player struct {
	manner atomic.Int32
	single atomic.Bool // it takes one connection at a time

	mu    sync.Mutex
	dials []time.Time
	open  map[net.Conn]bool
	got   []string // requests in their order
	kept  []func() // replies that were kept
}

func (p *player) behave(m manner) { p.manner.Store(int32(m)) }

// dial connects to the player.
func (p *player) dial() (net.Conn, error) {
	m := manner(p.manner.Load())
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dials = append(p.dials, time.Now())
	if m == refuses || p.single.Load() && len(p.open) > 0 {
		return nil, errNobodyListens
	}
	client, server := net.Pipe()
	if m == shuts {
		server.Close()
		return client, nil
	}
	p.open[server] = true
	go p.serve(server)
	return client, nil
}

func (p *player) serve(nc net.Conn) {
	gone := make(chan struct{})
	defer close(gone)
	answerWith(func(nc net.Conn, f framing.Frame) {
		frame, _ := framing.Append(nil, f.ID, f.Payload)
		req := string(f.Payload)
		p.mu.Lock()
		p.got = append(p.got, req)
		if manner(p.manner.Load()) == swallows {
			p.kept = append(p.kept, func() { nc.Write(frame) })
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		later, _ := strings.CutPrefix(req, "in ")
		d, err := time.ParseDuration(later)
		if err != nil {
			nc.Write(frame)
			return
		}
		go func() {
			select {
			case <-time.After(d): // virtual
				nc.Write(frame)
			case <-gone:
			}
		}()
	})(nc)
	p.mu.Lock()
	delete(p.open, nc)
	p.mu.Unlock()
}

// cut ends every connection at the player's side.
func (p *player) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for nc := range p.open {
		nc.Close()
	}
}

// relent sends the replies that were kept.
func (p *player) relent() {
	p.mu.Lock()
	kept := p.kept
	p.kept = nil
	p.mu.Unlock()
	for _, reply := range kept {
		reply()
	}
}

// dialled returns when the dials began.
func (p *player) dialled() []time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]time.Time(nil), p.dials...)
}

// asked returns the requests that came.
func (p *player) asked() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.got...)
}

// forget has asked and dialled begin anew.
func (p *player) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.got, p.dials = nil, nil
}

// stage are players by their address.
type stage map[string]*player

// newStage has a player for each address.
func newStage(addrs ...string) stage {
	s := stage{}
	for _, a := range addrs {
		s[a] = &player{open: map[net.Conn]bool{}}
	}
	return s
}

func (s stage) dial(_ context.Context, _, addr string) (net.Conn, error) { return s[addr].dial() }

// onStage returns a broker for players that answer; it has met them all. Only for bubbles.
func onStage(t *testing.T, cfg Config, addrs ...string) (*Broker, stage) {
	t.Helper()
	s := newStage(addrs...)
	return s.broker(t, cfg, addrs...), s
}

// broker returns a broker that has met the players, in the manners that they have.
func (s stage) broker(t *testing.T, cfg Config, addrs ...string) *Broker {
	t.Helper()
	cfg.Addrs, cfg.DialContext = addrs, s.dial
	b := bubbleBroker(t, cfg)
	synctest.Wait()
	return b
}

// pass lets virtual time pass, and what it sets off happen.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// gaps returns the time between each dial and the next.
func gaps(dials []time.Time) (gaps []time.Duration) {
	for i := 1; i < len(dials); i++ {
		gaps = append(gaps, dials[i].Sub(dials[i-1]))
	}
	return gaps
}

// coarse is by how much what the broker's clock does may come late.
func coarse(b *Broker) time.Duration { return (2*stepMax + 3) * b.clock.tick }

// requireServed makes n calls one after another, and none may fail. Only for bubbles.
func requireServed(t *testing.T, b *Broker, n int) {
	t.Helper()
	for i := range n {
		reply, err := b.Send(bg, []byte("mine"))
		require.NoError(t, err, "call %d of %d", i, n)
		require.Equal(t, "mine", string(reply))
	}
}

// callers are goroutines that each make one call after another.
type callers struct {
	ok, failed atomic.Int64
	stop       chan struct{}
	all        sync.WaitGroup
}

// start has n callers call, each after a pause, until end is called.
func (k *callers) start(n int, pause time.Duration, call func() error) {
	k.stop = make(chan struct{})
	for range n {
		k.all.Go(func() {
			for {
				select {
				case <-k.stop:
					return
				case <-time.After(pause):
				}
				if call() == nil {
					k.ok.Add(1)
				} else {
					k.failed.Add(1)
				}
			}
		})
	}
}

func (k *callers) end() {
	close(k.stop)
	k.all.Wait()
}

func sends(b *Broker) func() error {
	return func() error {
		_, err := b.Send(bg, []byte("load"))
		return err
	}
}
