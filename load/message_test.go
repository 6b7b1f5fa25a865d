package load

import (
	"bytes"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/load/request"
	"github.com/ringwire/ringwire/load/wire"
)

func codecOfMessages(t testing.TB, key string) *wire.Codec {
	t.Helper()
	m, err := wire.ParseMessage(key)
	require.NoError(t, err)
	c, err := wire.New(wire.Spec{Length: wire.Field{Size: 2, Form: wire.Big}, Message: m})
	require.NoError(t, err)
	return c
}

// authorize has fields 2, 4, 11, 41.
const authorize = "0200" + "5020000000800000" + "16${csv.pan}" + "000000001000" + "${stan}" + "${csv.terminal}"

// approve makes a reply of a request: its type is one more.
func approve(f wire.Frame) []byte {
	b := append([]byte(nil), f.Bytes...)
	b[4]++
	return b
}

// toMessages is a closed loop of authorizations.
func toMessages(t *testing.T, n int64, rows string, answer func(c *peer, n int, f wire.Frame)) (*backend, Config) {
	t.Helper()
	b := serve(t, "iso8583", answer)
	cfg := to(t, b, "iso8583", n)
	cfg.Codec = codecOfMessages(t, "11,41")
	table, err := request.NewTable([]byte("pan,terminal\n"+rows), request.Sequential, 1)
	require.NoError(t, err)
	tp, err := request.Compile(authorize, map[string]*request.Table{"": table}, 1)
	require.NoError(t, err)
	cfg.Mix, err = request.NewMix([]request.Kind{{Name: "sale", Weight: 1, Source: tp}})
	require.NoError(t, err)
	return b, cfg
}

const twoRows = "4000123412341234,TERM0001\n4000123412341235,TERM0002\n"

func TestMessagesAreMatchedByTheirKey(t *testing.T) {
	var mu sync.Mutex
	stans := map[string]bool{}
	var held []wire.Frame
	_, cfg := toMessages(t, 2000, twoRows, func(c *peer, _ int, f wire.Frame) {
		stan, err := c.b.codec.Field(f.Bytes, 11)
		mu.Lock()
		defer mu.Unlock()
		assert.NoError(t, err)
		stans[string(stan)] = true
		f.Bytes = bytes.Clone(f.Bytes)
		if held = append(held, f); len(held) == 8 { // answered the other way round
			for i := 7; i >= 0; i-- {
				c.write(approve(held[i]))
			}
			held = nil
		}
	})
	res := result(t, cfg)
	assert.Equal(t, Counts{Sent: 2000, Replied: 2000}, res.Total.Counts)
	assert.Zero(t, res.Replies)
	require.Len(t, stans, 2000, "each has its own")
	for i := range 2000 {
		assert.True(t, stans[strings.Repeat("0", 6-len(strconv.Itoa(i+1)))+strconv.Itoa(i+1)])
	}
}

func TestAReplyWithAnotherKeyIsOfAnUnknownID(t *testing.T) {
	_, cfg := toMessages(t, 30, twoRows, func(c *peer, n int, f wire.Frame) {
		b := approve(f)
		switch n {
		case 3: // another terminal
			b[len(b)-1] = '9'
		case 7: // no STAN at all
			copy(b[len(b)-14:], "......")
		case 9: // beside the reply
			c.write([]byte("\x00\x00")) // a sign of life
			c.write(bytes.Replace(b, []byte("TERM"), []byte("MRET"), 1))
		case 12:
			c.write(b)
			c.write(f.Bytes) // a request of its own
		}
		c.write(b)
	})
	cfg.Timeout, cfg.Drain = 500*time.Millisecond, time.Second
	res := result(t, cfg)
	assert.Equal(t, Counts{Sent: 30, Replied: 28, Timeouts: 2}, res.Total.Counts)
	assert.Equal(t, Replies{UnknownID: 3, Duplicate: 1, PeerRequests: 2}, res.Replies)
}

func TestMessagesWithoutTheirKeyAreRefusedBeforeADial(t *testing.T) {
	b, cfg := toMessages(t, 5, "400,T1\n4000123412341234,TERM0001\n", nil)
	_, err := Run(t.Context(), cfg)
	require.ErrorContains(t, err, `request "sale": payload: field `)
	_, cfg = toMessages(t, 5, twoRows+"400012341234123,TERM0001\n", nil)
	_, err = Run(t.Context(), cfg)
	require.ErrorContains(t, err, `request "sale": row 3: payload: field `)
	assert.NotContains(t, err.Error(), "4000")
	cfg.Mix = mixOf(t, "0200"+"5020000000000000"+"021200000000000100${stan}", "any")
	_, err = Run(t.Context(), cfg)
	require.ErrorContains(t, err, "field 41: must be in every message")
	assert.Zero(t, b.conns.Load())
}

// Only the template's numbers tell that its second message is none.
func TestAMessageThatIsNoneEndsTheRunUnsent(t *testing.T) {
	b, cfg := toMessages(t, 100, twoRows, func(c *peer, _ int, f wire.Frame) { c.write(approve(f)) })
	cfg.Mix = mixOf(t, "0200"+"4020000000800000"+"0${seq:1}"+"${stan}"+"TERM0001", "any")
	cfg.InFlight, cfg.Timeout, cfg.Drain = 1, 100*time.Millisecond, 200*time.Millisecond
	res := result(t, cfg)
	assert.Equal(t, `request "request", number 1: payload: field 41: 8 bytes at 31: the frame ends at 38`, res.Broke)
	assert.EqualValues(t, 1, b.requests.Load())
	assert.EqualValues(t, 1, res.Total.Counts.Replied)
}
