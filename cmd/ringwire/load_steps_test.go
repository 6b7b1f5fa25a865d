package main

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/load/wire"
)

// counter answers "open" with a ticket that is its count, and counts "use" with one that
// another connection has, or that is none.
func counter(t *testing.T, wrong *atomic.Int64) func(net.Conn) {
	t.Helper()
	_, codec := preset(t, "anet")
	return framed(codec, func(conn net.Conn) func(wire.Frame) {
		known := map[string]bool{}
		return func(f wire.Frame) {
			command, arg, _ := strings.Cut(string(codec.Payload(nil, f.Bytes)), " ")
			reply := "00[" + arg + "]"
			if command == "open" {
				known[arg] = true
			} else if !known[arg] {
				wrong.Add(1)
			}
			frame, _ := codec.Append(nil, f.ID, []byte(reply))
			_, _ = conn.Write(frame)
		}
	})
}

func TestLoadMakesFlowsOfSteps(t *testing.T) {
	var wrong atomic.Int64
	addr := accepting(t, counter(t, &wrong))
	steps := func(path string) (names []string, replied uint64) {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		var d struct {
			Steps []struct {
				Name   string
				Counts struct{ Replied uint64 }
			}
		}
		require.NoError(t, json.Unmarshal(data, &d))
		for _, s := range d.Steps {
			names = append(names, s.Name)
			replied += s.Counts.Replied
		}
		return names, replied
	}
	path := filepath.Join(t.TempDir(), "r.json")
	status := []string{"--status", "off=6,len=2", "--ok", "00", "--json", path}
	got := execute(t, "", binary, append([]string{"load", "--data", "open ${seq:6}", "--then", "request=use ${t}", "--then", "request=use ${u}",
		"--extract", "request/1:t:off=9,len=6", "--extract", "request/2:u:after=[,until=]", "-n", "100", "-c", "2", "--inflight", "8", addr}, status...)...)
	require.Zero(t, got.code, got.stdout+got.stderr)
	names, replied := steps(path)
	assert.Equal(t, []string{"request/1", "request/2", "request/3"}, names)
	assert.EqualValues(t, 300, replied)
	assert.Contains(t, got.stdout, "step, service")
	got = execute(t, "", binary, append([]string{"load", "--request", "plain:3=open 1", "--request", "flow=open ${seq:6}", "--then", "flow=use ${t}",
		"--extract", "flow/1:t:off=9,len=6", "--check", addr}, status...)...)
	require.Zero(t, got.code, got.stdout+got.stderr)
	assert.Contains(t, got.stdout, "sent flow/2")
	assert.Contains(t, got.stdout, "fine: 3 of 3 requests")

	file := filepath.Join(t.TempDir(), "s.yaml")
	require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(`
version: 1
targets: ["ADDR"]
connections: {inflight: 4}
load: {requests: 200}
requests:
  - {name: plain, weight: 1, payload: "open ${seq}"}
  - name: sale
    weight: 3
    steps:
      - {send: "open ${seq:6}", status: {at: 6, len: 2, ok: ["00"]}, extract: {t: {at: 9, len: 6}}}
      - {name: use, send: "use ${t}", expect: "contains:[0"}
thresholds: ["sale.p99<1m"]
`, "ADDR", addr)), 0o600))
	got = execute(t, "", binary, "load", "-f", file, "--json", path)
	require.Zero(t, got.code, got.stdout+got.stderr)
	names, replied = steps(path)
	assert.Equal(t, []string{"sale/1", "sale/use"}, names)
	assert.EqualValues(t, 300, replied)
	assert.Zero(t, wrong.Load())
	got = execute(t, "", binary, "load", "-f", file, "--request", "x=open", "--extract", "x/1:v:after=]]", "-n", "5", "--threshold", "sent>1")
	assert.Equal(t, 3, got.code, got.stdout)
	assert.Contains(t, got.stdout, "truncated 5")
	got = execute(t, "", binary, "load", "--data", "open", "--extract", "request/1:v:after=]]", "--check", addr)
	assert.Contains(t, got.stdout, "request: the reply of 10 bytes came and has no value v")
}

func TestLoadRefusesStepsThatMakeNoSense(t *testing.T) {
	for args, want := range map[string]string{
		"--data x --then y":                                 "--then: must look like NAME=DATA",
		"--data x --then sale=y":                            "--then sale: there is no request of that name",
		"--data x --then request=${y}":                      "--then request: template: ${y}: must be",
		"--then request=y":                                  "--then and --extract: give --data or --request, too",
		"--data x --extract y":                              "--extract: must look like NAME/STEP:VALUE:off=8,len=4",
		"--data x --extract request/2:v:off=1,len=2":        "--extract request/2: there is no such step",
		"--data x --extract request/1:v:at=3":               "--extract v: must be off=N,len=N or field=N or after=TEXT",
		"--data x --extract request/1:v:off=1,len=2000":     `request "request": extract v: len 2000: must be 1 to 1024`,
		"--data x --extract request/1:req:off=1,len=2":      `the name "req" is taken`,
		"--data x --then request=y${v} --extract x/1:v:x=1": "--extract v: must be",
	} {
		var out strings.Builder
		code := run(append([]string{"load"}, append(strings.SplitN(args, " ", -1), "127.0.0.1:1")...), strings.NewReader(""), &out, &out)
		assert.Equal(t, exitUsage, code, args)
		assert.Contains(t, out.String(), want, args)
	}
	for text, want := range map[string]string{
		"payload: x, steps: [{send: x}]":                                    "steps: the payload, expect and status are those of each step",
		"steps: [{send: \"${v}\"}]":                                         "steps 1: template: ${v}",
		"steps: [{send: x}, {send: x, name: \"a b\"}]":                      "steps 2: name \"a b\": must be of letters",
		"steps: [{send: x, extract: {v: {at: 1, len: 2, field: 3}}}]":       "extract v: must have one of len, after and field",
		"steps: [{send: x, extract: {v: {form: 3}}}]":                       `unknown key "form"`,
		"steps: [{send: x, status: {at: 1, len: 2}}, {send: y}], weight: 0": "status: no value is success",
	} {
		file := filepath.Join(t.TempDir(), "s.yaml")
		require.NoError(t, os.WriteFile(file, []byte("version: 1\nrequests: [{name: a, "+text+"}]\n"), 0o600))
		var out strings.Builder
		code := run([]string{"load", "-f", file, "127.0.0.1:1"}, strings.NewReader(""), &out, &out)
		assert.Equal(t, exitUsage, code, text)
		assert.Contains(t, out.String(), want, text)
	}
}
