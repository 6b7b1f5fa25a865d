package suite

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"github.com/ringwire/ringwire/benchmarks/harness/proc"
	"github.com/ringwire/ringwire/benchmarks/peers/peer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// securedSample is a report of the section over TLS, and of memory.
func securedSample() *Report {
	r := &Report{SchemaVersion: SchemaVersion, Metadata: bench.Describe(bench.Config{Rounds: 2}, "abc123", nil),
		Sections: []Section{{Name: "tls", Title: "Over TLS", Notes: []string{"rueidis over TLS is left out: it is built without TLS"},
			Rows: []bench.Row{
				row(bench.Ringwire, bench.Blocking, 1, 100, 100),
				row("grpc-go", bench.Blocking, 1, 50, 200), // 2 and 0.5
				row("tls.Conn", bench.Blocking, 1, 25, 50), // 4 and 2
				row("tls.Conn ping-pong", bench.Native, 1, 125, 125),
				row(peer.RingwirePlainName, bench.Blocking, 1, 200, 200),
				row(bench.Ringwire, bench.Callback, window, 700, 700),
				row(bench.Ringwire, bench.Batch, window, 400, 400),
				row("tls.Conn prebuilt frames", bench.Native, window, 1000, 1000),
				row(peer.RingwirePlainName, bench.Callback, window, 1400, 1400),
				row(peer.RingwirePlainName, bench.Batch, window, 1600, 1600),
			}}},
		Memory: []Memory{{System: "ringwire over TLS", Conns: memoryTLSConns, BytesPerConn: []float64{20 << 10, 30 << 10}},
			{System: "a bare tls.Conn and a goroutine", Conns: memoryTLSConns, BytesPerConn: []float64{10 << 10}}}}
	r.Goals = r.goals()
	return r
}

func TestGoalsOverTLS(t *testing.T) {
	type goal struct {
		against, at string
		median      float64
		met         bool
	}
	const one, window = "1 blocking caller, over TLS", "Go, window 1024, over TLS"
	want := []goal{
		{"grpc-go", one, 1.25, true},
		{"tls.Conn", one, 3, true},
		{"raw crypto/tls (prebuilt frames, replies only counted)", window, 0.7, true},
		{"raw crypto/tls (one frame, our server)", one, 0.8, false},
		{"ringwire without TLS", one, 0.5, true},
		{"ringwire without TLS", window, 0.5, true},
		{"ringwire without TLS", "SendBatch of 1024, over TLS", 0.25, true},
		{"memory of our server over TLS", "2000 idle used connections, each", 25 << 10, false},
	}
	var got []goal
	r := securedSample()
	for _, g := range r.Goals {
		got = append(got, goal{g.Against, g.At, g.Median, g.Met})
	}
	assert.Equal(t, want, got)

	var table bytes.Buffer
	require.NoError(t, r.WriteTables(&table))
	for _, line := range []string{
		`\nringwire without TLS +1 blocking caller, over TLS +throughput +- +0\.5x +0% +- *\n`, // no target, no verdict
		`\nmemory of our server over TLS .* <= 24576 B +25600 B .* MISSED`,
		`\na bare tls\.Conn and a goroutine +2000 +10240 `,
		`\n1024 +tls\.Conn prebuilt frames +native .* 0\.70x +0\n`,
		`\n1 +ringwire plain +blocking .* - +0\n`,
		`\nrueidis over TLS is left out: it is built without TLS\.\n`,
	} {
		assert.Regexp(t, line, table.String())
	}
	var losses string
	for _, c := range r.Charts() {
		if c.Name == "losses" {
			losses = svgText(t, c)
		}
	}
	assert.Contains(t, losses, "raw crypto/tls (one frame, our server), 1 blocking caller, over TLS")
	assert.NotContains(t, losses, "ringwire without TLS", "it has no target")

	r.Sections[0].Rows[5].ReqPerSecRounds = []float64{690, 690}
	for _, g := range r.goals() {
		if g.At == window && g.Want > 0 {
			assert.False(t, g.Met, "0.69 is less than 0.7")
		}
	}
}

func TestGoalsOverTLSAreNotThoseOfThePlainSection(t *testing.T) {
	r := sample()
	r.Sections = append(r.Sections, Section{Name: "tls", Rows: []bench.Row{
		row(bench.Ringwire, bench.Blocking, 64, 1), row("arpc", bench.Blocking, 64, 4)}})
	r.Goals = r.goals()
	var at []string
	for _, g := range r.Goals {
		if g.Against == "arpc" {
			at = append(at, g.At)
		}
	}
	assert.Equal(t, []string{"64 blocking callers", "64 blocking callers, over TLS"}, at)
	assert.InDelta(t, 2.5, goal(t, r, "arpc", throughput).Median, 1e-9, "the first is as before")
}

