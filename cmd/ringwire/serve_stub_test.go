package main

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// stubReport is what tests read of the JSON output of a stub.
type stubReport struct {
	Accepted, Dialled, Requests, Replies uint64
	Faults                               map[string]uint64
	Delay                                map[string]int64 `json:"delay_ns"`
}

func readStub(t *testing.T, path string) (r stubReport) {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &r), "%s", data)
	return r
}

func TestServeIsAStubWithWhichLoadAgrees(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stub.json")
	addr, interrupt := startServe(t, "--framing", "payshield", "--reply", "off=7:+1", "--reply", "off=8,insert:00=97,51=3",
		"--latency", "1:0s", "--latency", "1:p50=200us,p99=2ms", "--fault", "duplicate=1%,swap=1%", "--fault", "split=0.5%", "--seed", "9",
		"--cps", "1m", "--stall", "at=0s,for=1ms", "--json", path)
	got, s := execLoad(t, "--framing", "payshield", "--data", "B2${seq}", "-n", "3000", "-c", "2", "--inflight", "32", "-t", "30s",
		"--status", "off=8,len=2", "--ok", "00", "--expect", "prefix:B3", "--no-progress", addr)
	assert.Equal(t, 3, got.code, got.stdout)
	text := interrupt()
	r := readStub(t, path)
	assert.EqualValues(t, 3000, s.Summary.Replied)
	assert.EqualValues(t, 3000, r.Replies)
	assert.EqualValues(t, 3000, r.Delay["count"])
	assert.EqualValues(t, 2, r.Accepted)
	assert.Contains(t, got.stdout, "duplicate "+jsonNumber(r.Faults["duplicate"])+" ")
	assert.InDelta(t, 30, r.Faults["duplicate"], 25)
	assert.Positive(t, r.Faults["swap"])
	assert.Positive(t, r.Faults["split"])
	require.Len(t, s.Codes, 2)
	assert.Equal(t, "51", s.Codes[1].Status)
	assert.InDelta(t, 90, s.Codes[1].Count, 50)
	assert.Contains(t, text, "requests     3000 in ")
	assert.Contains(t, text, "real delay")
}

func jsonNumber(n uint64) string {
	b, _ := json.Marshal(n)
	return string(b)
}

func TestServeConnectsToALoadThatListens(t *testing.T) {
	for _, scheme := range []string{"", "tls://"} {
		var secure, trust []string
		if scheme != "" {
			p := newPapers(t)
			secure = []string{"--tls-cert", p.cert, "--tls-key", p.key, "--tls-ca", p.ca}
			trust = []string{"--tls-ca", p.own, "--tls-cert", p.ownCert, "--tls-key", p.ownKey, "--tls-server-name", "localhost"}
		}
		load := exec.CommandContext(t.Context(), binary, append([]string{"load", "--listen", scheme + "127.0.0.1:0", "-n", "200", "-c", "2",
			"--expect", "echo", "--no-progress", "--dial-timeout", "30s"}, secure...)...)
		var stdout strings.Builder
		load.Stdout = &stdout
		stderr, err := load.StderrPipe()
		require.NoError(t, err)
		require.NoError(t, load.Start())
		line, err := bufio.NewReader(stderr).ReadString('\n')
		require.NoError(t, err)
		path := filepath.Join(t.TempDir(), "stub.json")
		serve := exec.CommandContext(t.Context(), binary, append([]string{"serve", "--connect", scheme + strings.TrimSpace(strings.TrimPrefix(line, "listening on ")),
			"--conns", "2", "--stdin", "--json", path}, trust...)...)
		said, err := serve.StdoutPipe()
		require.NoError(t, err)
		stdin, err := serve.StdinPipe()
		require.NoError(t, err)
		require.NoError(t, serve.Start())
		timer := time.AfterFunc(time.Minute, func() { _, _ = load.Process.Kill(), serve.Process.Kill() })
		lines := bufio.NewReader(said)
		line, err = lines.ReadString('\n')
		require.NoError(t, err)
		assert.Contains(t, line, "connecting to "+scheme+"127.0.0.1:")
		require.NoError(t, load.Wait(), stdout.String())
		require.NoError(t, stdin.Close())
		_, err = lines.WriteTo(&stdout)
		require.NoError(t, err)
		require.NoError(t, serve.Wait())
		timer.Stop()
		r := readStub(t, path)
		assert.EqualValues(t, 200, r.Replies)
		assert.GreaterOrEqual(t, r.Dialled, uint64(2))
		assert.Contains(t, stdout.String(), "replied 200 ")
	}
}

