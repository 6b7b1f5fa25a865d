package main

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/load/wire"
)

// loadSummary is the part of the JSON output that tests read.
type loadSummary struct {
	SchemaVersion int `json:"schema_version"`
	Loop          string
	Summary       struct {
		Sent, Replied, Unsent, Timeouts, Lost uint64
		Response                              map[string]int64 `json:"response_ns"`
		ExitCode                              int              `json:"exit_code"`
		Verdict                               string
	}
	Requests []struct {
		Name   string
		Counts struct{ Sent uint64 }
	}
	Codes []struct {
		Status string
		Count  uint64
	}
	Stages []struct{ Name string }
}

// execLoad runs "ringwire load" and reads its report.
func execLoad(t *testing.T, args ...string) (outcome, loadSummary) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "report.json")
	got := execute(t, "", binary, append([]string{"load", "--json", path}, args...)...)
	var s loadSummary
	if data, err := os.ReadFile(path); err == nil {
		require.NoError(t, json.Unmarshal(data, &s), "%s", data)
	}
	return got, s
}

// accepting is a listener that does with each connection what serve does.
func accepting(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer func() { _ = conn.Close() }()
				serve(conn)
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return l.Addr().String()
}

// framed serves frame by frame: serve is called for each connection, and what it returns for each frame.
func framed(codec *wire.Codec, serve func(conn net.Conn) func(wire.Frame)) func(net.Conn) {
	return func(conn net.Conn) {
		one := serve(conn)
		for dec := wire.NewDecoder(codec); ; {
			n, err := conn.Read(dec.Room())
			dec.Filled(n)
			for f, _ := dec.Next(); f != nil; f, _ = dec.Next() {
				one(*f)
			}
			if err != nil {
				return
			}
		}
	}
}

// preset returns the framing of that name.
func preset(t *testing.T, name string) (wire.Spec, *wire.Codec) {
	t.Helper()
	spec, err := wire.Preset(name)
	require.NoError(t, err)
	codec, err := wire.New(spec)
	require.NoError(t, err)
	return spec, codec
}

// mute reads and says nothing.
func mute(conn net.Conn) {
	buf := make([]byte, 4096)
	for {
		if _, err := conn.Read(buf); err != nil {
			return
		}
	}
}

func TestLoadSendsWhatWasAskedAndReportsIt(t *testing.T) {
	addr, interrupt := startServe(t)
	got, s := execLoad(t, "-n", "5000", "-c", "3", "--inflight", "20", "--expect", "echo", "--size", "10-90", addr)
	require.Zero(t, got.code, got.stderr)
	assert.Equal(t, 1, s.SchemaVersion)
	assert.Equal(t, "closed", s.Loop)
	assert.EqualValues(t, 5000, s.Summary.Sent)
	assert.EqualValues(t, 5000, s.Summary.Replied)
	assert.EqualValues(t, 5000, s.Summary.Response["count"])
	assert.Contains(t, got.stdout, "verdict      ok (exit 0)")

	got, s = execLoad(t, "-r", "2k", "-d", "300ms", "--arrivals", "poisson", "--seed", "3", "--inflight", "64", "--threshold", "p99<30s", addr)
	require.Zero(t, got.code, got.stderr)
	assert.Equal(t, "open", s.Loop)
	assert.InDelta(t, 600, s.Summary.Sent, 150)
	first := s.Summary.Sent
	_, s = execLoad(t, "-r", "2k", "-z", "300ms", "--arrivals", "poisson", "--seed", "3", "--inflight", "64", addr)
	assert.Equal(t, first, s.Summary.Sent, "the same seed")

	got, s = execLoad(t, "-r", "100", "--stage", "100ms:1k", "--step", "100ms:+1k", "--step", "100ms:-1.5k", "--inflight", "64", addr)
	require.Zero(t, got.code, got.stderr)
	require.Len(t, s.Stages, 3)
	assert.Equal(t, "100ms from 100 to 1000/s", s.Stages[0].Name)
	assert.Equal(t, "100ms at 2000/s", s.Stages[1].Name)
	assert.Equal(t, "100ms at 500/s", s.Stages[2].Name)
	assert.EqualValues(t, 55+200+50, s.Summary.Sent)

	got, s = execLoad(t, "-n", "30", "-d", "1m", "-t", "5s", addr, addr) // fewer than there is time for
	require.Zero(t, got.code, got.stderr)
	assert.EqualValues(t, 30, s.Summary.Sent)
	assert.Contains(t, interrupt(), "0 protocol errors")
}

