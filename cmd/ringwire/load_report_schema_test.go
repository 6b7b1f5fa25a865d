package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The published schema, beside the document that describes reports.
const publishedSchema = "../../docs/load-report.schema.json"

func readJSON(t *testing.T, text []byte) (v any) {
	t.Helper()
	require.NoError(t, json.Unmarshal(text, &v), "%s", text)
	return v
}

// conform returns what in v is not as its schema says. Fields that no schema names are
// problems, too. It knows the words that the schema of reports uses, and panics at others.
func conform(root, schema map[string]any, v any, at string) (problems []string) {
	bad := func(format string, args ...any) { problems = append(problems, at+": "+fmt.Sprintf(format, args...)) }
	for word, arg := range schema {
		switch word {
		case "$schema", "$defs", "title", "description", "properties", "items", "additionalProperties":
		case "$ref":
			name := strings.TrimPrefix(arg.(string), "#/$defs/")
			problems = append(problems, conform(root, root["$defs"].(map[string]any)[name].(map[string]any), v, at)...)
		case "anyOf":
			var all []string
			for _, one := range arg.([]any) {
				of := conform(root, one.(map[string]any), v, at)
				if len(of) == 0 {
					all = nil
					break
				}
				all = append(all, of...)
			}
			problems = append(problems, all...)
		case "const":
			if v != arg {
				bad("%v, not %v", v, arg)
			}
		case "enum":
			if !slices.Contains(arg.([]any), v) {
				bad("%v, none of %v", v, arg)
			}
		case "minimum":
			if n, ok := v.(float64); ok && n < arg.(float64) {
				bad("%v, less than %v", n, arg)
			}
		case "format":
			if text, ok := v.(string); ok {
				if _, err := time.Parse(time.RFC3339Nano, text); err != nil {
					bad("%v", err)
				}
			}
		case "type":
			types, ok := arg.([]any)
			if !ok {
				types = []any{arg}
			}
			if !slices.Contains(types, any(typeOf(v))) && !(typeOf(v) == "integer" && slices.Contains(types, any("number"))) {
				bad("%s, not %v", typeOf(v), types)
			}
		case "required":
			object, _ := v.(map[string]any)
			for _, name := range arg.([]any) {
				if _, ok := object[name.(string)]; !ok && v != nil {
					bad("has no %s", name)
				}
			}
		default:
			panic(word)
		}
	}
	return append(problems, conformParts(root, schema, v, at)...)
}

// conformParts is conform of what an object or array holds.
func conformParts(root, schema map[string]any, v any, at string) (problems []string) {
	switch v := v.(type) {
	case map[string]any:
		properties, isObject := schema["properties"].(map[string]any)
		rest, _ := schema["additionalProperties"].(map[string]any)
		if !isObject && rest == nil {
			return nil
		}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			of, ok := properties[name].(map[string]any)
			if !ok {
				of = rest
			}
			if of == nil {
				problems = append(problems, at+"."+name+": unknown")
				continue
			}
			problems = append(problems, conform(root, of, v[name], at+"."+name)...)
		}
	case []any:
		if items, ok := schema["items"].(map[string]any); ok {
			for i, one := range v {
				problems = append(problems, conform(root, items, one, fmt.Sprintf("%s[%d]", at, i))...)
			}
		}
	}
	return problems
}

func typeOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case float64:
		if v == math.Trunc(v) {
			return "integer"
		}
		return "number"
	case []any:
		return "array"
	}
	return "object"
}

func TestLoadReportsAreAsTheirPublishedSchemaSays(t *testing.T) {
	got := execute(t, "", binary, "load", "schema", "--report")
	require.Zero(t, got.code, got.stderr)
	published, err := os.ReadFile(publishedSchema)
	require.NoError(t, err)
	require.Equal(t, string(published), got.stdout, "write it anew: ringwire load schema --report > docs/load-report.schema.json")
	schema := readJSON(t, published).(map[string]any)

	addr, _ := startServe(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	path := filepath.Join(t.TempDir(), "r.json")
	var report map[string]any
	for _, args := range [][]string{
		{"-n", "3", closed.Addr().String()}, // no connection: nulls
		{"-n", "20", "--fail-fast", "--expect", "size:1", addr},
		{"-r", "500", "-d", "400ms", "--warmup", "100ms", "--inflight", "16", "--request", "a=x00", "--request", "b=y00 ${seq:6}", "--then", "b=z00 ${v}",
			"--extract", "b/1:v:off=10,len=6", "--status", "off=7,len=2", "--ok", "00", "--heartbeat", "x", "--heartbeat-every", "30ms",
			"--threshold", "p99<1m", "--threshold", "late.p99<1s", addr},
	} {
		_ = execute(t, "", binary, append([]string{"load", "--json", path}, args...)...)
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		report = readJSON(t, data).(map[string]any)
		assert.Empty(t, conform(schema, schema, report, "report"), "%v", args)
	}
	require.Len(t, report["steps"], 2)
	require.Len(t, report["stages"], 1)
	require.Len(t, report["codes"], 1)
	law := report["littles_law"].(map[string]any)
	assert.Equal(t, true, law["agrees"])
	assert.Positive(t, law["samples"])

	summary := report["summary"].(map[string]any)
	for want, change := range map[string]func(){
		"report: has no summary":               func() { delete(report, "summary") },
		"report.loop: ajar, none of":           func() { report["loop"] = "ajar" },
		"report.schema_version: 9, not 1":      func() { report["schema_version"] = 9.0 },
		"report.speed: unknown":                func() { report["speed"] = 9.0 },
		"report.summary.sent: string, not":     func() { summary["sent"] = "all" },
		"report.summary.replied: -1, less":     func() { summary["replied"] = -1.0 },
		"report.summary: has no late":          func() { delete(summary, "late") },
		"report.summary.exit_code: 7, none of": func() { summary["exit_code"] = 7.0 },
		"report.started: parsing time":         func() { report["started"] = "yesterday" },
	} {
		kept, keptSummary := maps.Clone(report), maps.Clone(summary)
		change()
		problems := conform(schema, schema, report, "report")
		require.NotEmpty(t, problems, want)
		assert.Contains(t, strings.Join(problems, "\n"), want)
		clear(report)
		maps.Copy(report, kept)
		clear(summary)
		maps.Copy(summary, keptSummary)
	}
}
