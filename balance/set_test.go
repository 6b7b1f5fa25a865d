package balance

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTurnIsTheRemainder(t *testing.T) {
	for _, n := range []int{1, 2, 3, 7, 300, 1 << 10, MaxMembers - 1} {
		members := make([]Member[int], n)
		for i := range members {
			members[i].Name = string(rune(i + 1))
		}
		s := newSet(members, traits{})
		for range 1000 {
			turn := rand.Uint32()
			for _, turn := range []uint32{turn, turn - turn%uint32(n), turn % uint32(n), 0, math.MaxUint32} {
				require.EqualValues(t, turn%uint32(n), s.at(turn), "turn %d of %d", turn, n)
			}
		}
	}
}

func TestHeavyServersAreNotTakenInARow(t *testing.T) {
	assert.Equal(t, []uint16{0, 0, 0, 1, 0, 0, 2}, newSchedule([]int64{5, 1, 1}))
	assert.Equal(t, []uint16{0, 1, 2}, newSchedule([]int64{50, 50, 50}))
}

func TestWaitFallsAsTheHashGrows(t *testing.T) {
	exact := func(u uint64) float64 { return -math.Log(float64(u) / (1 << 64)) }
	for range 100_000 {
		u := rand.Uint64() >> rand.IntN(64)
		if u == 0 {
			continue
		}
		require.InEpsilon(t, exact(u), negLog(u), 1e-4, "%x", u)
		if more := u + 1 + rand.Uint64()>>rand.IntN(64); more > u {
			require.GreaterOrEqual(t, negLog(u), negLog(more), "%x and %x", u, more)
		}
	}
	assert.Greater(t, negLog(0), negLog(1))
	for _, at := range []uint64{1 << 63, 1 << 62, 1 << 20} { // where the pieces join
		require.InDelta(t, negLog(at), negLog(at-1), 1e-6)
	}
}

// allHomes returns the server's number of each slot.
func allHomes(names []int, weight func(name int) int) (at [slots]int) {
	members := make([]Member[int], len(names))
	for i, name := range names {
		members[i] = Member[int]{Name: fmt.Sprint("server ", name), Server: name, Weight: weight(name)}
	}
	s := newSet(members, IPHash.traits())
	for key := uint64(1); key < 20*slots; key++ { // meets each slot, missed by chance: slots·e^-20
		slot := mix(key) % slots
		at[slot] = s.members[s.home(key, nil)].server
	}
	return at
}

// What holds for keys holds for each slot, exactly.
func TestSlotsMoveOnlyFromWhoWentAndTowardsWhoCame(t *testing.T) {
	weight := func(name int) int { return 1 + name%4 }
	names := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
	before := allHomes(names, weight)
	counts := make(map[int]int)
	for _, name := range before {
		counts[name]++
	}
	for _, name := range names {
		p := float64(weight(name)) / 23 // the sum of all
		apart := 6 * math.Sqrt(slots*p*(1-p))
		require.InDelta(t, slots*p, counts[name], apart, "server %d of %v", name, counts)
	}
	for _, gone := range names {
		after := allHomes(slices.DeleteFunc(slices.Clone(names), func(n int) bool { return n == gone }), weight)
		for slot := range slots {
			if before[slot] == gone {
				require.NotEqual(t, gone, after[slot])
			} else { // the other way round: slots move to a member that comes, and nowhere else
				require.Equal(t, before[slot], after[slot], "slot %d when %d goes", slot, gone)
			}
		}
	}
	heavier := allHomes(names, func(name int) int {
		if name == 5 {
			return 7
		}
		return weight(name)
	})
	for slot := range slots {
		if heavier[slot] != before[slot] {
			require.Equal(t, 5, heavier[slot])
		}
	}
}

func TestASlotThatIsKnownIsNotRankedAgain(t *testing.T) {
	s := newSet([]Member[int]{{Name: "a", Server: 1}, {Name: "b", Server: 2}}, IPHash.traits())
	first := s.home(7, nil)
	s.members[0].hash, s.members[1].hash = s.members[1].hash, s.members[0].hash
	require.Equal(t, first, s.home(7, nil))
	require.Equal(t, 1-first, s.firstRanked(mix(7)%slots, nil), "it would be the other one")
}
