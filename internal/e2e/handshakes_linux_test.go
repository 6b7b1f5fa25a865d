package e2e

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ringwire/ringwire/certs"
	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/internal/testca"
	"github.com/ringwire/ringwire/server"
)

// Handshakes are arithmetic. What they take from others is seen when the server, the clients that
// connect, and those that are looked at are processes of their own: this test's program, in a role.

// roleVariable has the program play a role instead of running tests.
const roleVariable = "RINGWIRE_E2E_ROLE"

var roles = map[string]func(args []string) error{"both fronts": bothFronts, "bare": bareTLS, "flood": shakeHands}

func TestMain(m *testing.M) {
	role := os.Getenv(roleVariable)
	if role == "" {
		os.Exit(m.Run())
	}
	if err := roles[role](os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// bothFronts serves plain clients at the first address that it prints, and TLS at the second.
func bothFronts(args []string) error {
	files, err := certs.Load(certs.Config{Cert: args[0], Key: args[1], Interval: -1})
	if err != nil {
		return err
	}
	s, err := server.New(server.Config{Addr: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler),
		Handler: server.HandlerFunc(func(_ *server.Conn, dst, req []byte) ([]byte, error) { return append(dst, req...), nil })})
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if err := cmp.Or(s.Start(), s.ServeTLS(ln, files.Server())); err != nil {
		return err
	}
	fmt.Println(s.Addr(), ln.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin) // whose end ends it, should the test die
	return s.Close()
}

// bareTLS is what crypto/tls does without us: a goroutine for each connection sends back what comes.
func bareTLS(args []string) error {
	files, err := certs.Load(certs.Config{Cert: args[0], Key: args[1], Interval: -1})
	if err != nil {
		return err
	}
	ln, err := tls.Listen("tcp", "127.0.0.1:0", files.Server())
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	fmt.Println(ln.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
	return ln.Close()
}

// floodersMax is how many handshakes of a flood are under way at a time.
const floodersMax = 64

// shakeHands connects to args[0] args[2] times a second, whose certificate is of the authorities in
// args[1]: each time a whole handshake and one call. What is due while all flooders are busy is
// left out. When the first has ended it says so, and after the end of its input how many there
// were, how many failed, and in what time. It runs when nobody else wants a processor, since it
// stands for many clients with machines of their own.
func shakeHands(args []string) error {
	if err := runWhenOthersDoNot(); err != nil {
		return err
	}
	files, err := certs.Load(certs.Config{CA: args[1], Interval: -1})
	if err != nil {
		return err
	}
	rate, err := strconv.ParseFloat(args[2], 64)
	if err != nil {
		return err
	}
	cfg := files.Client(floodName)
	cfg.ClientSessionCache = nil // no handshake is to be resumed
	var made, failed atomic.Int64
	var why atomic.Pointer[error] // of the first that failed
	first, due := make(chan struct{}), make(chan struct{}, floodersMax)
	begun := sync.OnceFunc(func() { close(first) })
	var all sync.WaitGroup
	for range floodersMax {
		all.Go(func() {
			for range due {
				if err := shakeHand(args[0], cfg); err != nil {
					failed.Add(1)
					why.CompareAndSwap(nil, &err)
				} else {
					made.Add(1)
				}
				begun()
			}
		})
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	began, sent := time.Now(), 0
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for goesOn := true; goesOn; {
		for ; sent < int(rate*time.Since(began).Seconds())+1; sent++ {
			select {
			case due <- struct{}{}:
			default:
			}
		}
		select {
		case <-over:
			goesOn = false
		case <-first:
			fmt.Println("flooding")
			first = nil
		case <-tick.C:
		}
	}
	close(due)
	all.Wait()
	fmt.Println(made.Load(), failed.Load(), time.Since(began).Nanoseconds())
	if err := why.Load(); err != nil {
		return *err
	}
	return nil
}

// runWhenOthersDoNot starts the program anew with the kernel's lowest priority, which all of its
// threads have then.
func runWhenOthersDoNot() error {
	const begunAnew = "RINGWIRE_E2E_IDLE"
	if os.Getenv(begunAnew) != "" {
		return nil
	}
	runtime.LockOSThread() // the priority is the thread's
	idle := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}
	if err := unix.SchedSetAttr(0, &idle, 0); err != nil {
		return fmt.Errorf("cannot take the lowest priority: %w", err)
	}
	return syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), begunAnew+"=1"))
}

// floodName is that of the servers.
const floodName = "server"

// shakeHand makes a handshake and a call, and resets the connection, so that no port waits for the end
// of a flood.
func shakeHand(addr string, cfg *tls.Config) error {
	nc, err := net.DialTimeout("tcp", addr, testBound)
	if err != nil {
		return err
	}
	defer nc.Close()
	_ = nc.(*net.TCPConn).SetLinger(0)
	if err := nc.SetDeadline(time.Now().Add(5 * testBound)); err != nil {
		return err
	}
	c := tls.Client(nc, cfg)
	return cmp.Or(c.Handshake(), call(c, framing.NewReader(c, framing.Format{}), 1, []byte("hello")))
}

// An actor is a process in a role.
type actor struct {
	t     testing.TB
	cmd   *exec.Cmd
	stdin io.Closer
	lines *bufio.Scanner
	sorry strings.Builder // its standard error
}

