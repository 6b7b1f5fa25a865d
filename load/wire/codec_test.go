package wire

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(t, err)
	return b
}

func codec(t *testing.T, preset string) *Codec {
	t.Helper()
	s, err := Preset(preset)
	require.NoError(t, err)
	c, err := New(s)
	require.NoError(t, err, preset)
	return c
}

func fields(c *Codec, frame []byte) (f Frame) {
	c.fill(&f, frame)
	return f
}

func TestPresetsWriteTheFramesOfTheirProtocols(t *testing.T) {
	for _, c := range []struct {
		preset  string
		id      uint64
		payload string
		want    string
	}{
		{"anet", 0x01020304, "6869", "0006 01020304 6869"},
		{"anet", 0, "", "0004 00000000"},
		{"payshield", 35, "4e43", "0006 3030305a 4e43"},
		{"payshield", 36, "4e43", "0006 30303130 4e43"},
		{"dns-tcp", 0xbeef, "0100 0001 0000 0000 0000 00 0001 0001", "0011 beef 0100 0001 0000 0000 0000 00 0001 0001"},
		{"kafka", 7, "0012 0000 ffff", "0000000a 0012 0000 00000007 ffff"},
		{"diameter", 0x11223344, "01 80 000118 00000000 55667788", "01 000014 80 000118 00000000 11223344 55667788"},
		{"smpp", 1, "00000015 00000000", "00000010 00000015 00000000 00000001"},
		{"modbus", 0x1234, "0000 01 03 0000 0001", "1234 0000 0006 01 03 0000 0001"},
		{"fifo", 99, "4142", "0002 4142"},
		{"zookeeper", 5, "0000000b", "00000008 00000005 0000000b"},
		{"cassandra", 3, "04 00 05", "04 00 0003 05 00000000"},
		{"memcached", 0xabcdef01, "80 0a 0000 00 00 0000 0000000000000000", "80 0a 0000 00 00 0000 00000000 abcdef01 0000000000000000"},
		{"mongodb", 2, "00000000 dd070000", "10000000 02000000 00000000 dd070000"},
		{"9p", 1, "74 00", "08000000 74 0100 00"},
		{"gearman", 0, "00524551 00000010 6162", "00524551 00000010 00000002 6162"},
	} {
		frame, err := codec(t, c.preset).Append([]byte("x"), c.id, unhex(t, c.payload))
		require.NoError(t, err, c.preset)
		assert.Equal(t, append([]byte("x"), unhex(t, c.want)...), frame, c.preset)
		n, err := codec(t, c.preset).Size(frame[1:])
		require.NoError(t, err, c.preset)
		assert.Equal(t, len(frame)-1, n, c.preset)
	}
}

func TestRepliesAreReadWhereTheyHaveTheirFields(t *testing.T) {
	for _, c := range []struct {
		preset, frame, payload string
		id                     uint64
		request                bool
	}{
		{"anet", "0006 01020304 6869", "6869", 0x01020304, false},
		{"payshield", "0008 3030307a 4e44 3030", "4e44 3030", 35, false},
		{"kafka", "00000006 00000007 0000", "0000", 7, false},
		{"dns-tcp", "000c beef 8180 0001 0000 0000 0000", "8180 0001 0000 0000 0000", 0xbeef, false},
		{"dns-tcp", "000c beef 0100 0001 0000 0000 0000", "0100 0001 0000 0000 0000", 0xbeef, true},
		{"diameter", "01 000014 00 000118 00000000 11223344 55667788", "01 00 000118 00000000 55667788", 0x11223344, false},
		{"diameter", "01 000014 80 000118 00000000 11223344 55667788", "01 80 000118 00000000 55667788", 0x11223344, true},
		{"smpp", "00000010 80000015 00000000 00000009", "80000015 00000000", 9, false},
		{"smpp", "00000010 00000015 00000000 00000009", "00000015 00000000", 9, true},
		{"mongodb", "10000000 63000000 02000000 01000000", "63000000 01000000", 2, false},
		{"9p", "08000000 75 0100 00", "75 00", 1, false},
		{"gearman", "00524553 00000011 00000001 61", "00524553 00000011 61", 0, false},
		{"fifo", "0001 61", "61", 0, false},
		{"modbus", "1234 0000 0003 01 83 02", "0000 01 83 02", 0x1234, false},
	} {
		cd := codec(t, c.preset)
		d := NewDecoder(cd)
		raw := unhex(t, c.frame)
		for i, b := range raw { // byte by byte
			f, err := d.Next()
			require.NoError(t, err)
			require.Nil(t, f, "%s: a frame after %d of %d bytes", c.preset, i, len(raw))
			d.Room()[0] = b
			d.Filled(1)
		}
		f, err := d.Next()
		require.NoError(t, err)
		require.NotNil(t, f, c.preset)
		assert.Equal(t, raw, f.Bytes)
		assert.Equal(t, c.id, f.ID, c.preset)
		assert.Equal(t, c.request, f.Request, "%s: a request of the peer's", c.preset)
		assert.Equal(t, c.preset != "fifo" && c.preset != "gearman", f.IDValid, c.preset)
		assert.Equal(t, unhex(t, c.payload), cd.Payload(nil, f.Bytes), c.preset)
		assert.True(t, cd.SamePayload(f.Bytes, unhex(t, c.payload)), c.preset)
		assert.False(t, cd.SamePayload(f.Bytes, append(unhex(t, c.payload), 0)), c.preset)
		assert.Empty(t, d.Rest())
	}
}

