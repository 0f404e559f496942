// Package yamlfile reads the YAML files that people write by hand: unknown
// keys are errors, and every error shows the line it is about.
package yamlfile

import (
	"errors"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
)

// Unmarshal reads raw, which may be JSON too, into the struct that v points
// to. Fields that raw does not name keep their values.
func Unmarshal(raw []byte, v any) error {
	// Of a document without content the library makes an empty value, which
	// would take the place of what v holds.
	var content any
	if err := yaml.Unmarshal(raw, &content); err == nil && content == nil {
		return nil
	}
	if err := yaml.UnmarshalWithOptions(raw, v, yaml.Strict()); err != nil {
		return errors.New(describe(err))
	}
	return nil
}

// describe shows line, column and source of an error, and says what a value of
// the wrong type should have been in words that are not Go's.
func describe(err error) string {
	text := strings.TrimSpace(yaml.FormatError(err, false, true))
	var wrong *yaml.TypeError
	if !errors.As(err, &wrong) {
		return text
	}
	place, rest, ok := strings.Cut(text, "] ")
	if !ok {
		return text
	}
	_, source, _ := strings.Cut(rest, "\n")
	return place + "] this must be " + kind(wrong.DstType) + "\n" + source
}

func kind(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	case reflect.Slice:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "a group of keys and values"
	case reflect.Pointer:
		return kind(t.Elem())
	}
	return "text"
}
