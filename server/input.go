package server

import (
	"sync"
	"time"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/internal/bytepool"
)

// input is what a connection has sent and what is not parsed yet: the part of a frame, and
// behind it what came while the connection was blocked. It belongs to the loop. A
// connection that owes nothing has none.
type input struct {
	part        *bytepool.Buffer // the beginning of a frame; nil: none
	first, last *chunk           // in the order of their arrival; nil: none
	bytes       int              // in the chunks
	held        int              // the capacity of part and chunks
}

// chunk is bytes that could not be parsed when they came.
type chunk struct {
	next *chunk
	buf  *bytepool.Buffer
	head int           // buf.B[:head] is done with
	at   time.Duration // when the first of them came
}

const (
	// chunkMin is the least capacity of a chunk, so that what comes in small pieces does
	// not take many times its size.
	chunkMin = 4 << 10
	// chunkSpan is how much later than the first bytes of a chunk others may come that are
	// put into it; they count as just as old.
	chunkSpan = 10 * time.Millisecond
)

var (
	inputs = sync.Pool{New: func() any { return new(input) }}
	chunks = sync.Pool{New: func() any { return new(chunk) }}
)

// waiting returns how many bytes are not parsed. c.input is nil if there are none.
func (i *input) waiting() int {
	n := i.bytes
	if i.part != nil {
		n += len(i.part.B)
	}
	return n
}

// front returns the bytes that came first, up to where others are kept elsewhere.
func (i *input) front() []byte {
	if i.part != nil {
		return i.part.B
	}
	return i.first.buf.B[i.first.head:]
}

// nextFrame returns the next whole frame, its size in what is being parsed, and whether
// there is one. The frame is not taken yet: consume does that.
func (c *Conn) nextFrame() (f framing.Frame, size int, whole bool) {
	l, format := c.loop, c.srv.format
	l.release()
	if c.input != nil {
		if !c.feed() {
			return f, 0, false
		}
		if c.input != nil && c.input.part != nil {
			f, size, _ = format.Parse(c.input.part.B)
			return f, size, true
		}
	}
	if len(l.in) == 0 {
		return f, 0, false
	}
	f, size, err := format.Parse(l.in)
	if err != nil {
		c.fail(c.badLength(l.in))
		return f, 0, false
	}
	return f, size, size > 0
}

// consume takes a frame that nextFrame has returned. Its bytes stay where they are until the
// next call of nextFrame, or the end of the turn.
func (c *Conn) consume(size int) {
	l := c.loop
	if i := c.input; i != nil && i.part != nil {
		i.held -= cap(i.part.B)
		l.spent, i.part = i.part, nil
		c.dropInput()
		return
	}
	l.in = l.in[size:]
}

// feed completes the frame that has begun, if there is one, or else has a whole frame, or
// what is left of all input, at the front of loop.in. False means that there is no whole
// frame.
func (c *Conn) feed() bool {
	l, i := c.loop, c.input
	for {
		if i.part != nil {
			size, err := c.srv.format.FrameSize(i.part.B)
			if err != nil {
				c.fail(c.badLength(i.part.B))
				return false
			}
			if size > 0 && size == len(i.part.B) {
				return true
			}
			if size == 0 {
				size = c.srv.format.HeaderSize() - framing.IDSize
			}
			if len(l.in) > 0 {
				n := min(size-len(i.part.B), len(l.in))
				c.begun(l.in[:n])
				l.in = l.in[n:]
				continue
			}
		} else if len(l.in) > 0 {
			size, err := c.srv.format.FrameSize(l.in)
			if i.first == nil || err != nil || size > 0 && size <= len(l.in) {
				return true // the caller looks
			}
			c.begun(l.in) // the rest of it is in the next chunk
			l.in = nil
			continue
		}
		if !c.nextChunk() {
			return false
		}
		if i = c.input; i == nil {
			return true
		}
	}
}

// nextChunk goes on with the oldest bytes that wait.
func (c *Conn) nextChunk() bool {
	l, i := c.loop, c.input
	k := i.first
	if k == nil {
		return false
	}
	l.leaveSource()
	if i.first = k.next; i.first == nil {
		i.last = nil
	}
	l.in, l.at, l.source = k.buf.B[k.head:], k.at, k.buf
	i.bytes -= len(l.in)
	i.held -= cap(k.buf.B)
	*k = chunk{}
	chunks.Put(k)
	c.dropInput()
	return true
}

