package ring

import "fmt"

// step does the next step of producer i.
func (m *bytesModel) step(s *modelQueue, i int) (problem string) {
	switch at := s.p[i].at; {
	case at <= reserveSwap:
		return m.reserve(s, i)
	case at <= extendKeep:
		return m.extend(s, i)
	case at <= extendLimit:
		return m.turn(s, i)
	case at <= rightTake:
		return m.publish(s, i)
	case at <= takeFilled:
		return m.take(s, i)
	case at <= doneKeep:
		return m.done(s, i)
	case at <= readyCell:
		return m.release(s, i)
	default:
		return m.ready(s, i)
	}
}

// to forgets the variables and goes on elsewhere.
func (p *modelProducer) to(at int8) {
	*p = modelProducer{at: at, record: p.record, taken: p.taken, refused: p.refused}
}

func (m *bytesModel) reserve(s *modelQueue, i int) string {
	p := &s.p[i]
	n := m.sizes[i][p.record]
	switch p.at {
	case reserveLoad:
		p.v = s.state
		p.at = reserveCell
		if p.v.sealed || p.v.used+n > modelChunkBytes {
			p.at = extendConsumed
		}
	case reserveCell:
		p.c = s.cells[p.v.number%modelChunks]
		p.at = reserveSwap
	case reserveSwap:
		if s.state != p.v {
			p.to(reserveLoad)
			return ""
		}
		s.state.used += n
		p.number, p.used = p.v.number, p.v.used
		p.at, p.v = recordCopy, modelWord{}
		return m.own(s, i)
	}
	return ""
}

func (m *bytesModel) extend(s *modelQueue, i int) string {
	p := &s.p[i]
	next := p.v.number + 1
	cell := &s.cells[next%modelChunks]
	switch p.at {
	case extendConsumed:
		allowed := int8(modelChunks)
		if m.fault == chunkTooMany {
			allowed++
		}
		p.at = extendCell
		if d := next - s.consumed; d < 0 || d >= allowed { // unsigned there
			p.at = extendFull
			p.saw = s.isFull(m.sizes[i][p.record])
		}
	case extendFull:
		if s.state != p.v && m.fault != fullUnasked {
			p.to(reserveLoad)
			return ""
		}
		if p.saw == sawFalse {
			return "refused by a queue that has room"
		}
		p.refused |= 1 << p.record
		p.to(rightLook)
	case extendCell:
		p.c = *cell
		p.at = m.swapping(p)
		if p.c == 0 {
			p.at = extendGet
		}
	case extendGet:
		p.c = s.get()
		p.at = extendInstall
	case extendInstall:
		if *cell != 0 && m.fault != installsByStore {
			p.at = extendKeep
			return ""
		}
		*cell = p.c
		p.at = m.swapping(p)
	case extendKeep:
		s.pool |= 1 << p.c
		p.to(reserveLoad)
	}
	return ""
}

// swapping is the place of the swap, or what precedes it.
func (m *bytesModel) swapping(p *modelProducer) int8 {
	if m.fault == limitBeforeSwap && !p.v.sealed {
		return extendEarlyLimit
	}
	return extendSwap
}

// turn is the rest of extend.
func (m *bytesModel) turn(s *modelQueue, i int) string {
	p := &s.p[i]
	switch p.at {
	case extendEarlyLimit:
		s.chunks[s.cells[p.v.number%modelChunks]].limit = p.v.used + 1
		p.at = extendSwap
	case extendSwap:
		if s.state != p.v {
			p.to(reserveLoad)
			return ""
		}
		p.number = p.v.number + 1
		s.state = modelWord{number: p.number, used: m.sizes[i][p.record]}
		switch {
		case m.fault == limitOfForeignSeal || m.fault != limitBeforeSwap && !p.v.sealed:
			p.at = extendOld
		default:
			p.at, p.v = recordCopy, modelWord{}
		}
		return m.own(s, i)
	case extendOld:
		p.old = s.cells[p.v.number%modelChunks]
		p.at = extendLimit
	case extendLimit:
		if p.old == 0 {
			return "a limit for no chunk"
		}
		s.chunks[p.old].limit = p.v.used + 1
		p.at, p.v, p.old = recordCopy, modelWord{}, 0
	}
	return ""
}

// publish is what a producer does with its room, and with the right afterwards.
func (m *bytesModel) publish(s *modelQueue, i int) string {
	p := &s.p[i]
	records := len(m.sizes[i])
	switch at := p.at; at {
	case recordCopy, recordPublish:
		if !m.owns(s, i) {
			return "a chunk taken from a producer that copies"
		}
		n, c := m.sizes[i][p.record], &s.chunks[p.c]
		if (at == recordCopy) != (m.fault == publishesBeforeCopy) {
			c.written |= (1<<n - 1) << p.used
		} else {
			c.records++
			c.filled += n
		}
		switch {
		case at == recordPublish && p.saw != 0: // it has looked already
			p.next(records)
		case at == recordPublish:
			p.to(rightLook)
		case m.fault == looksBeforePublish:
			p.at = rightLook
		default:
			p.at = recordPublish
		}
	case rightLook:
		switch {
		case m.fault == looksBeforePublish && p.c != 0:
			p.at = recordPublish
			if s.held {
				p.saw = sawTrue
			}
		case s.held:
			p.next(records)
		default:
			p.at = rightTake
		}
	case rightTake:
		m.retake(s, i)
	}
	return ""
}

// retake takes the right if it is free.
func (m *bytesModel) retake(s *modelQueue, i int) {
	if s.held {
		s.p[i].next(len(m.sizes[i]))
		return
	}
	s.held = true
	s.p[i].to(takeState)
}

