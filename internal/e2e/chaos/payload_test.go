package chaos

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPayloadParsesBackToItsIdentity(t *testing.T) {
	id := identity{client: 1, caller: 2, seq: 3, nonce: 4 << 40, want: 500}
	for size := headerSize; size < headerSize+40; size++ {
		b := appendPayload([]byte("before"), requestMagic, id, size)
		require.Len(t, b, len("before")+size)
		got, err := parsePayload(b[len("before"):], requestMagic)
		require.NoError(t, err)
		assert.Equal(t, id, got)
		_, err = parsePayload(b[len("before"):], replyMagic)
		require.ErrorIs(t, err, errMalformed)
		nonce, ok := Nonce(b[len("before"):])
		assert.True(t, ok)
		assert.Equal(t, id.nonce, nonce)
	}
	_, ok := Nonce(nil)
	assert.False(t, ok)
}

func TestEveryDamagedBitIsFound(t *testing.T) {
	id := identity{client: 1, caller: 2, seq: 3, nonce: 4, want: 500}
	b := appendPayload(nil, replyMagic, id, headerSize+21)
	for i := range b {
		for bit := range 8 {
			b[i] ^= 1 << bit
			if _, err := parsePayload(b, replyMagic); err == nil {
				t.Fatalf("byte %d bit %d: not found", i, bit)
			}
			b[i] ^= 1 << bit
		}
	}
	for size := range len(b) {
		if _, err := parsePayload(b[:size], replyMagic); err == nil {
			t.Fatalf("cut to %d: not found", size)
		}
	}
}

func TestSizesSpreadFromEmptyToTheLargest(t *testing.T) {
	h, err := New(Config{Seed: testSeed})
	require.NoError(t, err)
	var blank, small, kib, largest, total int
	const n = 100_000
	for seq := range uint32(n) {
		s := h.shapeOf(seq%64, seq)
		for _, size := range []int{s.size, int(s.id.want)} {
			if size < headerSize || size > h.cfg.MaxPayload {
				t.Fatalf("caller %d seq %d: size %d", seq%64, seq, size)
			}
		}
		total += s.size
		switch {
		case s.blank:
			blank++
		case s.size < 300:
			small++
		case s.size < 20_000:
			kib++
		case s.size > 65_500:
			largest++
		}
	}
	assert.InDelta(t, n/64, blank, n/200)
	assert.Greater(t, small, n/2)
	assert.Greater(t, kib, n/10)
	assert.InDelta(t, n/1000, largest, n/2000)
	assert.InDelta(t, 700, total/n, 200)
}

func TestLedgerRemembersEachBit(t *testing.T) {
	var a, b bitset
	for _, seq := range []uint32{0, 1, 63, 64, segmentBits - 1, segmentBits, maxSeq - 1} {
		assert.False(t, a.set(seq))
		assert.True(t, a.set(seq))
		if seq != 64 {
			b.set(seq)
		}
	}
	b.set(5)
	var found []uint32
	a.both(&b, func(seq uint32) { found = append(found, seq) })
	assert.Equal(t, []uint32{0, 1, 63, segmentBits - 1, segmentBits, maxSeq - 1}, found)
}
