package rest

import (
	"context"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// ListMcpServers implements GET /oz/mcp-servers.
func (o operations) ListMcpServers(ctx context.Context, _ api.ListMcpServersRequestObject) (api.ListMcpServersResponseObject, error) {
	list, err := callOf(ctx).client.MCPServers(ctx)
	if err != nil {
		return nil, err
	}
	return api.ListMcpServers200JSONResponse{McpServers: wire.Each(list, wire.MCPServer)}, nil
}

// CreateMcpServer implements POST /oz/mcp-servers.
func (o operations) CreateMcpServer(ctx context.Context, r api.CreateMcpServerRequestObject) (api.CreateMcpServerResponseObject, error) {
	s, err := callOf(ctx).client.CreateMCPServer(ctx, oz.MCPServerInput{Name: r.Body.Name, Description: r.Body.Description,
		Config: r.Body.Config, Team: r.Body.Team})
	if err != nil {
		return nil, err
	}
	return api.CreateMcpServer201JSONResponse(wire.MCPServer(s)), nil
}

// GetMcpServer implements GET /oz/mcp-servers/{mcpUid}.
func (o operations) GetMcpServer(ctx context.Context, r api.GetMcpServerRequestObject) (api.GetMcpServerResponseObject, error) {
	s, err := callOf(ctx).client.MCPServer(ctx, r.McpUid)
	if err != nil {
		return nil, err
	}
	return api.GetMcpServer200JSONResponse(wire.MCPServer(s)), nil
}

// UpdateMcpServer implements PUT /oz/mcp-servers/{mcpUid}.
func (o operations) UpdateMcpServer(ctx context.Context, r api.UpdateMcpServerRequestObject) (api.UpdateMcpServerResponseObject, error) {
	s, err := callOf(ctx).client.UpdateMCPServer(ctx, r.McpUid, oz.MCPServerChange{Name: r.Body.Name, Description: r.Body.Description,
		Config: r.Body.Config, Revision: r.Body.Revision})
	if err != nil {
		return nil, err
	}
	return api.UpdateMcpServer200JSONResponse(wire.MCPServer(s)), nil
}

// DeleteMcpServer implements DELETE /oz/mcp-servers/{mcpUid}.
func (o operations) DeleteMcpServer(ctx context.Context, r api.DeleteMcpServerRequestObject) (api.DeleteMcpServerResponseObject, error) {
	if err := callOf(ctx).client.DeleteMCPServer(ctx, r.McpUid); err != nil {
		return nil, err
	}
	return api.DeleteMcpServer204Response{}, nil
}

// ListPrompts implements GET /oz/prompts.
func (o operations) ListPrompts(ctx context.Context, _ api.ListPromptsRequestObject) (api.ListPromptsResponseObject, error) {
	list, err := callOf(ctx).client.Prompts(ctx)
	if err != nil {
		return nil, err
	}
	return api.ListPrompts200JSONResponse{Prompts: wire.Each(list, wire.Prompt)}, nil
}

// CreatePrompt implements POST /oz/prompts.
func (o operations) CreatePrompt(ctx context.Context, r api.CreatePromptRequestObject) (api.CreatePromptResponseObject, error) {
	p, err := callOf(ctx).client.CreatePrompt(ctx, oz.PromptInput{Name: r.Body.Name, Description: r.Body.Description,
		Prompt: r.Body.Prompt, Team: r.Body.Team})
	if err != nil {
		return nil, err
	}
	return api.CreatePrompt201JSONResponse(wire.Prompt(p)), nil
}

// GetPrompt implements GET /oz/prompts/{promptUid}.
func (o operations) GetPrompt(ctx context.Context, r api.GetPromptRequestObject) (api.GetPromptResponseObject, error) {
	p, err := callOf(ctx).client.Prompt(ctx, r.PromptUid)
	if err != nil {
		return nil, err
	}
	return api.GetPrompt200JSONResponse(wire.Prompt(p)), nil
}

// UpdatePrompt implements PUT /oz/prompts/{promptUid}.
func (o operations) UpdatePrompt(ctx context.Context, r api.UpdatePromptRequestObject) (api.UpdatePromptResponseObject, error) {
	p, err := callOf(ctx).client.UpdatePrompt(ctx, r.PromptUid, oz.PromptChange{Name: r.Body.Name, Description: r.Body.Description,
		Prompt: r.Body.Prompt, Revision: r.Body.Revision})
	if err != nil {
		return nil, err
	}
	return api.UpdatePrompt200JSONResponse(wire.Prompt(p)), nil
}

// DeletePrompt implements DELETE /oz/prompts/{promptUid}.
func (o operations) DeletePrompt(ctx context.Context, r api.DeletePromptRequestObject) (api.DeletePromptResponseObject, error) {
	if err := callOf(ctx).client.DeletePrompt(ctx, r.PromptUid); err != nil {
		return nil, err
	}
	return api.DeletePrompt204Response{}, nil
}

// ListModelEndpoints implements GET /oz/model-endpoints.
func (o operations) ListModelEndpoints(ctx context.Context, _ api.ListModelEndpointsRequestObject) (api.ListModelEndpointsResponseObject, error) {
	list, err := callOf(ctx).client.ModelEndpoints(ctx)
	if err != nil {
		return nil, err
	}
	return api.ListModelEndpoints200JSONResponse{ModelEndpoints: wire.Each(list, wire.ModelEndpoint)}, nil
}

// CreateModelEndpoint implements POST /oz/model-endpoints.
func (o operations) CreateModelEndpoint(ctx context.Context, r api.CreateModelEndpointRequestObject) (api.CreateModelEndpointResponseObject, error) {
	b := r.Body
	e, err := callOf(ctx).client.CreateModelEndpoint(ctx, oz.ModelEndpointInput{Name: b.Name, Description: b.Description, Wire: b.Wire,
		BaseURL: b.BaseUrl, Secret: b.Secret, BearerAuth: b.BearerAuth, Models: b.Models, Prices: b.Prices})
	if err != nil {
		return nil, err
	}
	return api.CreateModelEndpoint201JSONResponse(wire.ModelEndpoint(e)), nil
}

// GetModelEndpoint implements GET /oz/model-endpoints/{endpointUid}.
func (o operations) GetModelEndpoint(ctx context.Context, r api.GetModelEndpointRequestObject) (api.GetModelEndpointResponseObject, error) {
	e, err := callOf(ctx).client.ModelEndpoint(ctx, r.EndpointUid)
	if err != nil {
		return nil, err
	}
	return api.GetModelEndpoint200JSONResponse(wire.ModelEndpoint(e)), nil
}

// DeleteModelEndpoint implements DELETE /oz/model-endpoints/{endpointUid}.
func (o operations) DeleteModelEndpoint(ctx context.Context, r api.DeleteModelEndpointRequestObject) (api.DeleteModelEndpointResponseObject, error) {
	if err := callOf(ctx).client.DeleteModelEndpoint(ctx, r.EndpointUid); err != nil {
		return nil, err
	}
	return api.DeleteModelEndpoint204Response{}, nil
}

// ListRules implements GET /oz/rules.
func (o operations) ListRules(ctx context.Context, _ api.ListRulesRequestObject) (api.ListRulesResponseObject, error) {
	list, err := callOf(ctx).client.Rules(ctx)
	if err != nil {
		return nil, err
	}
	return api.ListRules200JSONResponse{Rules: wire.Each(list, wire.Rule)}, nil
}

// CreateRule implements POST /oz/rules.
func (o operations) CreateRule(ctx context.Context, r api.CreateRuleRequestObject) (api.CreateRuleResponseObject, error) {
	p, err := callOf(ctx).client.CreateRule(ctx, oz.RuleInput{Name: r.Body.Name, Description: r.Body.Description,
		Rule: r.Body.Rule, Team: r.Body.Team})
	if err != nil {
		return nil, err
	}
	return api.CreateRule201JSONResponse(wire.Rule(p)), nil
}

// GetRule implements GET /oz/rules/{ruleUid}.
func (o operations) GetRule(ctx context.Context, r api.GetRuleRequestObject) (api.GetRuleResponseObject, error) {
	p, err := callOf(ctx).client.Rule(ctx, r.RuleUid)
	if err != nil {
		return nil, err
	}
	return api.GetRule200JSONResponse(wire.Rule(p)), nil
}

// UpdateRule implements PUT /oz/rules/{ruleUid}.
func (o operations) UpdateRule(ctx context.Context, r api.UpdateRuleRequestObject) (api.UpdateRuleResponseObject, error) {
	p, err := callOf(ctx).client.UpdateRule(ctx, r.RuleUid, oz.RuleChange{Name: r.Body.Name, Description: r.Body.Description,
		Rule: r.Body.Rule, Revision: r.Body.Revision})
	if err != nil {
		return nil, err
	}
	return api.UpdateRule200JSONResponse(wire.Rule(p)), nil
}

// DeleteRule implements DELETE /oz/rules/{ruleUid}.
func (o operations) DeleteRule(ctx context.Context, r api.DeleteRuleRequestObject) (api.DeleteRuleResponseObject, error) {
	if err := callOf(ctx).client.DeleteRule(ctx, r.RuleUid); err != nil {
		return nil, err
	}
	return api.DeleteRule204Response{}, nil
}

// ListAgentProfiles implements GET /oz/agent-profiles.
func (o operations) ListAgentProfiles(ctx context.Context, _ api.ListAgentProfilesRequestObject) (api.ListAgentProfilesResponseObject, error) {
	list, err := callOf(ctx).client.Profiles(ctx)
	if err != nil {
		return nil, err
	}
	return api.ListAgentProfiles200JSONResponse{AgentProfiles: wire.Each(list, wire.Profile)}, nil
}

// CreateAgentProfile implements POST /oz/agent-profiles.
func (o operations) CreateAgentProfile(ctx context.Context, r api.CreateAgentProfileRequestObject) (api.CreateAgentProfileResponseObject, error) {
	p, err := callOf(ctx).client.CreateProfile(ctx, oz.ProfileInput{Name: r.Body.Name, Description: r.Body.Description,
		Model: r.Body.BaseModel, Permissions: r.Body.Permissions, Team: r.Body.Team})
	if err != nil {
		return nil, err
	}
	return api.CreateAgentProfile201JSONResponse(wire.Profile(p)), nil
}

// GetAgentProfile implements GET /oz/agent-profiles/{profileUid}.
func (o operations) GetAgentProfile(ctx context.Context, r api.GetAgentProfileRequestObject) (api.GetAgentProfileResponseObject, error) {
	p, err := callOf(ctx).client.Profile(ctx, r.ProfileUid)
	if err != nil {
		return nil, err
	}
	return api.GetAgentProfile200JSONResponse(wire.Profile(p)), nil
}

// UpdateAgentProfile implements PUT /oz/agent-profiles/{profileUid}.
func (o operations) UpdateAgentProfile(ctx context.Context, r api.UpdateAgentProfileRequestObject) (api.UpdateAgentProfileResponseObject, error) {
	p, err := callOf(ctx).client.UpdateProfile(ctx, r.ProfileUid, oz.ProfileChange{Name: r.Body.Name, Description: r.Body.Description,
		Model: r.Body.BaseModel, Permissions: r.Body.Permissions, Revision: r.Body.Revision})
	if err != nil {
		return nil, err
	}
	return api.UpdateAgentProfile200JSONResponse(wire.Profile(p)), nil
}

// DeleteAgentProfile implements DELETE /oz/agent-profiles/{profileUid}.
func (o operations) DeleteAgentProfile(ctx context.Context, r api.DeleteAgentProfileRequestObject) (api.DeleteAgentProfileResponseObject, error) {
	if err := callOf(ctx).client.DeleteProfile(ctx, r.ProfileUid); err != nil {
		return nil, err
	}
	return api.DeleteAgentProfile204Response{}, nil
}

// ListRunners implements GET /oz/runners.
func (o operations) ListRunners(ctx context.Context, _ api.ListRunnersRequestObject) (api.ListRunnersResponseObject, error) {
	list, err := callOf(ctx).client.Runners(ctx)
	if err != nil {
		return nil, err
	}
	return api.ListRunners200JSONResponse{Runners: wire.Each(list, wire.Runner)}, nil
}

// CreateRunner implements POST /oz/runners.
func (o operations) CreateRunner(ctx context.Context, r api.CreateRunnerRequestObject) (api.CreateRunnerResponseObject, error) {
	n, err := callOf(ctx).client.CreateRunner(ctx, oz.RunnerInput{Name: r.Body.Name, Config: wire.RunnerConfigOf(r.Body.Config), Team: r.Body.Team})
	if err != nil {
		return nil, err
	}
	return api.CreateRunner201JSONResponse(wire.Runner(n)), nil
}

// GetRunner implements GET /oz/runners/{runnerUid}.
func (o operations) GetRunner(ctx context.Context, r api.GetRunnerRequestObject) (api.GetRunnerResponseObject, error) {
	n, err := callOf(ctx).client.Runner(ctx, r.RunnerUid)
	if err != nil {
		return nil, err
	}
	return api.GetRunner200JSONResponse(wire.Runner(n)), nil
}

// UpdateRunner implements PUT /oz/runners/{runnerUid}.
func (o operations) UpdateRunner(ctx context.Context, r api.UpdateRunnerRequestObject) (api.UpdateRunnerResponseObject, error) {
	change := oz.RunnerChange{Name: r.Body.Name, Revision: r.Body.Revision}
	if r.Body.Config != nil {
		config := wire.RunnerConfigOf(*r.Body.Config)
		change.Config = &config
	}
	n, err := callOf(ctx).client.UpdateRunner(ctx, r.RunnerUid, change)
	if err != nil {
		return nil, err
	}
	return api.UpdateRunner200JSONResponse(wire.Runner(n)), nil
}

// DeleteRunner implements DELETE /oz/runners/{runnerUid}.
func (o operations) DeleteRunner(ctx context.Context, r api.DeleteRunnerRequestObject) (api.DeleteRunnerResponseObject, error) {
	if err := callOf(ctx).client.DeleteRunner(ctx, r.RunnerUid); err != nil {
		return nil, err
	}
	return api.DeleteRunner204Response{}, nil
}

// ListWorkers implements GET /oz/workers.
func (o operations) ListWorkers(ctx context.Context, _ api.ListWorkersRequestObject) (api.ListWorkersResponseObject, error) {
	list, err := callOf(ctx).client.WorkerList(ctx)
	if err != nil {
		return nil, err
	}
	return api.ListWorkers200JSONResponse{Workers: wire.Each(list, wire.Worker)}, nil
}
