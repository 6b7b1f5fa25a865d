package framing

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ringwire/ringwire/taskid"
)

// The extension, docs/PROTOCOL.md section 8: after a hello in each direction, control
// frames have the task ID 0, requests begin with the time that is left, and what the
// server sends begins with a status.
const (
	// ExtensionVersion is the version of the extension that this package speaks.
	ExtensionVersion = 1
	// RemainingSize is the size in bytes of the remaining time, with which the payload of a
	// request begins.
	RemainingSize = 4
	// StatusSize is the size in bytes of the status, with which the payload of a reply and of
	// a pushed frame begins.
	StatusSize = 1
	// PingSize is the number of bytes that a ping carries and its pong returns.
	PingSize = 8
	// MaxReasonText is how many bytes of text a refused or failed reply has at most.
	MaxReasonText = 1024

	// ControlID is the task ID of control frames.
	ControlID taskid.ID = 0

	codeSize    = 4
	helloSize   = 1 + len(magic) + 2 // as sent; a later version may send more
	helloLimit  = 255                // the largest payload of a hello that is read
	leastExtend = 16                 // the smallest MaxPayload that the extension works with
	magic       = "rw-x"
)

// ErrMalformed says that a received payload is none of the extension. Close the
// connection: the peer speaks something else.
var ErrMalformed = errors.New("malformed payload for the extension")

// Control is the type of a control frame, the first byte of its payload. A receiver
// ignores types that it does not know, except for 0, which is none.
type Control uint8

// The control frames. 0x06 to 0x7f are for later versions, 0x80 to 0xff for applications.
const (
	ControlHello  Control = 0x01 // the first frame of either end: see Hello
	ControlPing   Control = 0x02 // PingSize bytes, to be returned
	ControlPong   Control = 0x03 // the bytes of a ping
	ControlGoaway Control = 0x04 // server: send no more requests on this connection
	ControlDone   Control = 0x05 // server, its last frame: what is unanswered was not executed
)

// Status is the first byte of what a server sends with a task ID other than 0.
type Status uint8

// The statuses.
const (
	StatusOK      Status = 0 // the reply follows
	StatusRefused Status = 1 // the request was not executed; a code and a text follow
	StatusFailed  Status = 2 // the request failed; a code and a text follow
)

// The codes of a refusal. Others are to be treated like RefusedOverloaded.
const (
	RefusedOverloaded uint32 = 1 // the server has too much to do
	RefusedExpired    uint32 = 2 // the remaining time of the request had passed
	RefusedGoingAway  uint32 = 3 // the server is about to end the connection
)

// Hello is what both ends send first. The role keeps a client from taking the echo of its
// own hello for the server's.
type Hello struct {
	Server  bool
	Version uint8 // 1 or more; the server's is at most the client's
}

// ValidateExtension returns an error if the limit of the format is too low for the
// extension's own frames.
func (f Format) ValidateExtension() error {
	if f.MaxPayload() < leastExtend {
		return fmt.Errorf("framing: Format.MaxFrame is %d; the extension needs at least %d bytes",
			f.maxLength(), IDSize+leastExtend)
	}
	return nil
}

// AppendHello appends a hello frame to b. Its error is that of [Append].
func (f Format) AppendHello(b []byte, h Hello) ([]byte, error) {
	role := byte(0)
	if h.Server {
		role = 1
	}
	var body [helloSize - 1]byte
	copy(body[:], magic)
	body[len(magic)], body[len(magic)+1] = role, h.Version
	return f.AppendControl(b, ControlHello, body[:])
}

// HelloSize returns the size of the hello frame that begins with b, which holds
// [Format.HeaderSize] bytes, or an error that wraps [ErrMalformed] if they cannot be the
// beginning of one. So a client reads the hello's bytes and not one more.
func (f Format) HelloSize(b []byte) (int, error) {
	n, err := f.FrameSize(b)
	header := f.HeaderSize()
	if err != nil || binary.BigEndian.Uint32(b[header-IDSize:]) != uint32(ControlID) ||
		n < header+helloSize || n > header+helloLimit {
		return 0, malformed("this is no hello")
	}
	return n, nil
}

// ParseHello reads the payload of a hello. Bytes behind the version are ignored: they are
// a later version's.
func ParseHello(payload []byte) (Hello, error) {
	if len(payload) < helloSize || len(payload) > helloLimit ||
		Control(payload[0]) != ControlHello || string(payload[1:1+len(magic)]) != magic {
		return Hello{}, malformed("this is no hello")
	}
	role, version := payload[1+len(magic)], payload[2+len(magic)]
	if role > 1 || version == 0 {
		return Hello{}, malformed("a hello with role %d and version %d", role, version)
	}
	return Hello{Server: role == 1, Version: version}, nil
}

