package e2e

import (
	"bufio"
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
)

// programs is where make build has put the servers.
var programs = flag.String("rows.bin", "", "measure the programs in this directory under the server's rows of docs/RELIABILITY.md")

// The size of the figures.
const (
	figureMob        = 300
	figureNeighbours = 20
	figureEvery      = 10 * time.Millisecond // a neighbour's calls
	figureLap        = 3 * time.Second
	figurePatience   = 40 * time.Second // for a mob to be gone
)

// A program is a server in a process of its own, at its defaults.
type program struct {
	name string
	args []string
	via  []string // what runs it, if anything
}

// running is one that serves. What it is seen to do is seen from outside.
type running struct {
	cmd  *exec.Cmd
	addr string
	pid  int
	base int // sockets without a connection
	done chan struct{}
}

func (p program) start(t *testing.T) *running {
	t.Helper()
	line := append(append([]string{}, p.via...), filepath.Join(*programs, p.name))
	line = append(append(line, p.args...), "--addr", "127.0.0.1:0", "--stdin")
	r := &running{cmd: exec.Command(line[0], line[1:]...), done: make(chan struct{})}
	out, err := r.cmd.StdoutPipe()
	require.NoError(t, err)
	_, err = r.cmd.StdinPipe() // whose end ends it, should the test die
	require.NoError(t, err)
	require.NoError(t, r.cmd.Start())
	r.pid = r.cmd.Process.Pid
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan(), "%v says nothing; make build first", line)
	_, err = fmt.Sscanf(lines.Text(), "listening on %s", &r.addr)
	require.NoError(t, err)
	go func() {
		for lines.Scan() {
		}
		_ = r.cmd.Wait()
		close(r.done)
	}()
	r.base = r.sockets()
	t.Cleanup(r.kill)
	return r
}

func (r *running) kill() {
	_ = r.cmd.Process.Kill()
	<-r.done
}

// sockets returns how many the process has.
func (r *running) sockets() (n int) {
	dir := fmt.Sprintf("/proc/%d/fd/", r.pid)
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if to, err := os.Readlink(dir + e.Name()); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

func (r *running) conns() int { return r.sockets() - r.base }

// rss returns the resident memory in MiB.
func (r *running) rss() int {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.pid))
	_, rest, _ := bytes.Cut(status, []byte("VmRSS:"))
	fields := bytes.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kib, _ := strconv.Atoi(string(fields[0]))
	return kib >> 10
}

// cpu returns the processor time used so far.
func (r *running) cpu() time.Duration {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.pid))
	_, rest, _ := bytes.Cut(stat, []byte(") "))
	var sum int
	if f := bytes.Fields(rest); len(f) > 12 {
		user, _ := strconv.Atoi(string(f[11]))
		system, _ := strconv.Atoi(string(f[12]))
		sum = user + system
	}
	return time.Duration(sum) * 10 * time.Millisecond // USER_HZ is 100
}

func (l lap) String() string {
	us := func(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d)/float64(time.Millisecond)) }
	return fmt.Sprintf("%d calls, p50 %s, p99 %s ms", l.calls, us(l.p50), us(l.p99))
}

// watch looks every few milliseconds until ok or for so long, and returns how long it took
// and the most memory seen. until is false if the time was up.
func (r *running) watch(limit time.Duration, ok func() bool) (took time.Duration, most int, until bool) {
	began := time.Now()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for time.Since(began) < limit {
		most = max(most, r.rss())
		if ok() {
			return time.Since(began), most, true
		}
		<-tick.C
	}
	return limit, most, false
}

// during watches for so long.
func (r *running) during(d time.Duration) (most int) {
	_, most, _ = r.watch(d, func() bool { return false })
	return most
}

// line prints a figure.
func line(row, server, format string, args ...any) {
	fmt.Printf("%-5s %-26s %s\n", row, server, fmt.Sprintf(format, args...))
}

// besiege has a mob do something and says when it was gone.
func besiege(t *testing.T, row string, p program, do misbehaviour) {
	r := p.start(t)
	b, err := startNeighbours(r.addr, figureNeighbours, figureEvery)
	require.NoError(t, err)
	defer b.end()
	before := r.rss()
	r.during(figureLap)
	quiet := b.lap()
	m, err := newMob(r.addr, figureMob, do)
	require.NoError(t, err)
	defer m.disperse()
	took, most, all := r.watch(figurePatience, func() bool { return r.conns() <= figureNeighbours })
	gone := fmt.Sprintf("all gone after %.1f s", took.Seconds())
	if !all {
		gone = fmt.Sprintf("%d of %d still there after %.0f s", r.conns()-figureNeighbours, figureMob, took.Seconds())
	}
	under := b.lap()
	failed, _ := b.failures()
	line(row, p.String(), "%s; RSS %d -> %d MiB; neighbours: %d failed, quiet %v, then %v",
		gone, before, most, failed, quiet, under)
}

func (p program) String() string { return strings.Join(append([]string{p.name}, p.args...), " ") }

// figureFlood is row S3.
func figureFlood(t *testing.T, p program) {
	r := p.start(t)
	b, err := startNeighbours(r.addr, figureNeighbours, figureEvery)
	require.NoError(t, err)
	defer b.end()
	before := r.rss()
	r.during(figureLap)
	quiet := b.lap()
	floods, end, err := startFloods(r.addr, 4)
	require.NoError(t, err)
	most := r.during(2 * figureLap)
	under := b.lap()
	end()
	var sent, got, cut int64
	for _, f := range floods {
		sent, got = sent+f.sent, got+f.got
		if f.err != nil {
			cut++
		}
	}
	failed, _ := b.failures()
	line("S3", p.String(), "%d of 4 floods cut, %d requests, %d unanswered; RSS %d -> %d MiB; neighbours: %d failed, quiet %v, then %v",
		cut, sent, sent-got, before, most, failed, quiet, under)
}

