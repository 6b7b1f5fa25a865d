package chaos

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// headerSize is the identity that requests and replies begin with:
//
//	 0       4        8        12    16      24     28     32
//	┌───────┬────────┬────────┬─────┬───────┬──────┬──────┬─────────
//	│ magic │ client │ caller │ seq │ nonce │ want │ CRC  │ body
//	└───────┴────────┴────────┴─────┴───────┴──────┴──────┴─────────
//
// CRC-32C covers everything but itself. want is the size of the reply.
const headerSize = 32

const (
	requestMagic = 0x52495131
	replyMagic   = 0x52495232
)

// identity names one request of one run.
type identity struct {
	client, caller, seq uint32
	nonce               uint64
	want                uint32
}

func (id identity) String() string {
	return fmt.Sprintf("client %d caller %d seq %d nonce %#x", id.client, id.caller, id.seq, id.nonce)
}

// noise is what bodies are cut from, each at a place that depends on its nonce.
var noise = func() []byte {
	b := make([]byte, 0, 128<<10)
	for i := uint64(0); len(b) < cap(b); i++ {
		b = binary.BigEndian.AppendUint64(b, mix(i))
	}
	return b
}()

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errMalformed = errors.New("chaos: payload is damaged: magic, size or checksum is wrong")

// appendPayload appends size bytes, at least a header, that say which call they belong
// to.
func appendPayload(dst []byte, magic uint32, id identity, size int) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, size)...)
	b := dst[start:]
	be := binary.BigEndian
	be.PutUint32(b[0:], magic)
	be.PutUint32(b[4:], id.client)
	be.PutUint32(b[8:], id.caller)
	be.PutUint32(b[12:], id.seq)
	be.PutUint64(b[16:], id.nonce)
	be.PutUint32(b[24:], id.want)
	for body := b[headerSize:]; len(body) > 0; {
		body = body[copy(body, noise[uint16(id.nonce):]):]
	}
	be.PutUint32(b[28:], checksum(b))
	return dst
}

func checksum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:28], castagnoli), castagnoli, b[headerSize:])
}

// parsePayload reads the identity back, or returns errMalformed.
func parsePayload(b []byte, magic uint32) (identity, error) {
	be := binary.BigEndian
	if len(b) < headerSize || be.Uint32(b) != magic || be.Uint32(b[28:]) != checksum(b) {
		return identity{}, errMalformed
	}
	return identity{
		client: be.Uint32(b[4:]), caller: be.Uint32(b[8:]), seq: be.Uint32(b[12:]),
		nonce: be.Uint64(b[16:]), want: be.Uint32(b[24:]),
	}, nil
}

// Nonce returns a request's nonce: random bits by which a server may decide
// what to do with it, the same in every run with the same seed. ok is false for
// an empty request.
func Nonce(req []byte) (nonce uint64, ok bool) {
	if len(req) < headerSize {
		return 0, false
	}
	return binary.BigEndian.Uint64(req[16:]), true
}

// A shape is what a request looks like and how it is sent.
type shape struct {
	id    identity
	size  int  // of the request
	blank bool // the request is empty, and so is its reply
	api   api
}

// shapeOf derives a request from the seed and its place.
func (h *Harness) shapeOf(caller, seq uint32) shape {
	nonce := mix(h.cfg.Seed ^ mix(uint64(h.cfg.Client)<<48^uint64(caller)<<32^uint64(seq)))
	s := shape{id: identity{client: h.cfg.Client, caller: caller, seq: seq, nonce: nonce}}
	s.size = h.sizeOf(mix(nonce + 1))
	s.id.want = uint32(h.sizeOf(mix(nonce + 2)))
	s.blank = mix(nonce+3)%64 == 0
	s.api = h.apis[mix(nonce+4)%uint64(len(h.apis))]
	return s
}

// sizeOf spreads sizes as applications do: mostly small, some of a few KiB, one
// in a thousand close to the largest.
func (h *Harness) sizeOf(random uint64) int {
	kind, rest := random%1000, random>>16
	largest := uint64(h.cfg.MaxPayload - headerSize)
	body := rest % 200
	switch {
	case kind < 1:
		body = largest - rest%16
	case kind < 30:
		body = rest % (16 << 10)
	case kind < 180:
		body = rest % (4 << 10)
	}
	return headerSize + int(min(body, largest))
}

// mix is the finalizer of splitmix64 (Steele, Lea, Flood 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
