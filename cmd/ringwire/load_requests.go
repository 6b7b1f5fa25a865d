package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/ringwire/ringwire/load/request"
	"github.com/ringwire/ringwire/load/wire"
	"github.com/spf13/pflag"
)

// requestFlags are what is sent and expected.
type requestFlags struct {
	data     string
	hex      string
	size     string
	frames   string
	order    string
	requests []string
	then     []string
	extract  []string
	csv      []string
	expect   string
	status   string
	ok       []string

	scenario *scenario // nil: there is none

	read map[string]*request.Table // the tables, once they are
}

func (f *requestFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.data, "data", "", "payload: text with ${…} in it, or @file, as it is")
	flags.StringVar(&f.hex, "hex", "", "payload in hexadecimal digits")
	flags.StringVar(&f.size, "size", "", "payload of so many bytes, or 100-400: as many, at random (default 64, or a harmless request of the framing)")
	flags.StringVar(&f.frames, "frames", "", "requests from this file of whole frames; their IDs are replaced")
	flags.StringArrayVar(&f.requests, "request", nil, "NAME=DATA or NAME:WEIGHT=DATA, DATA as in --data: one of a mix; repeatable")
	flags.StringArrayVar(&f.then, "then", nil, "NAME=DATA: another step of that request, sent when the one before was a success; DATA as in --data, with ${VALUE} of --extract; repeatable, in order")
	flags.StringArrayVar(&f.extract, "extract", nil, "NAME/STEP:VALUE:HOW: a value of the reply to that step, for those behind it; HOW is off=8,len=4 from the frame's first byte, "+
		"after=TEXT,until=TEXT, or field=37 of an ISO 8583 message; repeatable")
	flags.StringArrayVar(&f.csv, "csv", nil, "FILE or NAME=FILE: rows for ${csv.COLUMN} or ${csv.NAME.COLUMN}, whose first one names the columns; repeatable")
	flags.StringVar(&f.order, "order", string(request.Sequential), "of the rows of --csv and --frames: sequential, random, or unique, which ends the run with the last one")
	flags.StringVar(&f.expect, "expect", "any", "payload of a reply: any, echo, equal:TEXT, prefix:TEXT, contains:TEXT, size:BYTES, or repeats:off=10,len=4: "+
		"these bytes of the request's payload, anywhere in it, all from off without len")
	flags.StringVar(&f.status, "status", "", "where a reply's status stands, from the frame's first byte: off=8,len=2")
	flags.StringSliceVar(&f.ok, "ok", nil, "statuses that are success, such as 00, or 0x0000 in hexadecimal digits; a list")
}

// payloadDefault is how many bytes are sent where any will do.
const payloadDefault = 64

var requestForm = regexp.MustCompile(`^([A-Za-z0-9_-]+)(?::([0-9]+))?=((?s).*)$`)

// reservedNames mean something else before a threshold's percentile.
var reservedNames = []string{"response", "service", "queue", "lag", "late", "code"}

// mix compiles what is sent and what is expected.
func (f *requestFlags) mix(c *wire.Codec, seed uint64) (*request.Mix, error) {
	given := 0
	for _, one := range []bool{f.data != "", f.hex != "", f.size != "", f.frames != "", len(f.requests) > 0} {
		if one {
			given++
		}
	}
	if given > 1 {
		return nil, errors.New("--data, --hex, --size, --frames, --request: give one of them, or --request more than once")
	}
	tables, err := f.tables(seed)
	if err != nil {
		return nil, err
	}
	scope := request.Scope{Tables: tables, Seed: seed}
	if given == 0 && len(f.then)+len(f.extract) > 0 {
		return nil, errors.New("--then and --extract: give --data or --request, too; steps of a scenario are in it")
	}
	if given == 0 && f.scenario != nil && len(f.scenario.Requests) > 0 {
		return f.scenarioMix(scope)
	}
	verdict := request.Kind{Weight: 1}
	if verdict.Expect, err = request.ParseExpect(f.expect); err != nil {
		return nil, fmt.Errorf("--%w", err)
	}
	if verdict.Status, err = parseStatus("status", f.status, "ok", f.ok); err != nil {
		return nil, err
	}
	var kinds []request.Kind
	for _, text := range f.requests {
		parts := requestForm.FindStringSubmatch(text)
		if parts == nil {
			return nil, errors.New("--request: must look like NAME=DATA or NAME:WEIGHT=DATA, the name of letters, digits, _ and -")
		}
		k := verdict
		k.Name = parts[1]
		if err := checkName(k.Name); err != nil {
			return nil, fmt.Errorf("--request %w", err)
		}
		if parts[2] != "" {
			k.Weight, _ = strconv.Atoi(parts[2]) // too large is 0, and refused
		}
		if k.Source, err = text2source(parts[3], scope); err != nil {
			return nil, fmt.Errorf("--request %s: %w", k.Name, err)
		}
		kinds = append(kinds, k)
	}
	if len(kinds) == 0 {
		verdict.Name = "request"
		if verdict.Source, err = f.source(c, scope); err != nil {
			return nil, err
		}
		kinds = append(kinds, verdict)
	}
	if err := f.addSteps(kinds, scope); err != nil {
		return nil, err
	}
	return request.NewMix(kinds)
}

