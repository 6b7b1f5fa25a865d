package stub

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/memnet"
)

// ask writes n requests of the fifo framing to a stub over memory, and returns when each of
// their replies came, since the beginning.
func ask(t *testing.T, cfg Config, n int) (came []time.Duration, st Stats) {
	t.Helper()
	l := memnet.Listen()
	cfg.Codec = codecOf(t, "fifo", 0)
	cfg.Listen = func() (net.Listener, error) { return l, nil }
	s, err := New(cfg)
	require.NoError(t, err)
	begun := time.Now()
	require.NoError(t, s.Start())
	conn, err := l.DialContext(t.Context(), "", "")
	require.NoError(t, err)
	go func() {
		for range n {
			if _, err := conn.Write([]byte{0, 1, 'x'}); err != nil {
				return
			}
		}
	}()
	for range n {
		var b [3]byte
		for have := 0; have < len(b); {
			m, err := conn.Read(b[have:])
			require.NoError(t, err)
			have += m
		}
		came = append(came, time.Since(begun))
	}
	require.NoError(t, conn.Close())
	return came, ended(t, s)
}

func TestALicenceBeginsSoManyRequestsASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		came, st := ask(t, Config{CPS: 200}, 400)
		for i, d := range came {
			assert.Equal(t, time.Duration(i)*5*time.Millisecond, d)
		}
		assert.EqualValues(t, 399, st.Licensed)
		assert.Equal(t, 400*5*time.Millisecond-5*time.Millisecond, st.Elapsed)
	})
	synctest.Test(t, func(t *testing.T) { // each takes a while beside
		l, err := ParseLatency("30ms")
		require.NoError(t, err)
		came, _ := ask(t, Config{CPS: 200, Latency: l}, 100)
		assert.Equal(t, 99*5*time.Millisecond+30*time.Millisecond, came[99])
	})
}

// While more wait than the queue has room for, the connection is not read.
func TestTheLicencesQueueHasABound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memnet.Listen()
		s, err := New(Config{Codec: codecOf(t, "fifo", 0), CPS: 10, Queue: 5, Listen: func() (net.Listener, error) { return l, nil }})
		require.NoError(t, err)
		require.NoError(t, s.Start())
		conn, err := l.DialContext(t.Context(), "", "")
		require.NoError(t, err)
		written := 0
		go func() {
			for range 100 {
				if _, err := conn.Write([]byte{0, 1, 'x'}); err != nil {
					return
				}
				written++
			}
		}()
		go func() {
			b := make([]byte, 16)
			for {
				if _, err := conn.Read(b); err != nil {
					return
				}
			}
		}()
		time.Sleep(time.Millisecond)
		synctest.Wait()
		// One has begun, five wait, and the one beyond holds the reader up.
		assert.EqualValues(t, 7, s.Stats().Requests)
		time.Sleep(time.Second)
		synctest.Wait()
		assert.EqualValues(t, 17, s.Stats().Requests)
		assert.Equal(t, 17, written)
		require.NoError(t, conn.Close())
		ended(t, s)
	})
}

func TestNothingIsAnsweredDuringAStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := ParseLatency("100ms")
		require.NoError(t, err)
		st, err := ParseStall("every=1s,for=300ms")
		require.NoError(t, err)
		// One begins each 100 ms and takes 100 ms: those that are due at 1.0, 1.1 and 1.2 s wait.
		came, stats := ask(t, Config{CPS: 10, Latency: l, Stalls: []Stall{st}}, 20)
		for i, d := range came {
			due := time.Duration(i+1) * 100 * time.Millisecond
			if i >= 9 && i < 12 {
				due = 1300 * time.Millisecond
			} else if i == 19 {
				due = 2300 * time.Millisecond
			}
			assert.Equal(t, due, d, "%d", i)
		}
		assert.EqualValues(t, 4, stats.Stalled)
	})
}

func TestStallsEnd(t *testing.T) {
	const s = time.Second
	every := Stall{At: 10 * s, For: 2 * s, Every: 10 * s}
	once := Stall{At: 12 * s, For: s}
	for at, want := range map[time.Duration]time.Duration{0: 0, 9 * s: 9 * s, 10 * s: 13 * s, 11 * s: 13 * s, 12 * s: 13 * s, 13 * s: 13 * s, 21 * s: 22 * s, 22 * s: 22 * s, 100 * s: 102 * s} {
		assert.Equal(t, want, afterStalls([]Stall{every, once}, at), "%v", at)
	}
	// Two that cover each other for ever.
	a, b := Stall{For: 6 * s, Every: 10 * s}, Stall{At: 5 * s, For: 6 * s, Every: 10 * s}
	assert.Less(t, afterStalls([]Stall{a, b}, s), time.Hour)
	for text, want := range map[string]Stall{"every=10s,for=2s": every, "at=12s,for=1s": once, "every=10s,at=0s,for=2s": {Every: 10 * s, For: 2 * s}} {
		st, err := ParseStall(text)
		require.NoError(t, err)
		assert.Equal(t, want, st)
	}
	for text, want := range map[string]string{"": "must look like", "for=2s": "must look like", "every=2s": "above 0", "every=2s,for=2s": "must be shorter",
		"at=1s,for=2h": "at most 1h", "at=-1s,for=2s": "must look like", "when=1s,for=2s": "must look like"} {
		_, err := ParseStall(text)
		assert.ErrorContains(t, err, want, text)
	}
}
