package main

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/benchmarks/harness/backends"
)

// TestMain is a server, too, when a test starts this binary as one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == serveHTTP {
		exit(serve(os.Args[2:]))
	}
	os.Exit(m.Run())
}

func self(t *testing.T) []string {
	t.Helper()
	path, err := os.Executable()
	require.NoError(t, err)
	return []string{path, serveHTTP}
}

func TestNoGETFailsWhenAServerDies(t *testing.T) {
	result, err := backends.HTTP{Command: self(t), Rate: 300, Pause: 5 * time.Second}.Run(t.Context())
	require.NoError(t, err)
	assert.Empty(t, result.Faults, "%q", result.Facts)
}

func TestEachClientIsMeasuredBesideTransport(t *testing.T) {
	c := comparison{server: self(t), rounds: 3, slice: 20 * time.Millisecond, callers: 2}
	result, err := c.run(t.Context())
	require.NoError(t, err)
	require.Len(t, result.Facts, 5)
	assert.Contains(t, result.Facts[0], "1.00 times Transport's (1.00 to 1.00)")
	assert.Contains(t, result.Facts[2], "times that of Transport with Client.Timeout")
	assert.Contains(t, result.Facts[4], "go-retryablehttp: ")
}

func TestAScenarioThatIsNotThereIsRefused(t *testing.T) {
	all := []scenario{{name: "a"}, {name: "b"}}
	chosen, err := choose(all, "b")
	require.NoError(t, err)
	assert.Equal(t, "b", chosen[0].name)
	_, err = choose(all, "b,c")
	assert.EqualError(t, err, `-only: there is no scenario "c"; there are a, b`)
}
