package ring

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// bytesSlices is a Bytes made of slices: one for each chunk that is not given back.
type bytesSlices struct {
	r      *Bytes
	chunks []sliceChunk
	open   []openRoom // not published
	number uint64     // of the next chunk
	taken  bool
	mark   byte
}

// pattern has other bytes at each offset; a record begins at one of the first 256.
var pattern = func() []byte {
	b := make([]byte, 256+ChunkBytes)
	rand.NewChaCha8([32]byte{}).Read(b)
	return b
}()

type sliceChunk struct {
	number  uint64
	bytes   []byte
	sealed  bool
	copying int // rooms
	records int // published
}

type openRoom struct {
	room    Room
	number  uint64
	records int
}

// reserve asks for n bytes and fills them.
func (m *bytesSlices) reserve(t *testing.T, n, records int) {
	last := len(m.chunks) - 1
	fits := last >= 0 && !m.chunks[last].sealed && len(m.chunks[last].bytes)+n <= ChunkBytes
	room, ok := m.r.Reserve(n)
	if want := fits || len(m.chunks) < Chunks; ok != want {
		t.Fatalf("Reserve(%d) = %t, want %t of %d chunks", n, ok, want, len(m.chunks))
	}
	if !ok {
		return
	}
	if !fits {
		if last >= 0 {
			m.chunks[last].sealed = true
		}
		m.chunks = append(m.chunks, sliceChunk{number: m.number})
		m.number++
		last++
	}
	c := &m.chunks[last]
	want := Position(c.number<<chunkShift) + Position(len(c.bytes))
	if room.At != want || len(room.Bytes()) != n || cap(room.Bytes()) != n {
		t.Fatalf("Reserve(%d): %d of %d at %#x, want them at %#x",
			n, len(room.Bytes()), cap(room.Bytes()), room.At, want)
	}
	m.mark++
	copy(room.Bytes(), pattern[m.mark:])
	c.bytes = append(c.bytes, room.Bytes()...)
	c.copying++
	m.open = append(m.open, openRoom{room, c.number, records})
}

// publish publishes the i-th room that is open.
func (m *bytesSlices) publish(i int) {
	if len(m.open) == 0 {
		return
	}
	i %= len(m.open)
	o := m.open[i]
	m.open = append(m.open[:i], m.open[i+1:]...)
	if o.records == 1 {
		o.room.Publish()
	} else {
		o.room.PublishAll(o.records)
	}
	for j := range m.chunks {
		if c := &m.chunks[j]; c.number == o.number {
			c.copying--
			c.records += o.records
		}
	}
}

func (m *bytesSlices) ready() bool { return len(m.chunks) > 0 && m.chunks[0].copying == 0 }

func (m *bytesSlices) take(t *testing.T) {
	if m.taken {
		m.r.Done()
		m.chunks = m.chunks[1:]
		m.taken = false
		return
	}
	b, records, at := m.r.Take()
	if len(m.chunks) > 0 {
		m.chunks[0].sealed = true
	}
	if !m.ready() {
		if b != nil || records != 0 || at != 0 {
			t.Fatalf("Take = %d bytes, %d records at %#x, want nothing", len(b), records, at)
		}
		return
	}
	m.taken = true
	c := m.chunks[0]
	if !bytes.Equal(b, c.bytes) || records != c.records || at != Position(c.number<<chunkShift) {
		t.Fatalf("Take = %d bytes, %d records at %#x, want %d, %d at chunk %d",
			len(b), records, at, len(c.bytes), c.records, c.number)
	}
}

func (m *bytesSlices) check(t *testing.T) {
	records := 0
	for _, c := range m.chunks {
		records += c.records
	}
	if ready := m.r.Ready(); ready != m.ready() {
		t.Fatalf("Ready = %t", ready)
	}
	if n := m.r.backlog(); n != len(m.chunks) {
		t.Fatalf("Backlog = %d, want %d", n, len(m.chunks))
	}
	if n := m.r.Records(); n != records {
		t.Fatalf("Records = %d, want %d", n, records)
	}
}

// A program is the number of the first chunk and then one step a byte: the low three
// bits say what, the rest how much.
func FuzzBytes(f *testing.F) {
	for number := range byte(4) {
		begin := []byte{number}
		f.Add(append(begin, bytes.Repeat([]byte{0, 8, 6, 1, 7, 7, 2, 10, 3, 6, 7}, 12)...))
		f.Add(append(begin, bytes.Repeat([]byte{3, 3, 4, 5, 3, 6, 22, 7, 6, 7, 7}, 9)...))
		f.Add(append(begin, bytes.Repeat([]byte{4, 6, 7, 2, 0, 7, 7, 6, 5, 7, 7}, 9)...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) == 0 || len(data) > 256 {
			return
		}
		number := -uint64(data[0]) & (1<<(64-chunkShift) - 1)
		m := &bytesSlices{r: bytesAt(number), number: number}
		for _, step := range data[1:] {
			switch arg := int(step >> 3); step & 7 {
			case 0:
				m.reserve(t, 1+arg, 1)
			case 1:
				m.reserve(t, 1+arg*331, 2)
			case 2:
				m.reserve(t, ChunkBytes-arg, 1)
			case 3:
				m.reserve(t, ChunkBytes/2-15+arg, 3)
			case 4:
				if n := len(m.chunks); n > 0 { // exactly what is left, and more
					left := ChunkBytes - len(m.chunks[n-1].bytes)
					m.reserve(t, max(1, min(left+arg%2, ChunkBytes)), 1)
				}
			case 5:
				m.r.Trim()
			case 6:
				m.publish(arg)
			case 7:
				m.take(t)
			}
			m.check(t)
		}
		for len(m.open) > 0 {
			m.publish(0)
		}
		for len(m.chunks) > 0 {
			m.take(t)
			m.check(t)
		}
	})
}
