package report

import (
	"reflect"
	"strings"
	"time"
)

// Schema returns the JSON Schema of a Document. Later versions may have more fields, so
// those that it does not name are allowed.
func Schema() map[string]any {
	defs := make(map[string]any)
	schema := schemaOf(reflect.TypeFor[Document](), defs)
	schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	schema["title"] = "ringwire load report"
	schema["description"] = "What ringwire load --json writes. Fields that end in _ns are nanoseconds; null is where nothing was recorded."
	schema["$defs"] = defs
	properties := schema["properties"].(map[string]any)
	properties["schema_version"] = map[string]any{"const": SchemaVersion}
	properties["loop"] = map[string]any{"enum": []string{"open", "closed"}}
	summary := defs["Summary"].(map[string]any)["properties"].(map[string]any)
	summary["exit_code"] = map[string]any{"enum": []int{ExitOK, ExitFailed, ExitViolated, ExitInconclusive, ExitThreshold, ExitInterrupted}}
	return schema
}

// schemaOf describes a type; structs but the Document are put into defs.
func schemaOf(t reflect.Type, defs map[string]any) map[string]any {
	switch t.Kind() {
	case reflect.Pointer:
		if t.Elem().Kind() == reflect.Struct && t.Elem() != reflect.TypeFor[time.Time]() {
			return map[string]any{"anyOf": []any{schemaOf(t.Elem(), defs), map[string]any{"type": "null"}}}
		}
		s := schemaOf(t.Elem(), defs)
		s["type"] = []any{s["type"], "null"}
		return s
	case reflect.Struct:
		switch t {
		case reflect.TypeFor[time.Time]():
			return map[string]any{"type": "string", "format": "date-time"}
		case reflect.TypeFor[Document]():
			return object(t, defs)
		}
		if defs[t.Name()] == nil {
			defs[t.Name()] = object(t, defs)
		}
		return map[string]any{"$ref": "#/$defs/" + t.Name()}
	case reflect.Map:
		return map[string]any{"type": []any{"object", "null"}, "additionalProperties": schemaOf(t.Elem(), defs)}
	case reflect.Slice:
		return map[string]any{"type": []any{"array", "null"}, "items": schemaOf(t.Elem(), defs)}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Uint64:
		return map[string]any{"type": "integer", "minimum": 0}
	}
	return map[string]any{"type": "integer"}
}

// object describes a struct by the names of its JSON.
func object(t reflect.Type, defs map[string]any) map[string]any {
	properties := make(map[string]any)
	var required []string
	for i := range t.NumField() {
		name, options, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		properties[name] = schemaOf(t.Field(i).Type, defs)
		if options != "omitempty" {
			required = append(required, name)
		}
	}
	return map[string]any{"type": "object", "properties": properties, "required": required}
}
