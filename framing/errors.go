package framing

import (
	"errors"
	"strconv"
)

var (
	// ErrInvalidMsgLength says that a received length field holds less than
	// the task ID it counts, or more than the [Format] allows. Nothing behind
	// it can be trusted to be a frame: close the connection.
	ErrInvalidMsgLength = errors.New("invalid message length")

	// ErrMaxLenExceeded says that a payload does not fit into a frame. Nothing
	// was written, and the stream is as good as before.
	ErrMaxLenExceeded = errors.New("maximum message length exceeded")
)

// LengthError holds the value of a length field that is out of range. It wraps
// [ErrInvalidMsgLength] for a received value and [ErrMaxLenExceeded] for one
// that was to be sent.
type LengthError struct {
	// Length is the offending value in bytes: of the received length field, or
	// of the one that the payload would have needed. It counts the task ID.
	Length int64
	// Min and Max are the smallest and largest value allowed, in bytes.
	Min, Max int64
	// Err is ErrInvalidMsgLength or ErrMaxLenExceeded.
	Err error
}

// Error returns the value, its range and what to do about it.
func (e *LengthError) Error() string {
	advice := "close the connection"
	if e.Err == ErrMaxLenExceeded {
		advice = "send a smaller payload"
	}
	return "framing: " + e.Err.Error() + ": " + strconv.FormatInt(e.Length, 10) +
		" is not in " + strconv.FormatInt(e.Min, 10) + ".." + strconv.FormatInt(e.Max, 10) +
		"; " + advice
}

// Unwrap returns e.Err.
func (e *LengthError) Unwrap() error { return e.Err }

// The constructors are functions of their own to keep the codec readable. They
// must stay inlinable: a call costs 57 of the 80 that the inliner allows, and
// then neither Append nor Parse could be inlined.

func exceeded(length, limit int) *LengthError {
	return &LengthError{int64(length), IDSize, int64(limit), ErrMaxLenExceeded}
}

func invalid(length int64, limit int) *LengthError {
	return &LengthError{length, IDSize, int64(limit), ErrInvalidMsgLength}
}
