package client

import (
	"context"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// Agents lists the agent identities of the caller's only team, by name.
func (c *Client) Agents(ctx context.Context) ([]access.Agent, error) {
	answer, err := decode[api.ListAgentIdentitiesResponse](c.raw.ListAgents(ctx, nil))
	if err != nil {
		return nil, err
	}
	list := make([]access.Agent, 0, len(answer.Agents))
	for _, a := range answer.Agents {
		list = append(list, wire.AgentOf(a))
	}
	return list, nil
}

// CreateAgent makes an agent identity.
func (c *Client) CreateAgent(ctx context.Context, in oz.AgentInput) (access.Agent, error) {
	a, err := decode[api.AgentResponse](c.raw.CreateAgent(ctx, wire.NewAgent(in)))
	return wire.AgentOf(a), err
}

// Agent returns one agent identity.
func (c *Client) Agent(ctx context.Context, uid string) (access.Agent, error) {
	if err := checkID("agent uid", uid); err != nil {
		return access.Agent{}, err
	}
	a, err := decode[api.AgentResponse](c.raw.GetAgent(ctx, uid))
	return wire.AgentOf(a), err
}

// UpdateAgent changes what in gives of an agent identity.
func (c *Client) UpdateAgent(ctx context.Context, uid string, in oz.AgentInput) (access.Agent, error) {
	if err := checkID("agent uid", uid); err != nil {
		return access.Agent{}, err
	}
	a, err := decode[api.AgentResponse](c.raw.UpdateAgent(ctx, uid, wire.AgentInput(in)))
	return wire.AgentOf(a), err
}

// DeleteAgent deletes an agent identity and its API keys.
func (c *Client) DeleteAgent(ctx context.Context, uid string) error {
	if err := checkID("agent uid", uid); err != nil {
		return err
	}
	return done(c.raw.DeleteAgent(ctx, uid))
}
