package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/load/wire"
)

// approver answers ISO 8583 messages of a framing: a request with its type one higher.
func approver(t *testing.T, framing string) func(net.Conn) {
	t.Helper()
	spec, codec := preset(t, framing)
	return framed(codec, func(conn net.Conn) func(wire.Frame) {
		return func(f wire.Frame) {
			if f.Request {
				f.Bytes[spec.Length.End()+2]++
				_, _ = conn.Write(f.Bytes)
			}
		}
	})
}

func TestLoadMatchesByFieldsOfMessages(t *testing.T) {
	addr := accepting(t, approver(t, "iso8583"))
	cards := filepath.Join(t.TempDir(), "cards.csv")
	require.NoError(t, os.WriteFile(cards, []byte("pan,terminal\n4000123412341234,TERM0001\n4000123412341235,TERM0002\n"), 0o600))
	const data = "02005020000000800000" + "16${csv.pan}000000001000${stan}${csv.terminal}"
	got, s := execLoad(t, "--framing", "iso8583", "--id", "iso8583:11,41", "--data", data, "--csv", cards, "-n", "500", "--inflight", "32", addr)
	require.Zero(t, got.code, got.stdout+got.stderr)
	assert.EqualValues(t, 500, s.Summary.Replied)
	assert.NotContains(t, got.stdout, "4000123")

	got, s = execLoad(t, "--framing", "iso8583", "-n", "10", addr) // its probe
	require.Zero(t, got.code, got.stdout+got.stderr)
	assert.EqualValues(t, 10, s.Summary.Replied)
	file := filepath.Join(t.TempDir(), "s.yaml")
	text := strings.NewReplacer("ADDR", accepting(t, approver(t, "iso8583-dec")), "DATA", data, "CARDS", cards).Replace(`
version: 1
targets: ["ADDR"]
framing: {preset: iso8583-dec, id: "iso8583:0,11,41"}
data: {c: {csv: CARDS}}
requests: [{name: sale, payload: "02005020000000800000${csv.c.pan}"}]
`)
	text = strings.Replace(text, "${csv.c.pan}", strings.ReplaceAll(data, "csv.", "csv.c.")[20:], 1)
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	got, s = execLoad(t, "-f", file, "-n", "20")
	require.Zero(t, got.code, got.stdout+got.stderr)
	assert.EqualValues(t, 20, s.Summary.Replied)
	got, _ = execLoad(t, "-f", file, "--check")
	require.Zero(t, got.code, got.stdout+got.stderr)

	for args, want := range map[string]string{
		"--id iso8583:41":                     "fields [41]: must have 11 or 37 among them",
		"--id iso8583:11,200":                 "field 200: must be 0, the message type, or 2 to 128",
		"--id iso8583:eleven":                 `--id iso8583: "eleven": must be fields such as 11,41`,
		"--framing iso8583 --resp-id 4":       "--resp-id: the ID is in a field",
		"--framing iso8583 --data 08000000":   `request "request": payload: bitmap: 16 bytes at 6: the frame ends at 10`,
		"--framing iso8583 --id iso8583:11,3": `field 3: must be in every message, and is not`,
	} {
		var out strings.Builder
		code := run(append([]string{"load"}, strings.Fields(args+" 127.0.0.1:1")...), strings.NewReader(""), &out, &out)
		assert.Equal(t, exitUsage, code, args)
		assert.Contains(t, out.String(), want, args)
	}
}
