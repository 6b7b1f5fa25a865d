package screen

import (
	"fmt"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/load"
)

func second(n int) load.Snapshot {
	h := hdrhistogram.New(1, int64(time.Hour), 3)
	for i := range 100 {
		_ = h.RecordValue(int64(i+1) * int64(time.Millisecond))
	}
	s := load.Snapshot{At: time.Duration(n) * time.Second, InFlight: 3, Backlog: 5, Conns: 2, Response: h}
	s.Counts = load.Counts{Sent: uint64(1000 * n), Replied: uint64(900 * n * n), Timeouts: 7, ConnLost: 8, Refused: 9, Mismatch: 10, Late: 4}
	s.Replies.Duplicate, s.Replies.UnknownID = 11, 12
	return s
}

func shown(m *model) []string { return strings.Split(m.View().Content, "\n") }

func TestTheScreenShowsTheLastSecondAndAllOfThem(t *testing.T) {
	m := newModel(Run{Targets: "host:1", Loop: "open loop", Duration: time.Minute, InFlight: 16}, func() {})
	assert.Contains(t, m.View().Content, "no reply")
	for n := range 3 {
		m.Update(second(n + 1))
	}
	m.columns = 200
	text := m.View().Content
	for _, want := range []string{
		"3s / 1m0s   q ends it   open loop   host:1", "sent 1000/s  replied 4500/s ▂▅█", "in flight 3/16  backlog 5  connections 2",
		"last second  p50 50", "max 100ms  n 100", "all of it    p50 50", "n 300",
		"timeouts 7  connection lost 8  refused 9  mismatch 10", "late 4  duplicate 11  unknown ID 12",
	} {
		assert.Contains(t, text, want)
	}
	assert.NotContains(t, text, "\x1b")
}

func TestTheScreenFitsTheTerminal(t *testing.T) {
	m := newModel(Run{Targets: strings.Repeat("höst:1, ", 40)}, func() {})
	for n := range 100 {
		m.Update(second(n + 1))
	}
	for _, size := range [][2]int{{80, 24}, {40, 10}, {200, 60}, {10, 3}, {1, 1}} {
		m.Update(tea.WindowSizeMsg{Width: size[0], Height: size[1]})
		lines := shown(m)
		require.LessOrEqual(t, len(lines), max(size[1]-1, 1), size)
		for _, line := range lines {
			require.LessOrEqual(t, len([]rune(line)), size[0], size)
		}
	}
	assert.LessOrEqual(t, len(m.rates), ratesMax)
}

func TestBothKeysAskForTheEnd(t *testing.T) {
	for _, key := range []tea.KeyPressMsg{{Code: 'q', Text: "q"}, {Code: 'c', Mod: tea.ModCtrl}, {Code: 'x', Text: "x"}} {
		asked := 0
		m := newModel(Run{}, func() { asked++ })
		m.Update(key)
		want := 1
		if key.Code == 'x' {
			want = 0
		}
		assert.Equal(t, want, asked, fmt.Sprint(key))
		assert.Equal(t, want == 1, strings.Contains(m.View().Content, "it ends"))
	}
}
