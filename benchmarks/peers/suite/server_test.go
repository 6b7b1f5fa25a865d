package suite

import (
	"bytes"
	"testing"
	"time"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"github.com/ringwire/ringwire/benchmarks/peers/peer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// late is a row whose handler waits.
func late(wait time.Duration, r bench.Row) bench.Row {
	r.Handler = wait
	return r
}

// serverSample is a report of the sections of the server.
func serverSample() *Report {
	return &Report{SchemaVersion: SchemaVersion, Metadata: bench.Describe(bench.Config{Rounds: 2}, "abc123", nil),
		Sections: []Section{
			{Name: "light", Title: "Light", Beside: peer.GoroutinesName, Notes: []string{"10000 light clients are left out"}, Rows: []bench.Row{
				row(bench.Ringwire, bench.Blocking, 10, 200, 900),
				row(peer.GoroutinesName, bench.Blocking, 10, 100, 300),
				row("gnet", bench.Blocking, 10, 400, 600),
				{System: "netpoll", API: bench.Blocking, Callers: 10, PayloadBytes: payload, Conns: 1, Failure: "connect: refused"},
				row(bench.Ringwire, bench.Blocking, 100, 100, 100),
				row("gnet", bench.Blocking, 100, 200, 200),
			}},
			{Name: "handlers", Title: "Handlers", Rows: []bench.Row{
				row(bench.Ringwire, bench.Blocking, handlerCallers, 1000, 1000),
				row("kitex", bench.Blocking, handlerCallers, 100, 100),
				late(time.Millisecond, row(bench.Ringwire, bench.Blocking, handlerCallers, 90, 90)),
				late(time.Millisecond, row("kitex", bench.Blocking, handlerCallers, 100, 100)),
				late(time.Millisecond, row("only sleep", bench.Native, handlerCallers, 180, 180)),
			}},
		}}
}

func TestLightRowsStandBesideThatOfGoroutines(t *testing.T) {
	var table, markdown bytes.Buffer
	r := serverSample()
	require.NoError(t, r.WriteTables(&table))
	require.NoError(t, r.WriteMarkdown(&markdown))
	for _, want := range []string{
		`cpu/req +beside goroutines +errors\n`,
		`\n10 +ringwire +.* 2\.50x +0\n`, // of 2 and 3
		`\n10 +goroutines +.* - +0\n`,
		`\n10 +gnet +.* 3\.00x +0\n`, // of 4 and 2
		`\n10 +netpoll .*failed: connect: refused\n`,
		`\n100 +gnet +.* - +0\n`, // there is nothing beside it
		`\n10000 light clients are left out\.\n`,
	} {
		assert.Regexp(t, want, table.String())
	}
	assert.Contains(t, markdown.String(), "| cpu/req | beside goroutines | errors |")
	assert.Contains(t, markdown.String(), "- 10000 light clients are left out.\n")
}

func TestRowsOfOneHandlerStandBesideEachOther(t *testing.T) {
	var table bytes.Buffer
	r := serverSample()
	r.Sections[1].Rows[3].Failure = "reset"
	require.NoError(t, r.WriteTables(&table))
	for _, want := range []string{
		`\n256 +kitex +blocking +.* 10\.00x +0\n\n`, // and a line between the handlers
		`\n256 +kitex +blocking, 1ms handlers .* 0\.90x +0\n`,
		`\n256 +only sleep +native, 1ms handlers .* 0\.50x +0\n`,
		`FAILED kitex with 256 callers \(1ms handlers\) after 2 rounds: reset\n`,
	} {
		assert.Regexp(t, want, table.String())
	}
}

func TestRowsOfTheServerThatLoseAreShown(t *testing.T) {
	charts := serverSample().Charts()
	require.Len(t, charts, 1)
	text := svgText(t, charts[0])
	assert.Contains(t, text, "gnet, 100 light clients: 0.5x, no target")
	assert.Contains(t, text, "kitex, 256 blocking callers, 1ms handlers: 0.9x, no target")
	assert.NotContains(t, text, "goroutines")
	assert.NotContains(t, text, "gnet, 10 light clients: ")
	assert.NotContains(t, text, "only sleep", "nothing can be faster than the bound")
}

func TestTheJSONKeepsWhatTheServersSectionsAdd(t *testing.T) {
	var b bytes.Buffer
	r := serverSample()
	require.NoError(t, r.WriteJSON(&b))
	read, err := Read(&b)
	require.NoError(t, err)
	assert.Equal(t, r.Sections, read.Sections)
}

func TestLightClientsThatNeedTooManyFilesAreLeftOutAndSaidSo(t *testing.T) {
	for _, c := range []struct {
		files   int64
		fit     []int
		refused string
	}{
		{0, []int{10, 1000, 3000}, ""},
		{3000 + spareFiles, []int{10, 1000, 3000}, ""},
		{2999 + spareFiles, []int{10, 1000}, "3000 light clients and more are left out: a process may have 3199 open files here, and 3200 are needed (ulimit -n)"},
		{256, []int{10}, "1000 light clients and more are left out: a process may have 256 open files here, and 1200 are needed (ulimit -n)"},
	} {
		b := &builder{files: c.files}
		fit, refused := b.affordable([]int{10, 1000, 3000})
		assert.Equal(t, c.fit, fit)
		assert.Equal(t, c.refused, refused)
	}
	assert.Contains(t, DefaultClients(false), 10_000)
}

func TestAServerThatDoesNotStartFailsInItsRow(t *testing.T) {
	servers, err := newFleet(t.TempDir()) // where no program is
	require.NoError(t, err)
	defer servers.stop()
	var said []string
	b := &builder{options: &Options{Peers: []string{bench.Anet}}, fleet: servers, used: make(map[string]bool),
		missing: make(map[string]string), note: func(text string) { said = append(said, text) }}
	target, err := b.inRow(t.Context(), peer.Anet(), bench.Setup{})
	require.NoError(t, err)
	require.NotNil(t, target)
	result, err := bench.RunPlan(t.Context(), bench.Plan{Rounds: 1, Slice: bench.SliceMin, KeepGoing: true,
		Cases: []bench.Case{oneConn(target, bench.Blocking, 1, payload)}}, nil)
	require.ErrorContains(t, err, "make build")
	require.Len(t, result.Rows, 1)
	assert.Contains(t, result.Rows[0].Failure, "make build")

	target, err = b.inRow(t.Context(), peer.Gnet(), bench.Setup{})
	require.NoError(t, err)
	assert.Nil(t, target, "it is not wanted")
	absent := peer.Anet()
	absent.Missing = func() string { return "not on this machine" }
	for range 2 {
		target, err = b.inRow(t.Context(), absent, bench.Setup{})
		require.NoError(t, err)
		assert.Nil(t, target)
	}
	assert.Equal(t, []string{"anet is left out: not on this machine"}, said)
}
