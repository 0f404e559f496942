package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/itchyny/gojq"
	"github.com/spf13/cobra"
)

// filter is a jq program. Output for programs passes it.
type filter struct {
	text string
	code *gojq.Code
}

// filterFlag gives a command --jq (Oz command line, output formats).
func (a *app) filterFlag(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().Var(&a.filter, "jq", "print what this jq `filter` makes of the answer, strings without quotes")
	return cmd
}

// String implements pflag.Value.
func (f *filter) String() string { return f.text }

// Type implements pflag.Value.
func (f *filter) Type() string { return "filter" }

// Set implements pflag.Value: a bad filter is a mistake in the command line.
func (f *filter) Set(s string) error {
	code, err := compile(s)
	if err != nil {
		return err
	}
	f.text, f.code = s, code
	return nil
}

func compile(s string) (*gojq.Code, error) {
	q, err := gojq.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("not a jq filter: %w", err)
	}
	return gojq.Compile(q, gojq.WithEnvironLoader(func() []string { return nil })) // the environment holds the key
}

// print writes each result on a line of its own, strings without quotes.
func (f *filter) print(w io.Writer, v any) error {
	value, err := plain(v)
	if err != nil {
		return err
	}
	for it := f.code.Run(value); ; {
		result, ok := it.Next()
		if !ok {
			return nil
		}
		if err, failed := result.(error); failed {
			var halt *gojq.HaltError
			if errors.As(err, &halt) && halt.Value() == nil {
				return nil
			}
			return fmt.Errorf("--jq: %w", err)
		}
		line, err := scalar(result)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
}

// plain gives a value as jq knows it.
func plain(v any) (any, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.UseNumber()
	var out any
	if err := d.Decode(&out); err != nil {
		return nil, err
	}
	return normal(out), nil
}

// normal turns numbers into those that gojq calculates with.
func normal(v any) any {
	switch v := v.(type) {
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return int(i)
		}
		f, _ := v.Float64() // JSON's syntax was checked
		return f
	case []any:
		for i := range v {
			v[i] = normal(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = normal(v[k])
		}
	}
	return v
}

// scalar is a result on one line.
func scalar(v any) (string, error) {
	if s, ok := v.(string); ok {
		return s, nil
	}
	data, err := gojq.Marshal(v)
	return string(data), err
}
