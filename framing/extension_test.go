package framing_test

import (
	"math"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/taskid"
)

// extensionFields are the kinds of vectors of the extension, and how many fields each has.
var extensionFields = map[string]int{
	"hello": 4, "helloas": 4, "control": 4, "request": 5, "reply": 4, "reason": 6, "reasoncut": 6,
	"badhello": 1, "badcontrol": 1, "badrequest": 1, "badreply": 1, "requestover": 3, "replyover": 3,
}

func (v vector) checkExtension(t *testing.T) {
	if strings.HasPrefix(v.kind, "bad") {
		v.checkMalformed(t)
		return
	}
	format, wire := parseFormat(t, v.fields[0]), unhex(t, v.fields[1])
	require.NoError(t, format.ValidateExtension())
	switch v.kind {
	case "requestover", "replyover":
		b, err := format.AppendRequest([]byte("front"), 1, 0, wire)
		if v.kind == "replyover" {
			b, err = format.AppendReply([]byte("front"), 1, wire)
		}
		requireLengthError(t, err, framing.ErrMaxLenExceeded, number(t, v.fields[2]))
		require.Equal(t, "front", string(b))
		return
	case "hello", "helloas":
		v.checkHello(t, format, wire)
		return
	}
	frame, n, err := format.Parse(wire)
	require.NoError(t, err)
	require.Equal(t, len(wire), n)
	if v.kind == "control" {
		kind, body, err := framing.ParseControl(frame.Payload)
		require.NoError(t, err)
		require.Equal(t, framing.ControlID, frame.ID)
		require.EqualValues(t, hexNumber(t, v.fields[2]), kind)
		requireBytes(t, unhex(t, v.fields[3]), body)
		b, err := format.AppendControl(nil, kind, body)
		require.NoError(t, err)
		requireBytes(t, wire, b)
		return
	}
	require.EqualValues(t, hexNumber(t, v.fields[2]), frame.ID)
	switch v.kind {
	case "request":
		remaining, payload := uint32(number(t, v.fields[3])), unhex(t, v.fields[4])
		got, request, err := framing.ParseRequest(frame.Payload)
		require.NoError(t, err)
		require.Equal(t, remaining, got)
		requireBytes(t, payload, request)
		b, err := format.AppendRequest(nil, frame.ID, remaining, payload)
		require.NoError(t, err)
		requireBytes(t, wire, b)
	case "reply":
		payload := unhex(t, v.fields[3])
		status, reply, err := framing.ParseReply(frame.Payload)
		require.NoError(t, err)
		require.Equal(t, framing.StatusOK, status)
		requireBytes(t, payload, reply)
		b, err := format.AppendReply(nil, frame.ID, payload)
		require.NoError(t, err)
		requireBytes(t, wire, b)
	default:
		v.checkReason(t, format, wire, frame)
	}
}

func (v vector) checkReason(t *testing.T, format framing.Format, wire []byte, frame framing.Frame) {
	status, code := framing.Status(number(t, v.fields[3])), uint32(number(t, v.fields[4]))
	text := string(unhex(t, v.fields[5]))
	got, body, err := framing.ParseReply(frame.Payload)
	require.NoError(t, err)
	require.Equal(t, status, got)
	gotCode, gotText, err := framing.ParseReason(body)
	require.NoError(t, err)
	require.Equal(t, code, gotCode)
	if v.kind == "reason" {
		require.Equal(t, text, gotText)
	} else {
		require.True(t, strings.HasPrefix(text, gotText) && len(gotText) < len(text))
		require.True(t, utf8.ValidString(gotText))
	}
	b, err := format.AppendReason(nil, frame.ID, status, code, text)
	require.NoError(t, err)
	requireBytes(t, wire, b)
}

func (v vector) checkHello(t *testing.T, format framing.Format, wire []byte) {
	n, err := format.HelloSize(wire[:format.HeaderSize()])
	require.NoError(t, err)
	require.Equal(t, len(wire), n)
	frame, _, err := format.Parse(wire)
	require.NoError(t, err)
	require.Equal(t, framing.ControlID, frame.ID)
	hello, err := framing.ParseHello(frame.Payload)
	require.NoError(t, err)
	want := framing.Hello{Server: number(t, v.fields[2]) == 1, Version: uint8(number(t, v.fields[3]))}
	require.Equal(t, want, hello)
	if v.kind == "helloas" {
		b, err := format.AppendHello(nil, hello)
		require.NoError(t, err)
		requireBytes(t, wire, b)
	}
}

func (v vector) checkMalformed(t *testing.T) {
	payload := unhex(t, v.fields[0])
	var err error
	switch v.kind {
	case "badhello":
		_, err = framing.ParseHello(payload)
	case "badcontrol":
		_, _, err = framing.ParseControl(payload)
	case "badrequest":
		_, _, err = framing.ParseRequest(payload)
	case "badreply":
		var status framing.Status
		var body []byte
		if status, body, err = framing.ParseReply(payload); err == nil && status != framing.StatusOK {
			_, _, err = framing.ParseReason(body)
		}
	}
	require.ErrorIs(t, err, framing.ErrMalformed)
}

func hexNumber(t *testing.T, s string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(s, 16, 32)
	require.NoError(t, err)
	return n
}

func TestAHeaderThatIsNoHellosIsSeenWithoutTheRest(t *testing.T) {
	for _, f := range []framing.Format{{}, {LengthSize: 4}} {
		hello, err := f.AppendHello(nil, framing.Hello{Version: 1})
		require.NoError(t, err)
		tooLong, _ := f.Append(nil, 0, make([]byte, 256))
		tooShort, _ := f.Append(nil, 0, make([]byte, 6))
		otherID, _ := f.Append(nil, 1, make([]byte, 7))
		for _, b := range [][]byte{tooLong, tooShort, otherID, []byte("HTTP/1.1"), []byte("SSH-2.0-")} {
			_, err := f.HelloSize(b[:f.HeaderSize()])
			require.ErrorIs(t, err, framing.ErrMalformed, "%x", head(b))
		}
		n, err := f.HelloSize(hello[:f.HeaderSize()])
		require.NoError(t, err)
		require.Equal(t, len(hello), n)
	}
}

