package bench

import (
	"fmt"
	"io"
	"time"
)

// plainEvery is the time between lines where a line cannot be redrawn.
const plainEvery = 5 * time.Second

// Progress shows how far a run is: one line, redrawn, on a terminal, and a plain
// line every few seconds elsewhere. It is not safe for concurrent use, and is
// called between slices only, so that it costs the measurement nothing.
type Progress struct {
	w        io.Writer
	terminal bool
	width    int // of the terminal, in columns; 0 when unknown
	colour   bool
	last     time.Duration
	drawn    bool
}

// NewProgress writes to w. terminal says whether lines can be redrawn, width
// where they are cut, colour whether ANSI colours may be used.
func NewProgress(w io.Writer, terminal bool, width int, colour bool) *Progress {
	return &Progress{w: w, terminal: terminal, width: width, colour: colour}
}

// Show draws the status.
func (p *Progress) Show(s Status) {
	left := time.Duration(float64(s.Elapsed) / float64(s.Done) * float64(s.Total-s.Done))
	where := count(s.Callers, "caller")
	if s.Condition != "" {
		where += " (" + s.Condition + ")"
	}
	line := fmt.Sprintf("round %d/%d  %3d%%  %s left  %s %s, %s: %s req/s",
		s.Round, s.Rounds, 100*s.Done/s.Total, left.Round(time.Second),
		s.System, s.API, where, RateText(s.ReqPerSec))
	if !p.terminal {
		if s.Elapsed-p.last >= plainEvery {
			p.last = s.Elapsed
			_, _ = fmt.Fprintln(p.w, line)
		}
		return
	}
	if p.width > 1 && len(line) >= p.width {
		line = line[:p.width-1]
	}
	if p.colour {
		line = "\x1b[2m" + line + "\x1b[0m"
	}
	p.drawn = true
	_, _ = fmt.Fprint(p.w, "\r\x1b[K"+line)
}

// Done removes the redrawn line.
func (p *Progress) Done() {
	if p.drawn {
		p.drawn = false
		_, _ = fmt.Fprint(p.w, "\r\x1b[K")
	}
}
