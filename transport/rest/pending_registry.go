package rest

import (
	"context"

	"github.com/oz-platform/cloudagents/transport/api"
)

// ListMcpServers is not served yet.
func (o operations) ListMcpServers(context.Context, api.ListMcpServersRequestObject) (api.ListMcpServersResponseObject, error) {
	return nil, errNotServed()
}

// CreateMcpServer is not served yet.
func (o operations) CreateMcpServer(context.Context, api.CreateMcpServerRequestObject) (api.CreateMcpServerResponseObject, error) {
	return nil, errNotServed()
}

// DeleteMcpServer is not served yet.
func (o operations) DeleteMcpServer(context.Context, api.DeleteMcpServerRequestObject) (api.DeleteMcpServerResponseObject, error) {
	return nil, errNotServed()
}

// GetMcpServer is not served yet.
func (o operations) GetMcpServer(context.Context, api.GetMcpServerRequestObject) (api.GetMcpServerResponseObject, error) {
	return nil, errNotServed()
}

// UpdateMcpServer is not served yet.
func (o operations) UpdateMcpServer(context.Context, api.UpdateMcpServerRequestObject) (api.UpdateMcpServerResponseObject, error) {
	return nil, errNotServed()
}

// ListPrompts is not served yet.
func (o operations) ListPrompts(context.Context, api.ListPromptsRequestObject) (api.ListPromptsResponseObject, error) {
	return nil, errNotServed()
}

// CreatePrompt is not served yet.
func (o operations) CreatePrompt(context.Context, api.CreatePromptRequestObject) (api.CreatePromptResponseObject, error) {
	return nil, errNotServed()
}

// DeletePrompt is not served yet.
func (o operations) DeletePrompt(context.Context, api.DeletePromptRequestObject) (api.DeletePromptResponseObject, error) {
	return nil, errNotServed()
}

// GetPrompt is not served yet.
func (o operations) GetPrompt(context.Context, api.GetPromptRequestObject) (api.GetPromptResponseObject, error) {
	return nil, errNotServed()
}

// UpdatePrompt is not served yet.
func (o operations) UpdatePrompt(context.Context, api.UpdatePromptRequestObject) (api.UpdatePromptResponseObject, error) {
	return nil, errNotServed()
}

// ListRunners is not served yet.
func (o operations) ListRunners(context.Context, api.ListRunnersRequestObject) (api.ListRunnersResponseObject, error) {
	return nil, errNotServed()
}

// CreateRunner is not served yet.
func (o operations) CreateRunner(context.Context, api.CreateRunnerRequestObject) (api.CreateRunnerResponseObject, error) {
	return nil, errNotServed()
}

// DeleteRunner is not served yet.
func (o operations) DeleteRunner(context.Context, api.DeleteRunnerRequestObject) (api.DeleteRunnerResponseObject, error) {
	return nil, errNotServed()
}

// GetRunner is not served yet.
func (o operations) GetRunner(context.Context, api.GetRunnerRequestObject) (api.GetRunnerResponseObject, error) {
	return nil, errNotServed()
}

// UpdateRunner is not served yet.
func (o operations) UpdateRunner(context.Context, api.UpdateRunnerRequestObject) (api.UpdateRunnerResponseObject, error) {
	return nil, errNotServed()
}

// ListWorkers is not served yet.
func (o operations) ListWorkers(context.Context, api.ListWorkersRequestObject) (api.ListWorkersResponseObject, error) {
	return nil, errNotServed()
}
