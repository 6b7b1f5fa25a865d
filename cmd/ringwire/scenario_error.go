package main

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

var (
	unknownKey = regexp.MustCompile(`^(line \d+): field (\S+) not found in type `)
	wrongForm  = regexp.MustCompile(`(?s)^(line \d+): cannot unmarshal .* into (\S+)$`)
)

// scenarioError says in the scenario's words what the YAML library says in those of Go, and shows
// no value: a payload may be one.
func scenarioError(err error) error {
	var wrong *yaml.TypeError
	switch {
	case errors.Is(err, io.EOF):
		return errors.New("is empty: it begins with version: 1")
	case !errors.As(err, &wrong):
		return err
	}
	var all []string
	for _, text := range wrong.Errors {
		if m := unknownKey.FindStringSubmatch(text); m != nil {
			text = fmt.Sprintf("%s: unknown key %q", m[1], m[2])
		} else if m := wrongForm.FindStringSubmatch(text); m != nil {
			text = m[1] + ": must be " + formOf(m[2])
		}
		all = append(all, text)
	}
	return errors.New(strings.Join(all, "; ") + "; 'ringwire load schema' prints all keys")
}

// formOf is how a Go type is written in YAML.
func formOf(goType string) string {
	switch {
	case strings.HasPrefix(goType, "[]"):
		return "a list, such as [a, b]"
	case strings.HasPrefix(goType, "map["), strings.HasPrefix(goType, "main."):
		return "keys with values, such as {key: value}"
	case goType == "bool":
		return "true or false"
	case strings.HasPrefix(goType, "int"):
		return "a whole number"
	}
	return "a single value"
}
