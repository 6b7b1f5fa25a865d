package tlswire

import (
	"crypto/tls"
	"errors"

	"github.com/ringwire/ringwire/internal/bytepool"
	"github.com/ringwire/ringwire/internal/rawio"
)

// Read implements net.Conn for crypto/tls. It returns nothing beyond the record that is
// being read.
func (w *Wire) Read(p []byte) (int, error) {
	for len(p) > 0 {
		if n := w.mayGive(); n > 0 {
			n = copy(p, w.in.B[w.head:w.head+n])
			w.gave(n)
			return n, nil
		}
		switch {
		case w.end != nil:
			return 0, w.end
		case w.hurried:
			return 0, errNothing
		}
		if err := w.await(); err != nil {
			return 0, err // a deadline, or it is closed
		}
	}
	return 0, nil
}

// await waits until something has come. If w has a place to compute in, it gives that up
// meanwhile.
func (w *Wire) await() error {
	w.leavePlace()
	if err := w.raw.Read(w.waitFn); err != nil {
		return err
	}
	w.end = w.try.err
	return w.takePlace()
}

// mayGive returns how many of the bytes that were read crypto/tls may have: up to the end of
// the record, or the header of the next one.
func (w *Wire) mayGive() int {
	n := w.buffered()
	switch {
	case w.left > 0:
		return min(n, w.left)
	case n >= headerSize:
		return headerSize
	case w.end != nil:
		return n // in the middle of a header
	}
	return 0
}

// gave notes that crypto/tls has the first n bytes.
func (w *Wire) gave(n int) {
	if w.left == 0 && n == headerSize {
		w.left = bodySize(w.in.B[w.head:])
	} else {
		w.left = max(w.left-n, 0)
	}
	if w.head += n; w.head == len(w.in.B) {
		bytepool.Put(w.in)
		w.in, w.head = nil, 0
	}
}

func (w *Wire) buffered() int {
	if w.in == nil {
		return 0
	}
	return len(w.in.B) - w.head
}

// bodySize returns how long the rest of a record is, by its header.
func bodySize(header []byte) int { return int(header[3])<<8 | int(header[4]) }

// recordReady reports whether crypto/tls can read a record to its end, or is to see that
// there is none.
func (w *Wire) recordReady() bool {
	n := w.buffered()
	switch {
	case w.end != nil:
		return true
	case w.left > 0:
		return n >= w.left
	case n < headerSize:
		return false
	}
	body := bodySize(w.in.B[w.head:])
	return n >= headerSize+body || body > bodyMax
}

// TryRead reads what there is of tc, which lies above w, into p without waiting. That there is
// nothing is no error: n is then 0. The end is io.EOF.
func (w *Wire) TryRead(tc *tls.Conn, p []byte) (n int, err error) {
	if !w.again && !w.recordReady() {
		if err := w.fill(); err != nil {
			return 0, err
		}
	}
	w.hurried = true
	for n < len(p) && (w.again || w.recordReady()) {
		m, err := tc.Read(p[n:])
		n += m
		w.again = n == len(p)
		switch {
		case err == nil:
		case errors.Is(err, errNothing): // a record that is none of data
		default:
			w.hurried, w.again = false, true // it says so again the next time
			if n > 0 {
				err = nil
			}
			return n, err
		}
	}
	w.hurried = false
	return n, nil
}

// fill makes one attempt to read.
func (w *Wire) fill() error {
	if err := w.raw.Read(w.readFn); err != nil {
		return err
	}
	w.end = w.try.err
	return nil
}

// attemptRead runs inside raw.Read. It always reports done, so that raw.Read never waits.
func (w *Wire) attemptRead(fd uintptr) bool {
	w.makeRoom()
	have := len(w.in.B)
	w.try.n, w.try.err = rawio.Read(fd, w.in.B[have:cap(w.in.B)])
	w.in.B = w.in.B[:have+w.try.n]
	if len(w.in.B) == 0 {
		bytepool.Put(w.in)
		w.in = nil
	}
	return true
}

// awaitRead runs inside raw.Read and has it wait until something has come.
func (w *Wire) awaitRead(fd uintptr) bool {
	w.attemptRead(fd)
	return w.try.n > 0 || w.try.err != nil
}

// makeRoom sees to it that something can be read behind what is there.
func (w *Wire) makeRoom() {
	if w.in == nil {
		w.in, w.head = bytepool.Get(readSize), 0
		return
	}
	if w.head > 0 {
		w.in.B, w.head = append(w.in.B[:0], w.in.B[w.head:]...), 0
	}
}

// WaitRead waits, without memory for what comes, until TryRead may find something. It fails
// at the read deadline, and when the connection is closed.
func (w *Wire) WaitRead() error {
	for !w.again && !w.recordReady() {
		if err := w.await(); err != nil {
			return err
		}
	}
	return nil
}
