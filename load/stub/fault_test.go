package stub

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/load"
	"github.com/ringwire/ringwire/load/report"
	"github.com/ringwire/ringwire/load/request"
)

const requests = 3000

// outcomes is what load counts with n faults of a kind, of all requests.
type outcomes struct {
	code int
	want func(n uint64) (load.Counts, load.Replies)
}

var lostWithTheirConnection = outcomes{report.ExitOK, func(n uint64) (load.Counts, load.Replies) {
	return load.Counts{Replied: requests - n, ConnLost: n}, load.Replies{}
}}

var outcomesOf = map[Fault]outcomes{
	Drop: {report.ExitViolated, func(n uint64) (load.Counts, load.Replies) {
		return load.Counts{Replied: requests - n, Timeouts: n}, load.Replies{}
	}},
	Duplicate: {report.ExitViolated, func(n uint64) (load.Counts, load.Replies) {
		return load.Counts{Replied: requests}, load.Replies{Duplicate: n}
	}},
	WrongID: {report.ExitViolated, func(n uint64) (load.Counts, load.Replies) {
		return load.Counts{Replied: requests - n, Timeouts: n}, load.Replies{UnknownID: n}
	}},
	Swap: {report.ExitViolated, func(n uint64) (load.Counts, load.Replies) {
		return load.Counts{Replied: requests, Mismatch: 2 * n}, load.Replies{}
	}},
	Late: {report.ExitOK, func(n uint64) (load.Counts, load.Replies) {
		return load.Counts{Replied: requests - n, Timeouts: n, Late: n}, load.Replies{}
	}},
	Truncate: {report.ExitViolated, func(n uint64) (load.Counts, load.Replies) {
		return load.Counts{Replied: requests, Truncated: n}, load.Replies{}
	}},
	Split: {report.ExitOK, func(uint64) (load.Counts, load.Replies) {
		return load.Counts{Replied: requests}, load.Replies{}
	}},
	Oversize: lostWithTheirConnection, Garbage: lostWithTheirConnection,
	Close: lostWithTheirConnection, Reset: lostWithTheirConnection,
}

var causes = map[Fault]string{
	Oversize: "connection: a length field that makes no frame", Garbage: "connection: a length field that makes no frame",
	Close: "connection: closed by the peer", Reset: "connection: connection reset by peer",
}

// What load counts is what the stub says that it did, for each fault alone, in a hundredth
// of the requests.
func TestLoadCountsEachFaultAsTheStubDoes(t *testing.T) {
	require.Len(t, outcomesOf, int(faultCount)-1)
	for fault, c := range outcomesOf {
		t.Run(fault.String(), func(t *testing.T) {
			t.Parallel()
			cfg := Config{Codec: codecOf(t, "anet", 4096), Seed: 7, LateBy: 1500 * time.Millisecond}
			cfg.Faults[fault] = 0.01
			s := start(t, cfg)
			res := run(t, toFaulty(t, s, fault))
			st := ended(t, s)
			n := st.Faults[fault]
			assert.InDelta(t, requests/100, n, 20, "about a hundredth")
			want, replies := c.want(n)
			want.Sent = requests
			assert.Equal(t, want, res.Total.Counts)
			assert.Equal(t, replies, res.Replies)
			var only [faultCount]uint64
			only[fault] = n
			assert.Equal(t, only, st.Faults)
			assert.EqualValues(t, requests, st.Requests)
			assert.Equal(t, want.ConnLost, res.Conns.Lost)
			assert.Equal(t, res.Conns.Opened, st.Accepted)
			assert.Equal(t, c.code, report.Summarize(res, report.Options{}).ExitCode)
			if fault.ends() {
				assert.Equal(t, map[string]uint64{causes[fault]: n}, res.Conns.Errors)
			}
		})
	}
}

// toFaulty is a closed loop to a stub with a fault.
func toFaulty(t *testing.T, s *Server, fault Fault) load.Config {
	cfg := to(t, s, requests)
	switch {
	case fault == Late:
		cfg.Timeout, cfg.InFlight = time.Second, 64
	case fault == Drop, fault == WrongID:
		cfg.Timeout, cfg.InFlight = time.Second, 64
		cfg.Drain = 1500 * time.Millisecond // nothing comes
	case fault.ends():
		cfg.InFlight = 1 // so that no other request is lost with it
	case fault == Truncate:
		cfg.Mix = mixOf(t, "payload ${seq}", "echo", request.Status{Offset: 6, Len: 2, OK: [][]byte{[]byte("pa")}})
	}
	return cfg
}

// Several in flight, over several connections, all faults at once: the sums hold, and what
// neither end can lose is counted alike.
func TestFaultsTogetherAddUp(t *testing.T) {
	t.Parallel()
	cfg := Config{Codec: codecOf(t, "anet", 4096), Seed: 3, LateBy: 2 * time.Millisecond}
	for f := Drop; f < faultCount; f++ {
		cfg.Faults[f] = 0.005
	}
	s := start(t, cfg)
	lc := to(t, s, 4000)
	lc.Conns, lc.InFlight, lc.Timeout, lc.Drain = 3, 16, 200*time.Millisecond, time.Second
	res := run(t, lc)
	st := ended(t, s)
	for f := Drop; f < faultCount; f++ {
		assert.Positive(t, st.Faults[f], f.String())
	}
	assert.LessOrEqual(t, st.Requests, res.Total.Counts.Sent)
	assert.Zero(t, st.BadFrames)
	assert.LessOrEqual(t, res.Replies.Duplicate, st.Faults[Duplicate])
	assert.LessOrEqual(t, res.Replies.UnknownID, st.Faults[WrongID])
	assert.LessOrEqual(t, res.Conns.Lost, st.Faults[Oversize]+st.Faults[Garbage]+st.Faults[Close]+st.Faults[Reset])
}

