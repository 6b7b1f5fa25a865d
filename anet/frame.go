package anet

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/ringwire/ringwire/framing"
)

// LENGTHSIZE is the size in bytes of the length field, a big-endian uint16.
const LENGTHSIZE = 2

// Write writes in to w as one frame without a task ID: its length, then its bytes,
// in a single call of w.Write. in is the caller's again when Write returns. More
// than 65,535 bytes are ErrMaxLenExceeded, and nothing is written.
func Write(w io.Writer, in []byte) error {
	if len(in) > framing.MaxPlainPayload {
		return ErrMaxLenExceeded
	}
	buf := GetBuffer(LENGTHSIZE + len(in))
	defer PutBuffer(buf)
	frame, err := framing.AppendPlain(buf[:0], in)
	if err != nil {
		return err
	}
	_, err = w.Write(frame)
	return err
}

// Read reads one frame without a task ID and returns its payload, which belongs to
// the caller; an empty one is not nil. The error is io.EOF if the stream ended
// before the frame, io.ErrUnexpectedEOF if it ended inside, else the reader's.
func Read(r io.Reader) ([]byte, error) {
	length, err := readLength(r)
	if err != nil {
		return nil, err
	}
	payload := make([]byte, length)
	if err := readPayload(r, payload); err != nil {
		return nil, err
	}
	return payload, nil
}

// ReadPooled is Read into a buffer of GetBuffer, which the caller gives back with
// PutBuffer.
func ReadPooled(r io.Reader) ([]byte, error) {
	length, err := readLength(r)
	if err != nil {
		return nil, err
	}
	payload := GetBuffer(length)
	if err := readPayload(r, payload); err != nil {
		PutBuffer(payload)
		return nil, err
	}
	return payload, nil
}

func readLength(r io.Reader) (int, error) {
	// Borrowed, because an array passed to an interface would be allocated.
	field := GetBuffer(LENGTHSIZE)
	defer PutBuffer(field)
	if _, err := io.ReadFull(r, field); err != nil {
		return 0, err
	}
	return int(binary.BigEndian.Uint16(field)), nil
}

// readPayload fills payload. After a length, the end of the stream is never clean.
func readPayload(r io.Reader, payload []byte) error {
	_, err := io.ReadFull(r, payload)
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
