//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// percentiles are those of the reports of "ringwire load" and of its stub, in nanoseconds.
type percentiles struct {
	Count, P50, P75, P90, P95, P99, P999, Max int64
}

// summary is a run as its report has it.
type summary struct {
	Sent, Replied, Unsent, Timeouts, Lost, Late uint64
	ConnLost                                    uint64 `json:"conn_lost"`
	Abandoned                                   uint64
	Rate                                        float64
	Lag                                         percentiles `json:"lag_ns"`
	Response                                    percentiles `json:"response_ns"`
	Service                                     percentiles `json:"service_ns"`
	ExitCode                                    int         `json:"exit_code"`
	Verdict                                     string
}

// outcome is what a command has left.
type outcome struct {
	code   int
	stdout string
	stderr string
}

// grace is how much longer than it should last a command may run.
const grace = 2 * time.Minute

// command runs ringwire to its end, which comes within a time and the grace, and notes it.
// started, if there is one, is called while it runs.
func (s *suite) command(ctx context.Context, r *report, lasts time.Duration, via []string, started func(pid int), args ...string) (outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, lasts+grace)
	defer cancel()
	line := append(append([]string{}, via...), append([]string{s.binary}, args...)...)
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		return outcome{}, err
	}
	if started != nil {
		started(cmd.Process.Pid)
	}
	err := cmd.Wait()
	var exit *exec.ExitError
	if ctx.Err() != nil {
		return outcome{}, fmt.Errorf("ringwire %s: has not ended in %v", strings.Join(args, " "), lasts+grace)
	}
	if err != nil && !errors.As(err, &exit) {
		return outcome{}, err
	}
	r.ran("ringwire " + shown(args))
	return outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}, nil
}

// shown is a command line as a person would write it: without the files that we read, and the
// address that is another one each time.
func shown(args []string) string {
	var words []string
	for i := 0; i < len(args); i++ {
		switch a := args[i]; {
		case a == "--json" || a == "--hlog":
			i++
		case a == "--stdin" || a == "--no-progress":
		case strings.HasPrefix(a, "127.0.0.1:") && !strings.HasSuffix(a, ":0"):
			words = append(words, "HOST:PORT")
		case strings.ContainsAny(a, " <>$%{}"):
			words = append(words, "'"+a+"'")
		default:
			words = append(words, a)
		}
	}
	return strings.Join(words, " ")
}

// load runs "ringwire load" and reads its report.
func (s *suite) load(ctx context.Context, r *report, lasts time.Duration, started func(pid int), args ...string) (summary, error) {
	path := filepath.Join(s.dir, "load.json")
	var d struct{ Summary summary }
	o, err := s.command(ctx, r, lasts, nil, started, append([]string{"load", "--no-progress", "--json", path}, args...)...)
	if err == nil {
		err = readJSON(path, &d)
	}
	if err != nil {
		return summary{}, fmt.Errorf("%w\n%s%s", err, o.stdout, o.stderr)
	}
	return d.Summary, nil
}

func readJSON(path string, to any) error {
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, to)
	}
	return err
}

// backend is a process that answers.
type backend struct {
	cmd   *exec.Cmd
	stdin io.Closer
	out   *bufio.Reader
	addr  string
}

// serve starts "ringwire serve" on a port of its own.
func (s *suite) serve(ctx context.Context, r *report, args ...string) (*backend, error) {
	args = append([]string{"serve", "--addr", "127.0.0.1:0", "--stdin"}, args...)
	b := &backend{cmd: exec.CommandContext(ctx, s.binary, args...)}
	b.cmd.Stderr = os.Stderr
	stdin, err := b.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := b.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := b.cmd.Start(); err != nil {
		return nil, err
	}
	r.ran("ringwire " + shown(args))
	b.stdin, b.out = stdin, bufio.NewReader(stdout)
	line, err := b.out.ReadString('\n')
	var found bool
	if b.addr, found = strings.CutPrefix(strings.TrimSpace(line), "listening on "); err != nil || !found {
		_ = b.cmd.Process.Kill()
		_ = b.cmd.Wait()
		return nil, fmt.Errorf("ringwire %s: says %q: %w", strings.Join(args, " "), line, err)
	}
	return b, nil
}

// end closes the backend's input, upon which it ends, and waits for that.
func (b *backend) end() error {
	_ = b.cmd.Process.Signal(syscall.SIGCONT)
	_ = b.stdin.Close()
	kill := time.AfterFunc(grace, func() { _ = b.cmd.Process.Kill() })
	defer kill.Stop()
	_, _ = io.Copy(io.Discard, b.out)
	return b.cmd.Wait()
}

// pause waits, false if ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func milliseconds(ns int64) string { return fmt.Sprintf("%.2f ms", float64(ns)/1e6) }
