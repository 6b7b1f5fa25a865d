package load

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/load/request"
	"github.com/ringwire/ringwire/load/wire"
)

const (
	canaryCard = "4556677845566778"
	canaryPIN  = "0412AC89ABCDEF67"
)

func TestWhatIsMasked(t *testing.T) {
	for payload, want := range map[string]string{
		"":                                    "",
		"NC and 12345678901":                  "NC and 12345678901",
		"CA" + canaryCard + "=25121":          strings.Repeat("*", 18) + "=25121",
		"x123456789012y":                      "x************y",
		"4556 6778 4556 6778 end":             "******************* end",
		"4556-6778-4556-6778":                 "*******************",
		"4556  6778  4556":                    "4556  6778  4556",
		"PIN " + canaryPIN + " x":             "PIN **************** x",
		"BA" + canaryPIN + canaryCard:         strings.Repeat("*", 34),
		"KEY 0412ac89abcdef6":                 "KEY 0412ac89abcdef6",
		"two\r\nlines\t.":                     "two\r\nlines\t.",
		"CA\x04\x12" + canaryCard:             "not shown: it is not all text",
		"\x45\x56\x67\x78\x45\x56\x67\x98":    "not shown: it is not all text",
		strings.Repeat("ghi ", 400):           strings.Repeat("ghi ", 256) + "…",
		"1 2 3 4 5 6 7 8 9 0 1 2":             strings.Repeat("*", 23),
		"12345678901 2345678901234567890 abc": strings.Repeat("*", 31) + " abc",
	} {
		assert.Equal(t, want, masked([]byte(payload)), payload)
	}
}

// dumped runs a config with a dump and returns its lines.
func dumped(t *testing.T, cfg Config) (*Result, []map[string]any, string) {
	t.Helper()
	var out bytes.Buffer
	cfg.Dump = &out
	res := result(t, cfg)
	require.NoError(t, res.DumpError)
	var lines []map[string]any
	for line := range strings.Lines(out.String()) {
		var f map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &f), line)
		lines = append(lines, f)
	}
	return res, lines, out.String()
}

func TestEachFailureIsWrittenDownOnce(t *testing.T) {
	b := serve(t, "anet", func(c *peer, n int, f wire.Frame) {
		switch n {
		case 1: // times out
		case 2:
			c.reply(f.ID, []byte("00 other"))
		case 3:
			c.reply(f.ID, []byte("68"))
		case 4:
			c.reply(f.ID, []byte("0"))
		case 5:
			c.reply(f.ID, []byte("00 fine "+canaryCard))
			c.reply(f.ID, []byte("00 again "+canaryCard))
		case 6:
			c.reply(f.ID, []byte("00 fine "+canaryCard))
			c.reply(77777, []byte("00 whose? "+canaryPIN))
		case 9:
			_ = c.conn.Close()
		default:
			c.reply(f.ID, []byte("00 fine "+canaryCard))
		}
	})
	cfg := to(t, b, "anet", 10)
	cfg.Mix = mixOf(t, "pay "+canaryCard+", ${seq}", "contains:fine")
	cfg.Mix.Kinds[0].Status = request.Status{Offset: 6, Len: 2, OK: [][]byte{[]byte("00")}}
	cfg.InFlight, cfg.Timeout, cfg.Drain = 1, 200*time.Millisecond, 250*time.Millisecond
	_, lines, text := dumped(t, cfg)
	var outcomes []string
	for _, f := range lines {
		outcomes = append(outcomes, fmt.Sprint(f["outcome"], " ", f["number"], " ", f["status"]))
	}
	assert.Equal(t, []string{"timeout 1 <nil>", "mismatch 2 00", "refused 3 68", "truncated 4 <nil>", "duplicate <nil> <nil>", "unknown_id <nil> <nil>", "conn_lost 9 <nil>"}, outcomes)
	assert.Equal(t, map[string]any{"bytes": 23.0, "text": "pay ****************, 1"}, lines[0]["sent"])
	assert.Nil(t, lines[0]["received"])
	assert.GreaterOrEqual(t, lines[0]["age_ns"], float64(190*time.Millisecond))
	assert.Equal(t, map[string]any{"bytes": 8.0, "text": "00 other"}, lines[1]["received"])
	assert.EqualValues(t, 2, lines[1]["id"])
	assert.EqualValues(t, 77777, lines[5]["id"])
	assert.Equal(t, "request", lines[1]["request"])
	noCanary(t, text)
}

