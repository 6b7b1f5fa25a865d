package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"

	"github.com/ringwire/ringwire/load/report"
	"github.com/ringwire/ringwire/load/request"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// scenarioSizeMax bounds a scenario file.
const scenarioSizeMax = 1 << 20

// scenario is a run described in a file. Its fields are flags by other names, unless said
// otherwise; the tag flag names the flag. A flag on the command line wins.
type scenario struct {
	Version     int                      `yaml:"version"`
	Targets     []string                 `yaml:"targets"`
	TLS         scenarioTLS              `yaml:"tls"`
	Framing     scenarioFraming          `yaml:"framing"`
	Connections scenarioConns            `yaml:"connections"`
	Session     scenarioSession          `yaml:"session"`
	Load        scenarioLoad             `yaml:"load"`
	Data        map[string]scenarioTable `yaml:"data"`
	Requests    []scenarioRequest        `yaml:"requests"`
	Thresholds  []string                 `yaml:"thresholds"`
	AllowLost   string                   `yaml:"allow_lost" flag:"allow-lost"`

	DumpFailures  string `yaml:"dump_failures" flag:"dump-failures"`
	MetricsAddr   string `yaml:"metrics_addr" flag:"metrics-addr"`
	MetricsLinger string `yaml:"metrics_linger" flag:"metrics-linger"`
}

type scenarioTLS struct {
	CA         string `yaml:"ca" flag:"tls-ca"`
	Cert       string `yaml:"cert" flag:"tls-cert"`
	Key        string `yaml:"key" flag:"tls-key"`
	ServerName string `yaml:"server_name" flag:"tls-server-name"`
	Insecure   string `yaml:"insecure" flag:"tls-insecure"`
	Resume     string `yaml:"resume" flag:"tls-resume"`
}

type scenarioFraming struct {
	Preset   string `yaml:"preset" flag:"framing"`
	Len      string `yaml:"len" flag:"len"`
	LenAdj   string `yaml:"len_adj" flag:"len-adj"`
	ID       string `yaml:"id" flag:"id"`
	Header   string `yaml:"header"` // the ID's size in bytes
	RespID   string `yaml:"resp_id" flag:"resp-id"`
	MaxFrame string `yaml:"max_frame" flag:"max-frame"`
}

type scenarioConns struct {
	Count       string `yaml:"count" flag:"conns"`
	InFlight    string `yaml:"inflight" flag:"inflight"`
	Rate        string `yaml:"rate" flag:"connect-rate"`
	Requests    string `yaml:"requests" flag:"requests-per-conn"`
	Lifetime    string `yaml:"lifetime" flag:"conn-lifetime"`
	DialTimeout string `yaml:"dial_timeout" flag:"dial-timeout"`
	LocalAddr   string `yaml:"local_addr" flag:"local-addr"`
	Listen      string `yaml:"listen" flag:"listen"`
}

type scenarioStatus struct {
	At  int      `yaml:"at"`
	Len int      `yaml:"len"`
	OK  []string `yaml:"ok"`
}

type scenarioLoad struct {
	Rate     string          `yaml:"rate" flag:"rate"`
	Stages   []scenarioStage `yaml:"stages"`
	Arrivals string          `yaml:"arrivals" flag:"arrivals"`
	Seed     string          `yaml:"seed" flag:"seed"`
	Duration string          `yaml:"duration" flag:"duration"`
	Requests string          `yaml:"requests" flag:"requests"`
	Warmup   string          `yaml:"warmup" flag:"warmup"`
	Timeout  string          `yaml:"timeout" flag:"timeout"`
	Drain    string          `yaml:"drain" flag:"drain"`
	Backlog  string          `yaml:"backlog" flag:"backlog"`
	StartAt  string          `yaml:"start_at" flag:"start-at"`
	FailFast string          `yaml:"fail_fast" flag:"fail-fast"`
}

// scenarioStage is one of --stage, with a rate, or of --step.
type scenarioStage struct {
	For  string `yaml:"for"`
	Rate string `yaml:"rate"`
	Step string `yaml:"step"`
}

// scenarioTable is a table for ${csv.NAME.COLUMN}.
type scenarioTable struct {
	CSV   string `yaml:"csv"`
	Order string `yaml:"order"` // sequential, the default, or random or unique
	End   string `yaml:"end"`   // wrap, the default, or stop, which is unique
}

type scenarioRequest struct {
	Name    string         `yaml:"name"`
	Weight  int            `yaml:"weight"`  // 0: 1
	Payload string         `yaml:"payload"` // as in --data
	Expect  string         `yaml:"expect"`
	Status  scenarioStatus `yaml:"status"`

	Steps []scenarioFlowStep `yaml:"steps"` // instead of the last three
}

// readScenario reads a file; a key that does not exist is an error.
func readScenario(name string) (*scenario, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	data, err := io.ReadAll(io.LimitReader(file, scenarioSizeMax+1))
	if err != nil {
		return nil, err
	}
	if len(data) > scenarioSizeMax {
		return nil, fmt.Errorf("%s has over %d bytes", name, scenarioSizeMax)
	}
	var s scenario
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&s); err != nil {
		return nil, fmt.Errorf("%s: %w", name, scenarioError(err))
	}
	if s.Version != 1 {
		return nil, fmt.Errorf("%s: version %d: must be 1", name, s.Version)
	}
	return &s, nil
}

