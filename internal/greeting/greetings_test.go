package greeting_test

import "github.com/ringwire/ringwire/internal/greeting"

// greetings are what servers say to a client of ours, which says nothing or sends
// frames. Many were recorded from the server that they name; the others are made after
// its sources and documents.
var greetings = map[greeting.Kind][]string{
	greeting.SSH: {
		"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10\r\n",
		"SSH-2.0-dropbear_2022.83\r\n",
		"SSH-2.0-Go\r\n",
		"SSH-1.99-Cisco-1.25\n",
		"Exceeded MaxStartups\r\n",
		"Not allowed at this time\r\n",
	},
	greeting.HTTP: {
		"HTTP/1.1 400 Bad Request\r\nServer: nginx/1.22.1\r\nConnection: close\r\n\r\n",
		"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n",
		"HTTP/1.0 400 Bad Request\r\n",
		"<!DOCTYPE HTML>\n<html lang=\"en\">\n    <head", // Python's http.server
		"<html>\r\n<head><title>400 Bad Request</title>",
	},
	greeting.HTTP2: {
		// Go's net/http, nginx, grpc-go, and one that has nothing to set.
		"\x00\x00\x1e\x04\x00\x00\x00\x00\x00\x00\x05\x00\x10\x00\x00\x00\x03\x00\x00",
		"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x80\x00\x04\x00\x01",
		"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00\x40\x00",
		"\x00\x00\x00\x04\x00\x00\x00\x00\x00",
	},
	greeting.TLS: {
		"\x15\x03\x03\x00\x02\x02\x46",
		"\x15\x03\x01\x00\x02\x02\x46", // Go: protocol_version
		"\x15\x03\x01\x00\x02\x02\x50", // Go: internal_error
		"\x15\x03\x03\x00\x02\x02\x2f", // OpenSSL: illegal_parameter
		"\x15\x03\x01\x00\x02\x02\x0a", // OpenSSL: unexpected_message
		"\x15\x03\x03\x00\x02\x01\x00", // close_notify
		"\x15\x03\x04\x00\x02\x02\x78", // no_application_protocol
		"\x16\x03\x01\x00\x2a\x02\x00\x00\x26\x03\x01",
		"\x16\x03\x03\x40\x00\x02\x00\x00\x59\x03\x03\x8e\x1f",
		"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03\x8e\x1f",
	},
	greeting.SMTPOrFTP: {
		"220 mail.example.org ESMTP Postfix (Debian/GNU)\r\n",
		"220-mail.example.org ESMTP Exim 4.96 Fri, 27 Nov 2026 \r\n",
		"220 (vsFTPd 3.0.3)\r\n",
		"220 ~~~~~~~~ Welcome ~~~~~~~~\r\n",
		"220---------- Welcome to Pure-FTPd [privsep] [TLS] ----------\r\n",
		"421 There are too many connected users, please try later.\r\n",
		"554 mail.example.org ESMTP not accepting messages\r\n",
		"554-mail.example.org\r\n",
		"500 OOPS: vsftpd: cannot locate user specified in 'ftp_username':ftp\r\n",
	},
	greeting.IMAPOrPOP3: {
		"* OK [CAPABILITY IMAP4rev1 SASL-IR ID AUTH=PLAIN] Dovecot (Debian) ready.\r\n",
		"* OK Waiting for authentication process to respond..\r\n",
		"* BYE Disconnected for inactivity.\r\n",
		"* PREAUTH [CAPABILITY IMAP4rev1] Logged in as user\r\n",
		"+OK Dovecot (Debian) ready.\r\n",
		"+OK [XCLIENT] Dovecot (Debian) ready.\r\n",
		"-ERR [SYS/TEMP] too many connections\r\n",
	},
	greeting.Redis: {
		"-ERR unknown command '\x01', with args beginning with: \r\n",
		"-ERR Protocol error: unbalanced quotes in request\r\n",
		"-ERR max number of clients reached\r\n",
		"-NOAUTH Authentication required.\r\n",
		"-DENIED Redis is running in protected mode because",
		"-LOADING Redis is loading the dataset in memory\r\n",
	},
	greeting.MySQL: {
		"\x4a\x00\x00\x00\x0a8.0.36\x00\x0b\x00\x00\x00\x1a\x7f\x5d\x22\x31\x09\x41\x6e\x00" +
			"\xff\xff\xff\x02\x00\xff\xdf\x15\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" +
			"\x4b\x2e\x16\x61\x5a\x34\x7b\x71\x10\x22\x4f\x5c\x00caching_sha2_password\x00",
		"d\x00\x00\x00\x0a5.5.5-10.11.19-MariaDB-0+deb12u1\x00\x03\x00\x00\x004w{%@VnI\x00",
		"\x5b\x00\x00\x00\x0a11.4.2-MariaDB\x00\x03\x00\x00\x00",
		"\x4a\x01\x00\x00\x0a9.9.9-of-a-long-name",
		"\x17\x00\x00\x00\xff\x10\x04Too many connections",
		"\x1d\x00\x00\x00\xff\x10\x04#08004Too many connections",
		"G\x00\x00\x00\xffj\x04Host '192.168.49.196' is not allowed to connect to",
	},
	greeting.PostgreSQL: {
		"E\x00\x00\x00\x85SFATAL\x00VFATAL\x00C08P01\x00Minvalid startup packet",
		"E\x00\x00\x00\x79S123456789-123456789-123456789-12\x00VFATAL\x00",
		"E\x00\x00\x00\x53SFATAL\x00C53300\x00Msorry, too many clients already",
		"E\x00\x00\x00\x98SВАЖНО\x00VFATAL\x00C53300\x00M",
		"EFATAL:  unsupported frontend protocol 0.257: server supports 3.0",
	},
	greeting.Memcached: {
		"ERROR\r\n",
		"ERROR\r\nERROR\r\nERROR\r\n",
		"ERROR Too many open connections\r\n",
		"CLIENT_ERROR line too long\r\n",
		"SERVER_ERROR out of memory\r\n",
	},
	greeting.NATS: {
		`INFO {"server_id":"NDI4A4HGM63J6VEJ25R236FRXWJY7BZ2NFJXW4PMRQ47VO6JH6WYSSDK",`,
	},
}

// allGreetings yields each greeting with its kind.
func allGreetings(yield func(string, greeting.Kind) bool) {
	for kind, list := range greetings {
		for _, first := range list {
			if !yield(first, kind) {
				return
			}
		}
	}
}
