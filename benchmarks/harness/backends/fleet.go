package backends

import (
	"context"
	"fmt"
	"os"

	"github.com/ringwire/ringwire/benchmarks/harness/proc"
)

// backend is a server that is a process of its own. It keeps its address when it starts again.
type backend struct {
	name    string
	command []string
	child   *proc.Child
	addr    string
	frozen  bool
}

// start runs a command to which "--addr HOST:PORT" is added.
func start(ctx context.Context, name string, command ...string) (*backend, error) {
	b := &backend{name: name, command: command, addr: "127.0.0.1:0"}
	return b, b.run(ctx)
}

// run starts it, at the address that it had before, if it had one.
func (b *backend) run(ctx context.Context, more ...string) error {
	args := append(append(b.command[1:len(b.command):len(b.command)], more...), "--addr", b.addr)
	child, err := proc.Start(ctx, b.command[0], args...)
	if err != nil {
		return fmt.Errorf("start %s: %w", b.name, err)
	}
	b.child, b.addr = child, child.Addr
	return nil
}

// kill is kill -9. It returns when the process has ended.
func (b *backend) kill() error {
	p, err := os.FindProcess(b.child.PID())
	if err != nil {
		return err
	}
	if err := p.Kill(); err != nil {
		return fmt.Errorf("kill %s: %w", b.name, err)
	}
	<-b.child.Exited()
	return nil
}

func (b *backend) freeze() error {
	b.frozen = true
	return freeze(b.child.PID())
}

func (b *backend) thaw() error {
	b.frozen = false
	return thaw(b.child.PID())
}

// end stops it in whatever state it is.
func (b *backend) end() {
	if b == nil || b.child == nil {
		return
	}
	if b.frozen {
		_ = b.thaw()
	}
	b.child.Stop()
}

// fleet are the servers of a run: processes of "ringwire serve". Each answers with the request cut
// to a length of its own, so that the reply tells whose it is.
type fleet struct {
	binary string
	all    []*backend
}

// requestSize is that of each request in bytes.
const requestSize = 64

// add starts a server.
func (f *fleet) add(ctx context.Context, args ...string) (*backend, error) {
	n := len(f.all)
	command := append([]string{f.binary, "serve", "--stdin", "--reply-size", fmt.Sprint(requestSize - 1 - n)}, args...)
	b, err := start(ctx, string(rune('A'+n)), command...)
	f.all = append(f.all, b)
	return b, err
}

// of returns which server has made a reply, or -1.
func (f *fleet) of(reply []byte) int {
	n := requestSize - 1 - len(reply)
	if n < 0 || n >= len(f.all) {
		return -1
	}
	return n
}

// addrs returns where they listen.
func (f *fleet) addrs() (addrs []string) {
	for _, b := range f.all {
		addrs = append(addrs, b.addr)
	}
	return addrs
}

func (f *fleet) end() {
	for _, b := range f.all {
		b.end()
	}
}
