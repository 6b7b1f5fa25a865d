package health

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// designTable reads the table of docs/DESIGN.md: state, then what is written for each event.
func designTable(t *testing.T) map[State][]string {
	t.Helper()
	text, err := os.ReadFile("../docs/DESIGN.md")
	require.NoError(t, err)
	_, text8, ok := strings.Cut(string(text), "| state | Answered | Probed | Failed | Unreachable | time |\n")
	require.True(t, ok, "docs/DESIGN.md has no table of the states")
	rows := make(map[State][]string)
	for _, row := range regexp.MustCompile(`(?m)^\| (\w+) \| (.*) \|$`).FindAllStringSubmatch(text8, -1) {
		rows[stateNamed(t, row[1])] = strings.Split(row[2], " | ")
		if len(rows) == int(Ejected)+1 {
			break
		}
	}
	return rows
}

func stateNamed(t *testing.T, name string) State {
	t.Helper()
	for s := Up; s <= Ejected; s++ {
		if strings.EqualFold(s.String(), name) {
			return s
		}
	}
	require.Fail(t, "no state is called "+name)
	return 0
}

var (
	epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	rules = Config{UnhealthyThreshold: 3, EjectionThreshold: 4, HealthyThreshold: 2, SlowStart: 10 * time.Second}.withDefaults()
)

// in returns a machine that has just come into a state.
func in(s State) *machine {
	m := &machine{since: epoch}
	switch s {
	case Ejected:
		m.eject(&rules, epoch)
	case Down:
		for range rules.UnhealthyThreshold {
			m.hear(&rules, Unreachable, epoch, epoch, true)
		}
	default:
		m.enter(s, epoch)
	}
	return m
}

func TestStatesFollowTheTableOfTheDesign(t *testing.T) {
	table := designTable(t)
	require.Len(t, table, int(Ejected)+1)
	for state, cells := range table {
		require.Len(t, cells, 5, "%v", state)
		for o := Answered; o <= Unreachable; o++ {
			name, note, _ := strings.Cut(cells[o], ",")
			want, at := stateNamed(t, name), 1
			switch {
			case strings.Contains(note, "EjectionThreshold"):
				at = rules.EjectionThreshold
			case strings.Contains(note, "UnhealthyThreshold"):
				at = rules.UnhealthyThreshold
			case strings.Contains(note, "HealthyThreshold"):
				at = rules.HealthyThreshold
			case want == state:
				at = 10 // however often
			default:
				require.Empty(t, note)
			}
			m := in(state)
			for n := 1; n <= at; n++ {
				now := epoch.Add(time.Duration(n) * time.Millisecond)
				m.hear(&rules, o, now, now, true)
				if n < at {
					require.Equal(t, state, m.state, "%v, after %d times %v", state, n, o)
				}
			}
			assert.Equal(t, want, m.state, "%v, after %d times %v", state, at, o)
		}
		assertTime(t, state, cells[4])
	}
}

func assertTime(t *testing.T, state State, cell string) {
	name, note, _ := strings.Cut(cell, ",")
	want := stateNamed(t, name)
	for _, probed := range []bool{false, true} {
		m := in(state)
		at := m.next(&rules, probed)
		m.pass(&rules, epoch.Add(time.Hour), probed)
		if strings.Contains(note, "without a probe") && probed {
			want = state
		}
		assert.Equal(t, want, m.state, "%v, after an hour, probed %t", state, probed)
		assert.Equal(t, want != state, !at.IsZero() || state == Down && !probed, "%v, next", state)
	}
}

func TestOutcomesInARowAreWhatCounts(t *testing.T) {
	hear := func(m *machine, all ...Outcome) *machine {
		for i, o := range all {
			now := epoch.Add(time.Duration(i+1) * time.Second)
			m.hear(&rules, o, now, now, true)
		}
		return m
	}
	assert.Equal(t, Up, hear(in(Up), Failed, Failed, Failed, Answered, Failed, Failed, Failed).state)
	assert.Equal(t, Up, hear(in(Up), Unreachable, Unreachable, Answered, Unreachable, Unreachable).state)
	assert.Equal(t, Up, hear(in(Up), Unreachable, Unreachable, Probed, Unreachable, Unreachable).state)
	assert.Equal(t, Ejected, hear(in(Up), Failed, Probed, Failed, Probed, Failed, Failed).state, "a passed probe says nothing of calls")
	assert.Equal(t, Down, hear(in(Down), Answered, Unreachable, Probed).state)
	assert.Equal(t, Rising, hear(in(Down), Answered, Probed).state)
	assert.Equal(t, Trial, hear(in(Trial), Answered, Probed, Late).state)
	assert.Equal(t, Up, hear(in(Up), Late, Late, Late, Late).state)
	assert.Equal(t, Up, hear(in(Up), Failed, Failed, Unreachable, Unreachable).state, "two rows")
}

