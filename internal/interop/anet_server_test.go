package interop

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/engine"
)

// newOurBroker returns a broker with conns connections to addr.
func newOurBroker(t *testing.T, addr string, conns int) *engine.Broker {
	t.Helper()
	broker, err := engine.New(engine.Config{
		Addrs:          []string{addr},
		ConnsPerAddr:   conns,
		WaitQueue:      true,
		RequestTimeout: patience,
		ReadTimeout:    patience,
		WriteTimeout:   patience,
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := broker.Close(); err != nil {
			t.Errorf("close our broker: %v", err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, broker.WaitReady(ctx))
	return broker
}

// throughGo makes a blocking sender of Go, whose reply is borrowed.
func throughGo(broker *engine.Broker) sender {
	type outcome struct {
		reply []byte
		err   error
	}
	return func(ctx context.Context, req []byte) ([]byte, error) {
		done := make(chan outcome, 1)
		err := broker.Go(ctx, req, func(reply []byte, err error) {
			done <- outcome{bytes.Clone(reply), err}
		})
		if err != nil {
			return nil, err
		}
		clear(req) // the request was copied: its memory is the caller's again
		o := <-done
		return o.reply, o.err
	}
}

// throughSend makes a sender of Send without options.
func throughSend(broker *engine.Broker) sender {
	return func(ctx context.Context, req []byte) ([]byte, error) { return broker.Send(ctx, req) }
}

// throughInto makes a sender of SendInto and checks that it appends.
func throughInto(broker *engine.Broker) sender {
	return func(ctx context.Context, req []byte) ([]byte, error) {
		const head = "kept"
		b, err := broker.SendInto(ctx, []byte(head), req)
		if err != nil {
			return nil, err
		}
		reply, ok := bytes.CutPrefix(b, []byte(head))
		if !ok {
			return nil, fmt.Errorf("SendInto overwrote dst: %q", b[:min(len(b), 16)])
		}
		return reply, nil
	}
}

func TestOurBrokerWorksAgainstAnetServer(t *testing.T) {
	addr := startPeer(t)
	for _, conns := range []int{1, 4} {
		broker := newOurBroker(t, addr, conns)
		for name, send := range map[string]sender{
			"Send":     throughSend(broker),
			"SendInto": throughInto(broker),
			"Go":       throughGo(broker),
		} {
			t.Run(fmt.Sprintf("%s, connections=%d", name, conns), func(t *testing.T) {
				testEachSize(t, send)
				testConcurrent(t, send)
			})
		}
		t.Run(fmt.Sprintf("too long, connections=%d", conns), func(t *testing.T) {
			_, err := broker.Send(t.Context(), make([]byte, payloadMax+1))
			require.ErrorIs(t, err, engine.ErrMaxLenExceeded)
			testEachSize(t, throughSend(broker))
		})
	}
}

func TestOurBatchWorksAgainstAnetServer(t *testing.T) {
	broker := newOurBroker(t, startPeer(t), 4)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	reqs := make([][]byte, 1000)
	for i := range reqs {
		reqs[i] = payload(uint64(i), i%1024)
	}
	answered := make([]atomic.Int32, len(reqs))
	differs := make([]atomic.Bool, len(reqs))
	err := broker.SendBatch(ctx, reqs, func(i int, reply []byte, err error) {
		answered[i].Add(1)
		differs[i].Store(err != nil || !bytes.Equal(reply, reqs[i]))
	})
	require.NoError(t, err)
	for i := range reqs {
		if n := answered[i].Load(); n != 1 || differs[i].Load() {
			t.Errorf("request %d: %d answers, wrong: %v", i, n, differs[i].Load())
		}
	}
}
