package client

import (
	"context"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// MemoryStores lists the memory stores that the caller may see, by name.
func (c *Client) MemoryStores(ctx context.Context) ([]oz.MemoryStore, error) {
	answer, err := decode[api.ListMemoryStoresResponse](c.raw.ListMemoryStores(ctx))
	if err != nil {
		return nil, err
	}
	return wire.Each(answer.MemoryStores, wire.MemoryStoreOf), nil
}

// MemoryStore returns one memory store.
func (c *Client) MemoryStore(ctx context.Context, uid string) (oz.MemoryStore, error) {
	if err := checkID("memory store uid", uid); err != nil {
		return oz.MemoryStore{}, err
	}
	s, err := decode[api.MemoryStoreItem](c.raw.GetMemoryStore(ctx, uid))
	return wire.MemoryStoreOf(s), err
}

// CreateMemoryStore makes a memory store.
func (c *Client) CreateMemoryStore(ctx context.Context, in oz.MemoryStoreInput) (oz.MemoryStore, error) {
	s, err := decode[api.MemoryStoreItem](c.raw.CreateMemoryStore(ctx, api.CreateMemoryStoreRequest{Name: in.Name, Description: in.Description, Team: in.Team}))
	return wire.MemoryStoreOf(s), err
}

// UpdateMemoryStore changes a memory store. It fails with task.ErrConflict when
// change.Revision is not the stored one; 0 overwrites.
func (c *Client) UpdateMemoryStore(ctx context.Context, uid string, change oz.MemoryStoreChange) (oz.MemoryStore, error) {
	if err := checkID("memory store uid", uid); err != nil {
		return oz.MemoryStore{}, err
	}
	s, err := decode[api.MemoryStoreItem](c.raw.UpdateMemoryStore(ctx, uid, api.UpdateMemoryStoreRequest{Name: change.Name,
		Description: change.Description, Revision: change.Revision}))
	return wire.MemoryStoreOf(s), err
}

// DeleteMemoryStore removes a memory store with all that it remembers.
func (c *Client) DeleteMemoryStore(ctx context.Context, uid string) error {
	if err := checkID("memory store uid", uid); err != nil {
		return err
	}
	return done(c.raw.DeleteMemoryStore(ctx, uid))
}

// MemoryStoreAgents lists the agent identities that have a memory store.
func (c *Client) MemoryStoreAgents(ctx context.Context, uid string) ([]access.Agent, error) {
	if err := checkID("memory store uid", uid); err != nil {
		return nil, err
	}
	answer, err := decode[api.ListAgentIdentitiesResponse](c.raw.ListMemoryStoreAgents(ctx, uid))
	if err != nil {
		return nil, err
	}
	return wire.Each(answer.Agents, wire.AgentOf), nil
}

// Memories lists what a store remembers, the newest first.
func (c *Client) Memories(ctx context.Context, store string) ([]task.Memory, error) {
	if err := checkID("memory store uid", store); err != nil {
		return nil, err
	}
	answer, err := decode[api.ListMemoriesResponse](c.raw.ListMemories(ctx, store))
	return answer.Memories, err
}

// CreateMemory keeps something in a store.
func (c *Client) CreateMemory(ctx context.Context, store string, in oz.MemoryInput) (task.Memory, error) {
	if err := checkID("memory store uid", store); err != nil {
		return task.Memory{}, err
	}
	return decode[task.Memory](c.raw.CreateMemory(ctx, store, api.WriteMemoryRequest{Content: in.Content, Reason: in.Reason}))
}

// checkMemory judges what stands in a path.
func checkMemory(store, uid string) error {
	if err := checkID("memory store uid", store); err != nil {
		return err
	}
	return checkID("memory uid", uid)
}

// UpdateMemory writes a new version of a memory. It fails with
// task.ErrConflict when in.Version is not the newest; 0 is any.
func (c *Client) UpdateMemory(ctx context.Context, store, uid string, in oz.MemoryInput) (task.Memory, error) {
	if err := checkMemory(store, uid); err != nil {
		return task.Memory{}, err
	}
	return decode[task.Memory](c.raw.UpdateMemory(ctx, store, uid, api.WriteMemoryRequest{Content: in.Content, Reason: in.Reason, Version: in.Version}))
}

// DeleteMemory forgets a memory with all its versions.
func (c *Client) DeleteMemory(ctx context.Context, store, uid string) error {
	if err := checkMemory(store, uid); err != nil {
		return err
	}
	return done(c.raw.DeleteMemory(ctx, store, uid))
}

// MemoryVersions lists the versions of a memory that are kept, the newest
// first.
func (c *Client) MemoryVersions(ctx context.Context, store, uid string) ([]task.Memory, error) {
	if err := checkMemory(store, uid); err != nil {
		return nil, err
	}
	answer, err := decode[api.ListMemoriesResponse](c.raw.ListMemoryVersions(ctx, store, uid))
	return answer.Memories, err
}

var _ executor.Rememberer = (*Link)(nil)

// Recall implements executor.Rememberer.
func (l *Link) Recall(ctx context.Context, r executor.Recall) ([]task.Memory, error) {
	answer, err := decode[api.ListMemoriesResponse](l.c.raw.RecallMemories(ctx, r))
	return answer.Memories, err
}

// Remember implements executor.Rememberer.
func (l *Link) Remember(ctx context.Context, r executor.Remembering) (task.Memory, error) {
	return decode[task.Memory](l.c.raw.RememberMemory(ctx, r))
}
