package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what should take milliseconds.
const patience = 20 * time.Second

// asServer makes the test binary run main, so that the tests drive a real process.
const asServer = "ANETSERVER_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asServer) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// process is a running server; stdin is the pipe that keeps it alive.
type process struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	addr  string
}

func startProcess(t *testing.T, args ...string) process {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	// The race detector's runtime sleeps a second at exit unless told not to.
	cmd.Env = append(os.Environ(), asServer+"=1", "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })

	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the server printed %q and then: %v", line, err)
	}
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if !ok {
		t.Fatalf("first line of output: %q", line)
	}
	return process{cmd: cmd, stdin: stdin, addr: addr}
}

// waitExit fails the test unless the process ends by itself with status 0.
func (p process) waitExit(t *testing.T) {
	t.Helper()
	kill := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
	defer kill.Stop()
	if err := p.cmd.Wait(); err != nil {
		t.Fatalf("server: %v", err)
	}
}

func echoOver(t *testing.T, addr string, id uint32, payload []byte) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	frame := binary.BigEndian.AppendUint16(nil, uint16(4+len(payload)))
	frame = binary.BigEndian.AppendUint32(frame, id)
	frame = append(frame, payload...)
	if _, err := conn.Write(frame); err != nil {
		t.Fatal(err)
	}
	reply := make([]byte, len(frame))
	if _, err := io.ReadFull(conn, reply); err != nil {
		t.Fatalf("reply to %d payload bytes: %v", len(payload), err)
	}
	if !bytes.Equal(reply, frame) {
		t.Fatalf("reply to %d payload bytes differs from the request", len(payload))
	}
}

func TestServerEchoesFramesAndExitsWhenStdinEnds(t *testing.T) {
	p := startProcess(t, "--stdin")
	for id, size := range []int{0, 1, 64, 1024, 65531} {
		echoOver(t, p.addr, uint32(id), bytes.Repeat([]byte{byte(size)}, size))
	}
	if err := p.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	p.waitExit(t)
}

func TestServerAnswersLateWhenAsked(t *testing.T) {
	const latency = 50 * time.Millisecond
	p := startProcess(t, "--latency", latency.String())
	start := time.Now()
	echoOver(t, p.addr, 1, []byte("late"))
	if took := time.Since(start); took < latency {
		t.Fatalf("the reply came after %v", took)
	}
}

func TestServerExitsOnSignals(t *testing.T) {
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			p := startProcess(t)
			echoOver(t, p.addr, 7, []byte("before the signal"))
			if err := p.cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			p.waitExit(t)
		})
	}
}

// Without --stdin the end of standard input means nothing: a server started by
// a shell in the background has no input at all.
func TestServerIgnoresStdinUnlessAsked(t *testing.T) {
	p := startProcess(t)
	if err := p.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	for id := range 100 { // long enough for a server that does listen to it
		echoOver(t, p.addr, uint32(id), []byte("still here"))
	}
}

func TestRunRefusesBadArguments(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, args := range map[string][]string{
		"address without a port": {"--addr", "localhost"},
		"port in use":            {"--addr", taken.Addr().String()},
		"stray argument":         {"9000"},
		"negative latency":       {"--latency", "-1ms"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := run(t.Context(), args, strings.NewReader(""), &out); err == nil {
				t.Fatal("run returned no error")
			}
			if out.Len() > 0 {
				t.Fatalf("run printed %q", out.String())
			}
		})
	}
}
