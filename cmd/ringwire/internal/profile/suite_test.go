package profile

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestChooseFindsSuitesByName(t *testing.T) {
	all, err := Choose([]string{"all"})
	require.NoError(t, err)
	assert.Equal(t, Suites(), all)
	two, err := Choose([]string{"large", "one", "large"})
	require.NoError(t, err)
	require.Len(t, two, 2)
	assert.Equal(t, "one", two[0].Name)
	_, err = Choose([]string{"one", "small"})
	require.ErrorContains(t, err, `suite "small"`)
	_, err = Choose(nil)
	require.ErrorContains(t, err, "no suite")
}

func TestMetadataHasWhatEachPhaseDid(t *testing.T) {
	m := Describe("abc", []string{"ringwire", "profile"}).Of(Suites()[0], 2, []Phase{{Name: "cpu", Requests: 100, Errors: 1, Elapsed: 2 * time.Second}, {Name: "none"}})
	assert.Equal(t, []PhaseCount{{"cpu", 2, 100, 1, 50}, {Name: "none"}}, m.Phases)
	assert.Equal(t, 2, m.Conns)
	data, err := json.Marshal(m)
	require.NoError(t, err)
	for _, field := range []string{"schema_version", "time", "commit", "command", "go_version", "os", "arch", "cores", "gomaxprocs", "suite", "phases"} {
		assert.Contains(t, string(data), `"`+field+`"`)
	}
	assert.Contains(t, m.Machine(), "commit abc")
}