// apply sets the flags that the command line did not give, and returns the targets.
func (s *scenario) apply(f *loadFlags, flags *pflag.FlagSet, args []string) ([]string, error) {
	s.yieldProfile(flags)
	if s.Framing.Header != "" {
		s.Framing.ID = strings.TrimSuffix("len="+s.Framing.Header+",form="+s.Framing.ID, ",form=")
	}
	for _, part := range []any{s, &s.TLS, &s.Framing, &s.Connections, &s.Load} {
		v := reflect.ValueOf(part).Elem()
		for i := range v.NumField() {
			name := v.Type().Field(i).Tag.Get("flag")
			if name == "" || v.Field(i).String() == "" || flags.Changed(name) {
				continue
			}
			if err := flags.Set(name, v.Field(i).String()); err != nil {
				return nil, fmt.Errorf("%s: %w", v.Type().Field(i).Tag.Get("yaml"), withUnit(err))
			}
		}
	}
	for i, st := range s.Load.Stages {
		name, rate := "stage", st.Rate
		if st.Step != "" {
			name, rate = "step", st.Step
		}
		if (st.Step != "") == (st.Rate != "") {
			return nil, fmt.Errorf("load.stages %d: must have a rate or a step", i+1)
		}
		if err := flags.Set(name, st.For+":"+rate); err != nil {
			return nil, fmt.Errorf("load.stages %d: %w", i+1, err)
		}
	}
	if !flags.Changed("threshold") {
		f.thresholds = s.Thresholds
	}
	f.requests.scenario = s
	if len(args) == 0 {
		args = s.Targets
	}
	return args, nil
}

// yieldProfile drops the rate, and how long it is held, if the command line says any of it:
// these belong together.
func (s *scenario) yieldProfile(flags *pflag.FlagSet) {
	open := flags.Changed("rate") || flags.Changed("stage") || flags.Changed("step")
	if !open && !flags.Changed("duration") && !flags.Changed("z") && !flags.Changed("requests") {
		return
	}
	s.Load.Rate, s.Load.Stages, s.Load.Duration, s.Load.Requests = "", nil, "", ""
	if !open { // the loop is closed
		s.Load.Arrivals, s.Load.Backlog = "", ""
	}
}

// tables reads the tables of data.
func (s *scenario) tables(into map[string]*request.Table, seed uint64) error {
	for name, t := range s.Data {
		order := request.Order(t.Order)
		switch {
		case t.End != "" && t.End != "wrap" && t.End != "stop":
			return fmt.Errorf("data.%s: end %q: must be wrap or stop", name, t.End)
		case t.End == "wrap" && order == request.Unique, t.End == "stop" && order == request.Random:
			return fmt.Errorf("data.%s: order %s does not go with end %s", name, order, t.End)
		case t.End == "stop":
			order = request.Unique
		case order == "":
			order = request.Sequential
		}
		b, err := request.ReadFile(t.CSV)
		if err == nil {
			into[name], err = request.NewTable(b, order, seed)
		}
		if err != nil {
			return fmt.Errorf("data.%s: %w", name, err)
		}
	}
	return nil
}

// kind compiles a request of a scenario.
func (q *scenarioRequest) kind(scope request.Scope) (k request.Kind, err error) {
	if len(q.Steps) > 0 {
		return q.flow(scope)
	}
	k = request.Kind{Name: q.Name, Weight: max(q.Weight, 1), Status: request.Status{Offset: q.Status.At, Len: q.Status.Len}}
	if q.Weight < 0 {
		return k, fmt.Errorf("weight %d: must be 1 or more", q.Weight)
	}
	if err := checkName(q.Name); err != nil {
		return k, err
	}
	if q.Expect != "" {
		if k.Expect, err = request.ParseExpect(q.Expect); err != nil {
			return k, err
		}
	}
	for _, text := range q.Status.OK {
		code, err := request.ParseCode(text)
		if err != nil {
			return k, fmt.Errorf("status: ok %s: %w", text, err)
		}
		k.Status.OK = append(k.Status.OK, code)
	}
	if k.Status.Len == 0 && (len(k.Status.OK) > 0 || k.Status.Offset != 0) {
		return k, errors.New("status: has no len")
	}
	k.Source, err = text2source(q.Payload, scope)
	return k, err
}

// newSchema is the command that prints the JSON Schema of scenarios, or of reports.
func newSchema() *cobra.Command {
	var ofReport bool
	cmd := &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of scenario files, or of reports",
		Example: `  ringwire load schema > scenario.schema.json
  ringwire load schema --report > report.schema.json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			schema := report.Schema()
			if !ofReport {
				schema = scenarioSchema()
			}
			return writeJSON(cmd.OutOrStdout(), schema)
		},
	}
	cmd.Flags().BoolVar(&ofReport, "report", false, "of what load --json writes")
	return cmd
}

func scenarioSchema() map[string]any {
	schema := schemaOf(reflect.TypeFor[scenario]())
	schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	schema["title"] = "ringwire load scenario"
	schema["required"] = []string{"version"}
	return schema
}

// schemaOf describes a type of a scenario. Values of flags may be text, numbers or truths.
func schemaOf(t reflect.Type) map[string]any {
	switch t.Kind() {
	case reflect.Pointer:
		return schemaOf(t.Elem())
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Struct:
		properties := make(map[string]any)
		for i := range t.NumField() {
			field := schemaOf(t.Field(i).Type)
			if flag := t.Field(i).Tag.Get("flag"); flag != "" {
				field["description"] = "as --" + flag
			}
			properties[t.Field(i).Tag.Get("yaml")] = field
		}
		return map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": schemaOf(t.Elem())}
	case reflect.Slice:
		return map[string]any{"type": "array", "items": schemaOf(t.Elem())}
	case reflect.Int:
		return map[string]any{"type": "integer"}
	}
	return map[string]any{"type": []string{"string", "number", "boolean"}}
}
