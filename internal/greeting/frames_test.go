package greeting_test

import (
	"encoding/binary"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/ringwire/ringwire/internal/greeting"
)

// wideLimit is the largest length of a wide frame unless it is set otherwise. No narrow
// frame whose length is below shortLimit is mistaken.
const wideLimit, shortLimit = 16 << 20, 2 << 10

// A frame of the given length, of which the beginning of the payload has come.
func narrow(length uint16, id uint32, payload string) []byte {
	b := binary.BigEndian.AppendUint16(nil, length)
	return append(binary.BigEndian.AppendUint32(b, id), payload...)
}

func wide(length, id uint32, payload string) []byte {
	b := binary.BigEndian.AppendUint32(nil, length)
	return append(binary.BigEndian.AppendUint32(b, id), payload...)
}

// ids are the first ones, those whose bytes are letters or controls, and the last.
var ids = []uint32{0, 1, 2, 257, 0x0a0d, 0xff00, 0x01020304, 0x20202020, 0x41424344, math.MaxUint32}

func TestFramesOfEveryLengthAreUnknown(t *testing.T) {
	payloads := []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", `{"status":"ok","items":[]}`,
		strings.Repeat("a line of text\r\n", 4), strings.Repeat("\x00", 64), strings.Repeat("\xff", 64),
	}
	for _, payload := range payloads {
		for _, id := range ids {
			for length := 4; length <= math.MaxUint16; length += 1 + length/256 {
				if kind := greeting.Of(narrow(uint16(length), id, payload)); kind != greeting.Unknown {
					t.Fatalf("length %d, ID %#x, %q: %s", length, id, payload, kind)
				}
			}
		}
	}
}

// Not even a greeting in the payload makes its frame one.
func TestFramesThatCarryGreetingsAreUnknown(t *testing.T) {
	for first := range allGreetings {
		for _, id := range ids {
			frames := [][]byte{narrow(uint16(4+len(first)), id, first)}
			if id != 0 {
				for _, length := range []int{4 + len(first), 1 << 10, 1 << 16, wideLimit - 1, wideLimit} {
					frames = append(frames, wide(uint32(length), id, first))
				}
			}
			for _, b := range frames {
				for n := range len(b) + 1 {
					if kind := greeting.Of(b[:n]); kind != greeting.Unknown {
						t.Fatalf("%q is %s", b[:n], kind)
					}
				}
			}
		}
	}
}

// This is the limit of what bytes can tell: such frames exist.
func TestAFrameThatSpellsAGreetingIsMistaken(t *testing.T) {
	assert.Equal(t, greeting.SMTPOrFTP, greeting.Of(narrow(0x3232, 0x30206d61, "il.exa")))
	assert.Equal(t, greeting.TLS, greeting.Of(narrow(0x1503, 0x03000202, "\x46")))
	assert.Equal(t, greeting.HTTP2, greeting.Of(wide(6<<8|4, 0, "\x00")))
}
