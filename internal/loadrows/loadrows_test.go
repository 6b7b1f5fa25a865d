//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAStopIsInTheResponseOfWhatFellDue(t *testing.T) {
	for q, want := range map[float64]time.Duration{0.95: time.Second, 0.99: 1800 * time.Millisecond, 0.999: 1980 * time.Millisecond, 0.5: 0} {
		assert.InDelta(t, want, stopped(q, 2*time.Second, 20*time.Second), 1e3, q)
	}
}

func TestARowThatIsMissedIsShortUnlessTheMachineWasUsedByOthers(t *testing.T) {
	quiet, busy, stolen := usage{0.05, 0, true}, usage{0.3, 0, true}, usage{0, 0.02, true}
	good, missed, wrong := check{ok: true}, check{}, check{exact: true}
	for _, c := range []struct {
		checks []check
		absent []string
		u      usage
		want   verdict
	}{
		{[]check{good, good}, nil, busy, ok},
		{[]check{good, missed}, nil, quiet, short},
		{[]check{missed, good}, nil, busy, limited},
		{[]check{missed, good}, nil, stolen, limited},
		{[]check{missed, wrong}, nil, busy, short},
		{[]check{missed}, nil, usage{}, short},
		{[]check{good}, []string{"no knot"}, quiet, limited},
		{[]check{missed}, []string{"no knot"}, quiet, short},
	} {
		r := report{checks: c.checks, absent: c.absent}
		assert.Equal(t, c.want, r.verdict(c.u), "%+v", c)
	}
}

func TestTheExitCodeTells(t *testing.T) {
	part := func(measure func(r *report) error) row {
		return row{"C0", "a row", func(_ context.Context, _ *suite, r *report) error { return measure(r) }}
	}
	fine := part(func(r *report) error { r.exactly(true, "one", "%d", 1); return nil })
	wrong := part(func(r *report) error { r.exactly(false, "one", "%d", 2); return nil })
	absent := part(func(*report) error { return errAbsent{"no control group"} })
	broken := part(func(*report) error { return errors.New("no port") })
	for says, c := range map[string]struct {
		rows []row
		code int
	}{
		"C0   ok: a row":                         {[]row{fine}, 0},
		"required  one\n            measured  2": {[]row{fine, wrong, absent}, exitShort},
		"not measured  no control group":         {[]row{fine, absent}, exitLimited},
		"error    no port":                       {[]row{absent, broken}, exitShort},
	} {
		var out bytes.Buffer
		s := suite{commit: "abc"}
		assert.Equal(t, c.code, s.run(t.Context(), &out, c.rows), says)
		assert.Contains(t, out.String(), says)
		assert.Contains(t, out.String(), "commit   abc")
	}
}

func TestRowsAreChosenByName(t *testing.T) {
	chosen, err := choose("c10, C1")
	require.NoError(t, err)
	require.Len(t, chosen, 2)
	assert.Equal(t, "C10", chosen[0].name)
	_, err = choose("C1,C3")
	assert.ErrorContains(t, err, `-rows "C3": must be of C1,C2,`)
}

func TestTheFirstLineOfProcStatIsAllProcessors(t *testing.T) {
	p, known := parseProcessors("cpu  100 20 30 4000 500 6 7 80 0 0")
	assert.True(t, known)
	assert.Equal(t, processors{busy: 1630 * time.Millisecond, stolen: 800 * time.Millisecond}, p)
	_, known = parseProcessors("cpu0 1 2 3")
	assert.False(t, known)
}

func TestACommandIsShownAsAPersonWouldWriteIt(t *testing.T) {
	assert.Equal(t, "load -r 1k --find-max 'p99<50ms' HOST:PORT", shown([]string{"load", "--no-progress", "--json", "x", "-r", "1k", "--find-max", "p99<50ms", "127.0.0.1:99"}))
	assert.Equal(t, "serve --addr 127.0.0.1:0", shown([]string{"serve", "--addr", "127.0.0.1:0", "--stdin"}))
}

// The rows that are counts, with the command of this working tree.
func TestTheRowsThatCountHold(t *testing.T) {
	s := suite{root: t.TempDir(), short: true}
	s.binary = filepath.Join(s.root, "bin", "ringwire")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", s.binary, ".")
	build.Dir = filepath.Join("..", "..", "cmd", "ringwire")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NoError(t, s.prepare())
	defer func() { require.NoError(t, os.RemoveAll(s.dir)) }()
	var r report
	require.NoError(t, rowClosed(t.Context(), &s, &r))
	require.Len(t, r.checks, 2)
	for _, c := range r.checks {
		assert.True(t, c.ok, "%+v", c)
	}
}
