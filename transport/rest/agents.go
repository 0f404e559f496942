package rest

import (
	"context"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// agentItem shows an agent identity to the caller. What may be credentials in
// it is for those only who may change it.
func agentItem(ctx context.Context, a access.Agent) api.AgentResponse {
	return wire.Agent(a, !callOf(ctx).client.MayManageAgent(a))
}

// ListAgents implements GET /agent/identities.
func (o operations) ListAgents(ctx context.Context, _ api.ListAgentsRequestObject) (api.ListAgentsResponseObject, error) {
	list, err := callOf(ctx).client.Agents(ctx)
	if err != nil {
		return nil, err
	}
	answer := api.ListAgents200JSONResponse{Agents: []api.AgentResponse{}}
	for _, a := range list {
		answer.Agents = append(answer.Agents, agentItem(ctx, a))
	}
	return answer, nil
}

// CreateAgent implements POST /agent/identities.
func (o operations) CreateAgent(ctx context.Context, r api.CreateAgentRequestObject) (api.CreateAgentResponseObject, error) {
	a, err := callOf(ctx).client.CreateAgent(ctx, wire.NewAgentOf(*r.Body))
	if err != nil {
		return nil, err
	}
	return api.CreateAgent201JSONResponse(agentItem(ctx, a)), nil
}

// GetAgent implements GET /agent/identities/{agentUid}.
func (o operations) GetAgent(ctx context.Context, r api.GetAgentRequestObject) (api.GetAgentResponseObject, error) {
	a, err := callOf(ctx).client.Agent(ctx, r.AgentUid)
	if err != nil {
		return nil, err
	}
	return api.GetAgent200JSONResponse(agentItem(ctx, a)), nil
}

// UpdateAgent implements PUT /agent/identities/{agentUid}.
func (o operations) UpdateAgent(ctx context.Context, r api.UpdateAgentRequestObject) (api.UpdateAgentResponseObject, error) {
	a, err := callOf(ctx).client.UpdateAgent(ctx, r.AgentUid, wire.AgentInputOf(*r.Body))
	if err != nil {
		return nil, err
	}
	return api.UpdateAgent200JSONResponse(agentItem(ctx, a)), nil
}

// DeleteAgent implements DELETE /agent/identities/{agentUid}.
func (o operations) DeleteAgent(ctx context.Context, r api.DeleteAgentRequestObject) (api.DeleteAgentResponseObject, error) {
	if err := callOf(ctx).client.DeleteAgent(ctx, r.AgentUid); err != nil {
		return nil, err
	}
	return api.DeleteAgent204Response{}, nil
}
