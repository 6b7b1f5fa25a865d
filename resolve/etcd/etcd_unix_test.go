//go:build unix

package etcd_test

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/resolve"
	"github.com/ringwire/ringwire/resolve/etcd"
	"github.com/ringwire/ringwire/resolve/etcd/internal/etcdtest"
)

// servers notes what Follow does.
type servers struct {
	mu   sync.Mutex
	have map[string]int
	told int // errors
}

func (s *servers) AddServer(addr string, weight int) error { return s.SetWeight(addr, weight) }
func (s *servers) SetWeight(addr string, weight int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.have[addr] = weight
	return nil
}

func (s *servers) RemoveServer(addr string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.have, addr)
	return nil
}

func (s *servers) note(error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told++
}

func (s *servers) snapshot() (have string, told int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprint(s.have), s.told
}

func TestServersStayWhileEtcdIsDownOrHangsAndAreFollowedAfterwards(t *testing.T) {
	e := etcdtest.Start(t)
	c := e.Client(t, e.Addr)
	put(t, c, "web/a:1", "")
	put(t, c, "web/b:1", "")
	r, err := etcd.New(etcd.Config{
		Client: c, Prefix: "web/", Timeout: 200 * time.Millisecond, Interval: 500 * time.Millisecond,
	})
	require.NoError(t, err)
	s := &servers{have: make(map[string]int)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = resolve.Follow(ctx, r, s, resolve.FollowConfig{OnError: s.note})
	}()
	defer func() {
		cancel()
		<-ended
	}()
	is := func(want string) func() bool {
		return func() bool { have, _ := s.snapshot(); return have == want }
	}
	toldMore := func() func() bool {
		_, before := s.snapshot()
		return func() bool { _, told := s.snapshot(); return told > before+1 }
	}
	const limit, tick = time.Minute, 10 * time.Millisecond
	require.Eventually(t, is("map[a:1:1 b:1:1]"), limit, tick)

	e.Kill()
	require.Eventually(t, toldMore(), limit, tick)
	have, _ := s.snapshot()
	require.Equal(t, "map[a:1:1 b:1:1]", have)
	e.Restart(t)
	put(t, c, "web/b:1", "4")
	require.Eventually(t, is("map[a:1:1 b:1:4]"), limit, tick)

	require.NoError(t, syscall.Kill(e.PID, syscall.SIGSTOP))
	told := assert.Eventually(t, toldMore(), limit, tick)
	require.NoError(t, syscall.Kill(e.PID, syscall.SIGCONT))
	require.True(t, told, "waiting for an etcd that hangs is bounded")
	drop(t, c, "web/a:1")
	require.Eventually(t, is("map[b:1:4]"), limit, tick)
	drop(t, c, "web/b:1")
	require.Eventually(t, toldMore(), limit, tick)
	assert.True(t, is("map[b:1:4]")(), "without a key the last servers stay")
}