func TestLoadMixesRequestsOfAFile(t *testing.T) {
	addr, _ := startServe(t)
	file, err := os.Create(filepath.Join(t.TempDir(), "cards.csv"))
	require.NoError(t, err)
	w := csv.NewWriter(file)
	require.NoError(t, w.WriteAll([][]string{{"pan", "code"}, {"4000", "00"}, {"4001", "68"}, {"4002", "00"}}))
	require.NoError(t, file.Close())
	got, s := execLoad(t, "--request", "echo:1=xx00", "--request", "sale:3=B2${csv.code}${csv.cards.pan}", "--csv", file.Name(),
		"--csv", "cards="+file.Name(), "--status", "off=8,len=2", "--ok", "00", "-n", "12", "--threshold", "sale.max<1m", addr)
	require.Zero(t, got.code, got.stdout+got.stderr)
	require.Len(t, s.Requests, 2)
	assert.EqualValues(t, 3, s.Requests[0].Counts.Sent)
	assert.EqualValues(t, 9, s.Requests[1].Counts.Sent)
	require.Len(t, s.Codes, 2)
	assert.Equal(t, "00", s.Codes[0].Status)
	assert.EqualValues(t, 9, s.Codes[0].Count)
	assert.EqualValues(t, 3, s.Codes[1].Count)
	assert.NotContains(t, got.stdout+got.stderr, "4000")

	got, s = execLoad(t, "--data", "${csv.pan}", "--csv", file.Name(), "--order", "unique", addr)
	require.Zero(t, got.code, got.stderr)
	assert.EqualValues(t, 3, s.Summary.Sent, "the rows")

	frames := filepath.Join(t.TempDir(), "frames")
	require.NoError(t, os.WriteFile(frames, []byte("\x00\x06....ab\x00\x05....c"), 0o600))
	got, s = execLoad(t, "--frames", frames, "--expect", "echo", "-n", "7", addr)
	require.Zero(t, got.code, got.stderr)
	assert.EqualValues(t, 7, s.Summary.Replied)
	got, s = execLoad(t, "--data", "@"+frames, "--expect", "equal:${hex:00 06}....ab${hex:0005}....c", "-n", "2", addr)
	require.Zero(t, got.code, got.stderr)
	assert.EqualValues(t, 2, s.Summary.Replied)
}

func TestLoadExitCodesTellWhatHappened(t *testing.T) {
	addr, _ := startServe(t)
	slow, _ := startServe(t, "--latency", "20ms")
	silent := accepting(t, mute)
	closed := accepting(t, func(net.Conn) {})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	for name, c := range map[string]struct {
		code int
		says string
		args []string
	}{
		"refused dials":   {1, "no connection", []string{"-c", "3", "-n", "10", l.Addr().String()}},
		"silent peer":     {1, "a check of one request says:", []string{"-n", "2", "-t", "100ms", "--drain", "300ms", silent}},
		"closing peer":    {1, "no reply", []string{"-n", "3", closed}},
		"fewer than -c":   {0, "ok", []string{"-c", "8", "-n", "3", addr}},
		"wrong replies":   {3, "not what was expected", []string{"-n", "3", "--expect", "equal:other", addr}},
		"no success":      {1, "no successful reply", []string{"-n", "3", "--status", "off=6,len=1", "--ok", "z", addr}},
		"unmet threshold": {99, "1 of 1 thresholds not met", []string{"-n", "3", "--threshold", "rate>1m", addr}},
		"no free slot":    {1, "% of the schedule was sent", []string{"-r", "1k", "-d", "500ms", "--backlog", "1", slow}},
		"fail fast":       {1, "no reply", []string{"--fail-fast", "-t", "50ms", "-d", "1m", silent}},
		"no visitor":      {1, "the backend has not connected", []string{"--listen", "127.0.0.1:0", "--dial-timeout", "100ms"}},
		"check":           {0, "fine: 1 of 1", []string{"--check", addr}},
		"failing check":   {1, "nothing came", []string{"--check", "-t", "100ms", silent}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, s := execLoad(t, append(c.args, "--no-progress")...)
			assert.Equal(t, c.code, got.code, got.stdout+got.stderr)
			assert.Contains(t, got.stdout, c.says)
			assert.NotContains(t, got.stdout+got.stderr, "\x1b")
			if !strings.Contains(name, "check") {
				assert.Equal(t, c.code, s.Summary.ExitCode)
			}
		})
	}
}