func TestAProbeIsARequestOfItsProtocol(t *testing.T) {
	probes := 0
	for _, name := range PresetNames() {
		assert.NotEmpty(t, About(name))
		probe := Probe(name)
		if probe == nil {
			continue
		}
		probes++
		c := codec(t, name)
		frame, err := c.Append(nil, 1, probe)
		require.NoError(t, err, name)
		assert.True(t, c.Spec().Reply.Mask == 0 || fields(c, frame).Request, "%s: no reply", name)
		got, err := c.RequestPayload(nil, frame)
		require.NoError(t, err)
		assert.Equal(t, probe, got)
		_, err = c.RequestPayload(nil, frame[:len(frame)-1])
		assert.Error(t, err)
	}
	assert.Equal(t, 10, probes)
	assert.Nil(t, Probe("morse"))
	assert.Empty(t, About("morse"))
}

func TestSamePayloadSeesEveryByte(t *testing.T) {
	cd := codec(t, "diameter")
	payload := unhex(t, "01 00 000118 00000000 55667788")
	frame, err := cd.Append(nil, 77, payload)
	require.NoError(t, err)
	for i := range payload {
		payload[i]++
		assert.False(t, cd.SamePayload(frame, payload), "byte %d", i)
		payload[i]--
	}
	assert.True(t, cd.SamePayload(frame, payload))
}

func TestNumbersOfEveryFormAreReadAsWritten(t *testing.T) {
	for _, c := range []struct {
		field Field
		v     uint64
		text  string
	}{
		{Field{1, 3, Big}, 0x010203, "010203"},
		{Field{1, 3, Little}, 0x010203, "030201"},
		{Field{1, 4, Decimal}, 42, "30303432"},
		{Field{1, 4, Hex}, 0xbeef, "42454546"},
		{Field{1, 4, Base36}, 36*36*36*36 - 1, "5a5a5a5a"},
		{Field{1, 2, BCD}, 1234, "1234"},
		{Field{1, 8, Big}, 1<<64 - 1, "ffffffffffffffff"},
		{Field{1, 8, BCD}, 9999999999999999, "9999999999999999"},
	} {
		frame := make([]byte, 10)
		c.field.put(frame, c.v)
		assert.Equal(t, unhex(t, c.text), frame[1:c.field.End()], "%v", c.field)
		assert.Zero(t, frame[0]+frame[9], "its neighbours")
		v, ok := c.field.Get(frame)
		assert.True(t, ok)
		assert.Equal(t, c.v, v, "%v", c.field)
		assert.LessOrEqual(t, c.v, c.field.max())
	}
	for form, bad := range map[Form]string{Decimal: "a", Hex: "g", Base36: "!", BCD: "\xa0"} {
		_, ok := Field{0, 1, form}.Get([]byte(bad))
		assert.False(t, ok, "%s: %q", form, bad)
	}
	_, ok := Field{0, 1, BCD}.Get([]byte("\x0a"))
	assert.False(t, ok)
	assert.EqualValues(t, 9999, Field{0, 2, BCD}.max())
	assert.EqualValues(t, 1679615, Field{0, 4, Base36}.max())
}

