// Command tojson writes a YAML document as JSON: tojson IN.yaml OUT.json.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"

	"github.com/goccy/go-yaml"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "tojson:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("want IN.yaml OUT.json")
	}
	in, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	raw, err := yaml.YAMLToJSON(in)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, raw, "", " "); err != nil {
		return err
	}
	return os.WriteFile(args[1], out.Bytes(), 0o644)
}