func TestLoadRefusesNonsenseBeforeItDials(t *testing.T) {
	addr := accepting(t, func(net.Conn) { t.Error("dialled") })
	empty := filepath.Join(t.TempDir(), "empty.csv")
	require.NoError(t, os.WriteFile(empty, []byte("a,b\n1,2\n"), 0o600))
	for args, want := range map[string]string{
		"":                               "no target",
		addr + " --rate 0":               "--rate 0: must be above 0 and at most 10000000 a second",
		addr + " --rate fast":            `--rate "fast": must be a number`,
		addr + " --requests 0":           "--requests 0: must be 1 or more",
		addr + " --timeout 0s":           "--timeout 0s: must be above 0",
		addr + " --duration -1s":         "--duration -1s: must be above 0",
		addr + " --conns 0":              "connections 0: must be 1",
		addr + " " + addr + " --conns 1": "connections 1: must be 2",
		addr + " --inflight 11 --id off=2,len=1,form=dec": "in flight 11: must be 1 to 10",
		addr + " --id off=1,len=4":                        "id off=1,len=4,form=be: overlaps the length",
		addr + " --id 2":                                  `--id "2": must look like off=0,len=2,form=be`,
		addr + " --id off=2,len=4,form=octal":             `form "octal": must be one of`,
		addr + " --id none --resp-id 4":                   "--resp-id: there is no ID",
		addr + " --len len=2,off=x":                       `--len "len=2,off=x"`,
		addr + " --len off=1":                             "has no len",
		addr + " --max-frame 0":                           "--max-frame 0: must be above 0",
		addr + " --framing morse":                         `framing "morse": must be one of anet, payshield`,
		addr + " --stage 10s":                             "must look like 30s:20k",
		addr + " --step 10s:5k":                           "must begin with + or -",
		addr + " --step 10s:-5":                           "rate -5: must be 0 to",
		addr + " --stage 10s:5k -d 10s":                   "--stage and --step say how long they last",
		addr + " --arrivals bursts -r 1":                  `--arrivals "bursts": must be even or poisson`,
		addr + " --backlog 5":                             "belong to the open loop",
		addr + " --data x --size 3":                       "give one of them",
		addr + " --size 9-3":                              "size 9 to 3: must be",
		addr + " --size big":                              `--size "big": must look like`,
		addr + " --hex 0":                                 "--hex: must be pairs of hexadecimal digits",
		addr + " --request a.b=x":                         "--request: must look like NAME=DATA",
		addr + " --request late=x":                        "--request late: the name is taken",
		addr + " --request a:0=x":                         `request "a": weight 0: must be 1 to 1000`,
		addr + " --data ${csv.x} --csv " + empty:          `no column "x": must be one of a, b`,
		addr + " --data ${csv.x} --csv /nonexistent":      "--csv /nonexistent: ",
		addr + " --data @/nonexistent":                    "--data: ",
		addr + " --expect nothing":                        `expect "nothing": must be any, echo`,
		addr + " --ok 00":                                 "--ok: give --status, too",
		addr + " --status off=8,len=2 --ok 000":           "the value 000 has 3 bytes: must have 2",
		addr + " --status off=8,len=2":                    "no value is success",
		addr + " --threshold p99":                         `threshold "p99": must look like`,
		addr + " --threshold other.p99<1s":                `"other": must be a latency`,
		addr + " --tls-ca x.pem":                          "are for targets with tls://",
		"tls://" + addr + " --tls-ca /nonexistent":        "--tls-ca: ",
		"tls://" + addr + " --tls-cert x.pem":             "--tls-cert without --tls-key: name the file of its private key",
		addr + " --local-addr here":                       `--local-addr "here": must be an IP address`,
		addr + " --start-at noon":                         `--start-at "noon": must look like`,
		addr + " --start-at 2001-01-31T12:00:00Z":         "must not have passed",
		addr + " --connect-rate 0":                        "--connect-rate 0: must be above 0",
		addr + " --open ${x}":                             "--open: template: ${x}: must be",
		addr + " --open-ok 00":                            "--open-status and --open-ok: give --open, too",
		addr + " --open a --open-ok 00":                   "--open-ok: give --open-status, too",
		addr + " --open a --open-status off=8":            "has no len",
		addr + " --listen :0":                             "the backend makes the connections",
		"--listen here":                                   "--listen: address",
		"--listen tls://127.0.0.1:0":                      "tls:// needs --tls-cert and --tls-key",
		"--listen 127.0.0.1:0 --tls-ca x":                 "for an address with tls://",
		"--listen 127.0.0.1:0 --tls-insecure":             "are for who connects",
		"--listen 127.0.0.1:0 --inflight 0":               "in flight 0: must be",
		addr + " --json /nonexistent/x":                   "--json: ",
		addr + " --warmup 20s":                            "warm-up 20s: must be shorter than the run of 10s",
	} {
		var out strings.Builder
		code := run(append([]string{"load"}, strings.Fields(args)...), strings.NewReader(""), &out, &out)
		assert.Equal(t, exitUsage, code, args)
		assert.Contains(t, out.String(), want, args)
	}
}