func TestWhatNoProtocolHasIsRefusedWithFieldValueAndRange(t *testing.T) {
	valid := func() Spec { return Spec{Length: Field{0, 2, Big}, ID: Field{2, 4, Big}, ReplyID: 2} }
	for want, change := range map[string]func(*Spec){
		`length: form "": must be one of`:                                 func(s *Spec) { s.Length = Field{} },
		"length: len 9: must be 1 to 8 bytes":                             func(s *Spec) { s.Length.Size = 9 },
		"length: off -1: must be 0 to 4096":                               func(s *Spec) { s.Length.Offset = -1 },
		"length adjustment 5000: must be -4096 to 4096":                   func(s *Spec) { s.Adjust = 5000 },
		"id off=1,len=4,form=be: overlaps the length":                     func(s *Spec) { s.ID.Offset = 1 },
		"reply's id off=0,len=4,form=be: overlaps the length":             func(s *Spec) { s.ReplyID = 0 },
		"id: len 12: must be 1 to 8":                                      func(s *Spec) { s.ID.Size = 12 },
		"reply's id: off 5000: must be 0 to 4096":                         func(s *Spec) { s.ReplyID = 5000 },
		"id: largest 4294967296: 4 bytes of form be hold at most 4294967": func(s *Spec) { s.IDMax = 1 << 32 },
		"id: smallest 9: must be at most 8":                               func(s *Spec) { s.IDMin, s.IDMax = 9, 8 },
		"largest frame 5: must be 6 to 1073741824 bytes":                  func(s *Spec) { s.MaxFrame = 5 },
		"less than the 6 that its fields take":                            func(s *Spec) { s.Length = Field{0, 1, Big}; s.Adjust = -256; s.ID.Offset, s.ReplyID = 2, 2 },
		"reply mark: off -1: must be 0 to 4096":                           func(s *Spec) { s.Reply = Mark{-1, 1, 1} },
	} {
		s := valid()
		change(&s)
		_, err := New(s)
		assert.ErrorContains(t, err, want)
	}
	_, err := Preset("morse")
	assert.ErrorContains(t, err, `framing "morse": must be one of anet, payshield, dns-tcp,`)
}

func TestPayloadsThatNoFrameHoldsAreRefused(t *testing.T) {
	for _, c := range []struct {
		preset string
		bytes  int
		want   string
	}{
		{"anet", 65532, "payload of 65532 bytes: must have 65531 at most, which is what a frame of 65537 holds"},
		{"kafka", 3, "payload of 3 bytes: must have 4 at least, which stand before"},
		{"gearman", 7, "payload of 7 bytes: must have 8 at least"},
		{"memcached", 11, "payload of 11 bytes: must have 16 at least, or the length would be negative"},
	} {
		b, err := codec(t, c.preset).Append([]byte("kept"), 1, make([]byte, c.bytes))
		assert.ErrorIs(t, err, ErrPayload)
		assert.ErrorContains(t, err, c.want)
		assert.Equal(t, "kept", string(b))
	}
	_, err := codec(t, "anet").Append(nil, 1, make([]byte, 65531))
	assert.NoError(t, err, "the largest")
}

func TestLengthsOfNoFrameEndTheStream(t *testing.T) {
	ascii, err := New(Spec{Length: Field{0, 4, Decimal}, MaxFrame: 100})
	require.NoError(t, err)
	huge, err := New(Spec{Length: Field{0, 8, Big}})
	require.NoError(t, err)
	for _, c := range []struct {
		codec *Codec
		bytes string
		want  string
	}{
		{codec(t, "anet"), "0003 00000000", "length field 00 03: a frame of 5 bytes: must be 6 to 65537"},
		{codec(t, "smpp"), "ffffffff", "length field ff ff ff ff: a frame of 4294967295 bytes: must be 16 to 16777216"},
		{codec(t, "smpp"), "00000000", "a frame of 0 bytes"},
		{ascii, "30303938", "a frame of 102 bytes: must be 4 to 100"},
		{ascii, "0030 3938", "not a number of its form"},
		{huge, "ffffffff ffffffff", "a frame of 18446744073709551616 bytes: must be 8 to 16777216"},
		{huge, "80000000 00000000", "must be 8 to 16777216"},
	} {
		d := NewDecoder(c.codec)
		d.Filled(copy(d.Room(), unhex(t, c.bytes)))
		for range 2 {
			f, err := d.Next()
			assert.Nil(t, f)
			var length *LengthError
			require.ErrorAs(t, err, &length, c.bytes)
			assert.ErrorContains(t, err, c.want)
		}
	}
}

