package balance

import (
	"sync/atomic"
	"unsafe"

	"github.com/ringwire/ringwire/internal/cacheline"
)

// Load counts the requests in flight at one server. The zero value is ready. It belongs to
// the server, not to a set, so it goes on counting when sets change. It has cache lines of
// its own and must not be copied.
type Load struct {
	_    cacheline.Pad
	n    atomic.Int64
	from func() int // counts instead of n
	_    [cacheline.Size - unsafe.Sizeof(atomic.Int64{}) - unsafe.Sizeof((func() int)(nil))]byte
}

// LoadOf returns a Load that asks f, for a caller that counts requests in flight anyway:
// then Begin and End have no effect. f is called by Pick, for each server that this looks
// at: by any number of goroutines, and it should take some nanoseconds.
func LoadOf(f func() int) *Load { return &Load{from: f} }

// Begin counts one request more.
func (l *Load) Begin() { l.n.Add(1) }

// End counts one request less. It is called once for each Begin.
func (l *Load) End() { l.n.Add(-1) }

// InFlight returns how many have begun and not ended.
func (l *Load) InFlight() int { return int(l.count()) }

func (l *Load) count() int64 {
	if l.from != nil {
		return int64(l.from())
	}
	return l.n.Load()
}
