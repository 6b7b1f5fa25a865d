package server

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// kindTexts has what the kinds say that are neither the end of a connection nor a refusal, as it
// stands in the source.
var kindTexts = map[logKind][]string{
	logHandlerError: {"handler failed"},
	logTooLarge:     {"reply does not fit a frame"},
	logOverloaded:   {"request refused"},
	logPanicked:     {"handler panicked"},
	logAccept:       {"cannot accept"},
	logEnroll:       {"cannot take over a connection"},
	logBlocked:      {"a handler blocks its event loop"},
	logLoop:         {"handler called runtime.Goexit", "cannot start an event loop", "event loop:"},
}

// lineTexts returns how the lines of a server begin, after "server: ".
func lineTexts(t *testing.T) (all []string) {
	t.Helper()
	for why := range reasonCount {
		if why.peersFault() {
			all = append(all, "connection closed: "+why.String())
		}
	}
	for why := refusedNot + 1; why < refusalCount; why++ {
		all = append(all, "connection refused: "+why.String())
	}
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	var source strings.Builder
	for _, name := range files {
		if !strings.HasSuffix(name, "_test.go") {
			text, err := os.ReadFile(name)
			require.NoError(t, err)
			source.Write(text)
		}
	}
	for kind := logHandlerError; kind < logRefused; kind++ {
		require.NotEmpty(t, kindTexts[kind], "kind %d", kind)
		for _, text := range kindTexts[kind] {
			require.True(t, strings.Contains(source.String(), text), "no line says %q any more", text)
		}
		all = append(all, kindTexts[kind]...)
	}
	return all
}

// documentedLines returns the lines of the table in docs/OPERATION.md. One that ends with … is how
// a line begins; one that begins with … begins like the one in front of it, as far as its colon.
func documentedLines(t *testing.T) (all []string) {
	t.Helper()
	text, err := os.ReadFile("../docs/OPERATION.md")
	require.NoError(t, err)
	_, table, ok := strings.Cut(string(text), "| line (after `server: `) | means | do |\n|---|---|---|\n")
	require.True(t, ok, "docs/OPERATION.md has no table of the log")
	table, _, _ = strings.Cut(table, "\n\n")
	code := regexp.MustCompile("`([^`]+)`")
	for row := range strings.Lines(table) {
		kind := ""
		for _, cell := range code.FindAllStringSubmatch(strings.Split(row, "|")[1], -1) {
			line := strings.TrimSpace(strings.TrimSuffix(cell[1], "…"))
			if rest, ok := strings.CutPrefix(line, "… "); ok {
				line = kind + rest
			} else if begin, _, ok := strings.Cut(line, ": "); ok {
				kind = begin + ": "
			}
			all = append(all, line)
		}
	}
	return all
}

// What the server may write is explained, and nothing else is.
func TestEachLineOfTheLogIsExplained(t *testing.T) {
	said := lineTexts(t)
	documented := documentedLines(t)
	for _, line := range said {
		assert.True(t, slices.Contains(documented, line), "docs/OPERATION.md does not explain %q", line)
	}
	assert.Len(t, documented, len(said), "docs/OPERATION.md explains a line twice, or one that there is not")
}