func TestGoalsOfAWindowOverTLSAreThoseOfCallbacks(t *testing.T) {
	const at = "Go, window 1024, over TLS"
	r := &Report{Sections: []Section{{Name: "tls-window", Title: "In flight", Rows: []bench.Row{
		row(bench.Ringwire, bench.Callback, window, 300, 300),
		row("rueidis DoMulti", bench.Batch, window, 100, 100),
		row("grpc-go stream", bench.Callback, window, 150, 50), // 2 and 6
		row("arpc CallAsync", bench.Callback, window, 300, 300),
		row("tls.Conn", bench.Blocking, window, 600, 600),
		{System: "nats PublishRequest", API: bench.Callback, Callers: window, PayloadBytes: payload, Conns: 1, Failure: "no"},
	}}}}
	r.Goals = r.goals()
	type goal struct {
		against, at string
		median      float64
		met         bool
	}
	var got []goal
	for _, g := range r.Goals {
		assert.Equal(t, "> 1x", g.wantText())
		got = append(got, goal{g.Against, g.At, g.Median, g.Met})
	}
	assert.Equal(t, []goal{{"rueidis DoMulti", at, 3, true}, {"grpc-go stream", at, 4, true},
		{"arpc CallAsync", at, 1, false}, {"tls.Conn", at, 0.5, false}}, got, "as fast is not ahead")
	var table bytes.Buffer
	require.NoError(t, r.WriteTables(&table))
	for _, line := range []string{`rueidis DoMulti +batch .* 3\.00x +0\n`, `grpc-go stream +callback .* 4\.00x +0\n`,
		`tls\.Conn +blocking .* 0\.50x +0\n`, `ringwire +callback .* - +0\n`} {
		assert.Regexp(t, line, table.String(), "beside callbacks, whatever theirs is called")
	}
}

func TestTheRunsIdentityIsMadeOnceAndRemoved(t *testing.T) {
	b := &builder{}
	b.forget() // there is none yet
	id, err := b.identity()
	require.NoError(t, err)
	again, err := b.identity()
	require.NoError(t, err)
	assert.Same(t, id, again)
	assert.FileExists(t, id.Key)
	b.forget()
	assert.NoFileExists(t, id.Key)
	assert.NoDirExists(t, b.idDir)
}

func TestWhoCannotRunOverTLSIsLeftOutAndSaidSo(t *testing.T) {
	t.Setenv("PATH", t.TempDir()) // where no Redis is
	servers, err := newFleet("")
	require.NoError(t, err)
	servers.self = filepath.Join(t.TempDir(), "none") // so no server starts
	var said []string
	b := &builder{options: &Options{Peers: []string{"rueidis", "grpc-go"}}, fleet: servers, used: make(map[string]bool),
		missing: make(map[string]string), note: func(text string) { said = append(said, text) }}
	defer b.forget()
	id, err := b.identity()
	require.NoError(t, err)

	target, err := b.overTLS(t.Context(), peer.Rueidis().Secured(id))
	require.NoError(t, err)
	assert.Nil(t, target)
	require.Len(t, said, 1)
	assert.Contains(t, said[0], "rueidis over TLS is left out: redis-server is not installed")
	assert.Equal(t, said, b.notes, "the report says so, too")
	assert.Empty(t, b.missing, "the plain one is another matter")

	target, err = b.overTLS(t.Context(), peer.NATS().Secured(id))
	require.NoError(t, err)
	assert.Nil(t, target, "it is not wanted")
	assert.Len(t, said, 1)

	target, err = b.overTLS(t.Context(), peer.GRPC().Secured(id))
	require.NoError(t, err)
	require.NotNil(t, target)
	result, err := bench.RunPlan(t.Context(), bench.Plan{Rounds: 1, Slice: bench.SliceMin, KeepGoing: true,
		Cases: []bench.Case{oneConn(target, bench.Blocking, 1, payload)}}, nil)
	require.Error(t, err)
	require.Len(t, result.Rows, 1)
	assert.Contains(t, result.Rows[0].Failure, servers.self)

	secured := peer.GRPC().Secured(id)
	c := oneConn(target, secured.InWindow(target), window, payload)
	result, err = bench.RunPlan(t.Context(), bench.Plan{Rounds: 1, Slice: bench.SliceMin, KeepGoing: true, Cases: []bench.Case{c}}, nil)
	require.Error(t, err)
	require.Len(t, result.Rows, 1)
	assert.Equal(t, "grpc-go stream", result.Rows[0].System)
	assert.Contains(t, result.Rows[0].Failure, servers.self, "nor does its window")

	_, err = b.overTLS(t.Context(), peer.Ringwire().Secured(id))
	require.ErrorContains(t, err, servers.self, "nothing runs without it")
}

func TestTheGarbageOfHandshakesIsNotCounted(t *testing.T) {
	assert.Empty(t, idleArgs(peer.Ringwire()), "its program has no such flag")
	assert.Equal(t, []string{"--trim"}, idleArgs(peer.NetConn().Secured(&peer.Identity{})))
}

func TestServersOverTLSAreNotThePlainOnes(t *testing.T) {
	servers, err := newFleet("")
	require.NoError(t, err)
	servers.self = filepath.Join(t.TempDir(), "none")
	id := &peer.Identity{}
	plain := new(proc.Child)
	servers.servers[key{name: "grpc-go"}] = plain
	got, err := servers.server(t.Context(), peer.GRPC())
	require.NoError(t, err)
	assert.Same(t, plain, got)
	_, err = servers.server(t.Context(), peer.GRPC().Secured(id))
	require.Error(t, err, "it is another one, which cannot start here")
}
