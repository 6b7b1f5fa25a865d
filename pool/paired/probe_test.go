package paired

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// answering is a connection whose Read writes, as crypto/tls does for a key update.
type answering struct {
	net.Conn
	limit, left time.Time // write deadlines: when it was read, and afterwards
}

func (a *answering) SetReadDeadline(time.Time) error    { return nil }
func (a *answering) SetWriteDeadline(t time.Time) error { a.left = t; return nil }
func (a *answering) SetDeadline(t time.Time) error      { a.left = t; return nil }
func (a *answering) Read(p []byte) (int, error)         { a.limit = a.left; return len(p), nil }

func TestAProbeBoundsWhatReadingWrites(t *testing.T) {
	a := &answering{}
	before := time.Now()
	_, n, err := probe(a, past)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	assert.WithinRange(t, a.limit, before.Add(getWait), time.Now().Add(getWait))
	assert.Zero(t, a.left, "the owner's deadlines begin anew")
}
