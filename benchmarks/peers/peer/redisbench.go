package peer

import (
	"context"
	"encoding/csv"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"github.com/ringwire/ringwire/benchmarks/harness/proc"
)

// redisWarmUp is how many pipelines the benchmark sends to find its speed.
const redisWarmUp = 100

// RedisPipeline is Redis's own load generator beside Redis: one connection, as
// many commands in a pipeline as there are callers. It counts replies and does
// not look at them. pid is Redis's.
func RedisPipeline(addr string, pid int) (bench.Target, error) {
	const note = "C beside C; its pipeline is written and read as a whole, replies are only counted"
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return bench.Target{}, err
	}
	if pid, err = redisPID(nil, addr); err != nil {
		return bench.Target{}, err
	}
	measure := func(ctx context.Context, c bench.Case, d time.Duration) (bench.Sample, error) {
		warm, err := runRedisBenchmark(ctx, host, port, c.Callers, redisWarmUp*c.Callers, 0)
		if err != nil {
			return warm, err
		}
		perSecond := float64(warm.Requests) / warm.Elapsed.Seconds()
		pipelines := max(1, int(perSecond*d.Seconds())/c.Callers)
		return runRedisBenchmark(ctx, host, port, c.Callers, pipelines*c.Callers, pid)
	}
	return bench.Target{Name: RedisBenchmark, Note: note, APIs: []bench.API{bench.Native}, PID: pid, Measure: measure}, nil
}

// runRedisBenchmark runs the program once and takes its own figure.
func runRedisBenchmark(ctx context.Context, host, port string, pipeline, requests, pid int) (bench.Sample, error) {
	cmd := exec.CommandContext(ctx, RedisBenchmark, "-h", host, "-p", port, "-c", "1", "--csv",
		"-P", strconv.Itoa(pipeline), "-n", strconv.Itoa(requests), "GET", RedisKey)
	before, _ := proc.CPUTime(pid)
	out, err := cmd.Output()
	if err != nil {
		return bench.Sample{}, fmt.Errorf("%s: %w", RedisBenchmark, err)
	}
	after, err := proc.CPUTime(pid)
	perSecond, parseErr := redisRate(string(out))
	if parseErr != nil {
		return bench.Sample{}, parseErr
	}
	sample := bench.Sample{
		Requests: uint64(requests),
		Elapsed:  time.Duration(float64(requests) / perSecond * float64(time.Second)),
	}
	if err == nil && pid != 0 {
		state := cmd.ProcessState
		sample.CPU = after - before + state.UserTime() + state.SystemTime()
	}
	return sample, nil
}

// redisRate finds the requests per second in the program's CSV: the column
// "rps" of the last line.
func redisRate(out string) (float64, error) {
	lines, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if err != nil || len(lines) < 2 || len(lines[0]) < 2 || lines[0][1] != "rps" {
		return 0, fmt.Errorf("%s: its output has no column rps: %.100q", RedisBenchmark, out)
	}
	rate, err := strconv.ParseFloat(lines[len(lines)-1][1], 64)
	if err != nil || rate <= 0 {
		return 0, fmt.Errorf("%s: its rate is %q", RedisBenchmark, lines[len(lines)-1][1])
	}
	return rate, nil
}
