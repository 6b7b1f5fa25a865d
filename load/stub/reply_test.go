package stub

import (
	"encoding/hex"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(t, err)
	return b
}

// answers sends one frame to a stub and returns what comes.
func answers(t *testing.T, s *Server, request []byte) []byte {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr().String())
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = conn.Write(request)
	require.NoError(t, err)
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	b, err := io.ReadAll(conn)
	require.NoError(t, err, "what was asked before the end is answered")
	return b
}

func TestRepliesAreMarkedAndHaveTheIDOfTheirRequest(t *testing.T) {
	for _, c := range []struct{ preset, request, reply string }{
		{"anet", "0006 01020304 6869", "0006 01020304 6869"},
		{"payshield", "0006 48454144 4e43", "0006 48454144 4e43"}, // HEAD
		{"payshield", "0006 3030612d 4e43", "0006 3030612d 4e43"}, // not of the form
		{"dns-tcp", "000c beef 0100 0001 0000 0000 0000", "000c beef 8100 0001 0000 0000 0000"},
		{"kafka", "0000000a 0012 0000 00000007 ffff", "0000000a 00000007 0012 0000 ffff"},
		{"diameter", "01 000014 80 000118 00000000 11223344 55667788", "01 000014 00 000118 00000000 11223344 55667788"},
		{"smpp", "00000010 00000015 00000000 00000009", "00000010 80000015 00000000 00000009"},
		{"modbus", "1234 0000 0006 01 03 0000 0001", "1234 0000 0006 01 03 0000 0001"},
		{"fifo", "0002 4142", "0002 4142"},
		{"zookeeper", "00000008 00000005 0000000b", "00000008 00000005 0000000b"},
		{"cassandra", "04 00 0003 05 00000000", "84 00 0003 05 00000000"},
		{"memcached", "80 0a 0000 00 00 0000 00000000 abcdef01 0000000000000000", "81 0a 0000 00 00 0000 00000000 abcdef01 0000000000000000"},
		{"mongodb", "10000000 02000000 00000000 dd070000", "10000000 00000000 02000000 dd070000"},
		{"9p", "08000000 74 0100 00", "08000000 75 0100 00"},
		{"gearman", "00524551 00000010 00000002 6162", "00524553 00000010 00000002 6162"},
	} {
		s := start(t, Config{Codec: codecOf(t, c.preset, 0)})
		assert.Equal(t, hex.EncodeToString(unhex(t, c.reply)), hex.EncodeToString(answers(t, s, unhex(t, c.request))), c.preset)
		st := ended(t, s)
		assert.EqualValues(t, 1, st.Replies)
	}
}

func TestReplyRules(t *testing.T) {
	const request = "\x00\x0a0001B2abcd"
	for _, c := range []struct {
		rules []string
		want  string
	}{
		{nil, request},
		{[]string{"echo"}, request},
		{[]string{"data=B300"}, "\x00\x080001B300"},
		{[]string{"data=${hex:0102}"}, "\x00\x060001\x01\x02"},
		{[]string{"size=3"}, "\x00\x070001B2a"},
		{[]string{"size=8"}, "\x00\x0c0001B2abcd\x00\x00"},
		{[]string{"off=7:+1"}, "\x00\x0a0001B3abcd"},
		{[]string{"off=7:-1"}, "\x00\x0a0001B1abcd"},
		{[]string{"off=8,len=2:00"}, "\x00\x0a0001B200cd"},
		{[]string{"off=8:0xfffe"}, "\x00\x0a0001B2\xff\xfecd"},
		{[]string{"off=7:+1", "off=8,insert:00"}, "\x00\x0c0001B300abcd"},
		{[]string{"off=12,insert:!"}, "\x00\x0b0001B2abcd!"},
		{[]string{"size=9", "off=11,len=4,from=8"}, "\x00\x0d0001B2abcabcd"},
		{[]string{"data=xxxx", "off=6,len=2,from=10"}, "\x00\x080001cdxx"},
		// What is too short is left as it is.
		{[]string{"off=12:1", "off=13,insert:1", "off=11,len=2,from=6", "off=6,len=2,from=11", "off=12:+1"}, request},
	} {
		var cfg Config
		for _, r := range c.rules {
			require.NoError(t, cfg.Reply.Parse(r))
		}
		cfg.Codec = codecOf(t, "payshield", 0)
		s := start(t, cfg)
		assert.Equal(t, c.want, string(answers(t, s, []byte(request))), "%v", c.rules)
		st := ended(t, s)
		if c.want == request && len(c.rules) > 1 {
			assert.EqualValues(t, len(c.rules), st.Skipped)
		} else {
			assert.Zero(t, st.Skipped, "%v", c.rules)
		}
	}
}

