package load

import (
	"bytes"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/load/request"
	"github.com/ringwire/ringwire/load/wire"
)

// flowOf is a kind of several steps; each payload may name the values before it.
func flowOf(t testing.TB, payloads []string, extracts ...[]request.Extract) request.Kind {
	t.Helper()
	var flow request.Kind
	scope := request.Scope{Seed: 1}
	for i, payload := range payloads {
		tp, err := scope.Compile(payload)
		require.NoError(t, err)
		k := request.Kind{Source: tp}
		if i < len(extracts) {
			k.Extract = extracts[i]
			scope.Values = append(scope.Values, extracts[i]...)
		}
		if i == 0 {
			k.Name, k.Weight = "flow", 1
			flow = k
		} else {
			flow.Then = append(flow.Then, k)
		}
	}
	return flow
}

func mixOfKinds(t testing.TB, kinds ...request.Kind) *request.Mix {
	t.Helper()
	m, err := request.NewMix(kinds)
	require.NoError(t, err)
	return m
}

func at(name string, offset, n int) request.Extract {
	return request.Extract{Name: name, Cut: request.Cut{Offset: offset, Len: n}}
}

// tickets is a backend of three steps: "open N" gets "ticket=T-N;", "use T-N" gets the same
// of eight bytes, "shut T-N key" gets "ok". It counts what it does not know.
func tickets(t *testing.T, wrong *atomic.Int64) func(c *peer, n int, f wire.Frame) {
	return func(c *peer, _ int, f wire.Frame) {
		text := string(c.b.codec.Payload(nil, f.Bytes))
		command, arg, _ := strings.Cut(text, " ")
		switch {
		case command == "open":
			c.reply(f.ID, []byte("padding, ticket=T-"+arg+"; more"))
		case command == "use" && strings.HasPrefix(arg, "T-"):
			c.reply(f.ID, []byte(fmt.Sprintf("key%05s", arg[2:])))
		case command == "shut" && strings.HasPrefix(arg, "T-"):
			var ticket, key string
			_, _ = fmt.Sscanf(arg, "T-%s %s", &ticket, &key)
			if key != fmt.Sprintf("key%05s", ticket) {
				wrong.Add(1)
			}
			c.reply(f.ID, []byte("ok"))
		default:
			wrong.Add(1)
			c.reply(f.ID, []byte("what?"))
		}
	}
}

func ticketFlow(t testing.TB) request.Kind {
	return flowOf(t, []string{"open ${seq}", "use ${ticket}", "shut ${ticket} ${key}"},
		[]request.Extract{{Name: "ticket", Cut: request.Cut{After: []byte("ticket="), Until: []byte(";")}}}, []request.Extract{at("key", 6, 8)})
}

func TestAFlowsStepsHaveTheValuesOfThoseBefore(t *testing.T) {
	var wrong atomic.Int64
	b := serve(t, "anet", tickets(t, &wrong))
	cfg := to(t, b, "anet", 3000)
	cfg.Mix = mixOfKinds(t, ticketFlow(t))
	cfg.Conns, cfg.InFlight = 2, 20
	check := func(res *Result) {
		t.Helper()
		n := res.Total.Counts.Sent
		assert.Equal(t, Counts{Sent: n, Replied: n}, res.Total.Counts)
		assert.Zero(t, wrong.Load())
		require.Len(t, res.Steps, 3)
		for i, s := range res.Steps {
			assert.Equal(t, fmt.Sprintf("flow/%d", i+1), s.Name)
			assert.Equal(t, Counts{Sent: n, Replied: n}, s.Counts)
			assert.EqualValues(t, n, s.Service.TotalCount())
		}
		assert.Less(t, res.Steps[2].Service.Mean(), res.Total.Service.Mean(), "the flow's is from its first step on")
	}
	res := result(t, cfg)
	check(res)
	assert.EqualValues(t, 3000, res.Total.Counts.Sent)
	assert.EqualValues(t, 9000, b.requests.Load())
	assert.Equal(t, res.Total.Response.Max(), res.Total.Service.Max(), "closed loop")
	res = result(t, atRate(cfg, 20_000, 200*time.Millisecond))
	check(res)
	assert.LessOrEqual(t, res.Total.Service.Mean(), res.Total.Response.Mean())
}

