package greeting

import (
	"bytes"
	"encoding/binary"
)

const (
	tlsHandshake     = 0x16
	tlsAlertRecord   = 0x15
	tlsRecordMax     = 1 << 14
	tlsLastAlert     = 120 // no_application_protocol
	tlsHelloMin      = 38  // version, random, empty session, cipher suite, compression
	tlsHelloSure     = 11
	http2FrameHeader = 9
	http2Setting     = 6 // bytes
	mysqlPacketMin   = 8
	mysqlVersionMax  = 12
	postgresErrorMin = 16
	postgresWordMax  = 32 // the longest severity, in the words of the server's language
)

// tlsRecord reports whether b begins with a TLS record of a type and a version.
func tlsRecord(b []byte, typ byte) bool {
	return b[0] == typ && b[1] == 3 && 1 <= b[2] && b[2] <= 4
}

// tlsAlert: 15 03 03 00 02, the level, the description.
func tlsAlert(b []byte) bool {
	return len(b) >= 7 && tlsRecord(b, tlsAlertRecord) && b[3] == 0 && b[4] == 2 &&
		(b[5] == 1 || b[5] == 2) && b[6] <= tlsLastAlert
}

// tlsServerHello: 16 03 03, the record's length, 02, the message's length, 03 03.
func tlsServerHello(b []byte) bool {
	if len(b) < tlsHelloSure || !tlsRecord(b, tlsHandshake) || b[5] != 2 || b[6] != 0 {
		return false
	}
	record, hello := int(binary.BigEndian.Uint16(b[3:])), int(binary.BigEndian.Uint16(b[7:]))
	return record <= tlsRecordMax && tlsHelloMin <= hello && hello+4 <= record &&
		b[9] == 3 && 1 <= b[10] && b[10] <= 3
}

// http2Settings: three bytes of length, type 4, no flags, stream 0.
func http2Settings(b []byte) bool {
	return len(b) >= http2FrameHeader && b[0] == 0 && b[1] == 0 && b[2]%http2Setting == 0 &&
		b[3] == 4 && binary.BigEndian.Uint32(b[4:]) == 0 && b[8] == 0
}

// mysqlPacket reports whether b begins with MySQL's packet number 0, of at most 511
// bytes, and returns what it holds. The first byte keeps wide frames apart.
func mysqlPacket(b []byte) (content []byte, ok bool) {
	ok = len(b) > 4 && b[0] >= mysqlPacketMin && b[1] <= 1 && b[2] == 0 && b[3] == 0
	if !ok {
		return nil, false
	}
	return b[4:], true
}

// mysqlGreeting: protocol 10 and a version such as 8.0.36 or 10.11.19-MariaDB.
func mysqlGreeting(b []byte) bool {
	content, ok := mysqlPacket(b)
	if !ok || content[0] != 10 {
		return false
	}
	dots, digits := 0, 0
	for _, c := range content[1:min(len(content), 1+mysqlVersionMax)] {
		switch {
		case '0' <= c && c <= '9':
			if digits++; dots == 2 {
				return true
			}
		case c == '.' && digits > 0:
			dots, digits = dots+1, 0
		default:
			return false
		}
	}
	return false
}

// mysqlError: ff, an error number, and why the server takes no connection.
func mysqlError(b []byte) bool {
	content, ok := mysqlPacket(b)
	if !ok || content[0] != 0xff || len(content) < 3 {
		return false
	}
	if number := binary.LittleEndian.Uint16(content[1:]); number < 1000 || number > 1999 {
		return false
	}
	for _, why := range []string{"Host ", "Too many ", "#08004", "#HY000"} {
		if bytes.HasPrefix(content[3:], []byte(why)) {
			return true
		}
	}
	return false
}

// postgresError: an ErrorResponse, E and four bytes of length, whose first field is
// the severity, FATAL or a translation. Since version 9.6 the second one is VFATAL.
func postgresError(b []byte) bool {
	if len(b) < 6 || b[0] != 'E' || b[1] != 0 || b[2] != 0 || b[5] != 'S' {
		return false
	}
	if binary.BigEndian.Uint16(b[3:]) < postgresErrorMin {
		return false
	}
	severity, next, ok := bytes.Cut(b[6:], []byte{0})
	return ok && (string(severity) == "FATAL" ||
		len(severity) <= postgresWordMax && bytes.HasPrefix(next, []byte("VFATAL\x00")))
}
