package mcp

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/task"
)

// placeholder is ${NAME} or {{NAME}}; space within the double braces does not
// count (Oz platform, MCP-5).
var placeholder = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)\}|\{\{[ \t]*([A-Za-z_][A-Za-z0-9_]*)[ \t]*\}\}`)

// escapedBraces are braces that were escaped once more than JSON needs, as some
// editors of configurations store them. They decode first.
var escapedBraces = strings.NewReplacer(`\u007b`, "{", `\u007B`, "{", `\u007d`, "}", `\u007D`, "}")

// Expand puts secrets in the place of the placeholders in text. What lookup
// gives is taken as it is: it may look like a placeholder. missing are the names
// that lookup does not know, sorted; they stay as they are.
func Expand(text string, lookup func(name string) (string, bool)) (out string, missing []string) {
	text = escapedBraces.Replace(text)
	out = placeholder.ReplaceAllStringFunc(text, func(found string) string {
		name := strings.Trim(found, "${} \t")
		if value, ok := lookup(name); ok {
			return value
		}
		missing = append(missing, name)
		return found
	})
	slices.Sort(missing)
	return out, slices.Compact(missing)
}

// Placeholders are the names that the configuration asks for, sorted.
func (s Server) Placeholders() []string {
	var names []string
	_, _ = s.Fill(func(name string) (string, bool) {
		names = append(names, name)
		return "", true
	})
	slices.Sort(names)
	return slices.Compact(names)
}

// Fill gives s with secrets in the place of the placeholders in env, headers
// and oauth.client_secret. It fails with task.CodeInvalidRequest when lookup
// does not know one, or when a value cannot stand where it is asked for.
func (s Server) Fill(lookup func(name string) (string, bool)) (Server, error) {
	out := s
	var err error
	if out.Env, err = fillAll("env", s.Env, lookup, func(r rune) bool { return r == 0 }); err != nil {
		return Server{}, err
	}
	if out.Headers, err = fillAll("headers", s.Headers, lookup, badInHeader); err != nil {
		return Server{}, err
	}
	if s.OAuth != nil {
		o := *s.OAuth
		if o.ClientSecret, err = fill("oauth.client_secret", o.ClientSecret, lookup, badInHeader); err != nil {
			return Server{}, err
		}
		out.OAuth = &o
	}
	return out, nil
}

func fillAll(field string, values map[string]string, lookup func(string) (string, bool), bad func(rune) bool) (map[string]string, error) {
	if values == nil {
		return nil, nil
	}
	out := make(map[string]string, len(values))
	for _, key := range slices.Sorted(maps.Keys(values)) {
		value, err := fill(field+"."+key, values[key], lookup, bad)
		if err != nil {
			return nil, err
		}
		out[key] = value
	}
	return out, nil
}

func fill(field, text string, lookup func(string) (string, bool), bad func(rune) bool) (string, error) {
	value, missing := Expand(text, lookup)
	switch {
	case len(missing) > 0:
		return "", task.Invalid(field, "asks for the secret %s, which this run does not have", strings.Join(missing, ", "))
	case strings.ContainsFunc(value, bad):
		return "", task.Invalid(field, "would have a line break or another control character from a secret's value")
	}
	return value, nil
}

// Sensitive are the values of s that stand spelled out where a credential
// belongs, by a name for each. Those that came from a placeholder are not among
// them: whoever filled them in knows them.
func (s Server) Sensitive() map[string]string {
	out := map[string]string{}
	for key, value := range s.Env {
		if credentialName.MatchString(key) && !placeholder.MatchString(value) {
			out["env."+key] = value
		}
	}
	for key, value := range s.Headers {
		if credentialName.MatchString(key) && !placeholder.MatchString(value) {
			out["headers."+key] = bare(value)
		}
	}
	if o := s.OAuth; o != nil && !placeholder.MatchString(o.ClientSecret) {
		out["oauth.client_secret"] = o.ClientSecret
	}
	return out
}

// credentialName are the names of variables and headers whose values are
// credentials.
var credentialName = regexp.MustCompile(`(?i)(authorization|cookie|token|secret|passw|credential|api[-_]?key|private[-_]?key|access[-_]?key|(^|[-_])(key|auth|pat)$)`)

// bare is the credential in the value of a header: what follows the scheme.
func bare(value string) string {
	if scheme, rest, ok := strings.Cut(value, " "); ok && len(scheme) <= 16 && !strings.Contains(rest, " ") {
		return rest
	}
	return value
}

// hiddenValue stands for a value that the caller may not see.
const hiddenValue = "***"

// Mask keeps the names under env and headers of a configuration and hides their
// values, and the client secret of oauth. What is no object shows nothing.
func Mask(raw json.RawMessage) json.RawMessage {
	var server map[string]json.RawMessage
	if json.Unmarshal(raw, &server) != nil {
		return json.RawMessage(`{}`)
	}
	for member := range server {
		switch {
		case strings.EqualFold(member, "env"), strings.EqualFold(member, "headers"):
			server[member] = maskAll(server[member])
		case strings.EqualFold(member, "oauth"):
			server[member] = maskOAuth(server[member])
		}
	}
	out, _ := json.Marshal(server) // what was just decoded cannot fail
	return out
}

func maskAll(raw json.RawMessage) json.RawMessage {
	var values map[string]any
	_ = json.Unmarshal(raw, &values) // no object: nothing is kept
	hidden := make(map[string]string, len(values))
	for k := range values {
		hidden[k] = hiddenValue
	}
	out, _ := json.Marshal(hidden) // strings cannot fail
	return out
}

func maskOAuth(raw json.RawMessage) json.RawMessage {
	var o OAuth
	if json.Unmarshal(raw, &o) != nil {
		return json.RawMessage(`{}`)
	}
	o.ClientSecret = hiddenValue
	out, _ := json.Marshal(o) // strings cannot fail
	return out
}