func TestLoadSaysWhatToWriteInstead(t *testing.T) {
	const addr = "127.0.0.1:1"
	for args, want := range map[string]string{
		addr + " -d 10":                   "times have a unit, such as 500ms, 10s or 2m",
		"http://" + addr:                  "must be host:port, tls://host:port or unix:///path",
		"backend":                         `target "backend": must be host:port, tls://host:port or unix:///path`,
		addr + " --heartbeat-every 5s":    "--heartbeat-every: give --heartbeat, too",
		addr + " --heartbeat-expect echo": "--heartbeat-expect: give --heartbeat, too",
	} {
		var out strings.Builder
		code := run(append([]string{"load"}, strings.Fields(args)...), strings.NewReader(""), &out, &out)
		assert.Equal(t, exitUsage, code, args)
		assert.Contains(t, out.String(), want, args)
	}
}

const scenarioText = `
version: 1
targets: ["ADDR"]
framing: {preset: payshield, header: 8, id: dec}
connections: {count: 2, inflight: 16}
session:
  open: [{send: "NC00", status: {at: 12, len: 2, ok: ["00"]}}]
load: {arrivals: poisson, seed: 3, warmup: 20ms, timeout: 5s,
       stages: [{for: 100ms, rate: 500}, {for: 100ms, rate: 2k}, {for: 100ms, step: -1k}]}
data: {cards: {csv: CARDS, order: unique, end: stop}}
requests:
  - {name: echo, weight: 20, payload: "B200ping", status: {at: 12, len: 2, ok: ["00"]}}
  - {name: CA, weight: 80, payload: "CA${csv.cards.ca}", expect: echo}
thresholds: ["error_rate<0.1%", "CA.p99<60s"]
`

func TestLoadRunsAScenarioAndFlagsWin(t *testing.T) {
	addr, _ := startServe(t, "--frame-length", "2")
	dir := t.TempDir()
	cards := filepath.Join(dir, "cards.csv")
	rows := "ca\n" + strings.Repeat("00x\n", 200)
	require.NoError(t, os.WriteFile(cards, []byte(rows), 0o600))
	file := filepath.Join(dir, "s.yaml")
	text := strings.NewReplacer("ADDR", addr, "CARDS", cards).Replace(scenarioText)
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))

	got, s := execLoad(t, "--scenario", file)
	require.Zero(t, got.code, got.stdout+got.stderr)
	assert.Equal(t, "open", s.Loop)
	require.Len(t, s.Stages, 3)
	assert.Equal(t, "100ms at 1000/s", s.Stages[2].Name)
	require.Len(t, s.Requests, 2)
	assert.Equal(t, "CA", s.Requests[1].Name)
	assert.Contains(t, got.stdout, "CA.p99<60s  met")

	got, s = execLoad(t, "-f", file, "-r", "1k", "-n", "1000")
	require.Zero(t, got.code, got.stdout+got.stderr)
	assert.Len(t, s.Stages, 1)
	assert.Less(t, s.Summary.Sent, uint64(251), "200 rows are four fifths")
	got, s = execLoad(t, "-f", file, "-n", "50", "--data", "x00", "--threshold", "rate>1m", "--status", "off=11,len=2", "--ok", "00", "--warmup", "0", addr)
	assert.Equal(t, 99, got.code, got.stdout+got.stderr)
	assert.Empty(t, s.Requests)
	assert.EqualValues(t, 50, s.Summary.Sent)
	got, _ = execLoad(t, "-f", file, "--id", "len=8", "--check")
	assert.Zero(t, got.code, got.stdout+got.stderr)
	assert.Contains(t, got.stdout, "form base36", "the flag wins over the file's form")
}

