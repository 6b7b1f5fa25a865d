package httppool_test

// The code of the document that this package keeps its promises to: "HTTP Connection Pool". Only
// the import path differs, and that a connection has the methods of a client. Each piece is
// run; what the document leaves open around it is the test's.

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/health"
	"github.com/ringwire/ringwire/httppool"
)

func quickStart() {
	// Create connection pool with default configuration
	pool, err := httppool.NewHTTPConnectionPool(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		pool.Shutdown(ctx)
	}()

	// Add backend servers
	pool.AddServer("https://api1.example.com", 1)
	pool.AddServer("https://api2.example.com", 1)

	// Get a connection
	req := &httppool.ConnectionRequest{
		Context: context.Background(),
	}

	resp, err := pool.GetConnection(req)
	if err != nil {
		log.Fatal(err)
	}

	fmt.Printf("Connected to: %s\n", resp.Server.URL.String())

	// Use the connection (resp.Connection contains HTTP client and transport)
	// ... make HTTP requests ...

	// Release connection back to pool
	pool.ReleaseConnection(resp.Connection)

	// Get metrics
	metrics := pool.GetMetrics()
	fmt.Printf("Pool utilization: %.2f%%\n", metrics.PoolUtilization*100)
}

func TestQuickStart(t *testing.T) {
	stdout := os.Stdout
	r, w, err := os.Pipe()
	require.NoError(t, err)
	os.Stdout = w
	quickStart()
	os.Stdout = stdout
	require.NoError(t, w.Close())
	said, err := io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	assert.Regexp(t, `^Connected to: https://api[12]\.example\.com\nPool utilization: 0\.\d0%\n$`, string(said))
}

func TestAdvancedConfiguration(t *testing.T) {
	config := &httppool.HTTPPoolConfig{
		// Connection limits
		MaxConnectionsPerServer: 100,
		MaxTotalConnections:     1000,
		MaxIdleConnections:      50,
		MaxIdleTime:             10 * time.Minute,

		// Timeouts
		ConnectTimeout:   15 * time.Second,
		RequestTimeout:   60 * time.Second,
		KeepAliveTimeout: 30 * time.Second,
		IdleConnTimeout:  90 * time.Second,

		// Health checking
		HealthCheckInterval: 30 * time.Second,
		HealthCheckTimeout:  5 * time.Second,
		HealthCheckPath:     "/health",
		UnhealthyThreshold:  3,
		HealthyThreshold:    2,

		// Load balancing
		LoadBalanceStrategy: httppool.LeastConn,

		// TLS configuration
		TLSConfig: &tls.Config{
			MinVersion: tls.VersionTLS12,
		},
	}

	pool, err := httppool.NewHTTPConnectionPool(config)

	require.NoError(t, err)
	defer shutdown(t, pool)
	require.NoError(t, pool.AddServer("https://api1.example.com", 1))
	asked()
	status, body := get(t, pool, "https://pool/x")
	assert.Equal(t, http.StatusOK, status)
	assert.Equal(t, "hello from api1.example.com", body)
	assert.Equal(t, []string{"GET api1.example.com/x"}, asked())
}

// dealt makes requests by a strategy and returns how many each server got.
func dealt(t *testing.T, config *httppool.HTTPPoolConfig, req *httppool.ConnectionRequest, add func(pool *httppool.HTTPConnectionPool)) map[string]int {
	t.Helper()
	pool, err := httppool.NewHTTPConnectionPool(config)
	require.NoError(t, err)
	defer shutdown(t, pool)
	add(pool)
	counts := make(map[string]int)
	for range 40 {
		resp, err := pool.GetConnection(req)
		require.NoError(t, err)
		counts[resp.Server.URL.Host]++
		require.NoError(t, pool.ReleaseConnection(resp.Connection))
	}
	return counts
}

func TestLoadBalancingStrategies(t *testing.T) {
	// Without checks: a check is a lease, and these servers are nowhere.
	config, req := &httppool.HTTPPoolConfig{HealthCheckInterval: -1}, &httppool.ConnectionRequest{}
	two := func(pool *httppool.HTTPConnectionPool) {
		pool.AddServer("https://api1.example.com", 1)
		pool.AddServer("https://api2.example.com", 1)
	}
	even := map[string]int{"api1.example.com": 20, "api2.example.com": 20}

	config.LoadBalanceStrategy = httppool.RoundRobin
	assert.Equal(t, even, dealt(t, config, req, two))

	config.LoadBalanceStrategy = httppool.LeastConn
	assert.Equal(t, even, dealt(t, config, req, two))

	config.LoadBalanceStrategy = httppool.WeightedRound
	assert.Equal(t, map[string]int{"primary.example.com": 30, "secondary.example.com": 10},
		dealt(t, config, req, func(pool *httppool.HTTPConnectionPool) {
			pool.AddServer("https://primary.example.com", 3)   // Higher weight
			pool.AddServer("https://secondary.example.com", 1) // Lower weight
		}))

	config.LoadBalanceStrategy = httppool.IPHash
	req.ClientID = "user-123" // Consistent routing for this client
	assert.Len(t, dealt(t, config, req, two), 1)
}

