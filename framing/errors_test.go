package framing_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
)

func TestLengthErrorTellsValueRangeAndAdvice(t *testing.T) {
	_, _, err := framing.Parse([]byte{0, 3})
	require.EqualError(t, err,
		"framing: invalid message length: 3 is not in 4..65535; close the connection")

	_, _, err = framing.Format{LengthSize: 4}.Parse([]byte{0xff, 0xff, 0xff, 0xff})
	require.EqualError(t, err,
		"framing: invalid message length: 4294967295 is not in 4..16777216; close the connection")

	_, err = framing.Append(nil, 1, make([]byte, 65532))
	require.EqualError(t, err,
		"framing: maximum message length exceeded: 65536 is not in 4..65535; send a smaller payload")

	_, err = framing.AppendPlain(nil, make([]byte, 65536))
	require.EqualError(t, err,
		"framing: maximum message length exceeded: 65536 is not in 0..65535; send a smaller payload")
}

func TestLengthErrorMatchesOnlyItsOwnSentinel(t *testing.T) {
	received := &framing.LengthError{Length: 3, Err: framing.ErrInvalidMsgLength}
	require.True(t, errors.Is(received, framing.ErrInvalidMsgLength))
	require.False(t, errors.Is(received, framing.ErrMaxLenExceeded))
	sent := &framing.LengthError{Length: 65536, Err: framing.ErrMaxLenExceeded}
	require.True(t, errors.Is(sent, framing.ErrMaxLenExceeded))
	require.False(t, errors.Is(sent, framing.ErrInvalidMsgLength))
}

// Users of anet compare the texts.
func TestSentinelsHaveTheTextsOfAnet(t *testing.T) {
	require.EqualError(t, framing.ErrInvalidMsgLength, "invalid message length")
	require.EqualError(t, framing.ErrMaxLenExceeded, "maximum message length exceeded")
}
