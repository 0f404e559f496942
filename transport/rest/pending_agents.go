package rest

import (
	"context"

	"github.com/oz-platform/cloudagents/transport/api"
)

// ListAgents is not served yet.
func (o operations) ListAgents(context.Context, api.ListAgentsRequestObject) (api.ListAgentsResponseObject, error) {
	return nil, errNotServed()
}

// CreateAgent is not served yet.
func (o operations) CreateAgent(context.Context, api.CreateAgentRequestObject) (api.CreateAgentResponseObject, error) {
	return nil, errNotServed()
}

// DeleteAgent is not served yet.
func (o operations) DeleteAgent(context.Context, api.DeleteAgentRequestObject) (api.DeleteAgentResponseObject, error) {
	return nil, errNotServed()
}

// GetAgent is not served yet.
func (o operations) GetAgent(context.Context, api.GetAgentRequestObject) (api.GetAgentResponseObject, error) {
	return nil, errNotServed()
}

// UpdateAgent is not served yet.
func (o operations) UpdateAgent(context.Context, api.UpdateAgentRequestObject) (api.UpdateAgentResponseObject, error) {
	return nil, errNotServed()
}
