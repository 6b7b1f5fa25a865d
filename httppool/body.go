package httppool

import (
	"io"
	"net/http"
	"sync/atomic"
)

// attach has end called once, when the response's body has been read to its end, which is the
// whole, or is closed before; now, if there is none.
func attach(resp *http.Response, end func(whole bool)) {
	if resp.Body == nil || resp.Body == http.NoBody {
		end(true)
		return
	}
	b := &body{ReadCloser: resp.Body, end: end}
	resp.Body = b
	if w, ok := b.ReadCloser.(io.Writer); ok { // after 101 Switching Protocols
		resp.Body = struct {
			*body
			io.Writer
		}{b, w}
	}
}

// body is a response's body that tells of its end. If that is the whole, net/http has put the
// socket back by then.
type body struct {
	io.ReadCloser
	end  func(whole bool)
	done atomic.Bool
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.finish(err == io.EOF)
	}
	return n, err
}

func (b *body) Close() error {
	err := b.ReadCloser.Close()
	b.finish(false)
	return err
}

func (b *body) finish(whole bool) {
	if !b.done.Swap(true) {
		b.end(whole)
	}
}
