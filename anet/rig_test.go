package anet_test

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ringwire/ringwire/anet"
	"github.com/ringwire/ringwire/server"
)

// The goroutine pool below the server has goroutines of its own from the start.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) }

// patience bounds what is expected to happen, however busy the machine is.
const patience = 30 * time.Second

// echo starts a server that answers with the request, and returns its address.
func echo(t testing.TB) string {
	t.Helper()
	srv, err := server.New(server.Config{Addr: "127.0.0.1:0", Handler: server.HandlerFunc(
		func(_ *server.Conn, dst, req []byte) ([]byte, error) { return append(dst, req...), nil })})
	require.NoError(t, err)
	require.NoError(t, srv.Start())
	t.Cleanup(func() { _ = srv.Close() })
	return srv.Addr().String()
}

// peer starts a server that gives each connection to serve, on a goroutine of its
// own, and closes it afterwards.
func peer(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		conns []net.Conn
	)
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, nc)
			mu.Unlock()
			wg.Go(func() {
				defer nc.Close()
				serve(nc)
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for _, nc := range conns {
			nc.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return ln.Addr().String()
}

// silent reads and never answers.
func silent(nc net.Conn) {
	for buf := make([]byte, 1024); ; {
		if _, err := nc.Read(buf); err != nil {
			return
		}
	}
}

func dialer(addr string) func() (anet.PoolItem, error) {
	return func() (anet.PoolItem, error) { return net.Dial("tcp", addr) }
}

// ownPool is a Pool as a program might bring along.
type ownPool struct {
	capacity int
	open     func() (anet.PoolItem, error)
	places   chan struct{}
	idle     chan anet.PoolItem

	gets, puts, releases, lent atomic.Int64
	asked, askedMost           atomic.Int64 // lent or waited for, and the most at any time
}

func newOwnPool(capacity int, open func() (anet.PoolItem, error)) *ownPool {
	return &ownPool{capacity: capacity, open: open,
		places: make(chan struct{}, capacity), idle: make(chan anet.PoolItem, capacity)}
}

func (p *ownPool) Get() (anet.PoolItem, error) { return p.GetWithContext(context.Background()) }

func (p *ownPool) GetWithContext(ctx context.Context) (anet.PoolItem, error) {
	p.gets.Add(1)
	asked := p.asked.Add(1)
	for most := p.askedMost.Load(); asked > most && !p.askedMost.CompareAndSwap(most, asked); {
		most = p.askedMost.Load()
	}
	item, err := p.get(ctx)
	if err != nil {
		p.asked.Add(-1)
	}
	return item, err
}

func (p *ownPool) get(ctx context.Context) (anet.PoolItem, error) {
	select {
	case item := <-p.idle:
		p.lent.Add(1)
		return item, nil
	default:
	}
	select {
	case item := <-p.idle:
		p.lent.Add(1)
		return item, nil
	case p.places <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	item, err := p.open()
	if err != nil {
		<-p.places
		return nil, err
	}
	p.lent.Add(1)
	return item, nil
}

func (p *ownPool) Put(item anet.PoolItem) {
	p.puts.Add(1)
	p.asked.Add(-1)
	p.lent.Add(-1)
	p.idle <- item
}

func (p *ownPool) Release(item anet.PoolItem) {
	p.releases.Add(1)
	p.asked.Add(-1)
	p.lent.Add(-1)
	_ = item.Close()
	<-p.places
}

func (p *ownPool) Len() int { return len(p.places) }
func (p *ownPool) Cap() int { return p.capacity }

// Close expects that nothing is lent.
func (p *ownPool) Close() {
	for {
		select {
		case item := <-p.idle:
			_ = item.Close()
		default:
			return
		}
	}
}

// start returns a broker that works, and is closed, and its pools' connections with
// it, at the end of the test.
func start(t *testing.T, workers int, config *anet.BrokerConfig, pools ...anet.Pool) anet.Broker {
	t.Helper()
	b := anet.NewBroker(pools, workers, nil, config)
	begin(t, b)
	t.Cleanup(func() {
		b.Close()
		for _, p := range pools {
			p.Close()
		}
	})
	return b
}

// begin calls Start and expects it to return when the broker closes.
func begin(t *testing.T, b anet.Broker) {
	ended := make(chan error, 1)
	go func() { ended <- b.Start() }()
	t.Cleanup(func() {
		b.Close()
		select {
		case err := <-ended:
			if err != nil {
				require.Equal(t, anet.ErrQuit, err)
			}
		case <-time.After(patience):
			t.Error("Start did not return after Close")
		}
	})
}

func send(b anet.Broker, text string) (string, error) {
	req := []byte(text)
	reply, err := b.Send(&req)
	return string(reply), err
}

// soon waits for a condition that nothing announces.
func soon(t *testing.T, condition func() bool, what string) {
	t.Helper()
	require.Eventually(t, condition, patience, time.Millisecond, what)
}
