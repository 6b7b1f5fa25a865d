package peer

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"slices"
)

// GoroutinesName is the server that others are compared with under light clients.
const GoroutinesName = "goroutines"

// Goroutines is a server of the anet frame as package net invites to write it: a
// goroutine for each connection, a buffered reader, one write for each reply.
func Goroutines() Peer {
	return Peer{Name: GoroutinesName, ServerNote: "a goroutine for each connection, with a bufio.Reader and one write for each reply",
		Serve: serveGoroutines}
}

func serveGoroutines(addr string) (*Server, error) {
	accept := func(l net.Listener) {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go echoFrames(conn)
		}
	}
	return serve(addr, accept, func() {})
}

// echoFrames ends when the client does, or sends what is no frame.
func echoFrames(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	in := bufio.NewReader(conn)
	frame := make([]byte, frameHeader, 128)
	for {
		frame = frame[:frameHeader]
		if _, err := io.ReadFull(in, frame); err != nil {
			return
		}
		length := int(binary.BigEndian.Uint16(frame))
		if length < idBytes {
			return
		}
		frame = slices.Grow(frame, length-idBytes)[:2+length]
		if _, err := io.ReadFull(in, frame[frameHeader:]); err != nil {
			return
		}
		if _, err := conn.Write(frame); err != nil {
			return
		}
	}
}
