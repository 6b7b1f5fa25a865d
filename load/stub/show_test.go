package stub

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/load"
	"github.com/ringwire/ringwire/load/quantile"
	"github.com/ringwire/ringwire/load/report"
)

// row returns the words of the first line behind the one that begins with a title, or of that
// line itself.
func row(t *testing.T, text, title string, behind int) []string {
	t.Helper()
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, title) {
			return strings.Fields(lines[i+behind])
		}
	}
	t.Fatalf("no line %q in\n%s", title, text)
	return nil
}

// Of 7200 values the 99.99th percentile is the last one by the one rule, and by another the one
// before it.
func TestStubAndReportFindTheSamePercentiles(t *testing.T) {
	h := load.NewHistogram()
	for i := range int64(7199) {
		require.NoError(t, h.RecordValue((i+1)*int64(time.Microsecond)))
	}
	require.NoError(t, h.RecordValue(int64(time.Second)))
	empty := load.NewHistogram()
	res := &load.Result{Started: time.Now(), Total: load.Figures{Response: h, Service: h, Queue: empty, Lag: empty, Late: empty}}
	s := report.Summarize(res, report.Options{})

	data, err := json.Marshal(Stats{Delay: h})
	require.NoError(t, err)
	var read struct {
		Delay *quantile.Percentiles `json:"delay_ns"`
	}
	require.NoError(t, json.Unmarshal(data, &read))
	assert.Equal(t, s.Service, read.Delay)

	var ours, theirs bytes.Buffer
	require.NoError(t, Stats{Delay: h}.Text(&ours))
	require.NoError(t, report.Text(&theirs, res, s, report.Options{}))
	stub, service := row(t, ours.String(), "real delay", 1), row(t, theirs.String(), "service", 0)[1:]
	require.Len(t, stub, 10)
	require.Len(t, service, len(stub))
	for i := range stub[:9] {
		a, err := time.ParseDuration(stub[i])
		require.NoError(t, err)
		b, err := time.ParseDuration(service[i])
		require.NoError(t, err)
		assert.InEpsilon(t, float64(b), float64(a), 0.006, "column %d: both have three digits", i+1)
	}
	assert.Equal(t, service[9], stub[9])
}
