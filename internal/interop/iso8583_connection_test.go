package interop

import (
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moov-io/iso8583"
	connection "github.com/moov-io/iso8583-connection"
	"github.com/moov-io/iso8583/encoding"
	"github.com/moov-io/iso8583/field"
	"github.com/moov-io/iso8583/prefix"
	"github.com/moov-io/iso8583/specs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/load"
	"github.com/ringwire/ringwire/load/request"
	"github.com/ringwire/ringwire/load/wire"
)

func readLength(r io.Reader) (int, error) {
	var b [2]byte
	_, err := io.ReadFull(r, b[:])
	return int(binary.BigEndian.Uint16(b[:])), err
}

func writeLength(w io.Writer, n int) (int, error) {
	return w.Write(binary.BigEndian.AppendUint16(nil, uint16(n)))
}

// spec87 is their specification of 1987 in ASCII with a bitmap of 8 bytes, and more only where
// its first bit says so, and field 52 of 8 bytes in 16 digits.
func spec87() *iso8583.MessageSpec {
	s := *specs.Spec87ASCII
	s.Fields = maps.Clone(s.Fields)
	s.Fields[1] = field.NewBitmap(&field.Spec{Length: 8, Enc: encoding.BytesToASCIIHex, Pref: prefix.Hex.Fixed})
	s.Fields[52] = field.NewBinary(&field.Spec{Length: 8, Enc: encoding.BytesToASCIIHex, Pref: prefix.Binary.Fixed})
	s.Fields[70] = field.NewString(&field.Spec{Length: 3, Enc: encoding.ASCII, Pref: prefix.ASCII.Fixed})
	return &s
}

// isoMessage is a message of their making.
func isoMessage(t testing.TB, mti string, fields map[int]string) *iso8583.Message {
	t.Helper()
	m := iso8583.NewMessage(spec87())
	m.MTI(mti)
	for n, value := range fields {
		if n == 52 {
			require.NoError(t, m.BinaryField(n, []byte(value)))
			continue
		}
		require.NoError(t, m.Field(n, value))
	}
	return m
}

// An issuer that dials us, made with iso8583-connection: it answers sales, and asks 0800 of
// its own all the while.
func TestLoadOfAnIssuerThatDialsUsAndAsks(t *testing.T) {
	const requests = 10_000
	sale, err := isoMessage(t, "0200", map[int]string{2: "4000123412341234", 3: "000000", 4: "000000001000", 7: "1128170000", 11: "000000",
		35: "4000123412341234=25121", 41: "TERM0001", 48: "private", 49: "978", 52: "\x01\x02\x03\x04\x05\x06\x07\x08", 55: "some EMV data"}).Pack()
	require.NoError(t, err)
	key, err := wire.ParseMessage("0,11,41,55")
	require.NoError(t, err)
	codec, err := wire.New(wire.Spec{Length: wire.Field{Size: 2, Form: wire.Big}, Message: key})
	require.NoError(t, err)
	mix, err := request.NewMix([]request.Kind{{Name: "sale", Weight: 1, Source: request.Bytes(sale)}})
	require.NoError(t, err)
	answer, err := request.Scope{Answer: true}.Compile("0810${req:rest}")
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)

	var failed atomic.Int64
	issuer, err := connection.New(listener.Addr().String(), spec87(), readLength, writeLength,
		connection.SendTimeout(20*time.Second),
		connection.InboundMessageHandler(func(c *connection.Connection, m *iso8583.Message) {
			if mti, err := m.GetMTI(); err == nil && mti == "0810" {
				return // the library's way: a reply that its Send no longer waits for, as the connection ended
			}
			reply := m
			reply.MTI("0210")
			if reply.Field(39, "00") != nil || c.Reply(reply) != nil {
				failed.Add(1)
			}
		}))
	require.NoError(t, err)
	require.NoError(t, issuer.Connect())
	over, ended := make(chan struct{}), make(chan struct{})
	asked := 0
	go func() { // asks, one after the other
		defer close(ended)
		for asked < 999_999 {
			select {
			case <-over:
				return
			default:
			}
			reply, err := issuer.Send(isoMessage(t, "0800", map[int]string{7: "1128170000", 11: fmt.Sprintf("%06d", asked+1), 70: "301"}))
			if err != nil {
				return // the run is over
			}
			if mti, err := reply.GetMTI(); err != nil || mti != "0810" {
				failed.Add(1)
			}
			asked++
		}
	}()
	res, err := load.Run(t.Context(), load.Config{Listener: listener, Codec: codec, Mix: mix, Conns: 1, InFlight: 32, Requests: requests,
		Timeout: 20 * time.Second, Answers: []request.Answer{{Offset: 2, Is: []byte("0800"), Reply: answer}}})
	require.NoError(t, err)
	close(over)
	_ = issuer.Close()
	<-ended
	assert.Equal(t, load.Counts{Sent: requests, Replied: requests}, res.Total.Counts)
	assert.Zero(t, res.Replies.UnknownID+res.Replies.Duplicate)
	assert.Positive(t, asked)
	assert.InDelta(t, asked, res.Replies.PeerAnswered, 1, "the last one may have been cut off")
	assert.Equal(t, res.Replies.PeerRequests, res.Replies.PeerAnswered)
	assert.Zero(t, failed.Load())
}
