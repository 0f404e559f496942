package mcp

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/oz-platform/cloudagents/task"
)

// Limits of a server's configuration.
const (
	// MaxConfigBytes bounds the JSON of one server.
	MaxConfigBytes = 64 << 10
	// MaxEntries bounds args, env, headers and both lists of tools, each.
	MaxEntries = 200
	// DefaultStartTimeout is how long a server may take to start and to list
	// its tools.
	DefaultStartTimeout = 20 * time.Second
	// maxStartTimeout bounds what a configuration may ask for.
	maxStartTimeout = 10 * time.Minute
)

// Server is the configuration of one server. Exactly one of WarpID, Command and
// URL is set in one that Parse has given.
type Server struct {
	// WarpID names a shared server: its uid, or one of WellKnown.
	WarpID string `json:"warp_id,omitempty"`
	// Command starts a server that speaks over its standard input and output.
	Command string   `json:"command,omitempty"`
	Args    []string `json:"args,omitempty"`
	// Env goes with Command. Values may have placeholders.
	Env map[string]string `json:"env,omitempty"`
	// WorkingDirectory goes with Command (Oz platform, MCP-2). It is relative to
	// the agent's.
	WorkingDirectory string `json:"working_directory,omitempty"`
	// URL is that of a server over streamable HTTP or SSE.
	URL string `json:"url,omitempty"`
	// Headers go with URL. Values may have placeholders.
	Headers map[string]string `json:"headers,omitempty"`
	// OAuth goes with URL: how the run authenticates without a person.
	OAuth *OAuth `json:"oauth,omitempty"`

	// AllowedTools are the tools that agents may use, all if nil. A name may end
	// in * for any rest.
	AllowedTools []string `json:"allowed_tools,omitempty"`
	// DeniedTools win over AllowedTools.
	DeniedTools []string `json:"denied_tools,omitempty"`
	// Required makes a run fail whose server does not start. Otherwise the run
	// goes on without it.
	Required bool `json:"required,omitempty"`
	// StartupTimeoutSeconds bounds the start; 0 is the runner's default, which is
	// DefaultStartTimeout.
	StartupTimeoutSeconds int `json:"startup_timeout_seconds,omitempty"`
}

// OAuth authenticates with the client credentials grant (RFC 6749, 4.4).
type OAuth struct {
	ClientID string `json:"client_id"`
	// ClientSecret may have placeholders, and should.
	ClientSecret string   `json:"client_secret"`
	Scopes       []string `json:"scopes,omitempty"`
	// TokenURL is where tokens are had. Default: what the server's metadata says
	// (RFC 9728, RFC 8414).
	TokenURL string `json:"token_url,omitempty"`
}

// wellKnown are names that WarpID may have beside uids: a team's integrations
// (Oz platform, MCP-8).
var wellKnown = []string{"linear", "slack", "jira"}

// WellKnown reports that id names a team's integration rather than a shared
// server.
func WellKnown(id string) bool { return slices.Contains(wellKnown, id) }

// Parse reads and judges the configuration of one server. It fails with
// task.CodeInvalidRequest and the name of the field, which is below field.
func Parse(field string, raw json.RawMessage) (Server, error) {
	var s Server
	if len(raw) > MaxConfigBytes {
		return s, task.Invalid(field, "has %d bytes, at most %d are allowed", len(raw), MaxConfigBytes)
	}
	if raw = bytes.TrimSpace(raw); len(raw) == 0 || raw[0] != '{' {
		return s, task.Invalid(field, "must be an object with one of warp_id, command and url")
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return s, task.Invalid(field, "is not the configuration of an MCP server: %s", decodeTrouble(err))
	}
	return s, s.Check(field)
}

// decodeTrouble says what is wrong with JSON without repeating any of it.
func decodeTrouble(err error) string {
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) {
		return fmt.Sprintf("%s may not be of type %s", cmp.Or(kind.Field, "it"), strings.Fields(kind.Value)[0])
	}
	return "it is not valid JSON"
}

// Unwrap gives the servers by name: those in the member mcpServers, as people
// paste it, if that is all there is.
func Unwrap(servers map[string]json.RawMessage) map[string]json.RawMessage {
	inner, ok := servers["mcpServers"]
	var out map[string]json.RawMessage
	if !ok || len(servers) != 1 || json.Unmarshal(inner, &out) != nil {
		return servers
	}
	if _, err := Parse("", inner); err == nil {
		return servers // a server that is called so
	}
	return out
}