func TestAStubSpeaksTLS(t *testing.T) {
	p := newPapers(t)
	addr, interrupt := startServe(t, append(p.serve(), "--framing", "anet")...)
	got, _ := execLoad(t, "-n", "50", "--expect", "echo", "--no-progress", "--tls-ca", p.own, "--tls-cert", p.ownCert, "--tls-key", p.ownKey,
		"--tls-server-name", "localhost", "tls://"+addr)
	assert.Zero(t, got.code, got.stdout+got.stderr)
	assert.Contains(t, interrupt(), "replies 50, unanswered 0")
}

func TestAStubListensOnAUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	addr, interrupt := startServe(t, "--framing", "kafka", "--addr", "unix://"+path)
	assert.Equal(t, path, addr)
	got, _ := execLoad(t, "--framing", "kafka", "-n", "50", "--data", "0123456789", "--no-progress", "unix://"+path)
	assert.Zero(t, got.code, got.stdout+got.stderr)
	assert.Contains(t, interrupt(), "replies 50, unanswered 0")
}

func TestStubsThatMakeNoSenseAreRefusedBeforeTheyListen(t *testing.T) {
	for line, want := range map[string]string{
		"--framing dns --workers 2":                        "--framing and --workers: the first makes serve a stub",
		"--fault drop=1% --reply-size 3":                   "--fault and --reply-size: ",
		"--cps 2k --jitter 1ms":                            "--cps and --jitter: ",
		"--latency p50=1ms,p99=2ms --extensions":           "--latency and --extensions: ",
		"--stall every=2s,for=1s --debug-addr 127.0.0.1:0": "--stall and --debug-addr: ",
		"--reply echo --frame-length 4":                    "--reply and --frame-length: ",
		"--connect 127.0.0.1:1 --addr 127.0.0.1:2":         "--connect and --addr: ",
		"--framing dns":                                    `--framing "dns": must be one of anet`,
		"--framing anet --id off=1,len=4":                  "overlaps the length",
		"--framing iso8583":                                "the stub knows no fields",
		"--latency p50=1ms":                                "--latency p50=1ms: 1 percentiles: must be two",
		"--latency soon":                                   "--latency soon: must be a duration",
		"--cps 0":                                          "--cps 0: must be above 0",
		"--cps 1 --cps-queue 0":                            "--cps-queue 0: must be above 0",
		"--stall 2s":                                       `--stall "2s": must look like`,
		"--reply off=0:+1":                                 `reply "off=0:+1": length and ID have bytes there`,
		"--reply reverse":                                  `--reply "reverse": must be echo, `,
		"--fault lose=1%":                                  `--fault "lose=1%": must look like drop=1%, of drop, duplicate`,
		"--fault drop=60% --fault late=60%":                "faults: 1.2 together",
		"--fault oversize=1%":                              "--max-frame",
		"--fault reset=1% --addr unix:///no/where":         "a reset needs TCP",
		"--fault late=1% --late-by 0s":                     "--late-by 0s: must be above 0",
		"--inflight 0":                                     "--inflight 0: must be above 0",
		"--framing anet --conns 2":                         "--conns: is how many connections --connect makes",
		"--framing anet --addr nowhere":                    "--addr: address",
		"--framing anet --max-conns -1":                    "--max-conns -1: must be above 0",
		"--framing anet --tls-ca x.pem":                    "are for --connect",
		"--connect nowhere":                                "--connect: target",
		"--connect 127.0.0.1:1=2":                          "has no weight",
		"--connect 127.0.0.1:1 --tls-ca x.pem":             "targets with tls://",
		"--connect tls://127.0.0.1:1 --tls-client-ca x":    "--tls-client-ca: is for a server that listens",
		"--framing anet --tls-key k.pem":                   "--tls-key without --tls-cert",
		"--framing anet --json /no/such/folder/stub.txt":   "--json: ",
	} {
		got := execute(t, "", binary, append([]string{"serve"}, strings.Fields(line)...)...)
		assert.Equal(t, exitUsage, got.code, "%s\n%s", line, got.stderr)
		assert.Contains(t, got.stderr, want, line)
		assert.Empty(t, got.stdout, line)
	}
}
