package httppool_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/httppool"
)

func TestNonsenseIsRefusedByName(t *testing.T) {
	for want, cfg := range map[string]httppool.HTTPPoolConfig{
		"HTTPPoolConfig.MaxConnectionsPerServer is -1":               {MaxConnectionsPerServer: -1},
		"HTTPPoolConfig.WarmConnections is -1":                       {WarmConnections: -1},
		"HTTPPoolConfig.WarmConnections is 3; it must lie in 0 to 2": {WarmConnections: 3, MaxConnectionsPerServer: 2},
		"HTTPPoolConfig.WarmConnections is 1; it must be 0":          {WarmConnections: 1, DisableKeepAlives: true},
		"HTTPPoolConfig.WarmConnections is 2; it must be 0":          {WarmConnections: 2, MaxIdleConnections: -1},
		"HTTPPoolConfig.MaxTotalConnections is -1":                   {MaxTotalConnections: -1},
		"HTTPPoolConfig.ConnectTimeout is -1s":                       {ConnectTimeout: -time.Second},
		"HTTPPoolConfig.MetricsInterval is 48h0m0s":                  {MetricsInterval: 48 * time.Hour},
		"HTTPPoolConfig.HealthCheckPath is \"health\"":               {HealthCheckPath: "health"},
		"HTTPPoolConfig.HealthCheckPath is \"/%zz\"":                 {HealthCheckPath: "/%zz"},
		"HTTPPoolConfig.HealthCheckPath is \"/a b\\n\"":              {HealthCheckPath: "/a b\n"},
		"HTTPPoolConfig.HealthCheckPath is \"/q\"":                   {HealthCheckPath: "/q?a b"},
		"HTTPPoolConfig.HealthCheckPath is \"/f#x\"":                 {HealthCheckPath: "/f#x"},
		"HTTPPoolConfig.Name is \"http://pool\"":                     {Name: "http://pool"},
		"HTTPPoolConfig.Name is \"a b\"":                             {Name: "a b"},
		"HTTPPoolConfig.Name is \"pool:x\"":                          {Name: "pool:x"},
		"HTTPPoolConfig.Name is \"a/b\"":                             {Name: "a/b"},
		"HTTPPoolConfig.Name is \"me@pool\"":                         {Name: "me@pool"},
		"HTTPPoolConfig.Name is \"pool?x\"":                          {Name: "pool?x"},
		"HTTPPoolConfig.Name is \"pool:\"":                           {Name: "pool:"},
		"HTTPPoolConfig.Name is \":80\"":                             {Name: ":80"},
		"strategy \"fastest\" is unknown":                            {LoadBalanceStrategy: "fastest"},
		"Config.UnhealthyThreshold is -1":                            {UnhealthyThreshold: -1},
	} {
		_, err := httppool.NewHTTPConnectionPool(&cfg)
		assert.ErrorContains(t, err, want)
	}
	p := newPool(t, httppool.HTTPPoolConfig{})
	require.NoError(t, p.AddServer("http://a.example", 0))
	for url, want := range map[string]string{
		"http://":                                "has no host",
		"http://:80":                             "has no host",
		"a.example":                              `scheme ""; it must be http or https`,
		"ftp://a.example":                        `scheme "ftp"`,
		"http://a.example/x":                     "must be scheme and host alone",
		"http://user:pw@a.example":               "must be scheme and host alone",
		"http://a.example?x=1":                   "must be scheme and host alone",
		"http://A.example:80/":                   `url "http://A.example:80/" is there already`,
		"http://b.example:port":                  "url: invalid port",
		"http://b.example:0":                     `url "http://b.example:0" has port 0; it must lie in 1 to 65535`,
		"http://b.example:65536":                 "has port 65536",
		"https://b.example:99999999999999999999": "has port 99999999999999999999",
	} {
		err := p.AddServer(url, 1)
		assert.ErrorContains(t, err, want)
		assert.NotContains(t, fmt.Sprint(err), "pw@")
	}
	assert.ErrorContains(t, p.AddServer("http://b.example", -1), `weight of "http://b.example" is -1`)
	assert.ErrorContains(t, p.SetWeight("http://b.example", 1), "is not a server of the pool")
	assert.NoError(t, p.SetWeight("http://a.example", 7))
	assert.Equal(t, 7, p.GetServerStats()[0].Weight)
	assert.ErrorContains(t, p.RemoveServer("http://b.example"), `url "http://b.example" is not a server`)
	for _, url := range []string{"http://a.example/x", "http://a.example?x=1", "http://a.example#x", "http://user@a.example"} {
		assert.ErrorContains(t, p.RemoveServer(url), "must be scheme and host alone")
		assert.ErrorContains(t, p.SetWeight(url, 1), "must be scheme and host alone")
	}
	assert.ErrorContains(t, p.RemoveServer("http://a.example:0"), "has port 0")
	assert.Len(t, p.GetServerStats(), 1)
	_, err := p.GetConnection(nil)
	assert.ErrorContains(t, err, "ConnectionRequest is nil")
	_, err = p.GetConnection(&httppool.ConnectionRequest{ServerHint: "x"})
	assert.ErrorContains(t, err, "ServerHint")
}

func TestWhatIsUnusualButMakesSenseIsTaken(t *testing.T) {
	for _, cfg := range []httppool.HTTPPoolConfig{
		{Name: "pool:8080"}, {Name: "Pool"}, {Name: "[::1]"}, {Name: "a_b.c-d"},
		{HealthCheckPath: "/"}, {HealthCheckPath: "/a%20b?c=%20&d;e"}, {HealthCheckPath: "//x"}, {HealthCheckPath: "/a b"},
	} {
		newPool(t, cfg)
	}
	p := newPool(t, httppool.HTTPPoolConfig{})
	require.NoError(t, p.AddServer("http://a.example:65535", 1))
	require.NoError(t, p.RemoveServer("HTTP://A.example:65535/"))
}