// connect connects to a stub.
func connect(t *testing.T, s *Server) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	return conn.(*net.TCPConn)
}

// What was written before the end of a connection arrives, though requests are on their way.
func TestRepliesBeforeACloseArrive(t *testing.T) {
	cfg := Config{Codec: codecOf(t, "fifo", 0), Faults: Faults{Close: 0.01}, Seed: 2}
	s := start(t, cfg)
	conn := connect(t, s)
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = conn.Write(bytes.Repeat(append([]byte{4, 0}, make([]byte, 1024)...), 4000))
		_ = conn.CloseWrite()
	})
	b, err := io.ReadAll(conn)
	require.NoError(t, err)
	wg.Wait()
	st := ended(t, s)
	assert.EqualValues(t, 1, st.Faults[Close])
	assert.EqualValues(t, st.Replies*1026, len(b))
}

func TestNothingIsCountedAfterTheEnd(t *testing.T) {
	s := start(t, Config{Codec: codecOf(t, "fifo", 0), Faults: Faults{Close: 1}})
	conn := connect(t, s)
	request := []byte{0, 1, 'x'}
	_, err := conn.Write(request)
	require.NoError(t, err)
	_, err = conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	_, err = conn.Write(bytes.Repeat(request, 5))
	require.NoError(t, err)
	require.NoError(t, conn.CloseWrite())
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.open) == 0
	}, 20*time.Second, time.Millisecond, "it has read all")
	st := ended(t, s)
	assert.EqualValues(t, 1, st.Requests)
	assert.Zero(t, st.Unanswered)
}

// The sums hold when the client resets the connection within replies.
func TestWritesThatFailAreUnanswered(t *testing.T) {
	for _, faults := range []Faults{{}, {Split: 1}, {Split: 0.5, Garbage: 0.02}} {
		l, err := ParseLatency("1:0s", "1:20ms")
		require.NoError(t, err)
		s := start(t, Config{Codec: codecOf(t, "fifo", 4096), Faults: faults, Latency: l})
		conn := connect(t, s)
		_, err = conn.Write(bytes.Repeat([]byte{0, 1, 'x'}, 300))
		require.NoError(t, err)
		require.Eventually(t, func() bool { return s.Stats().Requests >= 50 }, 20*time.Second, time.Millisecond)
		require.NoError(t, conn.SetLinger(0))
		require.NoError(t, conn.Close())
		st := ended(t, s)
		if faults == (Faults{Split: 1}) {
			assert.Positive(t, st.Unanswered)
		}
	}
}

func TestTheSameSeedInjectsTheSame(t *testing.T) {
	faults := func(seed uint64) (st Stats) {
		cfg := Config{Codec: codecOf(t, "anet", 0), Seed: seed}
		cfg.Faults[Duplicate], cfg.Faults[Split], cfg.Faults[Close] = 0.05, 0.05, 0.02
		s := start(t, cfg)
		lc := to(t, s, 500)
		lc.InFlight = 1
		run(t, lc)
		return ended(t, s)
	}
	first := faults(1)
	assert.Equal(t, first.Faults, faults(1).Faults)
	assert.NotEqual(t, first.Faults, faults(2).Faults)
}

func TestPickFollowsTheProbabilities(t *testing.T) {
	var p Faults
	require.NoError(t, p.ParseFaults("drop=10%, late=0.2"))
	require.NoError(t, p.ParseFaults("reset=30%"))
	assert.Equal(t, Faults{Drop: 0.1, Late: 0.2, Reset: 0.3}, p)
	r := rand.New(rand.NewPCG(1, 2))
	var n [faultCount]int
	for range 100_000 {
		n[p.pick(r)]++
	}
	for f, want := range map[Fault]int{None: 40_000, Drop: 10_000, Late: 20_000, Reset: 30_000} {
		assert.InDelta(t, want, n[f], 600, f.String())
	}
}

func TestFaultsThatCannotBeAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"lost=1%": "must look like drop=1%", "drop": "must be 0 to 100%", "drop=101%": "must be 0 to 100%",
		"drop=-1": "must be 0 to 100%", "drop=NaN": "must be 0 to 100%", "none=1%": "must look like",
	} {
		var p Faults
		assert.ErrorContains(t, p.ParseFaults(text), want, text)
	}
	for _, c := range []struct {
		preset   string
		maxFrame int
		faults   Faults
		want     string
	}{
		{"anet", 0, Faults{Drop: 0.6, Late: 0.5}, "1.1 together: must be at most 1"},
		{"fifo", 0, Faults{WrongID: 0.1}, "no ID"},
		{"fifo", 0, Faults{Garbage: 0.1}, "--max-frame"},
		{"anet", 0, Faults{Oversize: 0.1}, "more than the largest frame, 65537 bytes"},
	} {
		cfg := Config{Codec: codecOf(t, c.preset, c.maxFrame), Faults: c.faults, Dial: noDial}
		_, err := New(cfg)
		assert.ErrorContains(t, err, c.want)
	}
	for _, preset := range []string{"anet", "payshield", "dns-tcp", "kafka", "diameter", "smpp", "modbus", "fifo", "9p", "gearman", "memcached"} {
		cfg := Config{Codec: codecOf(t, preset, 4096), Faults: Faults{Garbage: 0.1, Oversize: 0.1}, Dial: noDial}
		s, err := New(cfg)
		require.NoError(t, err, preset)
		for _, f := range []Fault{Garbage, Oversize} {
			_, err = cfg.Codec.Size(append(s.broken[f], make([]byte, 64)...))
			assert.Error(t, err, "%s %v", preset, f)
		}
	}
}