// Servers reads and judges several servers by name, or one member mcpServers
// that holds them, as people paste it.
func Servers(field string, raw json.RawMessage) (map[string]Server, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, task.Invalid(field, "must be an object with a server for each name: %s", decodeTrouble(err))
	}
	all = Unwrap(all)
	out := make(map[string]Server, len(all))
	for name, raw := range all {
		if name == "" {
			return nil, task.Invalid(field, "every server needs a name")
		}
		s, err := Parse(Field(field, name), raw)
		if err != nil {
			return nil, err
		}
		out[name] = s
	}
	return out, nil
}

// Field names the server called name below field.
func Field(field, name string) string { return fmt.Sprintf("%s[%q]", field, name) }

// Check judges s. Its errors name keys, and never values, which may be secret.
func (s Server) Check(field string) error {
	given := slices.DeleteFunc([]string{s.WarpID, s.Command, s.URL}, func(v string) bool { return v == "" })
	switch {
	case len(given) != 1:
		return task.Invalid(field, "must have exactly one of warp_id, command and url")
	case s.Command == "" && (len(s.Args) > 0 || len(s.Env) > 0 || s.WorkingDirectory != ""):
		return task.Invalid(field, "args, env and working_directory go with command only")
	case s.URL == "" && (len(s.Headers) > 0 || s.OAuth != nil):
		return task.Invalid(field, "headers and oauth go with url only")
	}
	for _, n := range []int{len(s.Args), len(s.Env), len(s.Headers), len(s.AllowedTools), len(s.DeniedTools)} {
		if n > MaxEntries {
			return task.Invalid(field, "args, env, headers, allowed_tools and denied_tools may have %d entries each", MaxEntries)
		}
	}
	if most := int(maxStartTimeout / time.Second); s.StartupTimeoutSeconds < 0 || s.StartupTimeoutSeconds > most {
		return task.Invalid(field+".startup_timeout_seconds", "is %d, must be 0 to %d", s.StartupTimeoutSeconds, most)
	}
	for _, check := range []func(string) error{s.checkTexts, s.checkVariables, s.checkHeaders, s.checkTools, s.checkOAuth} {
		if err := check(field); err != nil {
			return err
		}
	}
	return checkURL(field+".url", s.URL)
}

// Names of environment variables and of HTTP headers (RFC 9110, token).
var (
	variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	headerName   = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
)

func (s Server) checkTexts(field string) error {
	for _, text := range append([]string{s.WarpID, s.Command, s.WorkingDirectory}, s.Args...) {
		if strings.ContainsRune(text, 0) {
			return task.Invalid(field, "has a NUL byte")
		}
	}
	return nil
}

func (s Server) checkVariables(field string) error {
	for name, value := range s.Env {
		if !variableName.MatchString(name) {
			return task.Invalid(field+".env", "%q is no name of an environment variable", name)
		}
		if strings.ContainsRune(value, 0) {
			return task.Invalid(field+".env", "the value of %s has a NUL byte", name)
		}
	}
	return nil
}

// ourHeaders are those that the protocol sets by itself.
var ourHeaders = []string{"Content-Length", "Host", "Transfer-Encoding", "Connection", "Mcp-Session-Id", "Mcp-Protocol-Version"}

func (s Server) checkHeaders(field string) error {
	for name, value := range s.Headers {
		switch {
		case !headerName.MatchString(name):
			return task.Invalid(field+".headers", "%q is no name of an HTTP header", name)
		case slices.ContainsFunc(ourHeaders, func(h string) bool { return strings.EqualFold(h, name) }):
			return task.Invalid(field+".headers", "%s is set by the protocol itself: leave it out", name)
		case s.OAuth != nil && strings.EqualFold(name, "Authorization"):
			return task.Invalid(field+".headers", "Authorization comes from oauth: give one of the two")
		case strings.ContainsFunc(value, badInHeader):
			return task.Invalid(field+".headers", "the value of %s has a line break or another control character", name)
		}
	}
	return nil
}

