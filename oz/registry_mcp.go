package oz

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/oz-platform/cloudagents/environment/mcp"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
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

func mcpServers() shelf[MCPServer] {
	return shelf[MCPServer]{kind: "mcp_server", what: "MCP server",
		create: access.MCPCreate, view: access.MCPView, manage: access.MCPManage,
		head:  func(s *MCPServer) *Registered { return &s.Registered },
		check: func(MCPServer) error { return nil }} // sharedMCP has judged it
}

// sharedMCP judges the configuration of a server for the registry, and spells
// it as the contract does.
func sharedMCP(raw json.RawMessage) (json.RawMessage, error) {
	s, err := mcp.Parse("config", raw)
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
		s.Config = mcp.Mask(s.Config)
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

// configureMCP judges the MCP servers of a run: those that are shared must
// exist, and be there for the caller. The run's record keeps their names, and
// not what they are made of: that may hold what the caller may not see.
func (c *Client) configureMCP(ctx context.Context, spec *task.Spec) error {
	for name, raw := range spec.Config.MCPServers {
		if _, err := c.sharedMCPServer(ctx, mcpField(name), raw); err != nil {
			return err
		}
	}
	return nil
}

// sharedMCPServer gives a server with what is shared in the place of its name.
func (c *Client) sharedMCPServer(ctx context.Context, field string, raw json.RawMessage) (mcp.Server, error) {
	s, err := mcp.Parse(field, raw)
	if err != nil || s.WarpID == "" || mcp.WellKnown(s.WarpID) {
		return s, err
	}
	shared, err := mcpServers().get(ctx, c, s.WarpID, access.MCPView)
	if errors.Is(err, task.ErrNotFound) {
		return s, &task.Error{Code: task.CodeNotFound, Field: field + ".warp_id", Err: err,
			Message: fmt.Sprintf("there is no shared MCP server %q that you may use", s.WarpID)}
	}
	if err != nil {
		return s, err
	}
	return overShared(field, s, shared)
}

func overShared(field string, ref mcp.Server, shared MCPServer) (mcp.Server, error) {
	config, err := mcp.Parse(field, shared.Config)
	if err != nil {
		return mcp.Server{}, fmt.Errorf("shared MCP server %s: %w", shared.UID, err)
	}
	return mcp.Over(field, ref, config)
}

// runMCP gives a run's MCP servers as its runner needs them: what is shared in
// the place of its name, as it is now. A shared server that is gone, or that has
// been changed so that the run's own lists do not fit any more, keeps its name,
// and the runner says that it is not there.
func (p *Platform) runMCP(ctx context.Context, t task.Task) (map[string]json.RawMessage, error) {
	if len(t.Config.MCPServers) == 0 {
		return nil, nil
	}
	out := make(map[string]json.RawMessage, len(t.Config.MCPServers))
	for name, raw := range t.Config.MCPServers {
		out[name] = raw
		s, err := mcp.Parse(mcpField(name), raw)
		if err != nil {
			return nil, err
		}
		if s.WarpID == "" || mcp.WellKnown(s.WarpID) {
			continue
		}
		shared, err := mcpServers().read(ctx, p, s.WarpID)
		if errors.Is(err, task.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if s, err = overShared(mcpField(name), s, shared); task.CodeOf(err) == task.CodeInvalidRequest {
			continue
		} else if err != nil {
			return nil, err
		}
		if out[name], err = json.Marshal(s); err != nil {
			return nil, fmt.Errorf("encode MCP server %q: %w", name, err)
		}
	}
	return out, nil
}

func mcpField(name string) string { return mcp.Field("config.mcp_servers", name) }

// MaskMCP keeps the names under env and headers of an MCP server's
// configuration and hides their values. What is no object shows nothing.
func MaskMCP(raw json.RawMessage) json.RawMessage { return mcp.Mask(raw) }
