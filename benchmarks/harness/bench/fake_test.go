package bench

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

// fake is a client that echoes, with one fault at a time.
type fake struct {
	wrong   bool // replies are another caller's
	short   bool // replies lack their last byte
	failing bool // every request fails
	refuse  bool // Go and SendBatch refuse every request
	doubled bool // callbacks run twice
	silent  bool // SendBatch leaves out the last callback
	every   int64

	record bool // keep every request in seen

	mu     sync.Mutex // guards seen
	seen   map[string]int
	sent   atomic.Int64
	closed atomic.Bool

	// Like a reader, one goroutine runs all callbacks in turn.
	start   sync.Once
	replies chan func()
	ended   chan struct{}
}

func (f *fake) read() {
	f.replies, f.ended = make(chan func(), CallersMax), make(chan struct{})
	go func() {
		defer close(f.ended)
		for reply := range f.replies {
			reply()
		}
	}()
}

var errFake = errors.New("fake: no")

// answer is the reply to req, in bytes of its own.
func (f *fake) answer(req []byte) ([]byte, error) {
	n := f.sent.Add(1)
	if f.record {
		f.mu.Lock()
		f.seen[string(req)]++
		f.mu.Unlock()
	}
	if f.failing && (f.every == 0 || n%f.every == 0) {
		return nil, errFake
	}
	reply := append([]byte(nil), req...)
	if f.wrong {
		reply[3]++
	}
	if f.short {
		reply = reply[:len(reply)-1]
	}
	return reply, nil
}

func (f *fake) Call(dst []byte, req *[]byte) ([]byte, error) {
	reply, err := f.answer(*req)
	return append(dst, reply...), err
}

func (f *fake) Go(req []byte, fn func(reply []byte, err error)) error {
	if f.refuse {
		return errFake
	}
	reply, err := f.answer(req)
	f.start.Do(f.read)
	f.replies <- func() {
		fn(reply, err)
		if f.doubled {
			fn(reply, err)
		}
	}
	return nil
}

func (f *fake) SendBatch(reqs [][]byte, fn func(i int, reply []byte, err error)) error {
	var first error
	for i, req := range reqs {
		if f.silent && i == len(reqs)-1 {
			continue
		}
		reply, err := f.answer(req)
		if f.refuse {
			reply, err = nil, errFake
		}
		fn(i, reply, err)
		if f.doubled {
			fn(i, reply, err)
		}
		first = firstError(first, err)
	}
	return first
}

func (f *fake) Close() error {
	f.closed.Store(true)
	if f.replies != nil {
		close(f.replies)
		<-f.ended
	}
	return nil
}

// fakeTarget is a target whose clients are copies of the pattern; clients
// receives each one that was dialled.
func fakeTarget(name string, apis []API, make func() *fake, clients *[]*fake) Target {
	return Target{Name: name, APIs: apis, Dial: func(context.Context, int) (Client, error) {
		f := make()
		if clients != nil {
			*clients = append(*clients, f)
		}
		return f, nil
	}}
}

func echoing() *fake { return &fake{} }
