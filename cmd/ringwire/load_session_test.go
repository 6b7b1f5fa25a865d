package main

import (
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

// switchboard answers messages like approver, asks 0800 before each tenth answer, and counts
// 0810s that are right, and heartbeats.
func switchboard(t *testing.T, answers, beats *atomic.Int64) func(net.Conn) {
	t.Helper()
	_, codec := preset(t, "iso8583")
	return framed(codec, func(conn net.Conn) func(wire.Frame) {
		n := 0
		return func(f wire.Frame) {
			switch kind := string(f.Bytes[2:6]); {
			case kind == "0810" && string(f.Bytes[22:]) == "000042":
				answers.Add(1)
				return
			case !f.Request:
				return
			case kind == "0820":
				beats.Add(1)
			default:
				if n++; n%10 == 0 {
					_, _ = conn.Write([]byte("\x00\x1a08000020000000000000000042"))
				}
			}
			f.Bytes[4]++
			_, _ = conn.Write(f.Bytes)
		}
	})
}

func TestLoadAnswersAndSendsHeartbeats(t *testing.T) {
	var answers, beats atomic.Int64
	addr := accepting(t, switchboard(t, &answers, &beats))
	const message = "0020000000000000${stan}"
	got, s := execLoad(t, "--framing", "iso8583", "--data", "0200"+message, "-r", "500", "-d", "400ms", "--inflight", "32",
		"--answer", "2:0800=0810${req:rest}", "--heartbeat", "0820"+message, "--heartbeat-every", "50ms", "--heartbeat-status", "off=2,len=4",
		"--heartbeat-ok", "0830", "--threshold", "peer_answered>=19", "--threshold", "heartbeats_missed==0", addr)
	require.Zero(t, got.code, got.stdout+got.stderr)
	assert.EqualValues(t, 200, s.Summary.Replied)
	assert.Contains(t, got.stdout, "20 requests of its own, 20 answered")
	assert.Contains(t, got.stdout, "heartbeats   sent ")
	assert.Positive(t, beats.Load())

	file := filepath.Join(t.TempDir(), "s.yaml")
	require.NoError(t, os.WriteFile(file, []byte(strings.NewReplacer("ADDR", addr, "MESSAGE", message).Replace(`
version: 1
targets: ["ADDR"]
framing: {preset: iso8583}
session:
  open:      [{send: "0200MESSAGE", status: {at: 2, len: 4, ok: ["0210"]}}]
  heartbeat: {every: 50ms, idle_only: true, send: "0820MESSAGE", status: {at: 2, len: 4, ok: ["0830"]}}
  answer:    [{when: {at: 2, is: "0800"}, reply: "0810", echo: true}]
load: {rate: 5, duration: 1s}
requests: [{name: sale, payload: "0200MESSAGE"}]
`)), 0o600))
	answers.Store(0)
	beats.Store(0)
	got, s = execLoad(t, "-f", file, "--threshold", "heartbeats_missed==0")
	require.Zero(t, got.code, got.stdout+got.stderr)
	assert.Positive(t, beats.Load())
	got, _ = execLoad(t, "-f", file, "-n", "30", "-r", "1k", "--threshold", "peer_answered>=3")
	require.Zero(t, got.code, got.stdout+got.stderr)
	assert.GreaterOrEqual(t, answers.Load(), int64(2))
	got, _ = execLoad(t, "-f", file, "--check", "--heartbeat-status", "off=2,len=4", "--heartbeat", "0820"+message, "--heartbeat-ok", "0899")
	assert.Equal(t, 1, got.code)
	assert.Contains(t, got.stdout, "heartbeat: the reply came and was refused: status 0830 at 2")

	for args, want := range map[string]string{
		"--heartbeat-ok 00":                    "--heartbeat-status, --heartbeat-ok and --heartbeat-idle: give --heartbeat, too",
		"--heartbeat x --heartbeat-every 0s":   "--heartbeat-every 0s: must be above 0",
		"--heartbeat x --heartbeat-every 2h":   "heartbeat every 2h0m0s: must be 10ms to 1h0m0s",
		"--heartbeat ${x}":                     "--heartbeat: template: ${x}",
		"--heartbeat x --heartbeat-expect y":   "--heartbeat-expect",
		"--answer 0800=x":                      "--answer: must look like OFFSET:VALUE=DATA",
		"--answer 2:0800=${req:2}":             "must be req:OFFSET:LEN, req:field:N or req:rest",
		"--answer 2:0800=${req:2:0}":           "must have one of len, after and field",
		"--answer 2:0x0=x":                     "must be pairs of hexadecimal digits",
		"--data ${req:rest}":                   "only an answer has a request of the peer's",
		"--answer 2:0800=x":                    "nothing tells the peer's requests from replies",
		"--answer 4:1=${req:field:1}12345678 ": "field 1: must be 2 to 128",
	} {
		var out strings.Builder
		code := run(append([]string{"load"}, strings.Fields(args+" 127.0.0.1:1")...), strings.NewReader(""), &out, &out)
		assert.Equal(t, exitUsage, code, args)
		assert.Contains(t, out.String(), want, args)
	}
}