func TestRemainingIsRoundedUpAndNeverNone(t *testing.T) {
	for d, want := range map[time.Duration]uint32{
		-time.Hour: 1, 0: 1, 1: 1, time.Millisecond: 1, time.Millisecond + 1: 2, 30 * time.Second: 30_000,
		math.MaxUint32 * time.Millisecond:   math.MaxUint32,
		math.MaxUint32*time.Millisecond + 1: math.MaxUint32,
		100 * 24 * time.Hour:                math.MaxUint32,
		math.MaxInt64 - time.Millisecond:    math.MaxUint32,
		math.MaxInt64:                       math.MaxUint32,
		math.MinInt64:                       1,
	} {
		require.Equal(t, want, framing.Remaining(d), "%v", d)
	}
}

func TestTheExtensionNeedsRoomForItsOwnFrames(t *testing.T) {
	require.NoError(t, framing.Format{}.ValidateExtension())
	require.NoError(t, framing.Format{MaxFrame: 20}.ValidateExtension())
	require.ErrorContains(t, framing.Format{MaxFrame: 19}.ValidateExtension(), "MaxFrame is 19")
	tiny := framing.Format{MaxFrame: 8}
	_, err := tiny.AppendHello(nil, framing.Hello{Version: 1})
	requireLengthError(t, err, framing.ErrMaxLenExceeded, 11)
	_, err = tiny.AppendReason(nil, 1, framing.StatusFailed, 1, "text")
	requireLengthError(t, err, framing.ErrMaxLenExceeded, 9)
}

func TestAReasonIsTextWhateverCame(t *testing.T) {
	for _, body := range []string{"\x00\x00\x00\x01\xff\xfe\x80", "\x00\x00\x00\x01" + strings.Repeat("\xff", 5000)} {
		code, text, err := framing.ParseReason([]byte(body))
		require.NoError(t, err)
		require.EqualValues(t, 1, code)
		require.True(t, utf8.ValidString(text))
		require.LessOrEqual(t, len(text), framing.MaxReasonText)
		require.NotEmpty(t, text)
	}
}

func TestErrorsOfTheExtensionTellWhatCame(t *testing.T) {
	_, _, err := framing.ParseReply([]byte{9})
	require.EqualError(t, err, "framing: malformed payload for the extension: a reply with the status 9")
	_, _, err = framing.ParseControl([]byte{2, 1})
	require.EqualError(t, err,
		"framing: malformed payload for the extension: a ping or pong of 1 bytes instead of 8")
}

// Any bytes: what is accepted encodes to the same bytes, and what is not is malformed.
func FuzzExtension(f *testing.F) {
	for _, seed := range []string{"", "\x01rw-x\x00\x01", "\x0212345678", "\x04", "\x05more", "\x00\x00\x00\x01x",
		"\x01\x00\x00\x00\x01full", "\x02\x00\x00\x00\x07\xff", "\x03"} {
		f.Add(byte(0), uint32(1), []byte(seed))
		f.Add(byte(4), uint32(0), []byte(seed))
	}
	f.Fuzz(func(t *testing.T, which byte, id uint32, payload []byte) {
		_, format := pick(which)
		if len(payload) > format.MaxPayload() {
			return
		}
		want, err := format.Append(nil, taskid.ID(id), payload)
		if err != nil {
			t.Fatal(err)
		}
		same := func(what string, b []byte, err error) {
			if err != nil || string(b) != string(want) {
				t.Fatalf("%s: %x came back as %x, %v", what, head(want), head(b), err)
			}
		}
		if remaining, request, err := framing.ParseRequest(payload); err == nil {
			b, err := format.AppendRequest(nil, taskid.ID(id), remaining, request)
			same("request", b, err)
		} else if len(payload) >= framing.RemainingSize {
			t.Fatal(err)
		}
		switch status, body, err := framing.ParseReply(payload); {
		case err != nil:
			if len(payload) > 0 && payload[0] <= 2 {
				t.Fatal(err)
			}
		case status == framing.StatusOK:
			b, err := format.AppendReply(nil, taskid.ID(id), body)
			same("reply", b, err)
		default:
			code, text, err := framing.ParseReason(body)
			if err != nil {
				break
			}
			if !utf8.ValidString(text) || len(text) > framing.MaxReasonText {
				t.Fatalf("a text of %d bytes", len(text))
			}
			if utf8.Valid(body[4:]) && len(body) <= 4+framing.MaxReasonText {
				b, err := format.AppendReason(nil, taskid.ID(id), status, code, text)
				same("reason", b, err)
			}
		}
		if id != 0 {
			return
		}
		if kind, body, err := framing.ParseControl(payload); err == nil {
			b, err := format.AppendControl(nil, kind, body)
			same("control", b, err)
		}
		n, sizeErr := format.HelloSize(want[:format.HeaderSize()])
		if hello, err := framing.ParseHello(payload); err == nil {
			if sizeErr != nil || n != len(want) {
				t.Fatalf("a hello of %d bytes: %d, %v", len(want), n, sizeErr)
			}
			if b, err := format.AppendHello(nil, hello); err != nil || string(b[format.HeaderSize():]) != string(payload[:7]) {
				t.Fatalf("%x came back as %x, %v", head(want), head(b), err)
			}
		}
	})
}
