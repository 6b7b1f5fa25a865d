package paired_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"time"

	"github.com/ringwire/ringwire/pool/paired"
)

// manager looks after a pool as an operator would.
type manager struct {
	pool   *paired.Pool
	logger *log.Logger

	stop chan struct{}
	wg   sync.WaitGroup
}

func newManager(pool *paired.Pool, cleanEvery, checkEvery time.Duration) *manager {
	m := &manager{pool: pool, logger: log.New(os.Stdout, "", 0), stop: make(chan struct{})}
	m.every(cleanEvery, m.clean)
	m.every(checkEvery, m.healthCheck)
	return m
}

// every runs job until close.
func (m *manager) every(interval time.Duration, job func()) {
	m.wg.Go(func() {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				job()
			case <-m.stop:
				return
			}
		}
	})
}

func (m *manager) close() {
	close(m.stop)
	m.wg.Wait()
}

// clean closes the connections that are ready, so that new ones replace them.
func (m *manager) clean() {
	before := m.pool.Active()
	cleaned := m.pool.Clean()
	m.logger.Printf("removed %d idle connections of %d", cleaned, before)
	if cleaned > before/2 {
		m.logger.Printf("WARNING: cleaned more than 50%% of connections")
	}
}

// healthCheck reports how a pool stands and warns when it is nearly exhausted.
func (m *manager) healthCheck() {
	inUse, capacity, failures := m.pool.InUse(), m.pool.Capacity(), m.pool.ErrorCount()
	m.logger.Printf("%d of %d in use, %d errors", inUse, capacity, failures)
	if failures > 100 {
		m.pool.ResetError()
	}
	if float64(inUse)/float64(capacity) > 0.9 {
		m.logger.Printf("WARNING: pool utilization high (%d/%d)", inUse, capacity)
	}
}

// getWithRetry tries a few times, with a longer pause each time, as long as ctx
// allows. One ServerGet with a longer deadline does the same with less.
func (m *manager) getWithRetry(ctx context.Context, tries int, each, pause time.Duration) (string, net.Conn, error) {
	var last error
	for i := range tries {
		attempt, cancel := context.WithTimeout(ctx, each)
		id, conn, err := m.pool.ServerGet(attempt)
		cancel()
		if err == nil {
			return id, conn, nil
		}
		last = err
		m.pool.AddError()
		select {
		case <-time.After(pause << i):
		case <-ctx.Done():
			return "", nil, ctx.Err()
		}
	}
	return "", nil, fmt.Errorf("no connection after %d tries: %w", tries, last)
}

func ExamplePool_Clean() {
	server, addr := localServer(nil)
	defer server.Close()
	client, err := paired.NewClientPool(paired.ClientConfig{Addr: addr, MinCapacity: 4, MaxCapacity: 4, MinInterval: time.Minute})
	check(err)
	defer client.Close()
	check(client.WaitReady(context.Background()))
	_, conn, err := client.ServerGet(context.Background())
	check(err)
	defer conn.Close()

	// Every five to ten minutes, in a program that lives on.
	m := newManager(client, 5*time.Minute, 30*time.Second)
	defer m.close()
	m.healthCheck()
	m.clean()

	// After many errors.
	for range 51 {
		client.AddError()
	}
	if client.ErrorCount() > 50 {
		client.Clean()
		client.ResetError()
	}
	m.healthCheck()

	// On demand.
	maintain := func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "%d connections closed", client.Clean())
	}
	answer := httptest.NewRecorder()
	maintain(answer, httptest.NewRequest(http.MethodPost, "/clean", nil))
	fmt.Println(answer.Body)
	// Output:
	// 1 of 4 in use, 0 errors
	// removed 3 idle connections of 4
	// WARNING: cleaned more than 50% of connections
	// 1 of 4 in use, 0 errors
	// 0 connections closed
}

func ExamplePool_AddError() {
	server, addr := localServer(nil)
	defer server.Close()
	client, err := paired.NewClientPool(paired.ClientConfig{Addr: addr})
	check(err)
	defer client.Close()

	m := newManager(server, time.Hour, time.Hour)
	defer m.close()
	id, conn, err := m.getWithRetry(context.Background(), 3, 10*time.Second, time.Second)
	check(err)
	_, _, err = m.getWithRetry(context.Background(), 3, time.Millisecond, time.Millisecond) // the only one is taken
	fmt.Println(errors.Is(err, context.DeadlineExceeded), server.ErrorCount())
	m.healthCheck()
	check(server.Put(id, conn))
	// Output:
	// true 3
	// 1 of 1000 in use, 3 errors
}

// service has one pool for all its requests. To make one for each would cost a
// handshake, and several connections, every time.
type service struct{ pool *paired.Pool }

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
	defer cancel()
	id, conn, err := s.pool.ServerGet(ctx)
	if err != nil {
		http.Error(w, "Service unavailable", http.StatusServiceUnavailable)
		return
	}
	defer s.pool.Put(id, conn)
	fmt.Fprint(w, "served")
}

// shutdown takes no more requests, gives those under way their time, and then ends
// their connections.
func (s *service) shutdown(ctx context.Context, front *http.Server) error {
	err := front.Shutdown(ctx)
	return errors.Join(err, s.pool.Close())
}

func ExamplePool_Close() {
	server, addr := localServer(nil)
	client, err := paired.NewClientPool(paired.ClientConfig{Addr: addr, MinCapacity: 2, MaxCapacity: 5})
	check(err)
	defer client.Close()

	s := &service{pool: server}
	for range 3 {
		answer := httptest.NewRecorder()
		s.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/", nil))
		fmt.Println(answer.Code, answer.Body)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	check(s.shutdown(ctx, &http.Server{}))
	answer := httptest.NewRecorder()
	s.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/", nil))
	fmt.Println(answer.Code, server.Active(), server.Close())
	// Output:
	// 200 served
	// 200 served
	// 200 served
	// 503 0 <nil>
}
