package oz

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// Limits of an MCP server's configuration.
const (
	maxMCPConfig  = 64 << 10 // bytes of JSON
	maxMCPEntries = 200      // of args, env and headers each
)

// MCPServer is a shared MCP server, which configurations name as warp_id.
type MCPServer struct {
	Registered
	// Config is an object of the Oz API, McpServerConfig, with command or url.
	// For callers who may not change the server, the values of env and headers
	// are "***".
	Config json.RawMessage `json:"config"`
}

// MCPServerInput asks for a shared MCP server.
type MCPServerInput struct {
	Name, Description string
	Config            json.RawMessage
	// Team says whose it is, as in Request.
	Team *bool
}

// MCPServerChange changes what is not nil.
type MCPServerChange struct {
	Name, Description *string
	Config            json.RawMessage
	// Revision fails the change with task.ErrConflict when it is not the
	// stored one; 0 is any.
	Revision int64
}

// mcpServer is the configuration of an MCP server (Oz API, McpServerConfig).
type mcpServer struct {
	WarpID  string            `json:"warp_id,omitempty"`
	Command string            `json:"command,omitempty"`
	URL     string            `json:"url,omitempty"`
	Args    []string          `json:"args,omitempty"`
	Env     map[string]string `json:"env,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	// WorkingDirectory goes with Command (Oz platform, MCP-2).
	WorkingDirectory string `json:"working_directory,omitempty"`
}

func mcpServers() shelf[MCPServer] {
	return shelf[MCPServer]{kind: "mcp_server", what: "MCP server",
		create: access.MCPCreate, view: access.MCPView, manage: access.MCPManage,
		head:  func(s *MCPServer) *Registered { return &s.Registered },
		check: func(MCPServer) error { return nil }} // sharedMCP has judged it
}

// sharedMCP judges the configuration of a server for the registry, and spells
// it as the contract does.
func sharedMCP(raw json.RawMessage) (json.RawMessage, error) {
	s, err := parseMCP("config", raw)
	if err != nil {
		return nil, err
	}
	if s.WarpID != "" {
		return nil, task.Invalid("config.warp_id", "names a shared server, and a shared server is no other one: give command or url")
	}
	return json.Marshal(s)
}

// CreateMCPServer registers an MCP server. It fails with
// task.CodeInvalidRequest, or with task.ErrConflict when the owner has one of
// that name.
func (c *Client) CreateMCPServer(ctx context.Context, in MCPServerInput) (MCPServer, error) {
	config, err := sharedMCP(in.Config)
	if err != nil {
		return MCPServer{}, err
	}
	s := MCPServer{Registered: Registered{Name: in.Name, Description: in.Description}, Config: config}
	return mcpServers().add(ctx, c, s, in.Team)
}

// MCPServer returns one shared MCP server.
func (c *Client) MCPServer(ctx context.Context, uid string) (MCPServer, error) {
	s, err := mcpServers().get(ctx, c, uid, access.MCPView)
	if err != nil {
		return MCPServer{}, err
	}
	return c.masked(s), nil
}

// masked hides what may be credentials from those who may not change s (Oz
// API, choice on MCP env and headers).
func (c *Client) masked(s MCPServer) MCPServer {
	if access.Allow(c.caller, access.MCPManage, s.object()) != nil {
		s.Config = MaskMCP(s.Config)
	}
	return s
}

// MCPServers lists the shared MCP servers that the caller may see, by name.
func (c *Client) MCPServers(ctx context.Context) ([]MCPServer, error) {
	list, err := mcpServers().list(ctx, c)
	for i := range list {
		list[i] = c.masked(list[i])
	}
	return list, err
}

// UpdateMCPServer changes a shared MCP server.
func (c *Client) UpdateMCPServer(ctx context.Context, uid string, change MCPServerChange) (MCPServer, error) {
	var config json.RawMessage
	if len(change.Config) > 0 && string(change.Config) != "null" {
		var err error
		if config, err = sharedMCP(change.Config); err != nil {
			return MCPServer{}, err
		}
	}
	return mcpServers().update(ctx, c, uid, change.Revision, func(s *MCPServer) {
		set(&s.Name, change.Name)
		set(&s.Description, change.Description)
		if config != nil {
			s.Config = config
		}
	})
}

// DeleteMCPServer removes a shared MCP server.
func (c *Client) DeleteMCPServer(ctx context.Context, uid string) error {
	return mcpServers().remove(ctx, c, uid)
}

// wellKnownMCP are names that warp_id may have beside UUIDs: a team's
// integrations (Oz platform, MCP-8). One that is not connected is left out by
// the agent.
var wellKnownMCP = []string{"linear", "slack", "jira"}

// configureMCP resolves the MCP servers of a run. No agent can use them yet,
// so a run that wants some is refused rather than begun without.
func (c *Client) configureMCP(ctx context.Context, spec *task.Spec) (err error) {
	if len(spec.Config.MCPServers) == 0 {
		return nil
	}
	if spec.Config.MCPServers, err = c.resolveMCP(ctx, spec.Config.MCPServers); err != nil {
		return err
	}
	return notBuilt("config.mcp_servers", "MCP servers", "leave them out; the agent can use command-line tools that a setup command installs")
}

// resolveMCP puts the configurations of shared servers in the place of their
// uids, so that the run keeps what it was created with.
func (c *Client) resolveMCP(ctx context.Context, servers map[string]json.RawMessage) (map[string]json.RawMessage, error) {
	out := make(map[string]json.RawMessage, len(servers))
	for name, raw := range servers {
		var s mcpServer
		if err := json.Unmarshal(raw, &s); err != nil {
			return nil, task.Invalid(mcpField(name), "is not the configuration of an MCP server: %w", err)
		}
		out[name] = raw
		if s.WarpID == "" || slices.Contains(wellKnownMCP, s.WarpID) {
			continue
		}
		shared, err := mcpServers().get(ctx, c, s.WarpID, access.MCPView)
		if errors.Is(err, task.ErrNotFound) {
			return nil, &task.Error{Code: task.CodeNotFound, Field: mcpField(name) + ".warp_id", Err: err,
				Message: fmt.Sprintf("there is no shared MCP server %q that you may use", s.WarpID)}
		}
		if err != nil {
			return nil, err
		}
		out[name] = shared.Config
	}
	return out, nil
}

func mcpField(name string) string { return fmt.Sprintf("config.mcp_servers[%q]", name) }

// parseMCP reads and judges the configuration of one MCP server (Oz API,
// McpServerConfig).
func parseMCP(field string, raw json.RawMessage) (mcpServer, error) {
	var s mcpServer
	if len(raw) > maxMCPConfig {
		return s, task.Invalid(field, "has %d bytes, at most %d are allowed", len(raw), maxMCPConfig)
	}
	if raw = bytes.TrimSpace(raw); len(raw) == 0 || raw[0] != '{' {
		return s, task.Invalid(field, "must be an object with one of warp_id, command and url")
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return s, task.Invalid(field, "is not the configuration of an MCP server: %w", err)
	}
	return s, s.check(field)
}

func (s mcpServer) check(field string) error {
	given := slices.DeleteFunc([]string{s.WarpID, s.Command, s.URL}, func(v string) bool { return v == "" })
	switch {
	case len(given) != 1:
		return task.Invalid(field, "must have exactly one of warp_id, command and url")
	case s.Command == "" && (len(s.Args) > 0 || len(s.Env) > 0 || s.WorkingDirectory != ""):
		return task.Invalid(field, "args, env and working_directory go with command only")
	case s.URL == "" && len(s.Headers) > 0:
		return task.Invalid(field, "headers go with url only")
	case len(s.Args) > maxMCPEntries || len(s.Env) > maxMCPEntries || len(s.Headers) > maxMCPEntries:
		return task.Invalid(field, "args, env and headers may have %d entries each", maxMCPEntries)
	}
	if err := s.checkTexts(field); err != nil {
		return err
	}
	return checkMCPURL(field+".url", s.URL)
}

// Names of environment variables and of HTTP headers (RFC 9110, token).
var (
	variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	headerName   = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
)

// checkTexts names keys, and never values, in its errors: values may be secret.
func (s mcpServer) checkTexts(field string) error {
	for _, text := range append([]string{s.WarpID, s.Command, s.WorkingDirectory}, s.Args...) {
		if strings.ContainsRune(text, 0) {
			return task.Invalid(field, "has a NUL byte")
		}
	}
	for name, value := range s.Env {
		if !variableName.MatchString(name) {
			return task.Invalid(field+".env", "%q is no name of an environment variable", name)
		}
		if strings.ContainsRune(value, 0) {
			return task.Invalid(field+".env", "the value of %s has a NUL byte", name)
		}
	}
	for name, value := range s.Headers {
		if !headerName.MatchString(name) {
			return task.Invalid(field+".headers", "%q is no name of an HTTP header", name)
		}
		if strings.ContainsFunc(value, func(r rune) bool { return unicode.IsControl(r) && r != '\t' }) {
			return task.Invalid(field+".headers", "the value of %s has a line break or another control character", name)
		}
	}
	return nil
}

// checkMCPURL does not repeat the URL, which may hold a credential.
func checkMCPURL(field, raw string) error {
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

// hiddenValue stands for a value that the caller may not see.
const hiddenValue = "***"

// MaskMCP keeps the names under env and headers of an MCP server's
// configuration and hides their values. What is no object shows nothing.
func MaskMCP(raw json.RawMessage) json.RawMessage {
	var server map[string]json.RawMessage
	if json.Unmarshal(raw, &server) != nil {
		return json.RawMessage(`{}`)
	}
	for member := range server {
		if !strings.EqualFold(member, "env") && !strings.EqualFold(member, "headers") {
			continue
		}
		var values map[string]any
		_ = json.Unmarshal(server[member], &values) // no object: nothing is kept
		hidden := make(map[string]string, len(values))
		for k := range values {
			hidden[k] = hiddenValue
		}
		server[member], _ = json.Marshal(hidden) // strings cannot fail
	}
	out, _ := json.Marshal(server) // neither can what was just decoded
	return out
}
