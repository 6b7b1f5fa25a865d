package wire

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func messages(t *testing.T, key string) *Codec {
	t.Helper()
	m, err := ParseMessage(key)
	require.NoError(t, err)
	c, err := New(Spec{Length: Field{0, 2, Big}, Message: m})
	require.NoError(t, err)
	return c
}

// read takes one frame apart.
func read(t *testing.T, c *Codec, frame string) Frame {
	t.Helper()
	d := NewDecoder(c)
	d.Filled(copy(d.Room(), frame))
	f, err := d.Next()
	require.NoError(t, err)
	require.NotNil(t, f)
	return *f
}

// framed puts the length before a message.
func framed(message string) string {
	return string([]byte{byte(len(message) >> 8), byte(len(message))}) + message
}

// sale is 0200 with fields 2, 3, 4, 7, 11, 35, 41 and 49; the card number is of 16 digits.
const (
	saleHead = "0200" + "7220000020808000" + "164000123412341234" + "000000" + "000000001000" + "1128170000"
	saleTail = "194000123412341234=25" + "TERM0001" + "978"
	sale     = saleHead + "000000" + saleTail
)

func TestTheIDIsWrittenIntoItsFieldAndReadFromThere(t *testing.T) {
	c := messages(t, "11,41")
	frame, err := c.Append([]byte("x"), 4711, []byte(sale))
	require.NoError(t, err)
	assert.Equal(t, "x"+framed(saleHead+"004711"+saleTail), string(frame))
	reply := strings.Replace(framed(saleHead+"004711"+saleTail), "0200", "0210", 1)
	f := read(t, c, reply)
	assert.Equal(t, []any{uint64(4711), true, false}, []any{f.ID, f.IDValid, f.Request})
	assert.Equal(t, c.Key(frame[1:]), f.Key)
	assert.NotZero(t, f.Key)
	other := read(t, c, strings.Replace(reply, "TERM0001", "TERM0002", 1))
	assert.EqualValues(t, 4711, other.ID)
	assert.NotEqual(t, f.Key, other.Key, "another terminal")
	assert.True(t, read(t, c, string(frame[1:])).Request, "0200 is a request")
	assert.Equal(t, Spec{Length: c.Spec().Length, ID: Field{0, 6, Decimal}, IDMin: 1, Reply: Mark{4, 1, 1}, Message: c.Spec().Message}, c.Spec())
	assert.EqualValues(t, 999_999, c.spec.IDs())

	terminal, err := c.Field([]byte(reply), 41)
	require.NoError(t, err)
	assert.Equal(t, "TERM0001", string(terminal))
	kind, err := c.Field([]byte(reply), 0)
	require.NoError(t, err)
	assert.Equal(t, "0210", string(kind))
	track, err := c.Field([]byte(reply), 35)
	require.NoError(t, err)
	assert.Equal(t, "4000123412341234=25", string(track))
	_, err = c.Field([]byte(reply), 39)
	assert.EqualError(t, err, "field 39: it is not in the message")
	_, err = codec(t, "anet").Field([]byte(reply), 39)
	assert.ErrorContains(t, err, "no iso8583 ID")
}

func TestThePayloadOfAMessageIsAllOfItAndTheIDIsNotCompared(t *testing.T) {
	c := messages(t, "11")
	frame, err := c.Append(nil, 99, []byte(sale))
	require.NoError(t, err)
	assert.Equal(t, saleHead+"000099"+saleTail, string(c.Payload(nil, frame)))
	assert.True(t, c.SamePayload(frame, []byte(sale)))
	for i := range sale {
		if i >= len(saleHead) && i < len(saleHead)+6 {
			continue
		}
		changed := []byte(sale)
		changed[i]++
		assert.False(t, c.SamePayload(frame, changed), "byte %d", i)
	}
	assert.False(t, c.SamePayload(frame, []byte(sale+" ")))
	got, err := c.RequestPayload(nil, frame)
	require.NoError(t, err)
	assert.Equal(t, saleHead+"000099"+saleTail, string(got))
}