// next turns to the next of so many records.
func (p *modelProducer) next(records int) {
	p.to(reserveLoad)
	if p.record++; int(p.record) >= records {
		p.at = gone
	}
}

func (m *bytesModel) take(s *modelQueue, i int) string {
	p := &s.p[i]
	switch p.at {
	case takeState:
		p.v = s.state
		p.at = takeCell
		if p.v.number < s.consumed {
			p.to(rightFree)
		}
	case takeCell:
		p.c = s.cells[s.consumed%modelChunks]
		if p.c == 0 {
			return "no chunk where there must be one"
		}
		p.at = takeSize
		if p.v.number == s.consumed && !p.v.sealed && m.fault != takesUnsealed {
			p.at = takeSeal
		}
	case takeSeal:
		if s.state != p.v && m.fault != sealsByStore {
			p.to(takeState)
			return ""
		}
		s.state = p.v
		s.state.sealed = true
		p.at = takeLimit
	case takeLimit:
		s.chunks[p.c].limit = p.v.used + 1
		p.at = takeSize
	case takeSize:
		p.size = s.chunks[p.c].limit
		p.at, p.v = takeFilled, modelWord{}
	case takeFilled:
		c := &s.chunks[p.c]
		if p.size == 0 || c.filled != p.size-1 && m.fault != takesUnfilled {
			p.to(rightFree)
			return ""
		}
		size := p.size
		p.at, p.size = m.doneOrder()[0], 0
		return m.consume(s, c, size-1)
	}
	return ""
}

// doneOrder is the order of Done's steps.
func (m *bytesModel) doneOrder() [5]int8 {
	switch m.fault {
	case consumedBeforeEmptied:
		return [...]int8{doneConsumed, doneCell, doneFilled, doneLimit, doneKeep}
	case keepsBeforeReset:
		return [...]int8{doneCell, doneConsumed, doneKeep, doneFilled, doneLimit}
	default:
		return [...]int8{doneCell, doneConsumed, doneFilled, doneLimit, doneKeep}
	}
}

func (m *bytesModel) done(s *modelQueue, i int) string {
	p := &s.p[i]
	c := &s.chunks[p.c]
	switch p.at {
	case doneCell:
		number := s.consumed
		if m.fault == consumedBeforeEmptied {
			number--
		}
		s.cells[number%modelChunks] = 0
	case doneConsumed:
		s.consumed++
	case doneFilled:
		if m.fault != noFilledReset {
			c.records, c.filled = 0, 0
		}
	case doneLimit:
		if m.fault != noLimitReset {
			c.limit = 0
		}
	case doneKeep:
		for _, owner := range c.owner {
			if i, record := recordNamed(owner); owner != 0 && s.p[i].taken>>record&1 == 0 {
				return "a chunk given back with a record in it"
			}
		}
		c.owner, c.written = [modelChunkBytes]int8{}, 0
		s.pool |= 1 << p.c
	}
	order := m.doneOrder()
	for j, at := range order[:4] {
		if p.at == at {
			p.at = order[j+1]
			return ""
		}
	}
	p.to(takeState)
	return ""
}

// release frees the right and begins to ask Ready.
func (m *bytesModel) release(s *modelQueue, i int) string {
	p := &s.p[i]
	switch p.at {
	case rightFree:
		s.held = false
		p.at = readyConsumed
		if m.fault == noLookAfterRelease {
			p.next(len(m.sizes[i]))
		}
	case readyConsumed:
		p.number = s.consumed
		p.at = readyCell
	case readyCell:
		p.c = s.cells[p.number%modelChunks]
		switch {
		case p.c == 0:
			p.at = readyNone
		case m.fault == readyReservedFirst:
			p.at = readyState
		default:
			p.at = readyFilled
		}
	}
	return ""
}

// ready is the rest of Ready.
func (m *bytesModel) ready(s *modelQueue, i int) string {
	p := &s.p[i]
	first := m.fault == readyReservedFirst
	switch p.at {
	case readyNone:
		if s.consumed == p.number {
			return m.answer(s, i, false)
		}
		p.to(readyConsumed)
	case readyFilled:
		p.filled = s.chunks[p.c].filled
		p.at = readySize
	case readySize:
		p.size = s.chunks[p.c].limit
		p.at = readyState
		if first {
			p.at = readyAgain
		}
	case readyState:
		p.v = s.state
		p.at = readyAgain
		if first {
			p.at = readyFilled
		}
	case readyAgain:
		switch {
		case s.consumed != p.number:
			p.to(readyConsumed)
		case p.size != 0:
			return m.answer(s, i, p.filled == p.size-1)
		case m.fault == readySealedOnly:
			return m.answer(s, i, false)
		case p.v.number == p.number, m.fault == readyAnyChunk:
			return m.answer(s, i, p.filled != 0 && p.filled == p.v.used)
		default:
			return m.answer(s, i, false)
		}
	case rightRetake:
		m.retake(s, i)
	}
	return ""
}

// answer is what follows an answer of Ready.
func (m *bytesModel) answer(s *modelQueue, i int, is bool) string {
	p := &s.p[i]
	if is && p.saw&sawTrue == 0 || !is && p.saw&sawFalse == 0 {
		return fmt.Sprintf("Ready was %t, and has been at no time in it", is)
	}
	if is && len(m.sizes[i]) > 0 {
		p.to(rightRetake)
	} else {
		p.next(len(m.sizes[i]))
	}
	return ""
}
