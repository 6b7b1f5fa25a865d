package ring

// What the model knows beside what the code knows: whose each byte is, and what the
// answers should be.

// get takes a chunk out of the pool.
func (s *modelQueue) get() int8 {
	for c := range int8(len(s.chunks)) {
		if s.pool>>c&1 != 0 {
			s.pool &^= 1 << c
			return c
		}
	}
	panic("the model has too few chunks")
}

// recordName is the name of a record, never 0.
func recordName(producer int, record int8) int8 { return int8(producer)<<3 | (record + 1) }

func recordNamed(name int8) (producer int, record int8) { return int(name >> 3), name&7 - 1 }

// own notes whose the room is that producer i has reserved.
func (m *bytesModel) own(s *modelQueue, i int) string {
	p := &s.p[i]
	c := &s.chunks[p.c]
	for b := p.used; b < p.used+m.sizes[i][p.record]; b++ {
		switch {
		case p.c == 0 || s.pool>>p.c&1 != 0:
			return "room in no chunk"
		case c.owner[b] != 0:
			return "room with two owners"
		}
		c.owner[b] = recordName(i, p.record)
	}
	return ""
}

// owns reports whether producer i still has its room.
func (m *bytesModel) owns(s *modelQueue, i int) bool {
	p := &s.p[i]
	for b := p.used; b < p.used+m.sizes[i][p.record]; b++ {
		if s.chunks[p.c].owner[b] != recordName(i, p.record) {
			return false
		}
	}
	return true
}

// consume takes the records in the first size bytes of c.
func (m *bytesModel) consume(s *modelQueue, c *aChunk, size int8) string {
	holders, records := 0, int8(0)
	for i := range s.p {
		if at := s.p[i].at; at >= takeState && at <= rightFree {
			holders++
		}
	}
	if holders != 1 {
		return "two consumers"
	}
	for b := int8(0); b < size; records++ {
		if c.owner[b] == 0 {
			return "took bytes that are nobody's"
		}
		i, record := recordNamed(c.owner[b])
		for end := b + m.sizes[i][record]; b < end; b++ {
			if b >= size || c.owner[b] != recordName(i, record) || c.written>>b&1 == 0 {
				return "took a record that is not whole"
			}
		}
		if s.p[i].taken>>record != 0 {
			return "took a record twice, or after a later one"
		}
		s.p[i].taken |= 1 << record
	}
	if records != c.records {
		return "took another number of records than were published"
	}
	return ""
}

const (
	sawFalse = 1 << iota
	sawTrue
)

// isFull says whether there is no room for n bytes.
func (s *modelQueue) isFull(n int8) uint8 {
	fits := !s.state.sealed && s.state.used+n <= modelChunkBytes
	if fits || s.state.number+1-s.consumed < modelChunks {
		return sawFalse
	}
	return sawTrue
}

// isReady says what Ready should: whether all that was reserved in the oldest chunk is
// published. While a consumer is at work either answer will do, since it looks itself.
func (s *modelQueue) isReady() uint8 {
	if s.state.number < s.consumed {
		return sawFalse
	}
	answer := uint8(sawTrue)
	for i := range s.p {
		switch p := &s.p[i]; {
		case p.at >= takeState && p.at <= doneKeep:
			return sawTrue | sawFalse
		case (p.at == extendOld || p.at == extendLimit) && p.v.number == s.consumed,
			p.at > extendSwap && p.at <= recordPublish && p.number == s.consumed:
			answer = sawFalse
		}
	}
	return answer
}

// watch notes for all goroutines that are in Ready what they could be told now.
func (s *modelQueue) watch() {
	truth := s.isReady()
	for i := range s.p {
		if p := &s.p[i]; p.at >= readyConsumed && p.at <= readyAgain {
			p.saw |= truth
		}
	}
}