func TestEachFormOfAMessageIsWalked(t *testing.T) {
	for name, c := range map[string]struct {
		key, message string // ###### is the field
		id           string
	}{
		"two bitmaps":      {"11", "0800" + "8220000000000000" + "0400000000000000" + "1128170000######301", "000007"},
		"a high key":       {"11,70", "0800" + "8220000000000000" + "0400000000000000" + "1128170000######301", "000007"},
		"a reference":      {"37", "0100" + "0000000008000000" + "######", "000000000007"},
		"field 11 after 2": {"11", "0100" + "4020000000000000" + "00######", "000007"},
		"three digits":     {"37", "0100" + "0000000018000000" + "004abcd######", "000000000007"},
		"binary bitmap":    {"11,bitmap=binary", "0100" + "\x40\x20\x00\x00\x00\x00\x00\x00" + "02xy######", "000007"},
		"two of them":      {"11,70,bitmap=binary", "0800" + "\x82\x20\x00\x00\x00\x00\x00\x00" + "\x04\x00\x00\x00\x00\x00\x00\x00" + "1128170000######301", "000007"},
		"binary PIN":       {"11,53,bitmap=binary", "0200" + "\x00\x20\x00\x00\x00\x00\x18\x00" + "######" + "\x01\x02\x03\x04\x05\x06\x07\x08" + "1234567890123456", "000007"},
		"PIN in hex":       {"11,53", "0200" + "0020000000001800" + "######" + "0102030405060708" + "1234567890123456", "000007"},
		"behind a TPDU":    {"11,off=7", "\x60\x00\x01\x00\x00" + "0800" + "0020000000000000" + "######", "000007"},
		"its type":         {"0,11", "0800" + "0020000000000000" + "######", "000007"},
	} {
		codec := messages(t, c.key)
		payload := strings.Replace(c.message, "######", strings.Repeat("0", len(c.id)), 1)
		want := strings.Replace(c.message, "######", c.id, 1)
		frame, err := codec.Append(nil, 7, []byte(payload))
		require.NoError(t, err, name)
		assert.Equal(t, framed(want), string(frame), name)
		f := read(t, codec, string(frame))
		assert.True(t, f.IDValid && f.ID == 7, name)
	}
	types := messages(t, "0,11")
	assert.NotEqual(t, read(t, types, framed("08100020000000000000000007")).Key, read(t, types, framed("02100020000000000000000007")).Key)
	assert.Equal(t, types.Key([]byte(framed("02000020000000000000000007"))), read(t, types, framed("02100020000000000000000007")).Key)
}

func TestMessagesThatAreNoneNameTheFieldAndWhatItHas(t *testing.T) {
	c := messages(t, "11,41")
	for message, want := range map[string]string{
		"":                                             "message type: 4 bytes at 2: the frame ends at 2",
		"02x0":                                         `message type: "02x0" at 2: must be decimal digits`,
		"0200" + "72200000":                            "bitmap: 16 bytes at 6: the frame ends at 14",
		"0200" + "722000002080800g":                    "bitmap: 37 32 32 30 30 30 30 30 32 30 38 30 38 30 30 67 at 6: must be hexadecimal digits (or bitmap=binary)",
		"0200" + "4020000000800000" + "x1":             `field 2: length "x1" at 22: must be decimal digits`,
		"0200" + "4020000000800000" + "45":             "field 2: length 45 at 22: must be 0 to 19",
		"0200" + "4020000000800000" + "05":             "field 2: 5 bytes at 24: the frame ends at 24",
		"0200" + "4020000000800000" + "0":              "field 2: 2 bytes at 22: the frame ends at 23",
		"0200" + "0020000000000000" + "000000":         "field 41: must be in every message, and is not: its bit is 0",
		"0200" + "0000000000800000" + "TERM0001":       "field 11: must be in every message, and is not: its bit is 0",
		"0200" + "0020000008800000" + "000000" + "123": "field 37: 12 bytes at 28: the frame ends at 31",
		"0200" + "0020000010800000" + "000000" + "9x9" + "TERM000": `field 36: length "9x9" at 28: must be decimal digits`,
	} {
		_, err := c.Append(nil, 1, []byte(message))
		assert.ErrorIs(t, err, ErrPayload)
		var field *FieldError
		require.ErrorAs(t, err, &field)
		assert.EqualError(t, err, "payload: "+want)
		f := read(t, c, framed(message))
		assert.False(t, f.IDValid, message)
		assert.Equal(t, message == "" || len(message) > 3 && message[2]&1 == 0, f.Request, "%q", message)
	}
	f := read(t, c, framed("0210"+"0020000000800000"+"00000x"+"TERM0001"))
	assert.False(t, f.IDValid, "no number")
}

func TestKeysThatMakeNoSenseAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"":                            `"": must be fields such as 11,41`,
		"11,x":                        `"x": must be fields such as 11,41`,
		"11,bitmap=ebcdic":            `"bitmap=ebcdic": must be`,
		"11=3":                        `"11=3": must be`,
		"41":                          "fields [41]: must have 11 or 37 among them",
		"11,1":                        "field 1: must be 0, the message type, or 2 to 128",
		"11,129":                      "field 129: must be 0",
		"11,41,11":                    "field 11: is named twice",
		"11,off=1":                    "off 1: must be 0 to 4096, and not over the length",
		"11,off=9999":                 "off 9999: must be",
		"11,2,3,4,5,6,7,8,9":          "9 fields: must be 1 to 8",
		"11,41,off=5,bitmap=binary,x": `"x": must be`,
	} {
		m, err := ParseMessage(text)
		if err == nil {
			_, err = New(Spec{Length: Field{0, 2, Big}, Message: m})
		}
		assert.ErrorContains(t, err, want, text)
	}
	m, err := ParseMessage("0,11,41,off=7,bitmap=binary")
	require.NoError(t, err)
	assert.Equal(t, Message{Key: []int{0, 11, 41}, Offset: 7, Binary: true}, m)
	assert.Equal(t, "iso8583:0,11,41,off=7,bitmap=binary", m.String())
}

func TestEveryFieldOf1987HasASize(t *testing.T) {
	c := messages(t, "11,128")
	for field := 2; field <= isoFieldMax; field++ {
		size := isoSizes[field]
		bitmap := field == isoPIN || field == 64 || field == 65 || field == 128
		assert.Equal(t, bitmap, size.most == 0, "field %d", field)
		data := strings.Repeat("1", size.most)
		if bitmap {
			data = strings.Repeat("1", 16)
		}
		maps := [128]byte{}
		maps[0], maps[11-1], maps[field-1], maps[127] = 1, 1, 1, 1
		text := ""
		for i := 0; i < 128; i += 4 {
			text += fmt.Sprintf("%X", maps[i]<<3|maps[i+1]<<2|maps[i+2]<<1|maps[i+3])
		}
		prefix := ""
		if size.digits > 0 {
			prefix = fmt.Sprintf("%0*d", size.digits, size.most)
		}
		message := "0210" + text
		switch {
		case field < 11:
			message += prefix + data + "000042"
		case field == 11:
			message += "000042"
		case field == 128:
			message += "000042"
		default:
			message += "000042" + prefix + data
		}
		message += "MAC4567890123456"
		got, err := c.Field([]byte(framed(message)), 128)
		require.NoError(t, err, "field %d", field)
		assert.Equal(t, "MAC4567890123456", string(got), "field %d", field)
		assert.EqualValues(t, 42, read(t, c, framed(message)).ID)
	}
}

func TestMessagesAllocNothing(t *testing.T) {
	c := messages(t, "11,41")
	payload := []byte(sale)
	frame, err := c.Append(nil, 5, payload)
	require.NoError(t, err)
	bad := []byte(framed("02104020000000800000x1"))
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		frame, err = c.Append(frame[:0], 7, payload)
		if f := fields(c, frame); !f.IDValid || f.Key != c.Key(frame) || fields(c, bad).IDValid || !c.SamePayload(frame, payload) {
			t.Fail()
		}
	}))
	require.NoError(t, err)
}

// Whatever a peer sends as a message: no panic, and a field that is found is in the frame.
func FuzzMessage(f *testing.F) {
	f.Add([]byte(framed(sale)), false, uint8(41))
	f.Add([]byte(framed("0800\x82\x20\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x001128170000######301")), true, uint8(70))
	f.Fuzz(func(t *testing.T, frame []byte, binary bool, field uint8) {
		c, err := New(Spec{Length: Field{0, 2, Big}, Message: Message{Key: []int{11, 41}, Binary: binary}})
		require.NoError(t, err)
		if len(frame) < 2 {
			return
		}
		_ = fields(c, frame)
		_ = c.SamePayload(frame, frame[2:])
		if data, err := c.Field(frame, int(field)); err == nil {
			require.LessOrEqual(t, len(data), len(frame))
		}
	})
}