func ExampleHTTPConnectionPool_GetServerStats() {
	pool, _ := httppool.NewHTTPConnectionPool(&httppool.HTTPPoolConfig{HealthCheckInterval: -1}) // no such server
	defer pool.Shutdown(context.Background())
	pool.AddServer("https://api1.example.com", 1)

	// Get server health statistics
	stats := pool.GetServerStats()
	for _, stat := range stats {
		fmt.Printf("Server: %s\n", stat.URL.String())
		fmt.Printf("  Healthy: %t\n", stat.IsHealthy)
		fmt.Printf("  Response Time: %v\n", stat.ResponseTime)
		fmt.Printf("  Failure Count: %d\n", stat.FailureCount)
		fmt.Printf("  Total Requests: %d\n", stat.TotalRequests)
	}
	// Output:
	// Server: https://api1.example.com
	//   Healthy: true
	//   Response Time: 0s
	//   Failure Count: 0
	//   Total Requests: 0
}

func ExampleHTTPConnectionPool_GetMetrics() {
	pool, _ := httppool.NewHTTPConnectionPool(&httppool.HTTPPoolConfig{HealthCheckInterval: -1}) // no such server
	defer pool.Shutdown(context.Background())
	pool.AddServer("https://api1.example.com", 1)

	metrics := pool.GetMetrics()

	// Connection metrics
	fmt.Printf("Total Connections: %d\n", metrics.TotalConnections)
	fmt.Printf("Active Connections: %d\n", metrics.ActiveConnections)
	fmt.Printf("Pool Utilization: %.2f%%\n", metrics.PoolUtilization*100)

	// Performance metrics
	fmt.Printf("Average Response Time: %v\n", metrics.AverageResponseTime)
	fmt.Printf("Average Wait Time: %v\n", metrics.AverageWaitTime)

	// Health metrics
	fmt.Printf("Healthy Servers: %d\n", metrics.HealthyServers)
	fmt.Printf("Unhealthy Servers: %d\n", metrics.UnhealthyServers)

	// Request metrics
	fmt.Printf("Total Requests: %d\n", metrics.TotalRequests)
	fmt.Printf("Successful Requests: %d\n", metrics.SuccessfulRequests)
	fmt.Printf("Failed Requests: %d\n", metrics.FailedRequests)
	// Output:
	// Total Connections: 0
	// Active Connections: 0
	// Pool Utilization: 0.00%
	// Average Response Time: 0s
	// Average Wait Time: 0s
	// Healthy Servers: 1
	// Unhealthy Servers: 0
	// Total Requests: 0
	// Successful Requests: 0
	// Failed Requests: 0
}

func makeHTTPRequest(pool *httppool.HTTPConnectionPool, path string) error {
	req := &httppool.ConnectionRequest{
		Context: context.Background(),
	}

	resp, err := pool.GetConnection(req)
	if err != nil {
		return err
	}
	defer pool.ReleaseConnection(resp.Connection)

	// Use the pooled connection's HTTP client
	httpReq, err := http.NewRequest("GET", resp.Server.URL.String()+path, nil)
	if err != nil {
		return err
	}

	httpResp, err := resp.Connection.Do(httpReq)
	if err != nil {
		return err
	}
	defer httpResp.Body.Close()

	// Process response...
	return nil
}

func TestIntegrationWithHTTPClient(t *testing.T) {
	pool, err := httppool.NewHTTPConnectionPool(nil)
	require.NoError(t, err)
	defer shutdown(t, pool)
	pool.AddServer("https://api1.example.com", 1)
	pool.AddServer("https://api2.example.com", 1)
	asked()
	for range 4 {
		require.NoError(t, makeHTTPRequest(pool, "/users"))
	}
	assert.ElementsMatch(t, []string{
		"GET api1.example.com/users", "GET api2.example.com/users",
		"GET api1.example.com/users", "GET api2.example.com/users",
	}, asked())
	assert.EqualValues(t, 4, pool.GetMetrics().SuccessfulRequests)
}

func withContextAndTimeouts(pool *httppool.HTTPConnectionPool) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()

	req := &httppool.ConnectionRequest{
		Context:  ctx,
		ClientID: "user-123", // For IP hash load balancing
		Priority: 1,          // Request priority
	}

	resp, err := pool.GetConnection(req)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			// Handle timeout
		}
		return err
	}
	return pool.ReleaseConnection(resp.Connection)
}

func TestIntegrationWithContextAndTimeouts(t *testing.T) {
	pool, err := httppool.NewHTTPConnectionPool(nil)
	require.NoError(t, err)
	defer shutdown(t, pool)
	require.ErrorIs(t, withContextAndTimeouts(pool), httppool.ErrNoHealthyServer)
	pool.AddServer("https://api1.example.com", 1)
	require.NoError(t, withContextAndTimeouts(pool))
}