// keepInput keeps what is left of the input, unless it is of no use any more.
func (c *Conn) keepInput() {
	l := c.loop
	l.release()
	if len(l.in) > 0 && c.at() < phaseDoomed {
		switch over := c.beginsNoMore(); {
		case c.block == blockNone && !over:
			c.begun(l.in)
		case l.source != nil:
			c.putBack(l.in)
		case over && !(c.srv.isClosing() && c.fits(l.in)):
			// Nobody wants it, not even to be counted.
		default:
			c.queueInput(l.in)
		}
	}
	l.in = nil
	l.leaveSource()
}

// begun appends b to the part of a frame that has come. It grows as bytes arrive: a peer that
// announces much and sends little costs little.
func (c *Conn) begun(b []byte) {
	i := c.needInput()
	if i.part == nil {
		i.part = bytepool.Get(len(b))
		i.held += cap(i.part.B)
	}
	if need := len(i.part.B) + len(b); need > cap(i.part.B) {
		grown := bytepool.Get(max(need, min(2*cap(i.part.B), maxFrameSize(c.srv.format))))
		grown.B = append(grown.B, i.part.B...)
		i.held += cap(grown.B) - cap(i.part.B)
		bytepool.Put(i.part)
		i.part = grown
	}
	i.part.B = append(i.part.B, b...)
}

// fits reports whether b may wait with the other input.
func (c *Conn) fits(b []byte) bool {
	i := c.input
	return i == nil || i.waiting() == 0 || i.waiting()+len(b) <= c.srv.cfg.MaxUnparsed
}

// queueInput puts b, which has just come, behind the other input.
func (c *Conn) queueInput(b []byte) {
	if !c.fits(b) {
		c.fail(reasonInput)
		return
	}
	i := c.needInput()
	if k := i.last; k != nil && cap(k.buf.B)-len(k.buf.B) >= len(b) && c.loop.at-k.at < chunkSpan {
		k.buf.B = append(k.buf.B, b...)
		i.bytes += len(b)
		return
	}
	k := chunks.Get().(*chunk)
	k.buf, k.at = bytepool.Get(max(len(b), chunkMin)), c.loop.at
	k.buf.B = append(k.buf.B, b...)
	if i.last == nil {
		i.first = k
	} else {
		i.last.next = k
	}
	i.last = k
	i.bytes += len(b)
	i.held += cap(k.buf.B)
}

// putBack makes what is left of a chunk the first one again.
func (c *Conn) putBack(rest []byte) {
	l, i := c.loop, c.needInput()
	k := chunks.Get().(*chunk)
	k.buf, k.at, k.head = l.source, l.at, len(l.source.B)-len(rest)
	l.source = nil
	if k.next = i.first; k.next == nil {
		i.last = k
	}
	i.first = k
	i.bytes += len(rest)
	i.held += cap(k.buf.B)
}

// release gives the frame back that was in a buffer of its own and is done with.
func (l *loop) release() {
	if l.spent != nil {
		bytepool.Put(l.spent)
		l.spent = nil
	}
}

// leaveSource gives the chunk back that was being parsed.
func (l *loop) leaveSource() {
	if l.source != nil {
		bytepool.Put(l.source)
		l.source = nil
	}
}

func (c *Conn) needInput() *input {
	if c.input == nil {
		c.input = inputs.Get().(*input)
	}
	return c.input
}

// dropInput gives the input back when it is empty.
func (c *Conn) dropInput() {
	if i := c.input; i.part == nil && i.first == nil {
		*i = input{}
		inputs.Put(i)
		c.input = nil
	}
}

// abandonInput gives everything back that is not parsed. When the server stops it counts the
// requests among it, which have come and are not answered.
func (c *Conn) abandonInput() {
	l := c.loop
	if c.input != nil && len(l.in) == 0 && c.srv.isClosing() {
		n := uint64(0)
		for f, size, whole := c.nextFrame(); whole; f, size, whole = c.nextFrame() {
			c.consume(size)
			if c.ext.Load() == nil || f.ID != framing.ControlID {
				n++
			}
		}
		c.srv.failures.abandoned.Add(n)
		l.in = nil
		l.release()
		l.leaveSource()
	}
	c.forgetInput()
}

// forgetInput gives everything back that is not parsed.
func (c *Conn) forgetInput() {
	i := c.input
	if i == nil {
		return
	}
	if i.part != nil {
		bytepool.Put(i.part)
	}
	for k := i.first; k != nil; {
		next := k.next
		bytepool.Put(k.buf)
		*k = chunk{}
		chunks.Put(k)
		k = next
	}
	*i = input{}
	inputs.Put(i)
	c.input = nil
}
