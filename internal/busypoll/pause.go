package busypoll

// pauseMax is how many attempts in a row a Pause leaves out at most.
const pauseMax = 1023

// Pause makes attempts to poll rare while they are in vain: after one in vain it has
// the next 1, 3, 7, … 1023 left out, and a success ends that. The zero value
// leaves none out. It is for one goroutine at a time.
type Pause struct {
	skip int // attempts still to be left out
	last int // what skip was set to last
}

// Skip reports whether this attempt is to be left out, and counts it.
func (p *Pause) Skip() bool {
	if p.skip == 0 {
		return false
	}
	p.skip--
	return true
}

// Vain notes that an attempt was in vain: about twice as many as the last time are
// left out next.
func (p *Pause) Vain() {
	p.last = min(2*p.last+1, pauseMax)
	p.skip = p.last
}

// Hit notes that an attempt was a success: the next is not left out, and one in vain
// costs a single attempt again.
func (p *Pause) Hit() { *p = Pause{} }
