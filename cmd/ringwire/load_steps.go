package main

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/ringwire/ringwire/load/request"
)

var (
	thenForm    = regexp.MustCompile(`^([A-Za-z0-9_-]+)=((?s).*)$`)
	extractForm = regexp.MustCompile(`^([A-Za-z0-9_-]+)/([0-9]+):([^:=]+):((?s).*)$`)
)

// addSteps makes flows of the kinds that --then and --extract name. Steps have the verdict
// of the first.
func (f *requestFlags) addSteps(kinds []request.Kind, scope request.Scope) error {
	extracts := make(map[string][]request.Extract) // by NAME/STEP
	for _, text := range f.extract {
		parts := extractForm.FindStringSubmatch(text)
		if parts == nil {
			return errors.New("--extract: must look like NAME/STEP:VALUE:off=8,len=4, the step counted from 1")
		}
		cut, err := parseCut(parts[4])
		if err != nil {
			return fmt.Errorf("--extract %s: %w", parts[3], err)
		}
		step := parts[1] + "/" + parts[2]
		extracts[step] = append(extracts[step], request.Extract{Name: parts[3], Cut: cut})
	}
	scopes := make(map[string]request.Scope) // of the step that is next, by NAME
	take := func(name string, k *request.Kind, number int) {
		step := fmt.Sprintf("%s/%d", name, number)
		k.Extract = extracts[step]
		delete(extracts, step)
		sc := scopes[name]
		sc.Tables, sc.Seed = scope.Tables, scope.Seed
		sc.Values = append(slices.Clip(sc.Values), k.Extract...)
		scopes[name] = sc
	}
	for i := range kinds {
		take(kinds[i].Name, &kinds[i], 1)
	}
	for _, text := range f.then {
		parts := thenForm.FindStringSubmatch(text)
		if parts == nil {
			return errors.New("--then: must look like NAME=DATA, the name of a --request, or request for --data")
		}
		name := parts[1]
		i := slices.IndexFunc(kinds, func(k request.Kind) bool { return k.Name == name })
		if i < 0 {
			return fmt.Errorf("--then %s: there is no request of that name", name)
		}
		k := request.Kind{Expect: kinds[i].Expect, Status: kinds[i].Status}
		var err error
		if k.Source, err = text2source(parts[2], scopes[name]); err != nil {
			return fmt.Errorf("--then %s: %w", name, err)
		}
		take(name, &k, len(kinds[i].Then)+2)
		kinds[i].Then = append(kinds[i].Then, k)
	}
	for _, step := range slices.Sorted(maps.Keys(extracts)) {
		return fmt.Errorf("--extract %s: there is no such step", step)
	}
	return nil
}

// parseCut reads off=N,len=N, field=N or after=TEXT with ,until=TEXT behind it.
func parseCut(text string) (c request.Cut, err error) {
	if after, ok := strings.CutPrefix(text, "after="); ok {
		after, until, _ := strings.Cut(after, ",until=")
		c.After, c.Until = []byte(after), []byte(until)
		return c, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		key, value, _ := strings.Cut(part, "=")
		n, bad := strconv.Atoi(value)
		switch {
		case key == "off" && bad == nil:
			c.Offset = n
		case key == "len" && bad == nil:
			c.Len = n
		case key == "field" && bad == nil:
			c.Field = n
		default:
			return c, errors.New("must be off=N,len=N or field=N or after=TEXT,until=TEXT")
		}
	}
	return c, nil
}

// scenarioExtract is a value of a reply for the steps behind it.
type scenarioExtract struct {
	At    int    `yaml:"at"` // from the frame's first byte
	Len   int    `yaml:"len"`
	After string `yaml:"after"`
	Until string `yaml:"until"`
	Field int    `yaml:"field"` // of an ISO 8583 message
}

// scenarioFlowStep is one of the steps of a request.
type scenarioFlowStep struct {
	Name    string                     `yaml:"name"` // its number unless given
	Send    string                     `yaml:"send"` // as in --data, with ${VALUE} of steps before
	Expect  string                     `yaml:"expect"`
	Status  scenarioStatus             `yaml:"status"`
	Extract map[string]scenarioExtract `yaml:"extract"`
}

// flow compiles a request of several steps.
func (q *scenarioRequest) flow(scope request.Scope) (k request.Kind, err error) {
	if q.Payload != "" || q.Expect != "" || q.Status.Len != 0 {
		return k, errors.New("steps: the payload, expect and status are those of each step")
	}
	for i := range q.Steps {
		st := &q.Steps[i]
		step, err := (&scenarioRequest{
			Name: q.Name, Weight: q.Weight, Payload: st.Send, Expect: st.Expect, Status: st.Status,
		}).kind(scope)
		if err != nil {
			return k, fmt.Errorf("steps %d: %w", i+1, err)
		}
		for _, name := range slices.Sorted(maps.Keys(st.Extract)) {
			e := st.Extract[name]
			step.Extract = append(step.Extract, request.Extract{Name: name,
				Cut: request.Cut{Offset: e.At, Len: e.Len, After: []byte(e.After), Until: []byte(e.Until), Field: e.Field}})
		}
		scope.Values = append(slices.Clip(scope.Values), step.Extract...)
		if i == 0 {
			k = step
			continue
		}
		if st.Name != "" && !nameForm.MatchString(st.Name) {
			return k, fmt.Errorf("steps %d: name %q: must be of letters, digits, _ and -", i+1, st.Name)
		}
		step.Name = st.Name
		k.Then = append(k.Then, step)
	}
	return k, nil
}