// noCanary looks for eight characters of a canary, and the same in hexadecimal digits.
func noCanary(t *testing.T, text string) {
	t.Helper()
	flat := strings.ToLower(strings.NewReplacer(" ", "", "\n", "", "-", "").Replace(text))
	for _, canary := range []string{canaryCard, canaryPIN} {
		for at := 0; at+8 <= len(canary); at++ {
			piece := strings.ToLower(canary[at : at+8])
			assert.NotContains(t, flat, piece)
			assert.NotContains(t, flat, fmt.Sprintf("%x", piece))
		}
	}
	require.NotEmpty(t, flat)
}

func TestMessagesAreWrittenDownByField(t *testing.T) {
	pin := "\x04\x12\xac\x89\xab\xcd\xef\x67"
	m, err := wire.ParseMessage("11,41,bitmap=binary")
	require.NoError(t, err)
	codec, err := wire.New(wire.Spec{Length: wire.Field{Size: 2, Form: wire.Big}, Message: m})
	require.NoError(t, err)
	b := serve(t, "fifo", func(c *peer, n int, f wire.Frame) {
		reply := approve(f)
		switch n {
		case 1:
			reply = reply[:40]
			reply[0], reply[1] = 0, 38
		case 2:
			reply[14] = 'x' // no message any more
		}
		c.write(reply)
	})
	cfg := to(t, b, "iso8583", 3)
	cfg.Codec = codec
	cfg.Mix = mixOf(t, "0200"+"${hex:70 20 00 00 20 80 10 00}"+"16"+canaryCard+"000000"+"000000001000"+"${stan}"+"20"+canaryCard+"=251"+"TERM0001"+"${hex:"+fmt.Sprintf("%x", pin)+"}", "size:3")
	cfg.InFlight, cfg.Timeout, cfg.Drain = 1, 100*time.Millisecond, 200*time.Millisecond
	_, lines, text := dumped(t, cfg)
	require.Len(t, lines, 5)
	assert.Equal(t, "mismatch", lines[0]["outcome"])
	assert.Equal(t, "type=0200 2=(16 bytes) 3=000000 4=(12 bytes) 11=ID 35=(20 bytes) 41=TERM0001 52=(8 bytes)", lines[0]["sent"].(map[string]any)["text"])
	assert.Equal(t, "type=0210 2=(16 bytes) 3=000000 4=(12 bytes) 11=000001 35=(20 bytes) 41=TERM0001 52=(8 bytes)", lines[0]["received"].(map[string]any)["text"])
	assert.Equal(t, "type=0210 2=(16 bytes) 3=000000 and no more: not a message", lines[1]["received"].(map[string]any)["text"])
	assert.Equal(t, "type=0210 and no more: not a message", lines[3]["received"].(map[string]any)["text"])
	noCanary(t, text)
	assert.NotContains(t, text, pin[:4])
}

func TestTheDumpIsBounded(t *testing.T) {
	b := serve(t, "anet", nil)
	cfg := to(t, b, "anet", 5000)
	cfg.Mix = mixOf(t, "x${seq}", "size:1")
	res, lines, _ := dumped(t, cfg)
	assert.EqualValues(t, 5000, res.Total.Counts.Mismatch)
	last := lines[len(lines)-1]
	assert.LessOrEqual(t, len(lines), dumpsMax+1)
	assert.EqualValues(t, 5000, float64(len(lines)-1)+last["left_out"].(float64))
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestADumpThatCannotBeWrittenIsToldAndHoldsNothingUp(t *testing.T) {
	b := serve(t, "anet", nil)
	cfg := to(t, b, "anet", 3000)
	cfg.Mix = mixOf(t, "x${seq}", "size:1")
	cfg.Dump = broken{}
	res := result(t, cfg)
	assert.ErrorContains(t, res.DumpError, "disk full")
	assert.EqualValues(t, 3000, res.Total.Counts.Mismatch)
	cfg.Mix = mixOf(t, "x", "echo")
	assert.NoError(t, result(t, cfg).DumpError, "there was nothing to write")
}
