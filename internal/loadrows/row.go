//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// row is one of the table.
type row struct {
	name, about string
	measure     func(ctx context.Context, s *suite, r *report) error
}

var rows = []row{
	{"C1", "a backend that stands still for a while is in the response of all that fell due", rowStop},
	{"C2", "the stub's own delays beside our service time", rowDelays},
	{"C4", "lag", rowLag},
	{"C5", "one of eight connections stops reading", rowStalled},
	{"C6", "beside the callback row of bench", rowRatio},
	{"C10", "a server of miekg/dns, which closes after 128 queries", rowClosed},
	{"C13", "--find-max of a licence of 2,000 a second", rowFind},
	{"C14", "compare, of a backend with itself and with one of 20 % more latency", rowCompare},
	{"C19", "memory", rowMemory},
}

// verdict of a row.
type verdict string

const (
	ok      verdict = "ok"
	short   verdict = "SHORT"
	limited verdict = "machine-limited"
	failed  verdict = "FAILED"
)

// errAbsent is of a part that cannot be measured on this machine.
type errAbsent struct{ why string }

func (e errAbsent) Error() string { return e.why }

// report is what a row has found.
type report struct {
	commands []string
	checks   []check
	absent   []string // parts that were not measured, and why
}

// check is a figure beside what is required of it.
type check struct {
	required, measured string
	ok                 bool
	exact              bool // a count, which no machine excuses
}

// ran notes a command, of which the same is noted once.
func (r *report) ran(command string) {
	for _, c := range r.commands {
		if c == command {
			return
		}
	}
	r.commands = append(r.commands, command)
}

func (r *report) check(ok bool, required, measured string, args ...any) {
	r.checks = append(r.checks, check{required, fmt.Sprintf(measured, args...), ok, false})
}

func (r *report) exactly(ok bool, required, measured string, args ...any) {
	r.checks = append(r.checks, check{required, fmt.Sprintf(measured, args...), ok, true})
}

// verdict judges what was found on a machine that was used like that.
func (r *report) verdict(u usage) verdict {
	v := ok
	if len(r.absent) > 0 {
		v = limited
	}
	for _, c := range r.checks {
		switch {
		case c.ok:
		case u.disturbed() && !c.exact:
			v = limited
		default:
			return short
		}
	}
	return v
}

// run measures rows, prints each when it is done, and returns the exit code.
func (s *suite) run(ctx context.Context, out io.Writer, chosen []row) int {
	m := thisMachine()
	fmt.Fprintf(out, "machine   %s\ncommit    %s\nbegun     %s\n", m, s.commit, time.Now().UTC().Format(time.RFC3339))
	if s.short {
		fmt.Fprintln(out, "short     these are no figures: they show that the rows work")
	}
	count := make(map[verdict]int)
	for _, w := range chosen {
		var r report
		watch := watchMachine()
		began := time.Now()
		err := w.measure(ctx, s, &r)
		var absent errAbsent
		if errors.As(err, &absent) {
			r.absent, err = append(r.absent, absent.why), nil
		}
		u := watch()
		v := r.verdict(u)
		if err != nil {
			v = failed
		}
		if ctx.Err() != nil {
			fmt.Fprintf(out, "\n%s interrupted\n", w.name)
			return 130
		}
		count[v]++
		r.print(out, w, v, u, m, s.commit, time.Since(began), err)
	}
	fmt.Fprintf(out, "\n%d ok, %d SHORT, %d FAILED, %d machine-limited, of %d rows\n",
		count[ok], count[short], count[failed], count[limited], len(chosen))
	switch {
	case count[short]+count[failed] > 0:
		return exitShort
	case count[limited] > 0:
		return exitLimited
	}
	return 0
}

func (r *report) print(out io.Writer, w row, v verdict, u usage, m, commit string, took time.Duration, err error) {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%-4s %s: %s\n", w.name, v, w.about)
	for _, c := range r.checks {
		mark := "ok   "
		if !c.ok {
			mark = "SHORT"
		}
		fmt.Fprintf(&b, "     %s  required  %s\n            measured  %s\n", mark, c.required, c.measured)
	}
	for _, why := range r.absent {
		fmt.Fprintf(&b, "     not measured  %s\n", why)
	}
	if err != nil {
		fmt.Fprintf(&b, "     error    %v\n", err)
	}
	for _, c := range r.commands {
		fmt.Fprintf(&b, "     command  %s\n", c)
	}
	fmt.Fprintf(&b, "     machine  %s; %s\n     commit   %s, took %v\n", m, u, commit, took.Round(time.Second))
	_, _ = io.WriteString(out, b.String())
}
