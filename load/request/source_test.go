package request

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/load/wire"
)

func codec(t *testing.T, preset string) *wire.Codec {
	t.Helper()
	s, err := wire.Preset(preset)
	require.NoError(t, err)
	c, err := wire.New(s)
	require.NoError(t, err)
	return c
}

// payloads returns those of the first n requests, and checks their sizes.
func payloads(t *testing.T, s Source, n int) (all []string) {
	t.Helper()
	least, most := s.Sizes()
	for i := range n {
		p := s.Append(nil, uint64(i))
		require.GreaterOrEqual(t, len(p), least)
		require.LessOrEqual(t, len(p), most)
		assert.Equal(t, "x"+string(p), string(s.Append([]byte("x"), uint64(i))), "it appends")
		all = append(all, string(p))
	}
	return all
}

const cards = "pan,ca\n4000,B2a\n4001,B2b\n4002,B2c\n"

func table(t *testing.T, order Order) map[string]*Table {
	t.Helper()
	tb, err := NewTable([]byte(cards), order, 1)
	require.NoError(t, err)
	return map[string]*Table{"": tb, "cards": tb}
}

func TestTemplatesBecomePayloads(t *testing.T) {
	for text, want := range map[string][]string{
		"":                           {"", ""},
		"plain":                      {"plain", "plain"},
		"$5 and $${seq} and $":       {"$5 and ${seq} and $", "$5 and ${seq} and $"},
		"a${seq}b":                   {"a0b", "a1b"},
		"${seq:3}":                   {"000", "001"},
		"${hex:00 FF}x${hex:61}y":    {"\x00\xffxay", "\x00\xffxay"},
		"${csv.pan}|${csv.cards.ca}": {"4000|B2a", "4001|B2b", "4002|B2c", "4000|B2a"},
	} {
		tp, err := Compile(text, table(t, Sequential), 1)
		require.NoError(t, err, text)
		assert.Equal(t, want, payloads(t, tp, len(want)), text)
		assert.Zero(t, tp.Count(), "it does not end")
	}
	tp, err := Compile("${seq:2}", nil, 1)
	require.NoError(t, err)
	assert.Equal(t, "42", string(tp.Append(nil, 1042)), "its last digits")
}

func TestRandomDigitsDifferAndAreThoseOfTheSeed(t *testing.T) {
	make := func(seed uint64) []string {
		tp, err := Compile("${rand:12}${rand:1}", nil, seed)
		require.NoError(t, err)
		return payloads(t, tp, 50)
	}
	a := make(1)
	assert.Equal(t, a, make(1))
	assert.NotEqual(t, a, make(2))
	seen := map[string]bool{}
	for _, p := range a {
		assert.Len(t, p, 13)
		assert.Empty(t, strings.Trim(p, "0123456789"))
		seen[p] = true
	}
	assert.Len(t, seen, 50)
}

func TestWhatIsNoTemplateIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"a${seq":           `"${seq" has no closing }`,
		"${pan}":           "${pan}: must be seq, seq:WIDTH,",
		"${seq:0}":         `width "0": must be 1 to 20 digits`,
		"${rand:65}":       "must be 1 to 64 digits",
		"${rand}":          `width "": must be 1`,
		"${hex:0}":         "must be pairs of hexadecimal digits",
		"${hex:}":          "no digits",
		"${csv.cvv}":       `no column "cvv": must be one of pan, ca`,
		"${csv.other.pan}": `no table "other": give its file with --csv other=FILE`,
	} {
		_, err := Compile(text, table(t, Sequential), 1)
		assert.ErrorContains(t, err, want, text)
	}
	_, err := Compile("${csv.pan}", nil, 1)
	assert.ErrorContains(t, err, "no table: give its file with --csv FILE")
}