func badInHeader(r rune) bool { return unicode.IsControl(r) && r != '\t' }

func (s Server) checkTools(field string) error {
	for _, list := range []struct {
		name  string
		tools []string
	}{{"allowed_tools", s.AllowedTools}, {"denied_tools", s.DeniedTools}} {
		for i, tool := range list.tools {
			if tool == "" || len(tool) > 200 || strings.ContainsFunc(tool, unicode.IsControl) || strings.Contains(strings.TrimSuffix(tool, "*"), "*") {
				return task.Invalid(fmt.Sprintf("%s.%s[%d]", field, list.name, i), "must be the name of a tool, of at most 200 bytes; a * may stand at its end, for any rest")
			}
		}
	}
	return nil
}

func (s Server) checkOAuth(field string) error {
	o := s.OAuth
	if o == nil {
		return nil
	}
	field += ".oauth"
	switch {
	case o.ClientID == "" || o.ClientSecret == "":
		return task.Invalid(field, "client_id and client_secret are needed: runs authenticate without a person")
	case strings.ContainsFunc(o.ClientID+o.ClientSecret, unicode.IsControl):
		return task.Invalid(field, "client_id and client_secret may not have control characters")
	case len(o.Scopes) > MaxEntries:
		return task.Invalid(field+".scopes", "at most %d are allowed", MaxEntries)
	}
	for i, scope := range o.Scopes {
		if scope == "" || strings.ContainsFunc(scope, func(r rune) bool { return r <= ' ' || r == '"' || r == '\\' || r > '~' }) { // RFC 6749, 3.3
			return task.Invalid(fmt.Sprintf("%s.scopes[%d]", field, i), "must be printable ASCII without spaces, quotes and backslashes")
		}
	}
	return checkURL(field+".token_url", o.TokenURL)
}

// checkURL does not repeat the URL, which may hold a credential.
func checkURL(field, raw string) error {
	if raw == "" {
		return nil
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "":
		return task.Invalid(field, "must be an absolute http or https URL")
	case u.User != nil:
		return task.Invalid(field, "must not hold credentials: send them in headers, with ${NAME} for a secret's value")
	}
	return nil
}

// StartTimeout bounds the server's start: its own setting, or else def, or else
// DefaultStartTimeout.
func (s Server) StartTimeout(def time.Duration) time.Duration {
	return cmp.Or(time.Duration(s.StartupTimeoutSeconds)*time.Second, def, DefaultStartTimeout)
}

// Allows reports that agents may use the server's tool called name.
func (s Server) Allows(name string) bool {
	return Allowed(name, s.AllowedTools, s.DeniedTools)
}

// Allowed reports that a tool is in allow, which is all if nil, and not in deny.
func Allowed(name string, allow, deny []string) bool {
	return !listed(name, deny) && (allow == nil || listed(name, allow))
}

func listed(name string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		rest, open := strings.CutSuffix(p, "*")
		return p == name || open && strings.HasPrefix(name, rest)
	})
}

// Over gives the shared server that ref names, with what ref adds: it can
// narrow the tools, and it can be stricter about the start. It fails when both
// have lists of allowed tools and ref's has a *, for it might allow more than
// the other.
func Over(field string, ref, shared Server) (Server, error) {
	out := shared
	out.Required = shared.Required || ref.Required
	out.StartupTimeoutSeconds = cmp.Or(ref.StartupTimeoutSeconds, shared.StartupTimeoutSeconds)
	out.DeniedTools = slices.Concat(shared.DeniedTools, ref.DeniedTools)
	switch {
	case ref.AllowedTools == nil:
		return out, nil
	case shared.AllowedTools == nil:
		out.AllowedTools = ref.AllowedTools
		return out, nil
	}
	out.AllowedTools = []string{}
	for i, tool := range ref.AllowedTools {
		if strings.HasSuffix(tool, "*") && !slices.Contains(shared.AllowedTools, tool) {
			return Server{}, task.Invalid(fmt.Sprintf("%s.allowed_tools[%d]", field, i), "the shared server allows some of its tools only: name yours without *")
		}
		if slices.Contains(shared.AllowedTools, tool) || listed(tool, shared.AllowedTools) {
			out.AllowedTools = append(out.AllowedTools, tool)
		}
	}
	return out, nil
}
