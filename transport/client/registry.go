package client

import (
	"context"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// MCPServers lists the shared MCP servers that the caller may see, by name.
func (c *Client) MCPServers(ctx context.Context) ([]oz.MCPServer, error) {
	answer, err := decode[api.ListMcpServersResponse](c.raw.ListMcpServers(ctx))
	if err != nil {
		return nil, err
	}
	return wire.Each(answer.McpServers, wire.MCPServerOf), nil
}

// MCPServer returns one shared MCP server.
func (c *Client) MCPServer(ctx context.Context, uid string) (oz.MCPServer, error) {
	if err := checkID("MCP server uid", uid); err != nil {
		return oz.MCPServer{}, err
	}
	s, err := decode[api.McpServerItem](c.raw.GetMcpServer(ctx, uid))
	return wire.MCPServerOf(s), err
}

// CreateMCPServer registers an MCP server.
func (c *Client) CreateMCPServer(ctx context.Context, in oz.MCPServerInput) (oz.MCPServer, error) {
	s, err := decode[api.McpServerItem](c.raw.CreateMcpServer(ctx, api.CreateMcpServerRequest{Name: in.Name, Description: in.Description,
		Config: in.Config, Team: in.Team}))
	return wire.MCPServerOf(s), err
}

// UpdateMCPServer changes a shared MCP server. It fails with task.ErrConflict
// when change.Revision is not the stored one; 0 overwrites.
func (c *Client) UpdateMCPServer(ctx context.Context, uid string, change oz.MCPServerChange) (oz.MCPServer, error) {
	if err := checkID("MCP server uid", uid); err != nil {
		return oz.MCPServer{}, err
	}
	s, err := decode[api.McpServerItem](c.raw.UpdateMcpServer(ctx, uid, api.UpdateMcpServerRequest{Name: change.Name,
		Description: change.Description, Config: change.Config, Revision: change.Revision}))
	return wire.MCPServerOf(s), err
}

// DeleteMCPServer removes a shared MCP server.
func (c *Client) DeleteMCPServer(ctx context.Context, uid string) error {
	if err := checkID("MCP server uid", uid); err != nil {
		return err
	}
	return done(c.raw.DeleteMcpServer(ctx, uid))
}

// Prompts lists the saved prompts that the caller may see, by name.
func (c *Client) Prompts(ctx context.Context) ([]oz.SavedPrompt, error) {
	answer, err := decode[api.ListPromptsResponse](c.raw.ListPrompts(ctx))
	if err != nil {
		return nil, err
	}
	return wire.Each(answer.Prompts, wire.PromptOf), nil
}

// Prompt returns one saved prompt.
func (c *Client) Prompt(ctx context.Context, uid string) (oz.SavedPrompt, error) {
	if err := checkID("prompt uid", uid); err != nil {
		return oz.SavedPrompt{}, err
	}
	p, err := decode[api.PromptItem](c.raw.GetPrompt(ctx, uid))
	return wire.PromptOf(p), err
}

// CreatePrompt saves a prompt.
func (c *Client) CreatePrompt(ctx context.Context, in oz.PromptInput) (oz.SavedPrompt, error) {
	p, err := decode[api.PromptItem](c.raw.CreatePrompt(ctx, api.CreatePromptRequest{Name: in.Name, Description: in.Description,
		Prompt: in.Prompt, Team: in.Team}))
	return wire.PromptOf(p), err
}

// UpdatePrompt changes a saved prompt. It fails with task.ErrConflict when
// change.Revision is not the stored one; 0 overwrites.
func (c *Client) UpdatePrompt(ctx context.Context, uid string, change oz.PromptChange) (oz.SavedPrompt, error) {
	if err := checkID("prompt uid", uid); err != nil {
		return oz.SavedPrompt{}, err
	}
	p, err := decode[api.PromptItem](c.raw.UpdatePrompt(ctx, uid, api.UpdatePromptRequest{Name: change.Name,
		Description: change.Description, Prompt: change.Prompt, Revision: change.Revision}))
	return wire.PromptOf(p), err
}

// DeletePrompt removes a saved prompt.
func (c *Client) DeletePrompt(ctx context.Context, uid string) error {
	if err := checkID("prompt uid", uid); err != nil {
		return err
	}
	return done(c.raw.DeletePrompt(ctx, uid))
}

// Rules lists the rules that the caller may see, by name.
func (c *Client) Rules(ctx context.Context) ([]oz.Rule, error) {
	answer, err := decode[api.ListRulesResponse](c.raw.ListRules(ctx))
	if err != nil {
		return nil, err
	}
	return wire.Each(answer.Rules, wire.RuleOf), nil
}

// Rule returns one rule.
func (c *Client) Rule(ctx context.Context, uid string) (oz.Rule, error) {
	if err := checkID("rule uid", uid); err != nil {
		return oz.Rule{}, err
	}
	p, err := decode[api.RuleItem](c.raw.GetRule(ctx, uid))
	return wire.RuleOf(p), err
}

// CreateRule makes a rule.
func (c *Client) CreateRule(ctx context.Context, in oz.RuleInput) (oz.Rule, error) {
	p, err := decode[api.RuleItem](c.raw.CreateRule(ctx, api.CreateRuleRequest{Name: in.Name, Description: in.Description,
		Rule: in.Rule, Team: in.Team}))
	return wire.RuleOf(p), err
}

// UpdateRule changes a rule. It fails with task.ErrConflict when
// change.Revision is not the stored one; 0 overwrites.
func (c *Client) UpdateRule(ctx context.Context, uid string, change oz.RuleChange) (oz.Rule, error) {
	if err := checkID("rule uid", uid); err != nil {
		return oz.Rule{}, err
	}
	p, err := decode[api.RuleItem](c.raw.UpdateRule(ctx, uid, api.UpdateRuleRequest{Name: change.Name,
		Description: change.Description, Rule: change.Rule, Revision: change.Revision}))
	return wire.RuleOf(p), err
}

// DeleteRule removes a rule.
func (c *Client) DeleteRule(ctx context.Context, uid string) error {
	if err := checkID("rule uid", uid); err != nil {
		return err
	}
	return done(c.raw.DeleteRule(ctx, uid))
}

// Profiles lists the agent profiles that the caller may see, the built-in ones
// first, then by name.
func (c *Client) Profiles(ctx context.Context) ([]oz.Profile, error) {
	answer, err := decode[api.ListAgentProfilesResponse](c.raw.ListAgentProfiles(ctx))
	if err != nil {
		return nil, err
	}
	return wire.Each(answer.AgentProfiles, wire.ProfileOf), nil
}

// Profile returns one agent profile.
func (c *Client) Profile(ctx context.Context, uid string) (oz.Profile, error) {
	if err := checkID("agent profile uid", uid); err != nil {
		return oz.Profile{}, err
	}
	p, err := decode[api.AgentProfileItem](c.raw.GetAgentProfile(ctx, uid))
	return wire.ProfileOf(p), err
}

// CreateProfile makes an agent profile.
func (c *Client) CreateProfile(ctx context.Context, in oz.ProfileInput) (oz.Profile, error) {
	p, err := decode[api.AgentProfileItem](c.raw.CreateAgentProfile(ctx, api.CreateAgentProfileRequest{Name: in.Name, Description: in.Description,
		BaseModel: in.Model, Permissions: in.Permissions, Team: in.Team}))
	return wire.ProfileOf(p), err
}

// UpdateProfile changes an agent profile. It fails with task.ErrConflict when
// change.Revision is not the stored one; 0 overwrites.
func (c *Client) UpdateProfile(ctx context.Context, uid string, change oz.ProfileChange) (oz.Profile, error) {
	if err := checkID("agent profile uid", uid); err != nil {
		return oz.Profile{}, err
	}
	p, err := decode[api.AgentProfileItem](c.raw.UpdateAgentProfile(ctx, uid, api.UpdateAgentProfileRequest{Name: change.Name,
		Description: change.Description, BaseModel: change.Model, Permissions: change.Permissions, Revision: change.Revision}))
	return wire.ProfileOf(p), err
}

// DeleteProfile removes an agent profile.
func (c *Client) DeleteProfile(ctx context.Context, uid string) error {
	if err := checkID("agent profile uid", uid); err != nil {
		return err
	}
	return done(c.raw.DeleteAgentProfile(ctx, uid))
}

// ModelEndpoints lists the model endpoints of the caller's teams, by name.
func (c *Client) ModelEndpoints(ctx context.Context) ([]oz.ModelEndpoint, error) {
	answer, err := decode[api.ListModelEndpointsResponse](c.raw.ListModelEndpoints(ctx))
	if err != nil {
		return nil, err
	}
	return wire.Each(answer.ModelEndpoints, wire.ModelEndpointOf), nil
}

// ModelEndpoint returns one model endpoint.
func (c *Client) ModelEndpoint(ctx context.Context, uid string) (oz.ModelEndpoint, error) {
	if err := checkID("model endpoint uid", uid); err != nil {
		return oz.ModelEndpoint{}, err
	}
	e, err := decode[api.ModelEndpointItem](c.raw.GetModelEndpoint(ctx, uid))
	return wire.ModelEndpointOf(e), err
}

// CreateModelEndpoint registers a model provider of the caller's team.
func (c *Client) CreateModelEndpoint(ctx context.Context, in oz.ModelEndpointInput) (oz.ModelEndpoint, error) {
	e, err := decode[api.ModelEndpointItem](c.raw.CreateModelEndpoint(ctx, api.CreateModelEndpointRequest{Name: in.Name, Description: in.Description,
		Wire: in.Wire, BaseUrl: in.BaseURL, Secret: in.Secret, BearerAuth: in.BearerAuth, Models: in.Models, Prices: in.Prices}))
	return wire.ModelEndpointOf(e), err
}

// DeleteModelEndpoint removes a model endpoint.
func (c *Client) DeleteModelEndpoint(ctx context.Context, uid string) error {
	if err := checkID("model endpoint uid", uid); err != nil {
		return err
	}
	return done(c.raw.DeleteModelEndpoint(ctx, uid))
}

// Runners lists the runner profiles that the caller may see, by name.
func (c *Client) Runners(ctx context.Context) ([]oz.Runner, error) {
	answer, err := decode[api.ListRunnersResponse](c.raw.ListRunners(ctx))
	if err != nil {
		return nil, err
	}
	return wire.Each(answer.Runners, wire.RunnerOf), nil
}

// Runner returns one runner profile.
func (c *Client) Runner(ctx context.Context, uid string) (oz.Runner, error) {
	if err := checkID("runner uid", uid); err != nil {
		return oz.Runner{}, err
	}
	r, err := decode[api.RunnerItem](c.raw.GetRunner(ctx, uid))
	return wire.RunnerOf(r), err
}

// CreateRunner makes a runner profile.
func (c *Client) CreateRunner(ctx context.Context, in oz.RunnerInput) (oz.Runner, error) {
	r, err := decode[api.RunnerItem](c.raw.CreateRunner(ctx, api.CreateRunnerRequest{Name: in.Name, Config: wire.RunnerConfig(in.Config), Team: in.Team}))
	return wire.RunnerOf(r), err
}

// UpdateRunner changes a runner profile. It fails with task.ErrConflict when
// change.Revision is not the stored one; 0 overwrites.
func (c *Client) UpdateRunner(ctx context.Context, uid string, change oz.RunnerChange) (oz.Runner, error) {
	if err := checkID("runner uid", uid); err != nil {
		return oz.Runner{}, err
	}
	body := api.UpdateRunnerRequest{Name: change.Name, Revision: change.Revision}
	if change.Config != nil {
		config := wire.RunnerConfig(*change.Config)
		body.Config = &config
	}
	r, err := decode[api.RunnerItem](c.raw.UpdateRunner(ctx, uid, body))
	return wire.RunnerOf(r), err
}

// DeleteRunner removes a runner profile.
func (c *Client) DeleteRunner(ctx context.Context, uid string) error {
	if err := checkID("runner uid", uid); err != nil {
		return err
	}
	return done(c.raw.DeleteRunner(ctx, uid))
}

// WorkerList lists the server's workers by ID.
func (c *Client) WorkerList(ctx context.Context) ([]oz.WorkerStatus, error) {
	answer, err := decode[api.ListWorkersResponse](c.raw.ListWorkers(ctx))
	if err != nil {
		return nil, err
	}
	return wire.Each(answer.Workers, wire.WorkerOf), nil
}
