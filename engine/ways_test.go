package engine

import (
	"context"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/internal/racedetector"
	"github.com/ringwire/ringwire/taskid"
)

// aWay is a way to make one call, until its outcome is known.
type aWay func(b *Broker, ctx context.Context, req []byte, opts ...Call) ([]byte, error)

// byGo makes a call by Go, and overwrites what it sent when Go has returned.
func byGo(b *Broker, ctx context.Context, req []byte, opts ...Call) (reply []byte, err error) {
	mine, done := append([]byte(nil), req...), make(chan struct{})
	fn := func(got []byte, e error) {
		reply, err = append(reply, got...), e
		close(done)
	}
	if e := b.Go(ctx, mine, fn, opts...); e != nil {
		return nil, e
	}
	for i := range mine {
		mine[i] = '!'
	}
	<-done
	return reply, err
}

// byBatch makes a call by a batch of one.
func byBatch(b *Broker, ctx context.Context, req []byte, opts ...Call) (reply []byte, err error) {
	var told error
	err = b.SendBatch(ctx, [][]byte{req}, func(_ int, r []byte, e error) {
		reply, told = append(reply, r...), e
	}, opts...)
	if (told == nil) != (err == nil) {
		return nil, fmt.Errorf("SendBatch told its function %v, and returned %w", told, err)
	}
	return reply, err
}

// watched has the context of the call be one that can end, and does not.
func watched(way aWay) aWay {
	return func(b *Broker, ctx context.Context, req []byte, opts ...Call) ([]byte, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		return way(b, ctx, req, opts...)
	}
}

// ways are all ways to make a call.
var ways = []struct {
	name string
	call aWay
}{
	{"Send", (*Broker).Send},
	{"Send, watched", watched((*Broker).Send)},
	{"Go", byGo},
	{"Go, watched", watched(byGo)},
	{"SendBatch", byBatch},
	{"SendBatch, watched", watched(byBatch)},
}

// fewWays is true when there is no time for all of them. A bubble runs one goroutine after
// another most of the time, so the race detector finds what there is with few.
func fewWays() bool { return testing.Short() || racedetector.On }

// eachWay runs f in a bubble for each way to make a call, or for two of them.
func eachWay(t *testing.T, f func(t *testing.T, call aWay)) {
	for i, w := range ways {
		if fewWays() && i != 0 && i != 3 {
			continue
		}
		t.Run(w.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { f(t, w.call) })
		})
	}
}

// someWays is eachWay for three of them, or one, where each takes long.
func someWays(t *testing.T, f func(t *testing.T, call aWay)) {
	for i, w := range ways {
		if i%2 == 1 || fewWays() && i > 0 {
			continue
		}
		t.Run(w.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { f(t, w.call) })
		})
	}
}

// wide is the frame format with room for megabytes.
var wide = framing.Format{LengthSize: 4}

// far is the peer's end of a pipe. It reads without pause, whatever it writes meanwhile, and
// a goroutine of its own writes: a goroutine that waits for a lock stops the bubble's time.
type far struct {
	net.Conn
	format framing.Format
	work   chan func()
	gone   chan struct{} // closed when nothing can be read any more
}

// farEnd serves connections by got, which is called for one frame after another.
func farEnd(format framing.Format, got func(p *far, f framing.Frame)) func(net.Conn) {
	return func(nc net.Conn) {
		p := &far{nc, format, make(chan func(), 1<<17), make(chan struct{})}
		defer nc.Close()
		defer close(p.gone)
		go func() {
			for {
				select {
				case f := <-p.work:
					f()
				case <-p.gone:
					return
				}
			}
		}()
		for r := framing.NewReader(nc, format); ; {
			f, err := r.ReadFrame()
			if err != nil {
				return
			}
			f.Payload = append([]byte(nil), f.Payload...)
			got(p, f)
		}
	}
}

// reply sends a frame behind what is to be sent already.
func (p *far) reply(id taskid.ID, payload []byte) {
	frame, _ := p.format.Append(nil, id, payload)
	p.work <- func() { _, _ = p.Write(frame) }
}

// after calls f when d has passed, unless the connection ends before.
func (p *far) after(d time.Duration, f func()) {
	go func() {
		select {
		case <-time.After(d): // virtual
			f()
		case <-p.gone:
		}
	}()
}

// trickle sends bytes, so many at a time, with a pause before each piece.
func (p *far) trickle(b []byte, piece int, pause time.Duration) {
	p.work <- func() {
		for len(b) > 0 {
			select {
			case <-time.After(pause): // virtual
			case <-p.gone:
				return
			}
			n := min(piece, len(b))
			if _, err := p.Write(b[:n]); err != nil {
				return
			}
			b = b[n:]
		}
	}
}

// farEcho answers at once.
func farEcho(p *far, f framing.Frame) { p.reply(f.ID, f.Payload) }

// dialDeaf connects to a peer that reads nothing.
func dialDeaf(context.Context, string, string) (net.Conn, error) {
	client, _ := net.Pipe()
	return client, nil
}

// dialInVain never connects.
func dialInVain(ctx context.Context, _, _ string) (net.Conn, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}
