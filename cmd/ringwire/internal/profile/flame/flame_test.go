package flame

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
	"github.com/ringwire/ringwire/cmd/ringwire/internal/profile/stack"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const hostile = `evil.(f</script><img src=x onerror=alert(1)>)`

func sample(role string, n int64, frames ...string) *profile.Sample {
	s := &profile.Sample{Value: []int64{n}, Label: map[string][]string{stack.Label: {role}}}
	for _, name := range frames {
		s.Location = append(s.Location, &profile.Location{Line: []profile.Line{{Function: &profile.Function{Name: name}}}})
	}
	return s
}

func draw(t *testing.T, p *profile.Profile) string {
	t.Helper()
	var out strings.Builder
	require.NoError(t, Write(&out, Graph{Title: "a <b>", Machine: "2 x <i>", Processes: []Process{
		{Name: "client", Profile: p, Requests: 1e6}, {Name: "server", Profile: &profile.Profile{}}}}))
	return out.String()
}

func readData(t *testing.T, page string) data {
	t.Helper()
	found := regexp.MustCompile(`(?m)^const data = (.*);$`).FindStringSubmatch(page)
	require.Len(t, found, 2)
	var d data
	require.NoError(t, json.Unmarshal([]byte(found[1]), &d))
	return d
}

func TestTheGraphHoldsEveryStackByRole(t *testing.T) {
	d := readData(t, draw(t, &profile.Profile{Period: 10e6, Sample: []*profile.Sample{
		sample("reader", 5, "runtime.memmove", "engine.f", "main.main"),
		sample("reader", 2, "engine.f", "main.main"),
		sample("caller", 3, hostile),
		sample(stack.RoleProfiler, 9, "runtime/pprof.profileWriter"),
	}}))
	require.Len(t, d.Processes, 2)
	client := d.Processes[0]
	assert.InDelta(t, 10, client.Scale, 1e-9, "nanoseconds per request of a sample")
	require.Len(t, client.Roles, 2)
	assert.Equal(t, "caller", client.Roles[0].Name)
	assert.Equal(t, hostile, d.Names[client.Roles[0].Root.Children[0].Name])
	reader := client.Roles[1].Root
	require.Len(t, reader.Children, 1)
	main := reader.Children[0]
	assert.Equal(t, "main.main", d.Names[main.Name])
	require.Len(t, main.Children, 1, "the same call is one node")
	f := main.Children[0]
	assert.EqualValues(t, 2, f.Samples)
	assert.EqualValues(t, 5, f.Children[0].Samples)
	assert.Equal(t, "runtime", d.Groups[f.Children[0].Name])
	assert.Empty(t, d.Processes[1].Roles, "a process without samples")
}

func TestThePageIsWholeAndLoadsNothing(t *testing.T) {
	page := draw(t, &profile.Profile{Period: 1, Sample: []*profile.Sample{sample(hostile, 1, hostile)}})
	assert.True(t, strings.HasPrefix(page, "<!DOCTYPE html>"))
	assert.True(t, strings.HasSuffix(page, "</html>\n"))
	for _, tag := range []string{"html", "head", "body", "style", "script", "form"} {
		assert.Len(t, regexp.MustCompile(`<`+tag+`[ >]`).FindAllString(page, -1), 1, tag)
		assert.Equal(t, 1, strings.Count(page, "</"+tag+">"), tag)
	}
	assert.NotRegexp(t, `(?i)https?:|url\(|@import|\ssrc=|\shref=|fetch\(|XMLHttpRequest|innerHTML`,
		strings.ReplaceAll(page, "img src=x", ""), "no network, no markup made of names")
	assert.Contains(t, page, "default-src 'none'")
	assert.NotContains(t, page, "<img")
	assert.NotContains(t, page, "<b>")
	assert.NotContains(t, page, "<i>")
}