func TestFlowsAndRequestsAreMixed(t *testing.T) {
	var wrong atomic.Int64
	b := serve(t, "anet", tickets(t, &wrong))
	cfg := to(t, b, "anet", 1000)
	cfg.Mix = mixOfKinds(t, request.Kind{Name: "plain", Weight: 3, Source: request.Bytes("open 1")}, ticketFlow(t))
	cfg.RequestsPerConn = 50
	res := result(t, cfg)
	assert.Equal(t, Counts{Sent: 1000, Replied: 1000}, res.Total.Counts)
	assert.EqualValues(t, 250, res.Kinds[1].Counts.Replied)
	require.Len(t, res.Steps, 3)
	assert.EqualValues(t, 250, res.Steps[2].Counts.Replied)
	assert.EqualValues(t, 1500, b.requests.Load())
	assert.Zero(t, wrong.Load())
	assert.Greater(t, res.Conns.Replaced, uint64(20))
	assert.Zero(t, res.Conns.Lost)
}

func TestAFlowEndsWithTheStepThatFails(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(c *peer, i int, f wire.Frame) bool // false: as usual
		total  Counts
		second Counts
	}{
		"no value": {func(c *peer, i int, f wire.Frame) bool {
			if i == 0 {
				c.reply(f.ID, []byte("ticket=lost"))
			}
			return i == 0
		}, Counts{Sent: 10, Replied: 10, Truncated: 1}, Counts{Sent: 9, Replied: 9}},
		"no reply to the second": {func(c *peer, i int, f wire.Frame) bool { return i == 1 },
			Counts{Sent: 10, Replied: 9, Timeouts: 1}, Counts{Sent: 10, Replied: 9, Timeouts: 1}},
		"a lost connection": {func(c *peer, i int, f wire.Frame) bool {
			if i == 1 {
				_ = c.conn.Close()
			}
			return i == 1
		}, Counts{Sent: 10, Replied: 9, ConnLost: 1}, Counts{Sent: 10, Replied: 9, ConnLost: 1}},
		"a mismatch": {func(c *peer, i int, f wire.Frame) bool {
			if i == 1 {
				c.reply(f.ID, []byte("nonsense"))
			}
			return i == 1
		}, Counts{Sent: 10, Replied: 10, Mismatch: 1}, Counts{Sent: 10, Replied: 10, Mismatch: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var wrong atomic.Int64
			usual := tickets(t, &wrong)
			b := serve(t, "anet", func(p *peer, i int, f wire.Frame) {
				if !c.answer(p, i, f) {
					usual(p, i, f)
				}
			})
			cfg := to(t, b, "anet", 10)
			flow := ticketFlow(t)
			var err error
			flow.Then[0].Expect, err = request.ParseExpect("prefix:key")
			require.NoError(t, err)
			cfg.Mix = mixOfKinds(t, flow)
			cfg.InFlight = 1
			cfg.Timeout, cfg.Drain = 200*time.Millisecond, 300*time.Millisecond
			res := result(t, cfg)
			assert.Equal(t, c.total, res.Total.Counts)
			require.Len(t, res.Steps, 3)
			assert.Equal(t, c.second, res.Steps[1].Counts)
			assert.EqualValues(t, 9, res.Steps[2].Counts.Sent)
			assert.EqualValues(t, 9, res.Steps[2].Counts.Replied)
			assert.Zero(t, wrong.Load())
		})
	}
}

func TestAnEchoIsExpectedOfAStepWithItsValues(t *testing.T) {
	b := serve(t, "anet", nil)
	cfg := to(t, b, "anet", 50)
	flow := flowOf(t, []string{"first ${seq:8}", "second ${v}"}, []request.Extract{at("v", 12, 8)})
	var err error
	flow.Then[0].Expect, err = request.ParseExpect("echo")
	require.NoError(t, err)
	cfg.Mix = mixOfKinds(t, flow)
	assert.Equal(t, Counts{Sent: 50, Replied: 50}, result(t, cfg).Total.Counts)
}

// A sale, and then the reversal that has its reference number, in messages.
func TestAReversalHasTheReferenceOfItsSale(t *testing.T) {
	var wrong atomic.Int64
	b := serve(t, "iso8583", func(c *peer, n int, f wire.Frame) {
		stan, _ := c.b.codec.Field(f.Bytes, 11)
		terminal, _ := c.b.codec.Field(f.Bytes, 41)
		if string(f.Bytes[2:6]) == "0200" {
			c.write([]byte("\x00\x38" + "0210" + "002000000A800000" + string(stan) + "REF" + string(terminal) + "7" + "00" + string(terminal) + "!!!!!!!!"))
			return
		}
		if reference, err := c.b.codec.Field(f.Bytes, 37); err != nil || string(reference) != "REF"+string(terminal)+"7" {
			wrong.Add(1)
		}
		c.write(approve(f))
	})
	cfg := to(t, b, "iso8583", 1000)
	cfg.Codec = codecOfMessages(t, "11,41")
	flow := flowOf(t, []string{"02000020000000800000${stan}${seq:8}", "04200020000008800000${stan}${rrn}${seq:8}"},
		[]request.Extract{{Name: "rrn", Cut: request.Cut{Field: 37}}})
	cfg.Mix = mixOfKinds(t, flow)
	cfg.InFlight = 16
	res := result(t, cfg)
	assert.Equal(t, Counts{Sent: 1000, Replied: 1000}, res.Total.Counts)
	assert.Zero(t, res.Replies)
	assert.Zero(t, wrong.Load())
}

