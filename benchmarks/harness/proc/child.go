// Package proc runs a server as a process of its own and reads how much
// processor time it, and this process, have used.
package proc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"time"
)

const (
	// startTimeout bounds the wait for a child's announcement.
	startTimeout = 10 * time.Second
	// stopTimeout bounds the wait for a child to end after its stdin closed;
	// then it is killed.
	stopTimeout = 5 * time.Second
	// pipeDelay bounds the wait for a child's output after its end: somebody it
	// started may hold its pipes open.
	pipeDelay = time.Second
	// stderrBytesMax bounds what is kept of a child's complaints.
	stderrBytesMax = 4 << 10
)

// announcement is the line, followed by HOST:PORT, by which a child says that
// it accepts connections.
const announcement = "listening on "

// Child is a running server process. Its standard input is a pipe held by this
// process and by nobody else: when this process ends, however it ends, the pipe
// closes and the child, which watches it, ends too.
type Child struct {
	// Addr is where the child listens.
	Addr string

	cmd    *exec.Cmd
	stdin  io.Closer
	stderr *tail
	exited chan struct{} // closed by reap, after cmd.Wait
	stop   sync.Once
}

// Start runs path with args and returns when the child has announced its
// address. It fails when that takes over ten seconds, when ctx ends, or when the
// child exits; nothing is left running then. The caller owns the child and must
// Stop it.
func Start(ctx context.Context, path string, args ...string) (*Child, error) {
	cmd := exec.Command(path, args...)
	cmd.WaitDelay = pipeDelay
	detach(cmd)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("proc: %w", err)
	}
	// The lines arrive through our own pipe, so that cmd.Wait may be called
	// before the reader is done.
	out, in := io.Pipe()
	cmd.Stdout = in
	c := &Child{cmd: cmd, stdin: stdin, stderr: &tail{}, exited: make(chan struct{})}
	cmd.Stderr = c.stderr
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("proc: start %s: %w", path, err)
	}
	go c.reap(in)
	announced := make(chan string, 1)
	go watch(out, announced)

	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	select {
	case addr, ok := <-announced:
		if ok {
			c.Addr = addr
			return c, nil
		}
		err = errors.New("it exited without saying where it listens")
	case <-timeout.C:
		err = fmt.Errorf("it did not say where it listens within %v", startTimeout)
	case <-ctx.Done():
		err = ctx.Err()
	}
	c.Stop()
	return nil, fmt.Errorf("proc: start %s: %w%s", path, err, c.complaint())
}

// reap waits for the child's end, so that no zombie remains.
func (c *Child) reap(stdout io.Closer) {
	_ = c.cmd.Wait()
	_ = stdout.Close()
	close(c.exited)
}

// watch hands the first announced address to found, and reads on to the end:
// a child must never wait for somebody to read its output.
func watch(out io.Reader, found chan<- string) {
	defer close(found)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if addr, ok := strings.CutPrefix(lines.Text(), announcement); ok {
			found <- strings.TrimSpace(addr)
			break
		}
	}
	_, _ = io.Copy(io.Discard, out)
}

// PID is the child's process ID.
func (c *Child) PID() int { return c.cmd.Process.Pid }

// Exited is closed when the child has ended.
func (c *Child) Exited() <-chan struct{} { return c.exited }

// Stop closes the child's standard input, waits up to five seconds for it to
// end, and kills it when it does not. It is idempotent.
func (c *Child) Stop() {
	c.stop.Do(func() {
		_ = c.stdin.Close()
		timeout := time.NewTimer(stopTimeout)
		defer timeout.Stop()
		select {
		case <-c.exited:
		case <-timeout.C:
			_ = c.cmd.Process.Kill()
			<-c.exited
		}
	})
}

// complaint is the end of what the child wrote to its standard error, as a
// suffix for an error text.
func (c *Child) complaint() string {
	text := strings.TrimSpace(c.stderr.String())
	if text == "" {
		return ""
	}
	return ": " + text
}

// tail keeps the last bytes written to it.
type tail struct {
	mu   sync.Mutex // guards kept; nothing is called under it
	kept []byte
}

// Write keeps the end of p. It never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, p...)
	if extra := len(t.kept) - stderrBytesMax; extra > 0 {
		t.kept = append(t.kept[:0], t.kept[extra:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.kept)
}
