package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
	"github.com/ringwire/ringwire/benchmarks/harness/bench"
)

const (
	// RedisKey holds a value of RedisValueBytes.
	RedisKey        = "value"
	RedisValueBytes = 64
	// redisProgram and RedisBenchmark are from Debian's redis-server and
	// redis-tools.
	redisProgram   = "redis-server"
	RedisBenchmark = "redis-benchmark"
	// redisStart bounds the wait for the server's first answer.
	redisStart = 10 * time.Second
	redisNote  = "beside Redis, in C; GET of a stored value: the request is a key, so its bytes are fewer; the reply is compared with the value"
)

// redisTLSMissing says what is missing to measure Redis over TLS; "" when nothing is. A Redis
// without TLS does not know the setting that this names before one that no Redis takes.
func redisTLSMissing() string {
	if missing := RedisMissing(); missing != "" {
		return missing
	}
	ctx, cancel := context.WithTimeout(context.Background(), redisStart)
	defer cancel()
	out, _ := exec.CommandContext(ctx, redisProgram, "--tls-port", "0", "--port", "none").CombinedOutput()
	if strings.Contains(string(out), "tls-port") {
		return redisProgram + " is built without TLS"
	}
	return ""
}

// RedisMissing says what is missing to measure Redis; "" when nothing is.
func RedisMissing() string {
	for _, program := range []string{redisProgram, RedisBenchmark} {
		if _, err := exec.LookPath(program); err != nil {
			return program + " is not installed (Debian: apt-get install redis-server)"
		}
	}
	return ""
}

// redisValue is what the key holds.
func redisValue() []byte {
	value := make([]byte, RedisValueBytes)
	for i := range value {
		value[i] = 'a' + byte(i%26)
	}
	return value
}

// Rueidis is redis/rueidis beside a Redis server: automatic pipelining on one
// connection, client-side caching off.
func Rueidis() Peer { return rueidisOver(nil) }

func rueidisOver(id *Identity) Peer {
	target := func(addr string, _ int) (bench.Target, error) {
		pid, err := redisPID(id, addr)
		if err != nil {
			return bench.Target{}, err
		}
		t := blocking("rueidis", redisNote, pid, func(context.Context, int) (bench.Client, error) {
			client, err := newRueidis(id, addr)
			if err != nil {
				return nil, err
			}
			return ready(rueidisClient{client}, nil)
		})
		t.Reply = redisValue()
		return t, nil
	}
	serve := func(addr string) (*Server, error) { return serveRedis(id, addr) }
	p := Peer{Name: "rueidis", Module: "github.com/redis/rueidis", Note: redisNote, Serve: serve, Target: target,
		Missing: RedisMissing, Secured: rueidisOver, Identity: id,
		Window: &Window{Name: "rueidis DoMulti", API: bench.Batch, Open: newRueidisWindow,
			Note: redisNote + "; the commands are built beforehand"}}
	if id != nil {
		p.Missing = redisTLSMissing
	}
	return p
}

func newRueidis(id *Identity, addr string) (rueidis.Client, error) {
	options := rueidis.ClientOption{
		InitAddress:       []string{addr},
		DisableCache:      true,
		ForceSingleClient: true,
		PipelineMultiplex: -1, // one connection
	}
	if id != nil {
		options.TLSConfig = id.client()
	}
	return rueidis.NewClient(options)
}

type rueidisClient struct{ client rueidis.Client }

// Call ignores dst: rueidis allocates every reply.
func (c rueidisClient) Call([]byte, *[]byte) ([]byte, error) {
	return c.client.Do(context.Background(), c.client.B().Get().Key(RedisKey).Build()).AsBytes()
}

func (c rueidisClient) Close() error {
	c.client.Close()
	return nil
}

// rueidisWindow sends commands together. They are all the same, and pinned, so that they are good for
// any number of batches.
type rueidisWindow struct {
	rueidisClient
	commands rueidis.Commands
}

func newRueidisWindow(c bench.Client, callers int) (bench.Client, error) {
	w := rueidisWindow{commands: make(rueidis.Commands, callers)}
	var ok bool
	if w.rueidisClient, ok = c.(rueidisClient); !ok {
		return nil, fmt.Errorf("rueidis: %T is not its client", c)
	}
	for i := range w.commands {
		w.commands[i] = w.client.B().Get().Key(RedisKey).Build().Pin()
	}
	return w, nil
}

// SendBatch has no use for the requests: the key is what is sent.
func (w rueidisWindow) SendBatch(reqs [][]byte, fn func(i int, reply []byte, err error)) error {
	var first error
	for i, result := range w.client.DoMulti(context.Background(), w.commands[:len(reqs)]...) {
		reply, err := result.AsBytes()
		if err != nil && first == nil {
			first = err
		}
		fn(i, reply, err)
	}
	return first
}

// redisPID asks the server for its process: it is a child of the process that
// announced it.
func redisPID(id *Identity, addr string) (int, error) {
	client, err := newRueidis(id, addr)
	if err != nil {
		return 0, err
	}
	defer client.Close()
	info, err := client.Do(context.Background(), client.B().Info().Section("server").Build()).ToString()
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(info, "process_id:")
	text, _, _ := strings.Cut(rest, "\r\n")
	pid, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("redis: its INFO names no process: %w", err)
	}
	return pid, nil
}

// serveRedis runs a Redis server as a child process, without persistence, in a
// folder of its own, and stores the value.
func serveRedis(id *Identity, addr string) (*Server, error) {
	missing := RedisMissing
	if id != nil {
		missing = redisTLSMissing
	}
	if why := missing(); why != "" {
		return nil, errors.New(why)
	}
	host, port, err := freeAddr(addr)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "ringwire-redis-")
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(redisProgram, append(redisListen(id, port), "--bind", host, "--dir", dir,
		"--save", "", "--appendonly", "no", "--daemonize", "no", "--loglevel", "warning")...)
	endWithParent(cmd)
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	stop := func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	}
	bound := net.JoinHostPort(host, port)
	if err := storeValue(id, bound); err != nil {
		stop()
		return nil, err
	}
	return &Server{Addr: bound, Close: stop}, nil
}

// redisListen are the settings of where it listens, and how.
func redisListen(id *Identity, port string) []string {
	if id == nil {
		return []string{"--port", port}
	}
	return []string{"--port", "0", "--tls-port", port, "--tls-cert-file", id.Cert, "--tls-key-file", id.Key,
		"--tls-auth-clients", "no", "--tls-protocols", "TLSv1.3"}
}

// freeAddr replaces port 0 with one that was free a moment ago: Redis does not
// tell which one it got.
func freeAddr(addr string) (host, port string, err error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return "", "", err
	}
	defer func() { _ = listener.Close() }()
	return net.SplitHostPort(listener.Addr().String())
}

// storeValue waits until the server answers.
func storeValue(id *Identity, addr string) error {
	var err error
	for deadline := time.Now().Add(redisStart); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		var client rueidis.Client
		if client, err = newRueidis(id, addr); err != nil {
			continue
		}
		defer client.Close()
		set := client.B().Set().Key(RedisKey).Value(rueidis.BinaryString(redisValue())).Build()
		return client.Do(context.Background(), set).Error()
	}
	return fmt.Errorf("redis: no answer at %s within %v: %w", addr, redisStart, err)
}
