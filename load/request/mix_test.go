package request

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestKindsComeByTheirWeightsSpreadEvenly(t *testing.T) {
	m, err := NewMix([]Kind{{Name: "echo", Weight: 20, Source: Bytes("e")}, {Name: "CA", Weight: 80, Source: Bytes("c")}})
	require.NoError(t, err)
	text := ""
	numbers := [2][]uint64{}
	for n := range uint64(10) {
		kind, number := m.Of(n)
		text += string(m.Kinds[kind].Source.Append(nil, number))
		numbers[kind] = append(numbers[kind], number)
	}
	assert.Equal(t, "cceccccecc", text)
	assert.Equal(t, [2][]uint64{{0, 1}, {0, 1, 2, 3, 4, 5, 6, 7}}, numbers)
	assert.Zero(t, m.Count())
}

func TestAMixEndsWithItsFirstSourceThatDoes(t *testing.T) {
	rows, err := Compile("${csv.pan}", table(t, Unique), 1) // three
	require.NoError(t, err)
	for _, weights := range [][2]int{{1, 1}, {3, 1}, {1, 3}, {2, 5}, {500, 500}} {
		m, err := NewMix([]Kind{{Name: "a", Weight: weights[0], Source: rows}, {Name: "b", Weight: weights[1], Source: Bytes("b")}})
		require.NoError(t, err)
		end := m.Count()
		used := uint64(0)
		for n := range end {
			if kind, number := m.Of(n); kind == 0 {
				used = max(used, number+1)
			}
		}
		kind, number := m.Of(end)
		assert.Equal(t, []any{uint64(3), 0, uint64(3)}, []any{used, kind, number}, "weights %v: all rows, and then no more", weights)
	}
}

func TestMixesThatMakeNoSenseAreRefused(t *testing.T) {
	ok := Kind{Name: "a", Weight: 1, Source: Bytes("a")}
	for want, kinds := range map[string][]Kind{
		"0 kinds of requests: must be 1 to 64":        {},
		`request "a": there are two of that name`:     {ok, ok},
		`request "a": weight 0: must be 1 to 1000`:    {{Name: "a", Source: Bytes("a")}},
		`request "a": weight 1001: must be 1 to 1000`: {{Name: "a", Weight: 1001, Source: Bytes("a")}},
		`request "a": has no payload`:                 {{Name: "a", Weight: 1}},
	} {
		_, err := NewMix(kinds)
		assert.ErrorContains(t, err, want)
	}
	for want, k := range map[string]Kind{
		"payload of 3 bytes: must have 4 at least":                 {Source: Bytes("abc")},
		"status: len 17: must be 1 to 16":                          {Source: Bytes("abcd"), Status: Status{Len: 17}},
		"status: off 16777216: must be 0 to 167772":                {Source: Bytes("abcd"), Status: Status{Len: 1, Offset: 1 << 24}},
		"status: no value is success":                              {Source: Bytes("abcd"), Status: Status{Len: 1}},
		"expect repeats: off 3, len 2: a payload has only 4 bytes": {Source: Bytes("abcd"), Expect: Expect{how: repeats, from: 3, size: 2}},
		"expect repeats: off 4, len 1: a payload has only 4 bytes": {Source: Bytes("abcd"), Expect: Expect{how: repeats, from: 4}},
		"status: the value 00 has 2 bytes: must have 1":            {Source: Bytes("abcd"), Status: Status{Len: 1, OK: [][]byte{[]byte("00")}}},
	} {
		k.Name, k.Weight = "k", 1
		m, err := NewMix([]Kind{k})
		require.NoError(t, err)
		assert.ErrorContains(t, m.Check(codec(t, "kafka")), `request "k": `+want)
	}
	ok.Status = Status{Offset: 8, Len: 2, OK: [][]byte{[]byte("00")}}
	m, err := NewMix([]Kind{ok})
	require.NoError(t, err)
	assert.NoError(t, m.Check(codec(t, "anet")))
}

func TestExpectationsHoldForWhatTheySay(t *testing.T) {
	c := codec(t, "anet")
	source, err := Compile("req${seq}", nil, 1)
	require.NoError(t, err)
	var scratch []byte
	for expect, want := range map[string][2]string{ // a reply that holds, one that does not
		"any":             {"", ""},
		"echo":            {"req7", "req8"},
		"equal:ND00":      {"ND00", "ND001"},
		"equal:${hex:00}": {"\x00", "\x01"},
		"prefix:ND":       {"ND00", "NC00"},
		"contains:00":     {"ND00x", "ND0"},
		"size:3":          {"abc", "abcd"},
		"equal:":          {"", "a"},
		// "req7" is what is asked.
		"repeats:off=2,len=2": {"is q7.", "is q8."},
		"repeats:off=2":       {"is q7.", "is q"},
		"repeats:len=3":       {"reqx", "rexq"},
		"repeats:off=0":       {"a req7", "a req"},
	} {
		e, err := ParseExpect(expect)
		require.NoError(t, err, expect)
		for i, reply := range want {
			frame, err := c.Append(nil, 9, []byte(reply))
			require.NoError(t, err)
			var holds bool
			holds, scratch = e.Holds(c, frame, source, 7, &From{}, scratch)
			assert.Equal(t, i == 0 || expect == "any", holds, "%s of %q", expect, reply)
		}
	}
	for _, bad := range []string{"", "equal", "echo:x", "size:-1", "size:x", "like:x",
		"repeats", "repeats:", "repeats:off=-1", "repeats:len=0", "repeats:off=x", "repeats:8", "repeats:off=268435456"} {
		_, err := ParseExpect(bad)
		assert.ErrorContains(t, err, "must ", bad)
	}
	_, err = ParseExpect("equal:${seq}")
	assert.ErrorContains(t, err, "only ${hex:…}")
	_, err = ParseExpect("equal:${hex:zz}")
	assert.Error(t, err)
}

func TestStatusIsReadFromTheFrame(t *testing.T) {
	s := Status{Offset: 8, Len: 2, OK: [][]byte{[]byte("00"), []byte("02")}}
	for frame, want := range map[string]struct {
		code string
		ok   bool
	}{
		"LLhhhhND00": {"00", true}, "LLhhhhND02x": {"02", true}, "LLhhhhND68": {"68", false}, "LLhhhhND0": {"", false},
	} {
		code, ok := s.Of([]byte(frame))
		assert.Equal(t, want.code, string(code), frame)
		assert.Equal(t, want.ok, ok, frame)
	}
	for _, name := range []string{"00", "A9", "0x0000", "0x2d"} {
		code, err := ParseCode(name)
		require.NoError(t, err)
		assert.Equal(t, name, CodeName(code))
	}
	_, err := ParseCode("0x0")
	assert.Error(t, err)
}