// startActor starts one that is killed with the test, or when it takes too long.
func startActor(t testing.TB, role string, args ...string) *actor {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), sized(10*testBound, 100*testBound))
	a := &actor{t: t, cmd: exec.CommandContext(ctx, os.Args[0], args...)}
	a.cmd.Env = append(os.Environ(), roleVariable+"="+role, "GORACE=atexit_sleep_ms=0")
	a.cmd.Stderr = &a.sorry
	out, err := a.cmd.StdoutPipe()
	require.NoError(t, err)
	a.stdin, err = a.cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, a.cmd.Start())
	a.lines = bufio.NewScanner(out)
	t.Cleanup(func() {
		cancel() // it has ended, unless the test has failed
		_ = a.cmd.Wait()
	})
	return a
}

// says returns the words of the next line.
func (a *actor) says() []string {
	a.t.Helper()
	if !a.lines.Scan() {
		_ = a.cmd.Wait()
		require.Failf(a.t, "an actor has left", "%s", a.sorry.String())
	}
	return strings.Fields(a.lines.Text())
}

// leave ends it.
func (a *actor) leave() error {
	_ = a.stdin.Close()
	for a.lines.Scan() {
	}
	if err := a.cmd.Wait(); err != nil {
		return errors.New(a.sorry.String())
	}
	return nil
}

// flooded is what neighbours have done beside a flood, and its size.
type flooded struct {
	lap
	made, perSecond, failed int
}

// during lets the neighbours go on for so long.
func (b *neighbours) during(d time.Duration) lap {
	b.lap()
	<-time.After(d)
	return b.lap()
}

// besideFlood does so while others make handshakes at addr.
func (b *neighbours) besideFlood(t testing.TB, d time.Duration, addr, ca string, perSecond int) flooded {
	a := startActor(t, "flood", addr, ca, strconv.Itoa(perSecond))
	require.Equal(t, []string{"flooding"}, a.says())
	f := flooded{lap: b.during(d)}
	_ = a.stdin.Close()
	words := a.says()
	require.Len(t, words, 3)
	f.made, _ = strconv.Atoi(words[0])
	f.failed, _ = strconv.Atoi(words[1])
	took, err := strconv.Atoi(words[2])
	require.NoError(t, err)
	f.perSecond = int(float64(f.made) / time.Duration(took).Seconds())
	assert.NoError(t, a.leave(), "the first handshake that failed")
	return f
}

// middle is the median of each figure over rounds.
func middle(rounds []flooded) (m flooded) {
	at := func(figure func(flooded) int) int {
		var all []int
		for _, r := range rounds {
			all = append(all, figure(r))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	m.calls = at(func(r flooded) int { return r.calls })
	m.p50 = time.Duration(at(func(r flooded) int { return int(r.p50) }))
	m.p99 = time.Duration(at(func(r flooded) int { return int(r.p99) }))
	m.perSecond = at(func(r flooded) int { return r.perSecond })
	return m
}

// A plain client is served beside a flood of TLS handshakes at the same server. At full size it
// prints how fast, which is to be at most twice as slow as undisturbed; that is a figure, and no
// test of it. The same flood at crypto/tls alone, in another process, tells what the machine is
// short of.
func TestServerRowHandshakesLeavePlainClientsBe(t *testing.T) {
	checkLeaks(t)
	const goal = 2.0
	rounds, lap, perSecond := sized(1, 5), sized(200*time.Millisecond, figureLap), sized(200, 2000)
	dir, ca := t.TempDir(), testca.New(t)
	cert, key := testca.Files(t, dir, ca.Server(t, floodName))
	authority := ca.File(t, dir)
	ours, bare := startActor(t, "both fronts", cert, key), startActor(t, "bare", cert, key)
	at, elsewhere := ours.says(), bare.says()
	require.Len(t, at, 2)
	require.Len(t, elsewhere, 1)
	b, err := startNeighbours(at[0], 1, time.Millisecond)
	require.NoError(t, err)
	defer b.end()
	b.served(t, 1)
	var quiet, under, beside []flooded
	var ratios []float64 // of p99, within a round
	for range rounds {
		quiet = append(quiet, flooded{lap: b.during(lap)})
		under = append(under, b.besideFlood(t, lap, at[1], authority, perSecond))
		beside = append(beside, b.besideFlood(t, lap, elsewhere[0], authority, perSecond))
		for _, f := range []flooded{under[len(under)-1], beside[len(beside)-1]} {
			assert.Positive(t, f.made)
			assert.Zero(t, f.failed, "so few at a time are never refused")
		}
		ratios = append(ratios, float64(under[len(under)-1].p99)/float64(max(quiet[len(quiet)-1].p99, 1)))
	}
	b.served(t, 1)
	b.end()
	failed, why := b.failures()
	assert.Zero(t, failed, "calls of the plain client: %v", why)
	assert.NoError(t, ours.leave())
	assert.NoError(t, bare.leave())
	if !*full {
		return
	}
	slices.Sort(ratios)
	q, u, o, ratio := middle(quiet), middle(under), middle(beside), ratios[len(ratios)/2]
	verdict := "MISSED"
	if ratio <= goal {
		verdict = "met"
	}
	if u.perSecond < perSecond*9/10 {
		verdict += " at what was reached"
	}
	line("TLS", "a plain client", "quiet %v; beside %d handshakes/s of %d asked for, %v: p99 %.1f x, <= %.0f x wanted: %s; "+
		"beside %d/s at crypto/tls in another process, %v", q.lap, u.perSecond, perSecond, u.lap, ratio, goal, verdict, o.perSecond, o.lap)
}