// AppendControl appends a control frame to b. Its error is that of [Append].
func (f Format) AppendControl(b []byte, t Control, body []byte) ([]byte, error) {
	b, err := f.appendHeader(b, ControlID, 1+len(body))
	if err != nil {
		return b, err
	}
	return append(append(b, byte(t)), body...), nil
}

// ParseControl reads the payload of a control frame. Its body is part of payload. An error
// wraps [ErrMalformed]; of types that it does not know it says nothing.
func ParseControl(payload []byte) (t Control, body []byte, err error) {
	if len(payload) == 0 || payload[0] == 0 {
		return 0, nil, malformed("a control frame without a type")
	}
	t, body = Control(payload[0]), payload[1:]
	if (t == ControlPing || t == ControlPong) && len(body) != PingSize {
		return 0, nil, malformed("a ping or pong of %d bytes instead of %d", len(body), PingSize)
	}
	return t, body, nil
}

// AppendRequest appends a request frame to b: the remaining time, as [Remaining] has it,
// and the payload. It is as [Append], with [RemainingSize] bytes less room.
func (f Format) AppendRequest(b []byte, id taskid.ID, remaining uint32, payload []byte) ([]byte, error) {
	b, err := f.appendHeader(b, id, RemainingSize+len(payload))
	if err != nil {
		return b, err
	}
	b = binary.BigEndian.AppendUint32(b, remaining)
	return append(b, payload...), nil
}

// ParseRequest splits the payload of a request frame into the remaining time and the
// request, which is part of payload. An error wraps [ErrMalformed].
func ParseRequest(payload []byte) (remaining uint32, request []byte, err error) {
	if len(payload) < RemainingSize {
		return 0, nil, malformed("a request of %d bytes without its remaining time", len(payload))
	}
	return binary.BigEndian.Uint32(payload), payload[RemainingSize:], nil
}

// Remaining returns the remaining time of a request as its frame has it: milliseconds,
// rounded up, at least 1 and at most as many as the field holds. 0 would mean that no
// limit is known.
func Remaining(d time.Duration) uint32 {
	ms := (max(d, 1)-1)/time.Millisecond + 1
	return uint32(min(int64(ms), math.MaxUint32))
}

// AppendReply appends a frame of the server to b: [StatusOK] and the payload. It is as
// [Append], with [StatusSize] bytes less room.
func (f Format) AppendReply(b []byte, id taskid.ID, payload []byte) ([]byte, error) {
	b, err := f.appendHeader(b, id, StatusSize+len(payload))
	if err != nil {
		return b, err
	}
	return append(append(b, byte(StatusOK)), payload...), nil
}

// AppendReason appends a reply frame to b that says why there is none: [StatusRefused] or
// [StatusFailed], a code, and a text in UTF-8, of which at most [MaxReasonText] bytes go,
// and no more than fit. Its error is that of [Append], when not even the code fits.
func (f Format) AppendReason(b []byte, id taskid.ID, s Status, code uint32, text string) ([]byte, error) {
	room := f.MaxPayload() - StatusSize - codeSize
	text = cut(text, max(min(room, MaxReasonText), 0))
	b, err := f.appendHeader(b, id, StatusSize+codeSize+len(text))
	if err != nil {
		return b, err
	}
	b = binary.BigEndian.AppendUint32(append(b, byte(s)), code)
	return append(b, text...), nil
}

// ParseReply splits the payload of a reply frame, or of a pushed one, into the status and
// what follows it, which is part of payload. An error wraps [ErrMalformed].
func ParseReply(payload []byte) (s Status, body []byte, err error) {
	if len(payload) == 0 || Status(payload[0]) > StatusFailed {
		return 0, nil, badStatus(payload)
	}
	return Status(payload[0]), payload[StatusSize:], nil
}

func badStatus(payload []byte) error {
	if len(payload) == 0 {
		return malformed("a reply without a status")
	}
	return malformed("a reply with the status %d", payload[0])
}

// ParseReason reads the body of a reply whose status is not [StatusOK]. The text is valid
// UTF-8 of at most [MaxReasonText] bytes, whatever came. An error wraps [ErrMalformed].
func ParseReason(body []byte) (code uint32, text string, err error) {
	if len(body) < codeSize {
		return 0, "", malformed("a reply without the code that its status asks for")
	}
	text = string(body[codeSize:min(len(body), codeSize+MaxReasonText)])
	return binary.BigEndian.Uint32(body), cut(strings.ToValidUTF8(text, "\ufffd"), MaxReasonText), nil
}

// cut returns the first n bytes of s, or up to three less in order not to split a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	end := n
	for end > 0 && n-end < utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("framing: %w: "+format, append([]any{ErrMalformed}, args...)...)
}
