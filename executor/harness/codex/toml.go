package codex

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// table writes settings as a TOML document. It knows strings, lists of
// strings, numbers, truth values and tables, which is what the settings have.
func table(settings map[string]any) []byte {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&b, "%s = %s\n", text(key), value(settings[key]))
	}
	return []byte(b.String())
}

func value(v any) string {
	switch v := v.(type) {
	case string:
		return text(v)
	case []string:
		parts := make([]string, len(v))
		for i, s := range v {
			parts[i] = text(s)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case map[string]any:
		var parts []string
		for _, key := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, text(key)+" = "+value(v[key]))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return fmt.Sprint(v)
}

// text is a basic string of TOML. JSON's strings are that, but for one
// character that it does not escape.
func text(s string) string {
	data, _ := json.Marshal(strings.ToValidUTF8(s, "\uFFFD")) // strings always marshal
	return strings.ReplaceAll(string(data), "\x7f", `\u007f`)
}
