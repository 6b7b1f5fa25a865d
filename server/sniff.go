package server

import (
	"bytes"
	"encoding/binary"
)

// A browser or a TLS client on the port would otherwise look like a large frame
// that never completes, and time out without a hint. The bytes of a real frame
// could be mistaken for one: a length of 18,245 reads "GE". So a connection is
// closed for its first bytes only if its first frame is incomplete and they are a
// whole request line or the fixed part of a ClientHello: the task ID would have to
// spell "T / " and the payload begin with "HTTP/1.1\r\n", or the ID and the first
// five payload bytes agree with the TLS record's two lengths and versions. The
// rest is left to the frame timeout.

// foreign names the protocol that b, the first bytes of a connection, belongs to,
// or returns reasonNone.
func foreign(b []byte) reason {
	switch {
	case isClientHello(b):
		return reasonTLS
	case isRequestLine(b):
		return reasonHTTP
	}
	return reasonNone
}

// isClientHello recognises the record and handshake headers of RFC 8446 §5.1 and
// §4.1.2:
//
//	16 03 vv  len len  01  00 len len  03 vv
//	record    of it    hello, its len  version
func isClientHello(b []byte) bool {
	if len(b) < 11 || b[0] != 0x16 || b[1] != 3 || b[2] < 1 || b[2] > 3 {
		return false
	}
	record := int(binary.BigEndian.Uint16(b[3:]))
	hello := int(b[6])<<16 | int(binary.BigEndian.Uint16(b[7:]))
	return b[5] == 1 && hello+4 == record && b[9] == 3 && b[10] >= 1 && b[10] <= 3
}

var httpMethods = [][]byte{
	[]byte("GET "), []byte("POST "), []byte("HEAD "), []byte("PUT "), []byte("OPTIONS "),
	[]byte("DELETE "), []byte("PATCH "), []byte("CONNECT "), []byte("PRI "),
}

// requestLineMax is how far the end of a request line is looked for, in bytes.
const requestLineMax = 8 << 10

// isRequestLine recognises a whole HTTP/1 request line, or the preface of HTTP/2.
func isRequestLine(b []byte) bool {
	if !hasMethod(b) {
		return false
	}
	line, _, ended := bytes.Cut(b[:min(len(b), requestLineMax)], []byte("\r\n"))
	version := bytes.LastIndex(line, []byte(" HTTP/"))
	return ended && version >= 0 && len(line)-version == len(" HTTP/1.1")
}

func hasMethod(b []byte) bool {
	for _, method := range httpMethods {
		if bytes.HasPrefix(b, method) {
			return true
		}
	}
	return false
}

// badLength names the fault of bytes whose length field is out of range. The
// connection is lost whatever the reason, so less is enough to name it.
func (c *Conn) badLength(b []byte) reason {
	switch {
	case c.spoke || c.loop.frames > 0:
		return reasonBadLength
	case len(b) >= 3 && b[0] == 0x16 && b[1] == 3 && b[2] <= 4:
		return reasonTLS
	case hasMethod(b):
		return reasonHTTP
	}
	return reasonBadLength
}