func TestOldNewsIsNoNews(t *testing.T) {
	at := func(s int) time.Time { return epoch.Add(time.Duration(s) * time.Second) }
	m := in(Up)
	m.hear(&rules, Unreachable, at(1), at(5), true)
	for range 10 { // they went with the same connection
		m.hear(&rules, Unreachable, at(2), at(6), true)
	}
	assert.Equal(t, Up, m.state)
	assert.Equal(t, 1, m.unreached)
	m.hear(&rules, Unreachable, at(5), at(7), true)
	m.hear(&rules, Unreachable, time.Time{}, at(8), true)
	assert.Equal(t, Down, m.state)

	// Each call that was not answered in time waited on its own.
	m = in(Up)
	for range 4 {
		m.hear(&rules, Failed, at(1), at(31), true)
	}
	require.Equal(t, Ejected, m.state)
	m.pass(&rules, at(60), true)
	require.Equal(t, Trial, m.state)
	m.hear(&rules, Failed, at(30), at(61), true)
	m.hear(&rules, Answered, at(30), at(61), true)
	m.hear(&rules, Answered, at(30), at(61), true)
	assert.Equal(t, Trial, m.state, "it all began before the trial")
	m.hear(&rules, Answered, at(61), at(62), true)
	m.hear(&rules, Answered, at(61), at(62), true)
	assert.Equal(t, Rising, m.state)

	// A connection by which it has come back may be lost at once.
	lost := *m
	lost.hear(&rules, Failed, at(30), at(63), true)
	require.Zero(t, lost.failed)
	for n := range rules.UnhealthyThreshold {
		lost.hear(&rules, Unreachable, at(32+n), at(63+n), true)
	}
	require.Equal(t, Rising, lost.state, "of those that began before the last that counted none counts")
	for n := range rules.UnhealthyThreshold - 1 {
		lost.hear(&rules, Unreachable, at(64+n), at(65+n), true)
	}
	assert.Equal(t, Down, lost.state)

	// But a failure while the server rose is news when it is up.
	m.pass(&rules, at(100), true)
	require.Equal(t, Up, m.state)
	for range 4 {
		m.hear(&rules, Failed, at(70), at(101), true)
	}
	assert.Equal(t, Ejected, m.state)
}

func TestPausesGrowUntilItIsReached(t *testing.T) {
	c := Config{BackoffBase: time.Second, BackoffMax: 4 * time.Second}.withDefaults()
	var longest [6]time.Duration
	for range 300 {
		m := in(Up)
		for n := range longest {
			m.hear(&c, Unreachable, time.Time{}, epoch, true)
			longest[n] = max(longest[n], m.notYet.Sub(epoch))
		}
	}
	for n, bound := range []time.Duration{1, 2, 4, 4, 4, 4} {
		assert.LessOrEqual(t, longest[n], bound*time.Second)
		assert.Greater(t, longest[n], bound*time.Second*9/10) // missed by chance: 0.9^300
	}
}

func TestEjectionsGrowUntilTheServerHasStood(t *testing.T) {
	c := Config{EjectionTime: 10 * time.Second, MaxEjectionTime: time.Minute, SlowStart: -1}.withDefaults()
	m, now := in(Up), epoch
	fail := func() time.Duration {
		for range c.EjectionThreshold {
			m.hear(&c, Failed, now, now, true)
			if m.state == Ejected {
				break // on trial once is enough
			}
		}
		require.Equal(t, Ejected, m.state)
		lasts := m.next(&c, true).Sub(now)
		m.pass(&c, now.Add(lasts-1), true)
		require.Equal(t, Ejected, m.state)
		now = now.Add(lasts)
		m.pass(&c, now, true)
		require.Equal(t, Trial, m.state)
		return lasts
	}
	for n, most := range []time.Duration{10, 20, 40, 60, 60} {
		lasts := fail()
		assert.LessOrEqual(t, lasts, most*time.Second, "ejection %d", n)
		assert.GreaterOrEqual(t, lasts, most*time.Second*9/10, "ejection %d", n)
	}
	up := func(d time.Duration) {
		m.hear(&c, Answered, now, now, true)
		m.hear(&c, Answered, now, now, true)
		require.Equal(t, Up, m.state)
		now = now.Add(d)
	}
	up(50 * time.Second)
	assert.Greater(t, fail(), 50*time.Second, "it has stood for less than it was out")
	now = now.Add(time.Hour)
	assert.Greater(t, fail(), 50*time.Second, "to be on trial without a call is not to stand")
	up(time.Minute)
	assert.LessOrEqual(t, fail(), 10*time.Second, "it has stood")
	assert.Equal(t, 1, m.ejections)
}

func TestShareGrowsInSteps(t *testing.T) {
	m := in(Rising)
	var shares []int
	for now := m.next(&rules, true); m.state == Rising; now = m.next(&rules, true) {
		shares = append(shares, m.share())
		m.pass(&rules, now.Add(-1), true)
		require.Equal(t, shares[len(shares)-1], m.share())
		m.pass(&rules, now, true)
	}
	assert.Equal(t, []int{10, 20, 30, 40, 50, 60, 70, 80, 90, 100}, shares)
	assert.Equal(t, epoch.Add(rules.SlowStart), m.since)
	assert.Equal(t, 100, m.share())
	assert.Zero(t, in(Trial).share()+in(Down).share()+in(Ejected).share())

	c := Config{SlowStart: -1}.withDefaults()
	m = in(Down)
	m.hear(&c, Answered, epoch, epoch, true)
	m.hear(&c, Answered, epoch, epoch, true)
	assert.Equal(t, Up, m.state, "no slow start")
}
