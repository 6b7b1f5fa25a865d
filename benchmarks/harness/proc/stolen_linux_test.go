package proc

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestStolenIsTheEighthTimeOfTheFirstLine(t *testing.T) {
	stolen, err := parseStolen([]byte("cpu  1 2 3 4 5 6 7 89 10 11\ncpu0 0 0 0 0 0 0 0 1 0 0\n"))
	require.NoError(t, err)
	assert.Equal(t, 890*time.Millisecond, stolen)
}

func TestStolenIsRefusedFromWhatIsNotStat(t *testing.T) {
	for name, stat := range map[string]string{
		"empty":           "",
		"too short":       "cpu 1 2 3 4 5 6 7\n",
		"another line":    "intr 1 2 3 4 5 6 7 8 9\n",
		"not a number":    "cpu 1 2 3 4 5 6 7 x 9 10\n",
		"one processor's": "cpu0 1 2 3 4 5 6 7 8 9 10\n",
	} {
		_, err := parseStolen([]byte(stat))
		assert.ErrorContains(t, err, "stolen time", name)
	}
}

func TestStolenOfThisMachine(t *testing.T) {
	before, err := Stolen()
	require.NoError(t, err)
	after, err := Stolen()
	require.NoError(t, err)
	assert.GreaterOrEqual(t, after, before)
}
