package framing_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
)

func TestFormatDefaultsAndSizes(t *testing.T) {
	for _, tc := range []struct {
		given, want            framing.Format
		headerSize, maxPayload int
	}{
		{framing.Format{}, framing.Format{2, 65535}, 6, 65531},
		{framing.Format{LengthSize: 2}, framing.Format{2, 65535}, 6, 65531},
		{framing.Format{LengthSize: 4}, framing.Format{4, 16 << 20}, 8, 16<<20 - 4},
		{framing.Format{MaxFrame: 4}, framing.Format{2, 4}, 6, 0},
		{framing.Format{MaxFrame: 4096}, framing.Format{2, 4096}, 6, 4092},
		{framing.Format{LengthSize: 4, MaxFrame: 70000}, framing.Format{4, 70000}, 8, 69996},
		{framing.Format{LengthSize: 4, MaxFrame: 1 << 30}, framing.Format{4, 1 << 30}, 8, 1<<30 - 4},
	} {
		assert.NoError(t, tc.given.Validate(), "%+v", tc.given)
		assert.Equal(t, tc.want, tc.given.WithDefaults(), "%+v", tc.given)
		assert.NoError(t, tc.want.Validate(), "%+v", tc.want)
		for _, f := range []framing.Format{tc.given, tc.want} {
			assert.Equal(t, tc.headerSize, f.HeaderSize(), "%+v", f)
			assert.Equal(t, tc.maxPayload, f.MaxPayload(), "%+v", f)
		}
	}
}

func TestFormatConstantsAreThoseOfTheZeroFormat(t *testing.T) {
	require.Equal(t, framing.HeaderSize, framing.Format{}.HeaderSize())
	require.Equal(t, framing.MaxPayload, framing.Format{}.MaxPayload())
	require.Equal(t, framing.LengthSize, framing.Format{}.WithDefaults().LengthSize)
	require.Equal(t, 65531, framing.MaxPayload)
	require.Equal(t, 65535, framing.MaxPlainPayload)
}

func TestValidateNamesTheFieldTheValueAndTheRange(t *testing.T) {
	for _, tc := range []struct {
		format framing.Format
		text   string
	}{
		{framing.Format{LengthSize: 3}, "framing: Format.LengthSize is 3; use 2 or 4, or 0 for 2"},
		{framing.Format{LengthSize: -2}, "framing: Format.LengthSize is -2; use 2 or 4, or 0 for 2"},
		{framing.Format{LengthSize: 8, MaxFrame: 9}, "framing: Format.LengthSize is 8; use 2 or 4, or 0 for 2"},
		{framing.Format{MaxFrame: 3}, "framing: Format.MaxFrame is 3; use 4 to 65535 bytes, or 0 for the default"},
		{framing.Format{MaxFrame: -1}, "framing: Format.MaxFrame is -1; use 4 to 65535 bytes, or 0 for the default"},
		{framing.Format{MaxFrame: 65536}, "framing: Format.MaxFrame is 65536; use 4 to 65535 bytes, or 0 for the default"},
		{framing.Format{4, 1<<30 + 1}, "framing: Format.MaxFrame is 1073741825; use 4 to 1073741824 bytes, or 0 for the default"},
		{framing.Format{4, 3}, "framing: Format.MaxFrame is 3; use 4 to 1073741824 bytes, or 0 for the default"},
	} {
		assert.EqualError(t, tc.format.Validate(), tc.text)
	}
}

// A format that nobody validated must still not wrap its length field around.
func TestUnvalidatedFormatNeverTruncatesALength(t *testing.T) {
	for _, f := range []framing.Format{{MaxFrame: 70000}, {LengthSize: 3, MaxFrame: 1 << 20}} {
		require.Error(t, f.Validate())
		require.Equal(t, framing.MaxPayload, f.MaxPayload())
		_, err := f.Append(nil, 1, make([]byte, framing.MaxPayload+1))
		requireLengthError(t, err, framing.ErrMaxLenExceeded, 65536)
		err = f.Seal(make([]byte, framing.HeaderSize+framing.MaxPayload+1), 0, 1)
		requireLengthError(t, err, framing.ErrMaxLenExceeded, 65536)
	}
	f := framing.Format{LengthSize: 4, MaxFrame: 1<<31 - 1}
	require.Error(t, f.Validate())
	require.Equal(t, 1<<30-4, f.MaxPayload())
	for _, f := range []framing.Format{{MaxFrame: -1}, {LengthSize: 4, MaxFrame: 3}} {
		_, err := f.Append(nil, 1, nil)
		require.ErrorIs(t, err, framing.ErrMaxLenExceeded)
		_, _, err = f.Parse([]byte{0, 0, 0, 4, 0, 0, 0, 1})
		require.ErrorIs(t, err, framing.ErrInvalidMsgLength)
	}
}