func TestFlowsWithoutIDsAndWithFewOfThem(t *testing.T) {
	var wrong atomic.Int64
	for _, preset := range []string{"fifo", "anet"} {
		b := serve(t, preset, tickets(t, &wrong))
		cfg := to(t, b, preset, 500)
		flow := ticketFlow(t)
		flow.Then[0].Extract[0].Offset = b.codec.Spec().Length.End() + b.codec.Spec().ID.Size
		cfg.Mix = mixOfKinds(t, flow)
		cfg.InFlight = 8
		if preset == "anet" {
			spec := cfg.Codec.Spec()
			spec.IDMax = 7
			var err error
			cfg.Codec, err = wire.New(spec)
			require.NoError(t, err)
		}
		assert.Equal(t, Counts{Sent: 500, Replied: 500}, result(t, cfg).Total.Counts, preset)
		assert.EqualValues(t, 1500, b.requests.Load())
	}
	assert.Zero(t, wrong.Load())
}

func TestFlowsThatMakeNoSenseAreRefused(t *testing.T) {
	long := func(cut request.Cut) request.Kind {
		return flowOf(t, []string{"a", "b"}, []request.Extract{{Name: "v", Cut: cut}})
	}
	deep := ticketFlow(t)
	deep.Then[0].Then = deep.Then[1:]
	many := request.Kind{Name: "many", Weight: 1, Source: request.Bytes("x")}
	for range 16 {
		many.Then = append(many.Then, request.Kind{Source: request.Bytes("x")})
	}
	twice := flowOf(t, []string{"a", "b", "c"}, []request.Extract{at("v", 0, 1)}, []request.Extract{at("v", 0, 1)})
	for want, k := range map[string]request.Kind{
		`request "flow": step 2 has steps of its own`: deep,
		"17 steps: must be 1 to 16":                   many,
		`there are two values "v"`:                    twice,
		`name "2": must be a letter`:                  flowOf(t, []string{"a", "b"}, []request.Extract{at("2", 0, 1)}),
		`the name "seq" is taken`:                     flowOf(t, []string{"a", "b"}, []request.Extract{at("seq", 0, 1)}),
		"extract v: must have one of":                 long(request.Cut{}),
		"len 1025: must be 1 to 1024 bytes":           long(request.Cut{Len: 1025}),
		"at -1: must be 0 to":                         long(request.Cut{Offset: -1, Len: 1}),
		"at 3: has no len":                            long(request.Cut{Offset: 3, Field: 4}),
		"until: has no after":                         long(request.Cut{Until: []byte("x"), Field: 4}),
		"field 129: must be 2 to 128":                 long(request.Cut{Field: 129}),
		"extract v: field 4: the framing has no":      long(request.Cut{Field: 4}),
		"at 65536, len 9: must end at 65537":          long(request.Cut{Offset: 65536, Len: 9}),
	} {
		m, err := request.NewMix([]request.Kind{k})
		if err == nil {
			err = m.Check(codecOf(t, "anet"))
		}
		assert.ErrorContains(t, err, want)
	}
	_, err := request.Scope{}.Compile("${ticket}")
	assert.ErrorContains(t, err, "${ticket}: must be seq")
}

func TestExtractedValuesAreBounded(t *testing.T) {
	c := codecOf(t, "anet")
	cut := request.Cut{After: []byte("<")}
	v, ok := cut.Of(c, append([]byte("......<"), make([]byte, 1024)...))
	assert.True(t, ok && len(v) == 1024)
	_, ok = cut.Of(c, append([]byte("......<"), make([]byte, 1025)...))
	assert.False(t, ok)
	_, ok = cut.Of(c, []byte("ab"))
	assert.False(t, ok)
	v, ok = (&request.Cut{After: []byte("<"), Until: []byte(">")}).Of(c, []byte("<.<...<><"))
	assert.True(t, ok && len(v) == 0)
	_, ok = cut.Of(c, []byte("<.<<<<ab"))
	assert.False(t, ok, "length and ID are not looked at")
	_, ok = (&request.Cut{Offset: 3, Len: 2}).Of(c, []byte("abcd"))
	assert.False(t, ok)
	assert.True(t, bytes.Equal([]byte("d"), first((&request.Cut{Offset: 3, Len: 1}).Of(c, []byte("abcd")))))
}

func first(b []byte, _ bool) []byte { return b }
