package anetcontrol

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/andrei-cloud/anet"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/internal/e2e/chaos"
	"github.com/ringwire/ringwire/internal/faultnet"
	"github.com/ringwire/ringwire/server"
)

const (
	// childEnv makes the test binary the process under test.
	childEnv = "RINGWIRE_ANET_CONTROL"
	// limit bounds the search. It takes a few seconds, most of the time.
	limit   = 60 * time.Second
	timeout = time.Second
)

// TestMain runs anet in a process of its own: its data races would fail a test
// under the race detector, and calls it forgets would hang one.
func TestMain(m *testing.M) {
	if os.Getenv(childEnv) == "" {
		os.Exit(m.Run())
	}
	report, err := attack(uint64(time.Now().UnixNano()))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(report); err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

// TestHarnessFindsMisdeliveryInAnet fails when the harness finds nothing.
func TestHarnessFindsMisdeliveryInAnet(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	self, err := os.Executable()
	require.NoError(t, err)
	for attempt := 1; ctx.Err() == nil; attempt++ {
		var out, errs bytes.Buffer
		child := exec.CommandContext(ctx, self)
		child.Env = append(os.Environ(), childEnv+"=1", "GORACE=exitcode=0 log_path=/dev/null")
		child.Stdout, child.Stderr = &out, &errs
		if err := child.Run(); err != nil {
			t.Logf("attempt %d: %v\n%s", attempt, err, errs.Bytes())
			continue // a crash is a finding too, but not the one we look for
		}
		var report chaos.Report
		require.NoError(t, json.Unmarshal(out.Bytes(), &report))
		t.Logf("attempt %d: %v", attempt, report)
		if report.Misdelivered > 0 {
			t.Logf("found: %v", report.Notes)
			return
		}
	}
	t.Fatalf("found no misdelivered reply in %v: the harness is blind", limit)
}

// client is anet's broker as the harness drives it.
type client struct{ broker anet.Broker }

func (c client) Send(ctx context.Context, req []byte, _ ...engine.Call) ([]byte, error) {
	return c.broker.SendContext(ctx, &req)
}

// attack sends requests through anet until one gets the reply of another, or
// the run is over.
func attack(seed uint64) (report chaos.Report, err error) {
	h, err := chaos.New(chaos.Config{
		Seed: seed, Requests: 1_000_000, Callers: 64, MaxPayload: 2000, Timeout: timeout,
		StopAtMisdelivery: true,
		Context: func(run context.Context, _ uint64) (context.Context, context.CancelFunc) {
			return context.WithTimeout(run, timeout) // else a forgotten call costs a caller
		},
	})
	if err != nil {
		return report, err
	}
	srv, err := server.New(server.Config{
		Addr: "127.0.0.1:0",
		Handler: server.HandlerFunc(func(_ *server.Conn, dst, req []byte) ([]byte, error) {
			return h.Answer(dst, req)
		}),
	})
	if err != nil {
		return report, err
	}
	if err := srv.Start(); err != nil {
		return report, err
	}
	defer srv.Close()
	proxy, err := faultnet.New(faultnet.Config{
		Target: srv.Addr().String(), Seed: seed,
		ResetAfter: faultnet.Range{Min: 1, Max: 200_000},
	})
	if err != nil {
		return report, err
	}
	defer proxy.Close()

	pools := anet.NewPoolList(4, anet.NewTCPFactory(nil), []string{proxy.Addr()}, nil)
	broker := anet.NewBroker(pools, 0, nil, &anet.BrokerConfig{
		Multiplex: true, OptimizeMemory: true, MaxInflightPerConn: 256,
		WriteTimeout: timeout, ReadTimeout: timeout, CloseTimeout: timeout,
	})
	go broker.Start()
	defer broker.Close()

	ctx, cancel := context.WithTimeout(context.Background(), limit/2)
	defer cancel()
	h.Run(ctx, client{broker})
	return h.Report(), nil
}