// A card number stands in requests and replies, and in no output.
func TestLoadShowsNoPayload(t *testing.T) {
	const card = "4000123412341234"
	addr, _ := startServe(t)
	silent := accepting(t, mute)
	cards := filepath.Join(t.TempDir(), "cards.csv")
	require.NoError(t, os.WriteFile(cards, []byte("pan\n"+card+"\n"), 0o600))
	bad := filepath.Join(t.TempDir(), "bad.csv")
	require.NoError(t, os.WriteFile(bad, []byte("pan\n"+card+",\""+card+"\n"), 0o600))
	hexed := fmt.Sprintf("%x", card)
	for _, args := range [][]string{
		{"--data", card, "-n", "5", "--expect", "equal:" + card + "x", addr},
		{"--data", card, "-n", "5", "--fail-fast", "--expect", "size:3", addr},
		{"--data", "x${csv.pan}", "--csv", cards, "--check", "--status", "off=7,len=1", "--ok", "9", addr},
		{"--data", "x${csv.pan}", "--csv", cards, "-n", "2", "-t", "50ms", "--drain", "60ms", silent},
		{"--request", "pay=" + card, "--open", card, "-n", "2", addr},
		{"--request", card + "." + card + "=" + card, addr},
		{"--data", card + "${seq", addr},
		{"--data", "${csv.pan}", "--csv", bad, addr},
		{"--data", card, "--framing", "kafka", "-t", "50ms", "--drain", "60ms", "-n", "1", addr},
	} {
		path := filepath.Join(t.TempDir(), "report.json")
		got := execute(t, "", binary, append([]string{"load", "--json", path}, args...)...)
		report, _ := os.ReadFile(path)
		all := strings.ToLower(strings.NewReplacer(" ", "", "\n", "").Replace(got.stdout + got.stderr + string(report)))
		for at := 0; at+8 <= len(card); at += 4 {
			assert.NotContains(t, all, card[at:at+8], "%v", args)
		}
		assert.NotContains(t, all, hexed[:16], "%v", args)
		assert.NotEmpty(t, all)
	}
}

func TestLoadRefusesScenariosThatMakeNoSense(t *testing.T) {
	for text, want := range map[string]string{
		"version: 2":                            "version 2: must be 1",
		"version: 1\nspeed: 3":                  "line 2: unknown key \"speed\"; 'ringwire load schema' prints all keys",
		"":                                      "is empty: it begins with version: 1",
		"version: 1\ntargets: 4000123412341234": "line 2: must be a list",
		"version: 1\nload: [4000]":              "line 2: must be keys with values",
		"version: 1\nload: {rate: [4000]}":      "line 2: must be a single value",
		"version: x4000":                        "line 1: must be a whole number",
		"version: 1\nsession: {heartbeat: {idle_only: 4000}}":            "line 2: must be true or false",
		"version: 1\nload: {duration: 10}":                               "such as 500ms, 10s or 2m",
		"version: 1\nload: {rate: 0}":                                    "--rate 0: must be above 0",
		"version: 1\nload: {timeout: soon}":                              "timeout: ",
		"version: 1\nload: {stages: [{for: 1s}]}":                        "load.stages 1: must have a rate or a step",
		"version: 1\nload: {stages: [{for: x, rate: 1}]}":                "load.stages 1: ",
		"version: 1\ndata: {c: {csv: /nonexistent}}":                     "data.c: ",
		"version: 1\ndata: {c: {csv: x, end: never}}":                    "data.c: end \"never\": must be wrap or stop",
		"version: 1\ndata: {c: {csv: x, end: wrap, order: unique}}":      "order unique does not go with end wrap",
		"version: 1\nrequests: [{payload: x}]":                           "requests 1: name \"\": must be of letters",
		"version: 1\nrequests: [{name: a, weight: -1}]":                  "requests 1: weight -1: must be 1 or more",
		"version: 1\nrequests: [{name: a, payload: x, status: {at: 3}}]": "requests 1: status: has no len",
		"version: 1\nrequests: [{name: a, payload: x, expect: y}]":       "requests 1: expect",
		"version: 1\nsession: {open: [{send: \"${x}\"}]}":                "session.open 1: template",
		"version: 1\ntls: {ca: x}":                                       "are for targets with tls://",
		"{":                                                              "s.yaml: ",
	} {
		file := filepath.Join(t.TempDir(), "s.yaml")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		var out strings.Builder
		code := run([]string{"load", "-f", file, "127.0.0.1:1"}, strings.NewReader(""), &out, &out)
		assert.Equal(t, exitUsage, code, text)
		assert.Contains(t, out.String(), want, text)
		assert.NotContains(t, out.String(), "4000", "no value")
		assert.NotContains(t, out.String(), "main.", text)
	}
	var out strings.Builder
	assert.Equal(t, exitUsage, run([]string{"load", "-f", "/nonexistent"}, strings.NewReader(""), &out, &out))
}

