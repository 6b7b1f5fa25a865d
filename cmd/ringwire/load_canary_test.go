package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Canaries: a card number and a PIN block, in digits and in bytes.
const (
	canaryCard   = "4556677845566778"
	canaryPIN    = "0412AC89ABCDEF67"
	canaryBinary = "\x04\x12\xac\x89\xab\xcd\xef\x67"
)

// noCanary looks for eight characters of a canary, and for the same in hexadecimal digits.
func noCanary(t *testing.T, text string, what any) {
	t.Helper()
	flat := strings.ToLower(strings.NewReplacer(" ", "", "\n", "", "-", "").Replace(text))
	for _, canary := range []string{canaryCard, canaryPIN} {
		for at := 0; at+8 <= len(canary); at++ {
			piece := strings.ToLower(canary[at : at+8])
			assert.NotContains(t, flat, piece, what)
			assert.NotContains(t, flat, fmt.Sprintf("%x", piece), what)
		}
	}
	assert.NotContains(t, text, canaryBinary[2:6], what)
}

// Whatever fails, and wherever they stand, no output has a canary, the dump neither.
func TestLoadNeverShowsACanary(t *testing.T) {
	echo, _ := startServe(t)
	approves := accepting(t, approver(t, "iso8583"))
	garbage := accepting(t, func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 4096))
		_, _ = conn.Write([]byte(canaryCard + canaryPIN))
	})
	dir := t.TempDir()
	cards := filepath.Join(dir, "cards.csv")
	require.NoError(t, os.WriteFile(cards, []byte("pan,pin\n"+canaryCard+","+canaryPIN+"\n"), 0o600))
	scenario := filepath.Join(dir, "s.yaml")
	require.NoError(t, os.WriteFile(scenario, []byte("version: 1\nrequests: [{name: a, payload: \"${"+canaryCard+"}\"}]\n"), 0o600))
	const secret = "x" + canaryCard + "y" + canaryPIN + "z"
	const sale = "0200" + "7020000000801000" + "16" + canaryCard + "000000" + "000000001000" + "${stan}" + "TERM0001" + canaryPIN
	iso := []string{"--framing", "iso8583", "--id", "iso8583:11,41", "--data", sale, "-n", "3", approves}
	for _, args := range [][]string{
		{"--data", secret, "-n", "5", "--expect", "size:3", echo},
		{"--data", secret + canaryBinary, "-n", "5", "--expect", "equal:" + secret, echo},
		{"--data", "x${csv.pan}y${csv.pin}", "--csv", cards, "-n", "5", "--status", "off=6,len=1", "--ok", "y", "--fail-fast", echo},
		{"--data", secret, "--open", secret, "--open-status", "off=6,len=1", "--open-ok", "y", "-n", "1", "--dial-timeout", "100ms", echo},
		{"--data", secret, "--heartbeat", secret, "--heartbeat-every", "10ms", "--heartbeat-expect", "size:1", "-d", "200ms", "--inflight", "2", "-r", "50", echo},
		{"--data", secret, "--extract", "request/1:v:after=y,until=z", "--then", "request=again ${v}" + canaryCard, "--expect", "prefix:x", "-n", "4", echo},
		{"--data", secret, "--extract", "request/1:v:after=q", "--check", echo},
		{"--data", secret, "--check", "--expect", "size:2", echo},
		{"--data", secret, "-n", "2", "-t", "50ms", "--drain", "60ms", garbage},
		{"--data", secret, "-n", "2", "-t", "50ms", "--check", garbage},
		append([]string{"--expect", "size:3"}, iso...),
		append([]string{"--expect", "size:3", "--check"}, iso...),
		{"--framing", "iso8583", "--data", "0200" + "4000000000000000" + canaryCard, approves},
		{"--framing", "iso8583", "--data", "02" + secret, approves},
		{"--answer", "2:" + canaryCard + "=" + canaryPIN + "${req:", echo},
		{"--then", "request=" + secret + "${", "--data", secret, echo},
		{"--extract", canaryCard, "--data", secret, echo},
		{"-f", scenario, echo},
	} {
		report, dump := filepath.Join(dir, "report.json"), filepath.Join(dir, "dump.json")
		got := execute(t, "", binary, append([]string{"load", "--json", report, "--dump-failures", dump}, args...)...)
		noCanary(t, got.stdout+got.stderr, args)
		assert.NotEmpty(t, got.stdout+got.stderr)
		for _, file := range []string{report, dump} {
			data, err := os.ReadFile(file)
			if err == nil {
				noCanary(t, string(data), args)
			}
			_ = os.Remove(file)
		}
	}
}

func TestLoadDumpsFailuresForTheOwnerAlone(t *testing.T) {
	echo, _ := startServe(t)
	dump := filepath.Join(t.TempDir(), "dump.json")
	require.NoError(t, os.WriteFile(dump, []byte("old"), 0o644))
	got := execute(t, "", binary, "load", "--data", "short ${seq}", "--expect", "size:3", "-n", "5", "--dump-failures", dump, echo)
	assert.Equal(t, 3, got.code)
	data, err := os.ReadFile(dump)
	require.NoError(t, err)
	assert.Equal(t, 5, strings.Count(string(data), `"outcome":"mismatch"`), "%s", data)
	assert.Contains(t, string(data), `"sent":{"bytes":7,"text":"short 0"},"received":{"bytes":7,"text":"short 0"}`)
	assert.NotContains(t, string(data), "old")
	if runtime.GOOS != "windows" {
		info, err := os.Stat(dump)
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}
	got = execute(t, "", binary, "load", "-n", "1", "--dump-failures", "/nonexistent/x", echo)
	assert.Equal(t, exitUsage, got.code)
	assert.Contains(t, got.stderr, "--dump-failures: ")
}
