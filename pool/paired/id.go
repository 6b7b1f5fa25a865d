package paired

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
)

// idSize is the size in bytes of a connection's ID on the wire.
const idSize = 8

// connID names a connection at both of its ends. The server makes it; it is random,
// so that the IDs of several servers behind one address do not meet, and one end
// cannot guess what the other was not told.
type connID [idSize]byte

func randomID() (id connID) {
	rand.Read(id[:]) // never fails
	return id
}

// String returns the ID as the API shows it: 16 hexadecimal digits.
func (id connID) String() string { return hex.EncodeToString(id[:]) }

func parseID(s string) (id connID, err error) {
	if len(s) != 2*idSize {
		return id, fmt.Errorf("%w: %q is not the ID of a connection, which has %d hexadecimal digits", ErrNotFound, clip(s), 2*idSize)
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return id, fmt.Errorf("%w: %q is not the ID of a connection: %w", ErrNotFound, clip(s), err)
	}
	return id, nil
}

// clip bounds what an error repeats of its argument.
func clip(s string) string {
	const most = 64
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
