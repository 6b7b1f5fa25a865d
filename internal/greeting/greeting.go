// Package greeting tells from the first bytes that a peer sent what kind of server
// speaks there, because clients get pointed at the wrong port.
//
// Some of these servers speak first, and a client of ours sees their greeting where
// it expects a frame. The others answer a frame with their own words for nonsense.
package greeting

import "bytes"

// Kind is what a peer's first bytes look like. The zero value: nothing that is known.
type Kind uint8

// The kinds, each by the protocols that greet alike.
const (
	Unknown Kind = iota
	SSH
	HTTP
	HTTP2
	TLS
	SMTPOrFTP
	IMAPOrPOP3
	Redis
	MySQL
	PostgreSQL
	Memcached
	NATS
)

var names = [...]string{
	Unknown:    "an unknown peer",
	SSH:        "an SSH server",
	HTTP:       "an HTTP server",
	HTTP2:      "an HTTP/2 server",
	TLS:        "a TLS server",
	SMTPOrFTP:  "an SMTP or FTP server",
	IMAPOrPOP3: "an IMAP or POP3 server",
	Redis:      "a Redis server",
	MySQL:      "a MySQL server",
	PostgreSQL: "a PostgreSQL server",
	Memcached:  "a memcached server",
	NATS:       "a NATS server",
}

// String returns the kind with its article, to stand in a sentence.
func (k Kind) String() string {
	if int(k) < len(names) {
		return names[k]
	}
	return names[Unknown]
}

// It takes lineSure characters of a line of text to be sure: a narrow frame's length,
// ID and six bytes of payload. A whole line may be shorter, but not than lineLeast.
const lineSure, lineLeast = 12, 7

// lines are the beginnings of greetings that are lines of text. The first one that
// fits counts.
var lines = []struct {
	begins string
	kind   Kind
}{
	{"SSH-2.0-", SSH},
	{"SSH-1.", SSH},
	{"Exceeded MaxStartups", SSH},
	{"Not allowed at this time", SSH},
	{"HTTP/1.", HTTP},
	{"<!DOCTYPE ", HTTP}, // the page without its header, as HTTP/0.9 wants it
	{"<html>", HTTP},
	{"220 ", SMTPOrFTP},
	{"220-", SMTPOrFTP},
	{"421 ", SMTPOrFTP},
	{"554 ", SMTPOrFTP},
	{"554-", SMTPOrFTP},
	{"500 OOPS: ", SMTPOrFTP},
	{"* OK ", IMAPOrPOP3},
	{"* BYE ", IMAPOrPOP3},
	{"* PREAUTH ", IMAPOrPOP3},
	{"+OK ", IMAPOrPOP3},
	{"-ERR [", IMAPOrPOP3}, // a response code of POP3, RFC 2449
	{"-ERR ", Redis},
	{"-NOAUTH ", Redis},
	{"-DENIED ", Redis},
	{"-LOADING ", Redis},
	{"EFATAL:  ", PostgreSQL}, // its answer to a version before 3, such as our ID
	{"ERROR\r\n", Memcached},
	{"ERROR Too ", Memcached},
	{"CLIENT_ERROR ", Memcached},
	{"SERVER_ERROR ", Memcached},
	{`INFO {"`, NATS},
}

// Of returns the kind of server whose first bytes are first, all of them or as many
// as there are; 64 are enough. Too few to be sure are Unknown, and more bytes never
// change a kind once there is one. Of neither keeps nor changes first.
//
// Ask it only about a peer that has already failed to speak frames, and let its answer
// decide nothing: then a mistake costs one word in the text of an error, which says
// anyway that the frames could not be read. A mistake is possible because a frame may
// hold any bytes, but a frame has to spell the greeting with its length, its ID and
// its payload:
//
//   - With two bytes of length it takes 7 bytes or more, 12 in most cases. No frame
//     with a length below 2,048 is mistaken.
//   - With four bytes of length and at most 16 MiB, the default, no frame is mistaken
//     unless its ID is 0, which is never issued.
func Of(first []byte) Kind {
	switch {
	case tlsAlert(first), tlsServerHello(first):
		return TLS
	case http2Settings(first):
		return HTTP2
	case mysqlGreeting(first), mysqlError(first):
		return MySQL
	case postgresError(first):
		return PostgreSQL
	}
	if !lineOfText(first) {
		return Unknown
	}
	for _, l := range lines {
		if bytes.HasPrefix(first, []byte(l.begins)) {
			return l.kind
		}
	}
	return Unknown
}

// lineOfText reports whether b begins with a whole line, or with lineSure characters
// of one.
func lineOfText(b []byte) bool {
	for i, c := range b[:min(len(b), lineSure)] {
		switch {
		case c == '\n':
			return i+1 >= lineLeast
		case c != '\r' && (c < ' ' || c > '~'):
			return false
		}
	}
	return len(b) >= lineSure
}