func TestCodesComeByTheirWeights(t *testing.T) {
	ru, err := parseRule("off=8,len=2:00=97,51=2,68=1")
	require.NoError(t, err)
	r := rand.New(rand.NewPCG(1, 1))
	n := map[string]int{}
	for range 100_000 {
		n[string(ru.choose(r))]++
	}
	assert.InDelta(t, 97_000, n["00"], 300)
	assert.InDelta(t, 2000, n["51"], 200)
	assert.InDelta(t, 1000, n["68"], 200)
	assert.Len(t, n, 3)
}

func TestRulesThatMakeNoSenseAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"": "must be echo", "off=8": "must be echo", "len=2:00": "must be echo", "at=8:00": "must be echo", "off=x:00": "must be echo",
		"off=-1:00": "must be echo", "off=8,len=2:000": "has 3 bytes", "off=8:00,1": "has 1 bytes", "off=8:": "has 0 bytes", "off=8:00=0": "weight",
		"off=8:00=x": "weight", "off=8:0x0": "value", "off=8,from=2": "must be echo", "off=8,len=2,from=2:00": "must be echo",
		"off=8,len=2:+1": "one byte", "off=8:+256": "one byte", "off=8,len=9999,from=3": "at most 4096", "off=8,insert,from=3,len=1": "must be echo",
		"size=1:3": "must be echo", "data=${csv.x}": "csv",
	} {
		var r Reply
		assert.ErrorContains(t, r.Parse(text), want, text)
	}
	var many Reply
	for range rulesMax {
		require.NoError(t, many.Parse("off=7:+1"))
	}
	assert.ErrorContains(t, many.Parse("off=7:+1"), "more than 64")
	for _, c := range []struct{ preset, text string }{
		{"anet", "off=0:+1"}, {"anet", "off=1,len=2:00"}, {"anet", "off=5:+1"}, {"anet", "off=3,insert:x"},
		{"kafka", "off=4:x"}, {"kafka", "off=8,len=2,from=7"}, {"anet", "size=70000"},
	} {
		var cfg Config
		require.NoError(t, cfg.Reply.Parse(c.text))
		cfg.Codec, cfg.Dial = codecOf(t, c.preset, 0), noDial
		_, err := New(cfg)
		assert.ErrorContains(t, err, "reply \""+c.text, c.text)
	}
}

// A reply is never larger than a frame, nor smaller than its fields.
func TestRepliesFitIntoFrames(t *testing.T) {
	for preset, request := range map[string]string{"anet": "0006 01020304 6869", "memcached": "80 0a 0000 00 00 0000 00000000 abcdef01 0000000000000000",
		"dns-tcp": "000c beef 0100 0001 0000 0000 0000"} {
		codec := codecOf(t, preset, 64)
		for _, rule := range []string{"size=0", "data=" + strings.Repeat("x", 100)} {
			var cfg Config
			require.NoError(t, cfg.Reply.Parse(rule))
			cfg.Codec = codec
			s := start(t, cfg)
			got := answers(t, s, unhex(t, request))
			n, err := codec.Size(got)
			assert.NoError(t, err, preset)
			assert.Equal(t, len(got), n, preset)
			ended(t, s)
		}
	}
}
