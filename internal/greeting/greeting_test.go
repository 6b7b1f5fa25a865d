package greeting_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/internal/greeting"
)

// sure is what Of needs at most, and least what it needs at least.
const sure, least = 64, 7

// prefixesAgree fails unless Of turns from Unknown to one kind at most, and stays there.
func prefixesAgree(t *testing.T, first []byte) {
	t.Helper()
	last := greeting.Unknown
	for n := range len(first) + 1 {
		kind := greeting.Of(first[:n:n])
		switch {
		case last != greeting.Unknown && kind != last:
			t.Fatalf("%s after %d bytes, %s after %d: %q", last, n-1, kind, n, first)
		case kind != greeting.Unknown && n < least:
			t.Fatalf("%s after %d bytes: %q", kind, n, first)
		case n > sure && kind != last:
			t.Fatalf("%s only after %d bytes: %q", kind, n, first)
		}
		last = kind
	}
}

func TestGreetingsTellTheirServers(t *testing.T) {
	for first, want := range allGreetings {
		assert.Equal(t, want, greeting.Of([]byte(first)), "%q", first)
	}
}

func TestMoreBytesNeverChangeAKind(t *testing.T) {
	for first := range allGreetings {
		prefixesAgree(t, []byte(first))
		prefixesAgree(t, []byte(first+"\x00\xff\r\n"+first))
	}
}

func TestEachKindHasAGreetingAndAName(t *testing.T) {
	for kind, want := range []string{
		"an unknown peer", "an SSH server", "an HTTP server", "an HTTP/2 server", "a TLS server",
		"an SMTP or FTP server", "an IMAP or POP3 server", "a Redis server", "a MySQL server",
		"a PostgreSQL server", "a memcached server", "a NATS server",
		"an unknown peer", // one more than there are
	} {
		assert.Equal(t, want, greeting.Kind(kind).String())
		assert.Equal(t, want != "an unknown peer", len(greetings[greeting.Kind(kind)]) > 0, want)
	}
	assert.Equal(t, "an unknown peer", greeting.Kind(255).String())
}

func TestWhatOnlyResemblesAGreetingIsUnknown(t *testing.T) {
	require.Equal(t, greeting.Unknown, greeting.Of(nil))
	for _, first := range []string{
		"220 \x00\x01\x02\x03\x04\x05\x06\x07\x08\x09",
		"220 mail\x00example.org ESMTP",
		"221 mail.example.org ESMTP Postfix\r\n",
		"HTTP/1.1 40",
		"http/1.1 400 bad request\r\n",
		"SSH-2.0-Ope",
		"220 \r\n",
		"220 \r\nmore of it\r\n",
		"SSH-3.0-OpenSSH_9.2p1\r\n",
		"+OK\r\n",
		"-Err unknown command\r\n",
		"ERROR something else\r\n",
		"INFO {server_id: 1}\r\n",
		"N",
		"S",
		"\x15\x03\x03\x00\x03\x02\x46\x00\x00\x00\x00",
		"\x15\x02\x03\x00\x02\x02\x46",
		"\x15\x03\x03\x01\x02\x02\x46",
		"\x15\x03\x00\x00\x02\x02\x46",
		"\x15\x03\x05\x00\x02\x02\x46",
		"\x15\x03\x03\x00\x02\x03\x46",
		"\x15\x03\x03\x00\x02\x02\x79",
		"\x15\x03\x03\x00\x02\x02",
		"\x16\x03\x03\x00\x7a\x01\x00\x00\x76\x03\x03\x00", // a client's hello
		"\x16\x03\x03\x00\x7a\x02\x00\x00\x77\x03\x03\x00", // longer than its record
		"\x16\x03\x03\x40\x01\x02\x00\x00\x76\x03\x03\x00", // a record too long
		"\x16\x03\x03\x00\x7a\x02\x00\x00\x25\x03\x03\x00", // too short for a hello
		"\x16\x03\x03\x00\x7a\x02\x01\x00\x76\x03\x03\x00",
		"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x04\x03\x00",
		"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x04\x00", // no hello names TLS 1.3
		"\x00\x00\x07\x04\x00\x00\x00\x00\x00",             // no whole number of settings
		"\x01\x00\x06\x04\x00\x00\x00\x00\x00",
		"\x00\x00\x06\x04\x01\x00\x00\x00\x00", // an acknowledgement
		"\x00\x00\x06\x04\x00\x00\x00\x00\x01",
		"\x4a\x02\x00\x00\x0a8.0.36\x00",
		"\x4a\x00\x01\x00\x0a8.0.36\x00",
		"\x4a\x00\x00\x00\x0a.8.0.36\x00",
		"\x4a\x00\x00\x00\x0a888888888.0.36",
		"\x4a\x00\x00\x01\x0a8.0.36\x00",
		"\x4a\x00\x00\x00\x098.0.36\x00",
		"\x4a\x00\x00\x00\x0a8..0.36\x00",
		"\x4a\x00\x00\x00\x0a8.0\x00caching_sha2_password",
		"\x4a\x00\x00\x00\x0a8888888888888888888.0.36",
		"\x07\x00\x00\x00\x0a8.0.36\x00",
		"\x17\x00\x00\x00\xff\x10\x04Two",
		"\x17\x00\x00\x00\xff\xe7\x03Too many connections",
		"\x17\x00\x00\x00\xff\xd0\x07Too many connections",
		"\x17\x00\x00\x00\xff\x10\x08Too many connections",
		"E\x00\x00\x00\x0fSFATAL\x00VFATAL\x00",
		"E\x00\x00\x00\x79SFATALE\x00VFATALE\x00",
		"E\x00\x00\x00\x79MFATAL\x00VFATAL\x00",
		"E\x00\x00\x00\x79S123456789-123456789-123456789-123\x00VFATAL\x00",
		"E\x01\x00\x00\x79SFATAL\x00VFATAL\x00",
		"F\x00\x00\x00\x79SFATAL\x00VFATAL\x00",
		"E\x00\x01\x00\x79SFATAL\x00VFATAL\x00",
	} {
		assert.Equal(t, greeting.Unknown, greeting.Of([]byte(first)), "%q", first)
	}
}
