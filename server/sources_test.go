package server

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestConnectionsOfAnAddressAreBounded(t *testing.T) {
	src := newSources(2, 0, 0)
	enter := func(ip string) refusal { return src.enter(netip.MustParseAddr(ip), 0) }
	for _, same := range [][3]string{
		{"10.0.0.1", "10.0.0.1", "10.0.0.1"},
		{"2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::3"}, // one /64
		{"127.0.0.1", "127.0.0.1", "127.0.0.1"},                // the loopback is not special
		{"::1", "::1", "::1"},
	} {
		assert.Equal(t, refusedNot, enter(same[0]))
		assert.Equal(t, refusedNot, enter(same[1]))
		assert.Equal(t, refusedPerIP, enter(same[2]))
	}
	for _, other := range []string{"10.0.0.2", "2001:db8:0:1::1", "127.0.0.2"} {
		assert.Equal(t, refusedNot, enter(other))
	}
	src.leave(netip.MustParseAddr("2001:db8::1"))
	assert.Equal(t, refusedNot, enter("2001:db8::99"))
	for range 5 {
		assert.Equal(t, refusedNot, src.enter(netip.Addr{}, 0), "who has no address is not counted")
	}
	src.leave(netip.Addr{})
}

func TestAddressWithoutConnectionsIsForgotten(t *testing.T) {
	src := newSources(2, 0, 0)
	a := netip.MustParseAddr("10.0.0.1")
	for range 2 {
		require.Equal(t, refusedNot, src.enter(a, 0))
	}
	src.leave(a)
	assert.Len(t, src.of, 1)
	src.leave(a)
	assert.Empty(t, src.of)
}

// The clock of a bucket, compared with tokens that are counted in the plain way: in
// billionths, so exactly.
func TestRateIsThatOfATokenBucket(t *testing.T) {
	const rate, burst, token = 8, 5, int64(time.Second)
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	src := newSources(0, rate, burst)
	a := netip.MustParseAddr("10.0.0.1")
	tokens, now := burst*token, time.Duration(0)
	taken := 0
	for i := range 20_000 {
		step := time.Duration(r.IntN(int(200 * time.Millisecond)))
		if r.IntN(3) == 0 {
			step = time.Second / rate // so that the moment itself is met
		}
		now += step
		tokens = min(tokens+int64(step)*rate, burst*token)
		want := refusedRate
		if tokens >= token {
			want, tokens = refusedNot, tokens-token
			taken++
		}
		if got := src.enter(a, now); got != want {
			t.Fatalf("seed %d, step %d: %v, not %v", seed, i, got, want)
		}
		if want == refusedNot && r.IntN(2) == 0 {
			src.leave(a) // that it goes gives no token back
		}
	}
	assert.Positive(t, taken)
}

func TestBurstIsTheRateRoundedUp(t *testing.T) {
	for rate, want := range map[float64]int{0.001: 1, 0.5: 1, 1: 1, 2.5: 3, 10: 10} {
		src := newSources(0, rate, 0)
		got := 0
		for src.enter(netip.MustParseAddr("10.0.0.1"), time.Hour) == refusedNot {
			got++
		}
		assert.Equal(t, want, got, "%v a second", rate)
	}
}

func nth(i int) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(i)+1<<24)
	return netip.AddrFrom4(b)
}

// An attacker with many addresses makes the table forget those that have no connection,
// those first that were not seen for longest, and no other.
func TestTableOfAddressesIsBounded(t *testing.T) {
	const extra = 1000
	src := newSources(1, 0.001, 1)
	open, refused := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	require.Equal(t, refusedNot, src.enter(open, 0))
	require.Equal(t, refusedNot, src.enter(refused, 0))
	src.leave(refused)
	for i := range idleSourcesMax + extra {
		require.Equal(t, refusedNot, src.enter(nth(i), 0))
		src.leave(nth(i))
		if i == idleSourcesMax/2 {
			require.Equal(t, refusedRate, src.enter(refused, 0), "it is seen again")
		}
		if n := len(src.of); n > idleSourcesMax+2 || src.idle.Len() > idleSourcesMax {
			t.Fatalf("%d addresses after %d", n, i)
		}
	}
	assert.Equal(t, refusedPerIP, src.enter(open, 0), "it has a connection")
	assert.Equal(t, refusedRate, src.enter(refused, 0), "it was seen later than the oldest")
	assert.Equal(t, refusedRate, src.enter(nth(idleSourcesMax+extra-1), 0), "the newest")
	assert.Equal(t, refusedNot, src.enter(nth(0), 0), "the oldest is forgotten")
	src.sweep(time.Hour)
	src.sweep(time.Hour)
	assert.Len(t, src.of, idleSourcesMax+2-2*forgetMax, "so many at a time")
}

func TestSweepForgetsAddressesWhoseTokensAreBack(t *testing.T) {
	src := newSources(0, 1, 2)
	for i := range 3 {
		require.Equal(t, refusedNot, src.enter(nth(i), time.Duration(i)*time.Second))
	}
	src.leave(nth(0))
	src.leave(nth(1))
	src.sweep(time.Second - 1)
	assert.Len(t, src.of, 3)
	src.sweep(time.Second)
	assert.Len(t, src.of, 2, "the first has both")
	src.sweep(time.Hour)
	assert.Len(t, src.of, 1, "and who has a connection stays")
	assert.Zero(t, src.idle.Len())
}

func TestAddressesAddUpWhenManyComeAndGo(t *testing.T) {
	src := newSources(3, 1e6, 1000)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 1))
			for i := range 5000 {
				a := nth(r.IntN(3))
				if src.enter(a, time.Duration(i)*time.Microsecond) == refusedNot {
					src.leave(a)
				}
				src.sweep(time.Duration(i) * time.Microsecond)
			}
		})
	}
	wg.Wait()
	src.sweep(time.Hour)
	assert.Empty(t, src.of)
	assert.Zero(t, src.idle.Len())
}