func TestDefaultsAreThoseOfTheDocument(t *testing.T) {
	got := httppool.Defaults()
	for name, pair := range map[string][2]any{
		"MaxConnectionsPerServer": {100, got.MaxConnectionsPerServer},
		"MaxTotalConnections":     {1000, got.MaxTotalConnections},
		"MaxIdleConnections":      {50, got.MaxIdleConnections},
		"MaxIdleTime":             {5 * time.Minute, got.MaxIdleTime},
		"ConnectTimeout":          {10 * time.Second, got.ConnectTimeout},
		"RequestTimeout":          {30 * time.Second, got.RequestTimeout},
		"KeepAliveTimeout":        {30 * time.Second, got.KeepAliveTimeout},
		"IdleConnTimeout":         {90 * time.Second, got.IdleConnTimeout},
		"HealthCheckInterval":     {30 * time.Second, got.HealthCheckInterval},
		"HealthCheckTimeout":      {5 * time.Second, got.HealthCheckTimeout},
		"HealthCheckPath":         {"/health", got.HealthCheckPath},
		"UnhealthyThreshold":      {3, got.UnhealthyThreshold},
		"HealthyThreshold":        {2, got.HealthyThreshold},
		"LoadBalanceStrategy":     {httppool.RoundRobin, got.LoadBalanceStrategy},
		"CleanupInterval":         {time.Minute, got.CleanupInterval},
		"MetricsInterval":         {10 * time.Second, got.MetricsInterval},
	} {
		assert.Equal(t, pair[0], pair[1], name)
	}
}

// A pool is the transport of any client.
func ExampleHTTPConnectionPool_RoundTrip() {
	pool, err := httppool.NewHTTPConnectionPool(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Shutdown(context.Background())
	pool.AddServer("https://api1.example.com", 1)

	client := http.Client{Transport: pool}
	resp, err := client.Get("https://pool/users")
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status, resp.Request.URL)
	// Output: 200 OK https://api1.example.com/users
}

func TestMetricsAreTrue(t *testing.T) {
	b := newBackend(t, 0, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bad" {
			w.WriteHeader(http.StatusInternalServerError)
		}
		time.Sleep(2 * time.Millisecond) // what is to be measured
		fmt.Fprint(w, "x")
	})
	p := newPool(t, httppool.HTTPPoolConfig{MetricsInterval: 10 * time.Millisecond, MaxTotalConnections: 4}, b)
	busy := false
	for range 8 {
		get(t, p, "http://pool/")
		busy = busy || p.GetMetrics().RequestsPerSecond > 0
	}
	get(t, p, "http://pool/bad")
	eventually(t, "the throughput is taken", func() bool {
		get(t, p, "http://pool/")
		return busy || p.GetMetrics().RequestsPerSecond > 0
	})
	held := lend(t, p, httppool.ConnectionRequest{})
	m := p.GetMetrics()
	assert.EqualValues(t, b.requests.Load(), m.TotalRequests)
	assert.EqualValues(t, 1, m.FailedRequests)
	assert.Equal(t, m.TotalRequests-1, m.SuccessfulRequests)
	assert.Equal(t, map[string]int64{b.URL: m.TotalRequests}, m.RequestsPerServer)
	assert.EqualValues(t, 1, m.TotalConnections)
	assert.EqualValues(t, 1, m.ActiveConnections)
	assert.Zero(t, m.IdleConnections)
	assert.InDelta(t, 0.25, m.PoolUtilization, 0)
	assert.EqualValues(t, 1, m.ConnectionsCreated)
	assert.Equal(t, m.TotalRequests, m.ConnectionsReused, "the first one was not, and the held one was")
	assert.GreaterOrEqual(t, m.AverageResponseTime, 2*time.Millisecond)
	assert.Less(t, m.AverageResponseTime, patience)
	assert.Equal(t, m.AverageResponseTime, m.TotalResponseTime/time.Duration(m.TotalResponses))
	assert.Positive(t, m.AverageWaitTime)
	assert.Equal(t, m.AverageWaitTime, m.TotalWaitTime/time.Duration(m.TotalWaits))
	assert.GreaterOrEqual(t, m.MaxWaitTime, m.AverageWaitTime)
	assert.Positive(t, m.MemoryUsage)
	assert.False(t, m.LastUpdated.Before(m.StartTime))
	s := p.GetServerStats()[0]
	assert.Equal(t, m.TotalRequests, s.TotalRequests)
	assert.Equal(t, m.SuccessfulRequests, s.SuccessfulRequests)
	assert.GreaterOrEqual(t, s.ResponseTime, 2*time.Millisecond)
	assert.Equal(t, 1, s.CurrentConnections)
	assert.Equal(t, 100, s.MaxConnections)
	assert.Equal(t, health.Up, s.State)
	require.NoError(t, p.ReleaseConnection(held.Connection))
	assert.EqualValues(t, 1, p.GetMetrics().IdleConnections)
}
