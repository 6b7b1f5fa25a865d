package tlswire

import (
	"crypto/tls"
	"sync"

	"github.com/ringwire/ringwire/internal/bytepool"
	"github.com/ringwire/ringwire/internal/rawio"
)

// output is the writing half of a Wire.
type output struct {
	taken   int // how much of what is to be written is encrypted already; the writer's
	writeFn func(fd uintptr) bool

	mu       sync.Mutex       // guards what follows, held for a copy
	records  *bytepool.Buffer // to be written, from sent on; nil: none
	sent     int
	gathered bool       // the goroutine that encrypts, or writes, will write what comes meanwhile
	flushing bool       // somebody writes, and waits for the socket
	flushed  *sync.Cond // flushing has ended
	broken   error
}

// Write implements net.Conn for crypto/tls: it keeps a record if somebody is about to write,
// and writes it otherwise.
func (w *Wire) Write(record []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken != nil {
		return 0, w.broken
	}
	if w.records == nil {
		w.records = bytepool.Get(len(record))
	}
	w.records.B = append(w.records.B, record...)
	if w.gathered {
		return len(record), nil
	}
	w.gathered = true
	if err := w.flushLocked(); err != nil {
		return 0, err
	}
	return len(record), nil
}

// flushLocked writes until nothing is left, and waits if the socket takes no more. It lets mu go
// meanwhile: the reader must not have to wait.
func (w *Wire) flushLocked() error {
	for w.flushing {
		w.flushed.Wait() // it writes ours too
	}
	w.flushing = true
	for w.records != nil && w.broken == nil {
		b, from := w.records, w.sent
		w.records, w.sent = nil, 0
		w.mu.Unlock()
		_, err := w.Conn.Write(b.B[from:])
		bytepool.Put(b)
		w.mu.Lock()
		w.broken = err
	}
	w.flushing, w.gathered = false, false
	w.flushed.Broadcast()
	return w.broken
}

// WriteAll writes p by way of tc, which lies above w, in one system call if the socket takes
// it, and waits until it has. If TryWrite has taken p in part, p must begin with the same bytes.
func (w *Wire) WriteAll(tc *tls.Conn, p []byte) (n int, err error) {
	n = w.taken
	w.taken = 0
	if n < len(p) {
		w.gather(len(p) - n)
		_, err = tc.Write(p[n:])
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if failed := w.flushLocked(); failed != nil {
		err = failed
	}
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// TryWritePieces is TryWrite of p in pieces of so many bytes. It returns how much of p the socket
// has taken, in whole pieces; the one behind may have been sent in parts, as TryWrite says.
func (w *Wire) TryWritePieces(tc *tls.Conn, p []byte, piece int) (n int, err error) {
	for n < len(p) {
		m, err := w.TryWrite(tc, p[n:][:min(len(p)-n, piece)])
		if n += m; m == 0 || err != nil {
			return n, err
		}
	}
	return n, nil
}

// gather has the records of n bytes kept.
func (w *Wire) gather(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gathered = true
	if w.records == nil {
		w.records = bytepool.Get(n + (n/recordMax+1)*recordExtra)
	}
}

// TryWrite is WriteAll without the waiting. It returns len(p) when the socket has taken all, and 0
// when it has not: then parts of p may have been sent, and p is to be written again, perhaps with
// more behind it, until all has gone or the connection is given up. Pending tells.
func (w *Wire) TryWrite(tc *tls.Conn, p []byte) (n int, err error) {
	if w.taken < len(p) && !w.waiting() {
		w.gather(len(p) - w.taken)
		if _, err := tc.Write(p[w.taken:]); err != nil {
			return 0, err
		}
		w.taken = len(p)
	}
	all, err := w.tryFlush()
	if err != nil || !all {
		return 0, err
	}
	n, w.taken = w.taken, 0
	return n, nil
}

// Pending reports whether TryWrite has begun with bytes that it does not report as written.
func (w *Wire) Pending() bool { return w.taken > 0 }

// waiting reports whether records wait that the socket did not take.
func (w *Wire) waiting() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.records != nil || w.flushing
}

// tryFlush makes one attempt to write what there is, and reports whether all of it has gone.
func (w *Wire) tryFlush() (all bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.flushing {
		return false, nil // the reader answers crypto/tls, and writes ours too
	}
	if w.broken == nil && w.records != nil {
		if err := w.raw.Write(w.writeFn); err != nil {
			w.broken = err
		}
	}
	w.gathered = w.records != nil
	return w.records == nil, w.broken
}

// attemptWrite runs inside raw.Write, with mu held. It always reports done, so that raw.Write
// never waits.
func (w *Wire) attemptWrite(fd uintptr) bool {
	n, err := rawio.Write(fd, w.records.B[w.sent:])
	w.broken = err
	if w.sent += n; w.sent == len(w.records.B) {
		bytepool.Put(w.records)
		w.records, w.sent = nil, 0
	}
	return true
}
