package load

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// startTimeout bounds the wait for a server's announcement.
	startTimeout = 20 * time.Second
	// stopTimeout bounds the wait for a server to end after its standard input
	// closed; then it is killed.
	stopTimeout = 10 * time.Second
)

// announcement is the line, followed by HOST:PORT, by which a server says that it
// accepts connections. It is the first it prints.
const announcement = "listening on "

// roleVariable tells a process what it was started for.
const roleVariable = "RINGWIRE_LOAD_ROLE"

// roleServer is the role of the processes that Start starts.
const roleServer = "server"

// Role is what this process was started for; "" for an ordinary run of the tests.
func Role() string { return os.Getenv(roleVariable) }

// Server is a server that runs as a process of its own: another run of this
// program, whose TestMain must call ServeIfStarted first. Its standard input is a
// pipe that only this process holds, so when this process ends, however it ends,
// the server does too.
type Server struct {
	// Addr is where it listens, HOST:PORT.
	Addr string

	cmd    *exec.Cmd
	stdin  io.Closer
	output chan struct{} // closed when its standard output has ended
	stop   sync.Once
	err    error // of stop
}

// Start starts a server and returns when it accepts connections, or fails within
// 20 seconds and leaves nothing running. The caller must Stop it. wrap, if any,
// is a command with its arguments that runs the program given behind them, such
// as strace.
func Start(wrap ...string) (*Server, error) {
	cmd, err := Command(roleServer, wrap...)
	if err != nil {
		return nil, err
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("load: start the server: %w", err)
	}
	s := &Server{cmd: cmd, stdin: stdin, output: make(chan struct{})}
	announced := make(chan string, 1)
	go s.watch(stdout, announced)

	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	select {
	case line := <-announced:
		addr, ok := strings.CutPrefix(line, announcement)
		if ok {
			s.Addr = strings.TrimSpace(addr)
			return s, nil
		}
		err = fmt.Errorf("it began with %q instead of %q; does TestMain call ServeIfStarted?", line, announcement)
	case <-timeout.C:
		err = fmt.Errorf("it did not say where it listens within %v", startTimeout)
	}
	return nil, errors.Join(fmt.Errorf("load: start the server: %w", err), s.Stop())
}

// Command is another run of this program in a role, under wrap if there is one.
// What it complains of goes to this process's standard error.
func Command(role string, wrap ...string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("load: find this program: %w", err)
	}
	args := append(slices.Clone(wrap), self)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Stderr = os.Stderr
	return cmd, nil
}

// watch hands the server's first line over and reads on to the end, since a
// server must never wait for somebody to read its output.
func (s *Server) watch(out io.Reader, first chan<- string) {
	defer close(s.output)
	lines := bufio.NewReader(out)
	line, _ := lines.ReadString('\n')
	first <- line
	_, _ = io.Copy(io.Discard, lines)
}

// PID is the process ID of the server, or of what wraps it.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Stop closes the server's standard input and waits up to ten seconds for it to
// end; then it is killed. The error says that it failed. Stop is idempotent.
func (s *Server) Stop() error {
	s.stop.Do(func() {
		_ = s.stdin.Close()
		timer := time.AfterFunc(stopTimeout, func() { _ = s.cmd.Process.Kill() })
		defer timer.Stop()
		<-s.output // Wait closes the pipe that watch reads
		if err := s.cmd.Wait(); err != nil {
			s.err = fmt.Errorf("load: the server: %w", err)
		}
	})
	return s.err
}