// scenarioMix compiles the requests of a scenario.
func (f *requestFlags) scenarioMix(scope request.Scope) (*request.Mix, error) {
	var kinds []request.Kind
	for i := range f.scenario.Requests {
		k, err := f.scenario.Requests[i].kind(scope)
		if err != nil {
			return nil, fmt.Errorf("requests %d: %w", i+1, err)
		}
		kinds = append(kinds, k)
	}
	return request.NewMix(kinds)
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// checkName refuses names of requests that thresholds could not name.
func checkName(name string) error {
	if !nameForm.MatchString(name) {
		return fmt.Errorf("name %q: must be of letters, digits, _ and -", name)
	}
	if slices.Contains(reservedNames, name) {
		return fmt.Errorf("%s: the name is taken: %s mean something else in a threshold", name, strings.Join(reservedNames, ", "))
	}
	return nil
}

// text2source compiles a payload of --data or --request.
func text2source(text string, scope request.Scope) (request.Source, error) {
	if name, isFile := strings.CutPrefix(text, "@"); isFile {
		b, err := request.ReadFile(name)
		return request.Bytes(b), err
	}
	return scope.Compile(text)
}

// source is that of a run with one kind of request.
func (f *requestFlags) source(c *wire.Codec, scope request.Scope) (s request.Source, err error) {
	switch {
	case f.data != "":
		if s, err = text2source(f.data, scope); err != nil {
			err = fmt.Errorf("--data: %w", err)
		}
	case f.hex != "":
		var b []byte
		if b, err = request.ParseHex(f.hex); err != nil {
			err = fmt.Errorf("--hex: %w", err)
		}
		s = request.Bytes(b)
	case f.frames != "":
		var b []byte
		if b, err = request.ReadFile(f.frames); err == nil {
			s, err = request.Frames(c, b, request.Order(f.order), scope.Seed)
		}
		if err != nil {
			err = fmt.Errorf("--frames: %w", err)
		}
	case f.size != "":
		s, err = parseSize(f.size, scope.Seed)
	default:
		if probe := wire.Probe(c.Spec().Name); probe != nil {
			return request.Bytes(probe), nil
		}
		s, err = request.Sized(payloadDefault, payloadDefault, scope.Seed)
	}
	return s, err
}

func parseSize(text string, seed uint64) (request.Source, error) {
	low, high, isRange := strings.Cut(text, "-")
	if !isRange {
		high = low
	}
	least, err := strconv.Atoi(low)
	most, err2 := strconv.Atoi(high)
	if errors.Join(err, err2) != nil {
		return nil, fmt.Errorf("--size %q: must look like 64 or 100-400", text)
	}
	s, err := request.Sized(least, most, seed)
	if err != nil {
		err = fmt.Errorf("--%w", err)
	}
	return s, err
}

func (f *requestFlags) tables(seed uint64) (map[string]*request.Table, error) {
	if f.read != nil {
		return f.read, nil
	}
	tables := make(map[string]*request.Table)
	if f.scenario != nil {
		if err := f.scenario.tables(tables, seed); err != nil {
			return nil, err
		}
	}
	for _, text := range f.csv {
		name, file, named := strings.Cut(text, "=")
		if !named {
			name, file = "", text
		}
		if tables[name] != nil {
			return nil, fmt.Errorf("--csv: there are two tables %q", name)
		}
		b, err := request.ReadFile(file)
		if err == nil {
			tables[name], err = request.NewTable(b, request.Order(f.order), seed)
		}
		if err != nil {
			return nil, fmt.Errorf("--csv %s: %w", file, err)
		}
	}
	f.read = tables
	return tables, nil
}

// parseStatus reads where a status stands and which are success, from two flags.
func parseStatus(flag, where, okFlag string, ok []string) (s request.Status, err error) {
	if where == "" {
		if len(ok) > 0 {
			return s, fmt.Errorf("--%s: give --%s, too: where a reply's status stands", okFlag, flag)
		}
		return s, nil
	}
	at, err := parseField(flag, where, wire.Field{})
	if err != nil {
		return s, err
	}
	s.Offset, s.Len = at.Offset, at.Size
	for _, text := range ok {
		code, err := request.ParseCode(text)
		if err != nil {
			return s, fmt.Errorf("--%s %s: %w", okFlag, text, err)
		}
		s.OK = append(s.OK, code)
	}
	return s, nil
}