func TestOrders(t *testing.T) {
	unique, err := Compile("${csv.pan}", table(t, Unique), 1)
	require.NoError(t, err)
	assert.EqualValues(t, 3, unique.Count())
	random, err := Compile("${csv.pan}", table(t, Random), 1)
	require.NoError(t, err)
	seen := map[string]int{}
	for _, p := range payloads(t, random, 300) {
		seen[p]++
	}
	assert.Len(t, seen, 3)
	assert.NotEqual(t, payloads(t, unique, 30), payloads(t, random, 30))
	for _, n := range seen {
		assert.InDelta(t, 100, n, 50)
	}
	_, err = NewTable([]byte(cards), "shuffled", 1)
	assert.ErrorContains(t, err, `order "shuffled": must be sequential, unique or random`)
}

func TestATableThatIsNoneNamesThePlaceAndNoField(t *testing.T) {
	for data, want := range map[string]string{
		"":                         "must have a row of column names",
		"pan\n":                    "must have a row of column names",
		"a,b\n4000123412341234\n":  "line 2, column 1",
		"a,b\n4000123412341234,\"": "line 2",
	} {
		_, err := NewTable([]byte(data), Sequential, 1)
		require.ErrorContains(t, err, want)
		assert.NotContains(t, err.Error(), "4000")
	}
}

func TestSizesAreDrawnFromTheirRange(t *testing.T) {
	s, err := Sized(3, 5, 1)
	require.NoError(t, err)
	seen := map[int]int{}
	for _, p := range payloads(t, s, 300) {
		assert.Equal(t, "abcde"[:len(p)], p)
		seen[len(p)]++
	}
	assert.Len(t, seen, 3)
	fixed, err := Sized(28, 28, 1)
	require.NoError(t, err)
	assert.Equal(t, "abcdefghijklmnopqrstuvwxyzab", payloads(t, fixed, 1)[0])
	for _, bad := range [][2]int{{-1, 5}, {5, 4}, {0, SizeMax + 1}} {
		_, err := Sized(bad[0], bad[1], 1)
		assert.ErrorContains(t, err, "must be 0 to")
	}
}

func TestFramesLoseTheirLengthAndID(t *testing.T) {
	c := codec(t, "kafka")
	var file []byte
	for i := range 3 {
		var err error
		file, err = c.Append(file, uint64(100+i), []byte(fmt.Sprintf("\x00\x12\x00\x00%d", i)))
		require.NoError(t, err)
	}
	s, err := Frames(c, file, Unique, 1)
	require.NoError(t, err)
	assert.Equal(t, []string{"\x00\x12\x00\x000", "\x00\x12\x00\x001", "\x00\x12\x00\x002"}, payloads(t, s, 3))
	assert.EqualValues(t, 3, s.Count())

	for want, data := range map[string][]byte{
		"no frame":                            nil,
		"frame 3, at byte 26: it is cut off":  file[:len(file)-1],
		"frame 4, at byte 39: it is cut off":  append(file[:len(file):len(file)], 0, 0),
		"frame 1, at byte 0: length field ff": []byte("\xff\xff\xff\xff\xff"),
		"no request, whose length":            []byte("\x00\x00\x00\x04abcd"),
	} {
		_, err := Frames(c, data, Sequential, 1)
		assert.ErrorContains(t, err, want)
	}
	_, err = Frames(c, file, "x", 1)
	assert.ErrorContains(t, err, "order")
}

func TestFilesAreBounded(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(name, []byte("abc"), 0o600))
	b, err := ReadFile(name)
	require.NoError(t, err)
	assert.Equal(t, "abc", string(b))
	require.NoError(t, os.Truncate(name, SizeMax+1))
	_, err = ReadFile(name)
	assert.ErrorContains(t, err, "must be 268435456 at most")
	_, err = ReadFile(name + "2")
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func TestAppendAllocsNothing(t *testing.T) {
	tp, err := Compile("a${seq}${rand:20}${csv.pan}", table(t, Random), 1)
	require.NoError(t, err)
	sized, err := Sized(1, 50, 1)
	require.NoError(t, err)
	buf := make([]byte, 0, 256)
	for _, s := range []Source{tp, sized, Bytes("x")} {
		assert.Zero(t, testing.AllocsPerRun(100, func() { buf = s.Append(buf[:0], 12345) }))
	}
}