func TestDecoderGrowsToTheLargestFrameAndNoFurther(t *testing.T) {
	c := codec(t, "anet")
	frame, err := c.Append(nil, 7, make([]byte, 65531))
	require.NoError(t, err)
	d := NewDecoder(c)
	for range 3 { // one after the other, in odd pieces
		for rest := frame; len(rest) > 0; {
			n := copy(d.Room(), rest[:min(len(rest), 1777)])
			d.Filled(n)
			rest = rest[n:]
		}
		f, err := d.Next()
		require.NoError(t, err)
		require.NotNil(t, f)
		require.Equal(t, frame, f.Bytes)
	}
	assert.LessOrEqual(t, len(d.buf), 65538)
	d.Filled(copy(d.Room(), "abc"))
	d.Reset()
	assert.Empty(t, d.Rest())
}

// Whatever a peer sends: whole frames come out as they went in, however they are cut; and
// what is no frame is an error, not a panic or a frame out of range.
func FuzzDecoder(f *testing.F) {
	f.Add(uint8(0), []byte("\x00\x06\x01\x02\x03\x04hi\x00\x04\x00\x00\x00\x00"), uint8(3))
	f.Add(uint8(4), []byte("\x01\x00\x00\x14\x80\x00\x01\x18\x00\x00\x00\x00\x11\x22\x33\x44\x55\x66\x77\x88"), uint8(1))
	f.Add(uint8(10), []byte("\x81\x0a\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\xab"), uint8(250))
	f.Fuzz(func(t *testing.T, preset uint8, stream []byte, piece uint8) {
		spec := presets[int(preset)%len(presets)].spec
		spec.MaxFrame = 1 << 12
		c, err := New(spec)
		require.NoError(t, err)
		d := NewDecoder(c)
		var seen []byte
		for rest := stream; len(rest) > 0; {
			n := copy(d.Room(), rest[:min(len(rest), 1+int(piece))])
			d.Filled(n)
			rest = rest[n:]
			for {
				frame, err := d.Next()
				if err != nil {
					return
				}
				if frame == nil {
					break
				}
				if len(frame.Bytes) > c.MaxFrame() || len(frame.Bytes) < c.minReply {
					t.Fatalf("a frame of %d bytes", len(frame.Bytes))
				}
				if payload := c.Payload(nil, frame.Bytes); !c.SamePayload(frame.Bytes, payload) {
					t.Fatal("the payload is not the same as itself")
				}
				seen = append(seen, frame.Bytes...)
			}
		}
		require.True(t, bytes.Equal(stream, append(seen, d.Rest()...)), "no byte is lost")
	})
}

// What Append writes is one frame, and has the ID and the payload that it was given.
func FuzzAppend(f *testing.F) {
	for i := range presets {
		f.Add(uint8(i), uint64(i), []byte("some payload of a frame"))
	}
	f.Fuzz(func(t *testing.T, preset uint8, id uint64, payload []byte) {
		spec := presets[int(preset)%len(presets)].spec
		spec.ReplyID = spec.ID.Offset // it is read back as a reply
		spec.Reply = Mark{}
		c, err := New(spec)
		require.NoError(t, err)
		spec = c.Spec()
		id = spec.IDMin + id%spec.IDs()
		frame, err := c.Append(nil, id, payload)
		if err != nil {
			require.ErrorIs(t, err, ErrPayload)
			return
		}
		n, err := c.Size(frame)
		require.NoError(t, err)
		require.Equal(t, len(frame), n)
		got := fields(c, frame)
		if !spec.Ordered() {
			require.True(t, got.IDValid)
			require.Equal(t, id, got.ID)
		}
		require.True(t, c.SamePayload(frame, payload))
	})
}
