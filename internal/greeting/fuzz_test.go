package greeting_test

import (
	"encoding/binary"
	"testing"

	"github.com/ringwire/ringwire/internal/greeting"
)

// Whatever comes, more of it never changes a kind. As the payload of a frame it is
// nothing, whatever the ID and the length are, if the frame is wide or short.
func FuzzOf(f *testing.F) {
	for first := range allGreetings {
		b := []byte(first)
		f.Add(b, uint32(len(b)), uint32(1))
		f.Add(b[6:], uint32(binary.BigEndian.Uint16(b)), binary.BigEndian.Uint32(b[2:]))
	}
	f.Fuzz(func(t *testing.T, first []byte, length, id uint32) {
		first = first[:min(len(first), 4*sure)]
		prefixesAgree(t, first)
		short, long := 4+length%(shortLimit-4), 4+length%(wideLimit-3)
		if kind := greeting.Of(narrow(uint16(short), id, string(first))); kind != greeting.Unknown {
			t.Fatalf("narrow, length %d, ID %#x, %q: %s", short, id, first, kind)
		}
		if kind := greeting.Of(wide(long, max(id, 1), string(first))); kind != greeting.Unknown {
			t.Fatalf("wide, length %d, ID %#x, %q: %s", long, id, first, kind)
		}
		prefixesAgree(t, narrow(uint16(length), id, string(first)))
	})
}