func TestLoadSchemaDescribesEveryField(t *testing.T) {
	got := execute(t, "", binary, "load", "schema")
	require.Zero(t, got.code, got.stderr)
	var schema map[string]any
	require.NoError(t, json.Unmarshal([]byte(got.stdout), &schema))
	properties := schema["properties"].(map[string]any)
	for _, key := range []string{"version", "targets", "tls", "framing", "connections", "session", "load", "data", "requests", "thresholds"} {
		assert.Contains(t, properties, key)
	}
	assert.Equal(t, false, schema["additionalProperties"])
	load := properties["load"].(map[string]any)["properties"].(map[string]any)
	assert.Equal(t, "as --rate", load["rate"].(map[string]any)["description"])
	flags := newLoad().Flags()
	for _, part := range []any{scenario{}, scenarioTLS{}, scenarioFraming{}, scenarioConns{}, scenarioLoad{}} {
		for i := range reflect.TypeOf(part).NumField() {
			if name := reflect.TypeOf(part).Field(i).Tag.Get("flag"); name != "" {
				assert.NotNil(t, flags.Lookup(name), name)
			}
		}
	}
}

func TestLoadOpensItsConnections(t *testing.T) {
	addr, _ := startServe(t)
	got, s := execLoad(t, "--open", "hello00", "--open-status", "off=11,len=2", "--open-ok", "00", "-n", "5", "-c", "2", addr)
	require.Zero(t, got.code, got.stdout+got.stderr)
	assert.EqualValues(t, 5, s.Summary.Sent)
	got, _ = execLoad(t, "--open", "hello68", "--open-status", "off=11,len=2", "--open-ok", "00", "-n", "5", addr)
	assert.Equal(t, 1, got.code)
	assert.Contains(t, got.stdout, "1 × opening: open-1: the reply came and was refused: status 68")
}

func TestLoadOfABackendThatConnects(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), binary, "load", "--listen", "127.0.0.1:0", "-n", "20", "--expect", "echo", "--no-progress")
	var stdout strings.Builder
	cmd.Stdout = &stdout
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewReader(stderr)
	line, err := lines.ReadString('\n')
	require.NoError(t, err)
	conn, err := net.Dial("tcp", strings.TrimSpace(strings.TrimPrefix(line, "listening on ")))
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	go func() { _, _ = io.Copy(conn, conn) }() // a frame's echo is its bytes
	timer := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	_, _ = io.Copy(io.Discard, lines)
	require.NoError(t, cmd.Wait(), stdout.String())
	assert.Contains(t, stdout.String(), "replied 20 ")
}

func TestLoadInterruptedWritesAPartialReport(t *testing.T) {
	addr, _ := startServe(t)
	path := filepath.Join(t.TempDir(), "report.json")
	cmd := exec.CommandContext(t.Context(), binary, "load", "-r", "1k", "-d", "1h", "--inflight", "64", "--json", path, "--progress", addr)
	var stdout strings.Builder
	cmd.Stdout = &stdout
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = stderr.Read(make([]byte, 1)) // the first line of progress
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	go func() { _, _ = stderr.Read(make([]byte, 4096)) }()
	timer := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	_ = cmd.Wait()
	assert.Equal(t, 130, cmd.ProcessState.ExitCode())
	assert.Contains(t, stdout.String(), "PARTIAL: interrupted")
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	var s loadSummary
	require.NoError(t, json.Unmarshal(data, &s))
	assert.Equal(t, 130, s.Summary.ExitCode)
	assert.Greater(t, s.Summary.Replied, uint64(500))
}