// figureStarve is row S5: 64 descriptors, and more connections than that.
func figureStarve(t *testing.T, p program) {
	p.via = []string{"sh", "-c", `ulimit -n 64; exec "$@"`, "sh"}
	r := p.start(t)
	b, err := startNeighbours(r.addr, figureNeighbours, figureEvery)
	require.NoError(t, err)
	defer b.end()
	r.during(figureLap)
	quiet := b.lap()
	m, err := newMob(r.addr, 100, func(c net.Conn) { _, _ = c.Read(make([]byte, 1)) })
	require.NoError(t, err)
	cpu := r.cpu()
	r.during(figureLap)
	cpu = r.cpu() - cpu
	under := b.lap()
	m.disperse()
	again := "nobody is accepted in 20 s after relief"
	began := time.Now()
	if c, err := net.DialTimeout("tcp", r.addr, testBound); err == nil {
		if call(c, framing.NewReader(c, framing.Format{}), 1, []byte("again")) == nil {
			again = fmt.Sprintf("accepts %.2f s after relief", time.Since(began).Seconds())
		}
		_ = c.Close()
	}
	failed, _ := b.failures()
	line("S5", p.String(), "%s; processor %.1f %%; neighbours: %d failed, quiet %v, then %v",
		again, 100*cpu.Seconds()/figureLap.Seconds(), failed, quiet, under)
}

// figureDrain is row S15 on the plain wire: SIGTERM while clients call as fast as they can.
func figureDrain(t *testing.T, p program) {
	const rounds, clients = 10, 16
	var asked, lost atomic.Int64
	var slowest time.Duration
	for range rounds {
		r := p.start(t)
		var all sync.WaitGroup
		var calls atomic.Int64
		for range clients {
			c, err := net.DialTimeout("tcp", r.addr, testBound)
			require.NoError(t, err)
			all.Go(func() {
				defer c.Close()
				in := framing.NewReader(c, framing.Format{})
				for id := uint32(1); ; id++ {
					asked.Add(1)
					if call(c, in, id, []byte("x")) != nil {
						lost.Add(1)
						return
					}
					calls.Add(1)
				}
			})
		}
		r.watch(5*testBound, func() bool { return calls.Load() > 2000 })
		began := time.Now()
		require.NoError(t, r.cmd.Process.Signal(syscall.SIGTERM))
		all.Wait()
		<-r.done
		slowest = max(slowest, time.Since(began))
	}
	line("S15", p.String(), "%d stops under load, %d clients each, %d calls: %d without a reply; slowest %.1f s",
		rounds, clients, asked.Load(), lost.Load(), slowest.Seconds())
}

// figureMemory is row S18: many clients that do not read, in a control group of 512 MiB.
func figureMemory(t *testing.T, p program, wave int) {
	group := fmt.Sprintf("/sys/fs/cgroup/memory/rows-%d", os.Getpid())
	if err := cmp.Or(os.Mkdir(group, 0o755),
		os.WriteFile(group+"/memory.limit_in_bytes", []byte("512M"), 0)); err != nil {
		line("S18", p.String(), "not measured: no control group can be made: %v", err)
		return
	}
	p.via = []string{"env", "GOMEMLIMIT=410MiB", "sh", "-c", `echo $$ >"$0/cgroup.procs"; exec "$@"`, group}
	r := p.start(t)
	defer func() { r.kill(); _ = os.Remove(group) }()
	b, err := startNeighbours(r.addr, figureNeighbours, figureEvery)
	require.NoError(t, err)
	defer b.end()
	r.during(figureLap)
	quiet := b.lap()
	var most int
	cpu := r.cpu()
	for range 3 { // waves, each before the last one is gone
		m, err := newMob(r.addr, wave, neverReads)
		if err != nil {
			break // killed
		}
		defer m.disperse()
		most = max(most, r.during(figureLap))
	}
	under := b.lap()
	end := fmt.Sprintf("alive, processor %.0f %%", 100*(r.cpu()-cpu).Seconds()/(3*figureLap).Seconds())
	select {
	case <-r.done:
		end = "ended: " + r.cmd.ProcessState.String()
	default:
	}
	failed, _ := b.failures()
	line("S18", p.String(), "3 times %d: %s; most RSS %d MiB; neighbours: %d failed, quiet %v in 3 s, then %v in 9 s",
		wave, end, most, failed, quiet, under)
}

// TestServerRowFigures prints the figures of docs/RELIABILITY.md. It fails only if something
// cannot be measured: how fast a machine is, is no fault.
func TestServerRowFigures(t *testing.T) {
	if *programs == "" {
		t.Skip("make server-rows measures")
	}
	ours, anet := program{name: "ringwire", args: []string{"serve"}}, program{name: "anet-v1-baseline-server"}
	workers := program{name: "ringwire", args: []string{"serve", "--workers", "4"}}
	for _, p := range []program{ours, anet} {
		besiege(t, "S1", p, neverReads)
		besiege(t, "S2", p, readsSlowly(time.Second))
	}
	for _, p := range []program{ours, workers, anet} {
		figureFlood(t, p)
	}
	endless := program{name: ours.name, args: append(ours.args, "--max-conns", "100000")}
	for _, p := range []program{endless, anet} {
		figureStarve(t, p)
	}
	for _, p := range []program{ours, anet} {
		besiege(t, "S6b", p, vanishes(t, true))
		besiege(t, "S6i", p, vanishes(t, false))
		besiege(t, "S10", p, sendsSlowly(time.Second))
		figureDrain(t, p)
		figureMemory(t, p, 100)
		figureMemory(t, p, 1000)
	}
}
