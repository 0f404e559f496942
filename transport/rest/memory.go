package rest

import (
	"context"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// ListMemoryStores implements GET /oz/memory-stores.
func (o operations) ListMemoryStores(ctx context.Context, _ api.ListMemoryStoresRequestObject) (api.ListMemoryStoresResponseObject, error) {
	list, err := callOf(ctx).client.MemoryStores(ctx)
	if err != nil {
		return nil, err
	}
	return api.ListMemoryStores200JSONResponse{MemoryStores: wire.Each(list, wire.MemoryStore)}, nil
}

// CreateMemoryStore implements POST /oz/memory-stores.
func (o operations) CreateMemoryStore(ctx context.Context, r api.CreateMemoryStoreRequestObject) (api.CreateMemoryStoreResponseObject, error) {
	s, err := callOf(ctx).client.CreateMemoryStore(ctx, oz.MemoryStoreInput{Name: r.Body.Name, Description: r.Body.Description, Team: r.Body.Team})
	if err != nil {
		return nil, err
	}
	return api.CreateMemoryStore201JSONResponse(wire.MemoryStore(s)), nil
}

// GetMemoryStore implements GET /oz/memory-stores/{storeUid}.
func (o operations) GetMemoryStore(ctx context.Context, r api.GetMemoryStoreRequestObject) (api.GetMemoryStoreResponseObject, error) {
	s, err := callOf(ctx).client.MemoryStore(ctx, r.StoreUid)
	if err != nil {
		return nil, err
	}
	return api.GetMemoryStore200JSONResponse(wire.MemoryStore(s)), nil
}

// UpdateMemoryStore implements PUT /oz/memory-stores/{storeUid}.
func (o operations) UpdateMemoryStore(ctx context.Context, r api.UpdateMemoryStoreRequestObject) (api.UpdateMemoryStoreResponseObject, error) {
	s, err := callOf(ctx).client.UpdateMemoryStore(ctx, r.StoreUid, oz.MemoryStoreChange{Name: r.Body.Name, Description: r.Body.Description,
		Revision: r.Body.Revision})
	if err != nil {
		return nil, err
	}
	return api.UpdateMemoryStore200JSONResponse(wire.MemoryStore(s)), nil
}

// DeleteMemoryStore implements DELETE /oz/memory-stores/{storeUid}.
func (o operations) DeleteMemoryStore(ctx context.Context, r api.DeleteMemoryStoreRequestObject) (api.DeleteMemoryStoreResponseObject, error) {
	if err := callOf(ctx).client.DeleteMemoryStore(ctx, r.StoreUid); err != nil {
		return nil, err
	}
	return api.DeleteMemoryStore204Response{}, nil
}

// ListMemoryStoreAgents implements GET /oz/memory-stores/{storeUid}/agents.
func (o operations) ListMemoryStoreAgents(ctx context.Context, r api.ListMemoryStoreAgentsRequestObject) (api.ListMemoryStoreAgentsResponseObject, error) {
	c := callOf(ctx).client
	list, err := c.MemoryStoreAgents(ctx, r.StoreUid)
	if err != nil {
		return nil, err
	}
	out := api.ListAgentIdentitiesResponse{Agents: []api.AgentResponse{}}
	for _, a := range list {
		out.Agents = append(out.Agents, wire.Agent(a, !c.MayManageAgent(a)))
	}
	return api.ListMemoryStoreAgents200JSONResponse(out), nil
}

// ListMemories implements GET /oz/memory-stores/{storeUid}/memories.
func (o operations) ListMemories(ctx context.Context, r api.ListMemoriesRequestObject) (api.ListMemoriesResponseObject, error) {
	list, err := callOf(ctx).client.Memories(ctx, r.StoreUid)
	if err != nil {
		return nil, err
	}
	return api.ListMemories200JSONResponse(memoryList(list)), nil
}

// memoryList is never null on the wire.
func memoryList(list []task.Memory) api.ListMemoriesResponse {
	return api.ListMemoriesResponse{Memories: append([]task.Memory{}, list...)}
}

// CreateMemory implements POST /oz/memory-stores/{storeUid}/memories.
func (o operations) CreateMemory(ctx context.Context, r api.CreateMemoryRequestObject) (api.CreateMemoryResponseObject, error) {
	m, err := callOf(ctx).client.CreateMemory(ctx, r.StoreUid, oz.MemoryInput{Content: r.Body.Content, Reason: r.Body.Reason})
	if err != nil {
		return nil, err
	}
	return api.CreateMemory201JSONResponse(m), nil
}

// UpdateMemory implements PUT /oz/memory-stores/{storeUid}/memories/{memoryUid}.
func (o operations) UpdateMemory(ctx context.Context, r api.UpdateMemoryRequestObject) (api.UpdateMemoryResponseObject, error) {
	m, err := callOf(ctx).client.UpdateMemory(ctx, r.StoreUid, r.MemoryUid, oz.MemoryInput{Content: r.Body.Content, Reason: r.Body.Reason, Version: r.Body.Version})
	if err != nil {
		return nil, err
	}
	return api.UpdateMemory200JSONResponse(m), nil
}

// DeleteMemory implements DELETE /oz/memory-stores/{storeUid}/memories/{memoryUid}.
func (o operations) DeleteMemory(ctx context.Context, r api.DeleteMemoryRequestObject) (api.DeleteMemoryResponseObject, error) {
	if err := callOf(ctx).client.DeleteMemory(ctx, r.StoreUid, r.MemoryUid); err != nil {
		return nil, err
	}
	return api.DeleteMemory204Response{}, nil
}

// ListMemoryVersions implements GET /oz/memory-stores/{storeUid}/memories/{memoryUid}/versions.
func (o operations) ListMemoryVersions(ctx context.Context, r api.ListMemoryVersionsRequestObject) (api.ListMemoryVersionsResponseObject, error) {
	list, err := callOf(ctx).client.MemoryVersions(ctx, r.StoreUid, r.MemoryUid)
	if err != nil {
		return nil, err
	}
	return api.ListMemoryVersions200JSONResponse(memoryList(list)), nil
}

// rememberer is a link of a platform that keeps memories.
func (o operations) rememberer(ctx context.Context) (executor.Rememberer, error) {
	link, err := o.link(ctx)
	if err != nil {
		return nil, err
	}
	r, ok := link.(executor.Rememberer)
	if !ok {
		return nil, task.Errorf(task.CodeFeatureNotAvailable, "this server keeps no memories")
	}
	return r, nil
}

// RecallMemories implements POST /oz/executions/current/recall.
func (o operations) RecallMemories(ctx context.Context, r api.RecallMemoriesRequestObject) (api.RecallMemoriesResponseObject, error) {
	link, err := o.rememberer(ctx)
	if err != nil {
		return nil, err
	}
	list, err := link.Recall(ctx, *r.Body)
	if err != nil {
		return nil, err
	}
	return api.RecallMemories200JSONResponse(memoryList(list)), nil
}

// RememberMemory implements POST /oz/executions/current/memories.
func (o operations) RememberMemory(ctx context.Context, r api.RememberMemoryRequestObject) (api.RememberMemoryResponseObject, error) {
	link, err := o.rememberer(ctx)
	if err != nil {
		return nil, err
	}
	m, err := link.Remember(ctx, *r.Body)
	if err != nil {
		return nil, err
	}
	return api.RememberMemory200JSONResponse(m), nil
}
