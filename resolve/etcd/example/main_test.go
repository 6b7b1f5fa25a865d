package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/resolve/etcd/internal/etcdtest"
)

func TestABrokerFollowsServersThatRegister(t *testing.T) {
	e := etcdtest.Start(t)
	var out strings.Builder
	require.NoError(t, run(t.Context(), &out, e.Addr, "example/"))
	assert.Equal(t, "both servers answer\none has left\n", out.String())
}
