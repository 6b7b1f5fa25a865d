package framing_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/taskid"
)

const protocolFile = "../docs/PROTOCOL.md"

// vector is one line of the block in docs/PROTOCOL.md.
type vector struct {
	line   int
	kind   string
	fields []string
}

// readVectors returns the lines of the fenced block "vectors".
func readVectors(t *testing.T) []vector {
	t.Helper()
	text, err := os.ReadFile(protocolFile)
	require.NoError(t, err)
	var all []vector
	inside := false
	for i, line := range strings.Split(string(text), "\n") {
		switch {
		case strings.HasPrefix(line, "```"):
			inside = line == "```vectors"
		case !inside || strings.TrimSpace(line) == "" || line[0] == '#':
		default:
			fields := strings.Split(line, "|")
			for k := range fields {
				fields[k] = strings.TrimSpace(fields[k])
			}
			all = append(all, vector{i + 1, fields[0], fields[1:]})
		}
	}
	return all
}

func TestVectorsOfTheSpecificationHold(t *testing.T) {
	fieldsOf := map[string]int{
		"size": 3, "frame": 4, "more": 2, "bad": 3, "over": 3,
		"plain": 2, "plainmore": 1, "plainover": 2,
	}
	maps.Copy(fieldsOf, extensionFields)
	seen := map[string]int{}
	for _, v := range readVectors(t) {
		t.Run(fmt.Sprintf("line=%d/%s", v.line, v.kind), func(t *testing.T) {
			require.Contains(t, fieldsOf, v.kind)
			require.Len(t, v.fields, fieldsOf[v.kind])
			seen[v.kind]++
			if strings.HasPrefix(v.kind, "plain") {
				v.checkPlain(t)
				return
			}
			if extensionFields[v.kind] > 0 {
				v.checkExtension(t)
				return
			}
			format := parseFormat(t, v.fields[0])
			v.check(t, codecOf(format))
			if format.WithDefaults() == (framing.Format{}).WithDefaults() {
				v.check(t, anetCodec)
			}
		})
	}
	for kind := range fieldsOf {
		require.GreaterOrEqual(t, seen[kind], 1, "the document has no vector %q", kind)
	}
}

func (v vector) check(t *testing.T, c codec) {
	switch v.kind {
	case "size":
		require.Equal(t, number(t, v.fields[1]), int64(c.headerSize))
		require.Equal(t, number(t, v.fields[2]), int64(c.maxPayload))
	case "frame":
		id, err := strconv.ParseUint(v.fields[2], 16, 32)
		require.NoError(t, err)
		checkFrame(t, c, unhex(t, v.fields[1]), taskid.ID(id), unhex(t, v.fields[3]))
	case "more":
		frame, n, err := c.parse(unhex(t, v.fields[1]))
		require.NoError(t, err)
		require.Zero(t, n)
		require.Zero(t, frame)
	case "bad":
		b, length := unhex(t, v.fields[1]), number(t, v.fields[2])
		frame, n, err := c.parse(b)
		requireLengthError(t, err, framing.ErrInvalidMsgLength, length)
		require.Zero(t, n)
		require.Zero(t, frame)
		_, err = c.frameSize(b)
		requireLengthError(t, err, framing.ErrInvalidMsgLength, length)
	case "over":
		payload, length := unhex(t, v.fields[1]), number(t, v.fields[2])
		_, err := c.append(nil, 1, payload)
		requireLengthError(t, err, framing.ErrMaxLenExceeded, length)
		err = c.seal(append(c.reserve(nil), payload...), 0, 1)
		requireLengthError(t, err, framing.ErrMaxLenExceeded, length)
	}
}

// checkFrame checks both directions, by every way the package offers.
func checkFrame(t *testing.T, c codec, wire []byte, id taskid.ID, payload []byte) {
	t.Helper()
	frame, n, err := c.parse(wire)
	require.NoError(t, err)
	require.Equal(t, len(wire), n)
	require.Equal(t, id, frame.ID)
	requireBytes(t, payload, frame.Payload)
	require.NotNil(t, frame.Payload)

	n, err = c.frameSize(wire[:c.headerSize-framing.IDSize])
	require.NoError(t, err)
	require.Equal(t, len(wire), n)

	b, err := c.append(nil, id, payload)
	require.NoError(t, err)
	requireBytes(t, wire, b)

	b = append(c.reserve(nil), payload...)
	require.NoError(t, c.seal(b, 0, id))
	requireBytes(t, wire, b)
}

func (v vector) checkPlain(t *testing.T) {
	switch v.kind {
	case "plain":
		wire, payload := unhex(t, v.fields[0]), unhex(t, v.fields[1])
		got, n := framing.ParsePlain(wire)
		require.Equal(t, len(wire), n)
		require.NotNil(t, got)
		requireBytes(t, payload, got)
		b, err := framing.AppendPlain(nil, payload)
		require.NoError(t, err)
		requireBytes(t, wire, b)
	case "plainmore":
		payload, n := framing.ParsePlain(unhex(t, v.fields[0]))
		require.Zero(t, n)
		require.Nil(t, payload)
	case "plainover":
		_, err := framing.AppendPlain(nil, unhex(t, v.fields[0]))
		requireLengthError(t, err, framing.ErrMaxLenExceeded, number(t, v.fields[1]))
	}
}

// The frames of one format, put behind each other, are a stream that the Reader
// takes apart and the Writer puts together.
func TestVectorsFormAStream(t *testing.T) {
	streams := map[framing.Format][]byte{}
	for _, v := range readVectors(t) {
		if v.kind == "frame" {
			format := parseFormat(t, v.fields[0])
			streams[format] = append(streams[format], unhex(t, v.fields[1])...)
		}
	}
	require.NotEmpty(t, streams)
	for format, stream := range streams {
		var out bytes.Buffer
		r, w := framing.NewReader(bytes.NewReader(stream), format), framing.NewWriter(&out, format)
		frame, err := r.ReadFrame()
		for err == nil {
			require.NoError(t, w.WriteFrame(frame.ID, frame.Payload))
			frame, err = r.ReadFrame()
		}
		require.Equal(t, io.EOF, err)
		require.NoError(t, w.Flush())
		requireBytes(t, stream, out.Bytes())
	}
}

func parseFormat(t *testing.T, s string) framing.Format {
	t.Helper()
	size, limit, found := strings.Cut(s, ":")
	require.True(t, found, "a format is written as size:limit")
	f := framing.Format{LengthSize: int(number(t, size)), MaxFrame: int(number(t, limit))}
	require.NoError(t, f.Validate())
	return f
}

func number(t *testing.T, s string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(s, 10, 64)
	require.NoError(t, err)
	return n
}

// unhex reads the notation of the document: hexadecimal words, xx*n for a byte
// repeated, - for nothing.
func unhex(t *testing.T, s string) []byte {
	t.Helper()
	if s == "-" {
		return []byte{}
	}
	var b []byte
	for _, word := range strings.Fields(s) {
		digits, count, repeated := strings.Cut(word, "*")
		part, err := hex.DecodeString(digits)
		require.NoError(t, err)
		if repeated {
			part = bytes.Repeat(part, int(number(t, count)))
		}
		b = append(b, part...)
	}
	return b
}
