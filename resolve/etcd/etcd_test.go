package etcd_test

import (
	"context"
	"fmt"
	"iter"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/naming/endpoints"
	"go.uber.org/goleak"

	"github.com/ringwire/ringwire/internal/faultnet"
	"github.com/ringwire/ringwire/resolve"
	"github.com/ringwire/ringwire/resolve/etcd"
	"github.com/ringwire/ringwire/resolve/etcd/internal/etcdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// watch returns the function that waits for what a Resolver with these settings yields next.
func watch(t *testing.T, cfg etcd.Config) func() ([]resolve.Endpoint, error) {
	t.Helper()
	r, err := etcd.New(cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	next, stop := iter.Pull2(r.Watch(ctx))
	t.Cleanup(func() {
		cancel()
		stop()
	})
	return func() ([]resolve.Endpoint, error) {
		t.Helper()
		set, err, ok := next()
		require.True(t, ok, "there is no more to come")
		return set, err
	}
}

func put(t *testing.T, c *clientv3.Client, key, value string, opts ...clientv3.OpOption) {
	t.Helper()
	_, err := c.Put(t.Context(), key, value, opts...)
	require.NoError(t, err)
}

func drop(t *testing.T, c *clientv3.Client, key string) {
	t.Helper()
	_, err := c.Delete(t.Context(), key)
	require.NoError(t, err)
}

func TestChangesAreToldAsTheyHappen(t *testing.T) {
	e := etcdtest.Start(t)
	c := e.Client(t, e.Addr)
	put(t, c, "web/a:1", "")
	put(t, c, "web/spare:1", `{"priority": 1}`)
	put(t, c, "website/b:1", "") // another service
	next := watch(t, etcd.Config{Client: c, Prefix: "web", Interval: time.Hour})
	expect := func(want ...resolve.Endpoint) {
		t.Helper()
		set, err := next()
		require.NoError(t, err)
		require.Equal(t, want, set)
	}
	expect(resolve.Endpoint{Addr: "a:1", Weight: 1})
	put(t, c, "web/b:1", "3")
	expect(resolve.Endpoint{Addr: "a:1", Weight: 1}, resolve.Endpoint{Addr: "b:1", Weight: 3})
	put(t, c, "web/b:1", `{"weight": 2}`)
	expect(resolve.Endpoint{Addr: "a:1", Weight: 1}, resolve.Endpoint{Addr: "b:1", Weight: 2})

	put(t, c, "web/b:1", "secret") // it stays as it was
	expect(resolve.Endpoint{Addr: "a:1", Weight: 1}, resolve.Endpoint{Addr: "b:1", Weight: 2})
	_, err := next()
	require.ErrorContains(t, err, `etcd: web/: key "web/b:1": its value must be`)
	put(t, c, "web/c:1", "secret") // and this one is not there
	expect(resolve.Endpoint{Addr: "a:1", Weight: 1}, resolve.Endpoint{Addr: "b:1", Weight: 2})
	_, err = next()
	require.ErrorContains(t, err, `key "web/c:1"`)

	lease, err := c.Grant(t.Context(), 60)
	require.NoError(t, err)
	manager, err := endpoints.NewManager(c, "web")
	require.NoError(t, err)
	require.NoError(t, manager.AddEndpoint(t.Context(), "web/x",
		endpoints.Endpoint{Addr: "d:1", Metadata: map[string]any{"weight": 5}}, clientv3.WithLease(lease.ID)))
	expect(resolve.Endpoint{Addr: "a:1", Weight: 1}, resolve.Endpoint{Addr: "b:1", Weight: 2}, resolve.Endpoint{Addr: "d:1", Weight: 5})
	drop(t, c, "web/a:1")
	expect(resolve.Endpoint{Addr: "b:1", Weight: 2}, resolve.Endpoint{Addr: "d:1", Weight: 5})
	drop(t, c, "web/b:1")
	expect(resolve.Endpoint{Addr: "d:1", Weight: 5})
	_, err = c.Revoke(t.Context(), lease.ID) // its server has died
	require.NoError(t, err)
	expect(resolve.Endpoint{Addr: "spare:1", Weight: 1})
	drop(t, c, "web/spare:1")
	_, err = next()
	require.ErrorIs(t, err, resolve.ErrEmpty)
}

func TestAServerWithAWrongValueStaysAlsoWhenAllKeysAreReadAgain(t *testing.T) {
	e := etcdtest.Start(t)
	c := e.Client(t, e.Addr)
	put(t, c, "web/a:1", "")
	put(t, c, "web/b:1", "2")
	next := watch(t, etcd.Config{Client: c, Prefix: "web/", Interval: 200 * time.Millisecond})
	want, err := next()
	require.NoError(t, err)
	require.Len(t, want, 2)
	put(t, c, "web/b:1", "secret")
	for told := 0; told < 3; { // by the change once, the others by reading
		set, err := next()
		if err != nil {
			require.ErrorContains(t, err, `key "web/b:1"`)
			told++
			continue
		}
		require.Equal(t, want, set)
	}
}

func TestAWatchThatWasCompactedIsFollowedByReadingAll(t *testing.T) {
	e := etcdtest.Start(t)
	direct := e.Client(t, e.Addr)
	put(t, direct, "web/a:1", "")
	proxy, err := faultnet.New(faultnet.Config{Target: e.Addr})
	require.NoError(t, err)
	defer func() { require.NoError(t, proxy.Close()) }()
	next := watch(t, etcd.Config{Client: e.Client(t, proxy.Addr()), Prefix: "web/", Interval: time.Hour})
	set, err := next()
	require.NoError(t, err)
	require.Len(t, set, 1)
	put(t, direct, "web/b:1", "") // so the watch exists
	set, err = next()
	require.NoError(t, err)
	require.Len(t, set, 2)

	proxy.Pause()
	proxy.ResetAll()
	put(t, direct, "web/c:1", "")
	drop(t, direct, "web/a:1")
	for range 3 {
		put(t, direct, "other", "")
	}
	answer, err := direct.Get(t.Context(), "other")
	require.NoError(t, err)
	_, err = direct.Compact(t.Context(), answer.Header.Revision)
	require.NoError(t, err)
	proxy.Resume()
	set, err = next() // a watch alone would never tell what has happened meanwhile
	require.NoError(t, err)
	assert.Equal(t, []string{"b:1", "c:1"}, resolve.Addrs(set))
	put(t, direct, "web/d:1", "")
	set, err = next()
	require.NoError(t, err)
	assert.Equal(t, []string{"b:1", "c:1", "d:1"}, resolve.Addrs(set))
}

func TestKeysBeyondTheLimitAreToldAndLeftOut(t *testing.T) {
	e := etcdtest.Start(t)
	c := e.Client(t, e.Addr)
	for n := 0; n <= etcd.MaxKeys; {
		var ops []clientv3.Op
		for ; len(ops) < 100 && n <= etcd.MaxKeys; n++ {
			ops = append(ops, clientv3.OpPut(fmt.Sprintf("web/h%05d:1", n), ""))
		}
		_, err := c.Txn(t.Context()).Then(ops...).Commit()
		require.NoError(t, err)
	}
	next := watch(t, etcd.Config{Client: c, Prefix: "web/", Interval: time.Hour})
	set, err := next()
	require.NoError(t, err)
	require.Len(t, set, etcd.MaxKeys)
	_, err = next()
	require.ErrorContains(t, err, fmt.Sprintf("%d keys are too many", etcd.MaxKeys+1))
	put(t, c, "web/a:1", "")
	set, err = next()
	require.NoError(t, err)
	require.Len(t, set, etcd.MaxKeys)
	_, err = next()
	require.ErrorContains(t, err, `key "web/a:1": it is left out`)
}

func TestSettingsThatMakeNoSenseAreRefused(t *testing.T) {
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{"127.0.0.1:1"}})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	for want, cfg := range map[string]etcd.Config{
		"Config.Client is nil":      {Prefix: "web/"},
		`Config.Prefix is ""`:       {Client: c},
		`Config.Prefix is "/"`:      {Client: c, Prefix: "/"},
		"Config.Timeout is -1ns":    {Client: c, Prefix: "web/", Timeout: -1},
		"Config.Interval is 25h0m0": {Client: c, Prefix: "web/", Interval: 25 * time.Hour},
	} {
		_, err := etcd.New(cfg)
		assert.ErrorContains(t, err, want)
	}
}
