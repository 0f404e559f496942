package oz

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// Limits of memory stores.
const (
	// maxMemories is how many memories a store has room for: they are read at
	// once.
	maxMemories = 500
	// maxMemoryVersions is how many versions of a memory are kept, the newest.
	maxMemoryVersions = 20
	// rememberTries is how often a memory is changed anew when others change it
	// at the same time.
	rememberTries = 20
)

// MemoryStore keeps what agents remember from run to run, as plain records of
// the platform's store (Oz platform, MEM-1). Agents write to it with a tool of
// theirs; where it is attached with extract, the run's model is asked, when a
// conversation has ended, what of that is worth keeping (MEM-2). Both leave
// memories with a reason and the run that they are from, which people may read,
// change and delete.
type MemoryStore struct{ Registered }

// MemoryStoreInput asks for a memory store.
type MemoryStoreInput struct {
	Name, Description string
	// Team says whose it is, as in Request.
	Team *bool
}

// MemoryStoreChange changes what is not nil.
type MemoryStoreChange struct {
	Name, Description *string
	// Revision fails the change with task.ErrConflict when it is not the
	// stored one; 0 is any.
	Revision int64
}

// MemoryInput asks to keep a memory, or to change one.
type MemoryInput struct {
	// Content and Reason are as in task.Memory. Reason must be given.
	Content, Reason string
	// Version fails a change with task.ErrConflict when it is not the newest; 0
	// is any.
	Version int
}

func memoryStores() shelf[MemoryStore] {
	return shelf[MemoryStore]{kind: "memory_store", what: "memory store",
		create: access.MemoryStoreCreate, view: access.MemoryView, manage: access.MemoryStoreManage,
		head: func(s *MemoryStore) *Registered { return &s.Registered }, check: func(MemoryStore) error { return nil }}
}

// CreateMemoryStore makes a memory store. It fails with
// task.CodeInvalidRequest, or with task.ErrConflict when the owner has one of
// that name.
func (c *Client) CreateMemoryStore(ctx context.Context, in MemoryStoreInput) (MemoryStore, error) {
	return memoryStores().add(ctx, c, MemoryStore{Registered: Registered{Name: in.Name, Description: in.Description}}, in.Team)
}

// MemoryStore returns one memory store.
func (c *Client) MemoryStore(ctx context.Context, uid string) (MemoryStore, error) {
	return memoryStores().get(ctx, c, uid, access.MemoryView)
}

// MemoryStores lists the memory stores that the caller may see, by name.
func (c *Client) MemoryStores(ctx context.Context) ([]MemoryStore, error) {
	return memoryStores().list(ctx, c)
}

// UpdateMemoryStore changes a memory store.
func (c *Client) UpdateMemoryStore(ctx context.Context, uid string, change MemoryStoreChange) (MemoryStore, error) {
	return memoryStores().update(ctx, c, uid, change.Revision, func(s *MemoryStore) {
		set(&s.Name, change.Name)
		set(&s.Description, change.Description)
	})
}

// DeleteMemoryStore removes a memory store with all that it remembers. Agents
// and runs that have it go on without.
func (c *Client) DeleteMemoryStore(ctx context.Context, uid string) error {
	if _, err := memoryStores().get(ctx, c, uid, access.MemoryStoreManage); err != nil {
		return err
	}
	records, err := c.p.store.Records(ctx, memoryKind(uid), nil)
	if err != nil {
		return fmt.Errorf("list memories: %w", err)
	}
	for _, r := range records {
		if err := c.p.store.DeleteRecord(ctx, r.Kind, r.Key); err != nil && !errors.Is(err, task.ErrNotFound) {
			return fmt.Errorf("delete memory %s: %w", r.Key, err)
		}
	}
	return memoryStores().remove(ctx, c, uid)
}

// MemoryStoreAgents lists the agent identities that have a memory store, by
// name.
func (c *Client) MemoryStoreAgents(ctx context.Context, uid string) ([]access.Agent, error) {
	s, err := c.MemoryStore(ctx, uid)
	if err != nil || s.Owner.Type != task.ScopeTeam {
		return []access.Agent{}, err
	}
	all, err := c.p.registry.Agents(ctx, s.Owner.UID)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(a access.Agent) bool {
		refs, _ := parseMemoryRefs("", a.Config.MemoryStores)
		return !slices.ContainsFunc(refs, func(r memoryRef) bool { return r.UID == uid })
	}), nil
}

// Memories lists what a store remembers, the newest first, each in its newest
// version.
func (c *Client) Memories(ctx context.Context, store string) ([]task.Memory, error) {
	if _, err := c.MemoryStore(ctx, store); err != nil {
		return nil, err
	}
	return c.p.memories(ctx, store)
}

// CreateMemory keeps something in a store.
func (c *Client) CreateMemory(ctx context.Context, store string, in MemoryInput) (task.Memory, error) {
	return c.writeMemory(ctx, store, "", "create", in)
}

// UpdateMemory writes a new version of a memory. It fails with task.ErrNotFound,
// or with task.ErrConflict when in.Version is not the newest.
func (c *Client) UpdateMemory(ctx context.Context, store, uid string, in MemoryInput) (task.Memory, error) {
	if uuid.Validate(uid) != nil {
		return task.Memory{}, noMemory(uid)
	}
	return c.writeMemory(ctx, store, uid, "update", in)
}

func (c *Client) writeMemory(ctx context.Context, store, uid, act string, in MemoryInput) (task.Memory, error) {
	s, err := memoryStores().get(ctx, c, store, access.MemoryWrite)
	if err != nil {
		return task.Memory{}, err
	}
	if strings.TrimSpace(in.Reason) == "" {
		return task.Memory{}, task.Invalid("reason", "is empty: say why this is to be remembered")
	}
	m := task.Memory{UID: uid, Content: in.Content, Reason: in.Reason, Author: c.caller.Principal}
	d := memoryDeed(s, uid, act)
	return doing(ctx, c, d, func() (task.Memory, error) {
		made, err := c.p.remember(ctx, s, m, in.Version)
		d.id = made.UID
		return made, err
	})
}

// DeleteMemory forgets a memory with all its versions.
func (c *Client) DeleteMemory(ctx context.Context, store, uid string) error {
	s, err := memoryStores().get(ctx, c, store, access.MemoryWrite)
	if err != nil {
		return err
	}
	return c.audited(ctx, memoryDeed(s, uid, "delete"), func() error {
		if uuid.Validate(uid) != nil {
			return noMemory(uid)
		}
		err := c.p.store.DeleteRecord(ctx, memoryKind(store), uid)
		if errors.Is(err, task.ErrNotFound) {
			return noMemory(uid)
		}
		return err
	})
}

// MemoryVersions lists the versions of a memory that are kept, the newest
// first: at most 20.
func (c *Client) MemoryVersions(ctx context.Context, store, uid string) ([]task.Memory, error) {
	if _, err := c.MemoryStore(ctx, store); err != nil {
		return nil, err
	}
	versions, _, err := c.p.memory(ctx, store, uid)
	slices.Reverse(versions)
	return versions, err
}

func memoryDeed(s MemoryStore, uid, act string) *deed {
	return &deed{action: access.MemoryWrite, kind: "memory", id: uid, owner: s.Owner, details: map[string]string{"act": act, "store": s.UID}}
}

func noMemory(uid string) error {
	return task.Errorf(task.CodeNotFound, "memory %q does not exist in this store", uid)
}

// memoryKind is what the records of a store's memories are called. Each has
// the versions of one memory, the oldest first.
func memoryKind(store string) string { return "memory." + store }

func decodeMemory(r task.Record) ([]task.Memory, error) {
	var versions []task.Memory
	if err := json.Unmarshal(r.Data, &versions); err != nil || len(versions) == 0 {
		return nil, fmt.Errorf("decode memory %s: %w", r.Key, cmp.Or(err, errors.New("it has no version")))
	}
	return versions, nil
}

// memory reads the versions of a memory, the oldest first.
func (p *Platform) memory(ctx context.Context, store, uid string) ([]task.Memory, int64, error) {
	if uuid.Validate(uid) != nil { // no key that a store might refuse
		return nil, 0, noMemory(uid)
	}
	r, err := p.store.Record(ctx, memoryKind(store), uid)
	if errors.Is(err, task.ErrNotFound) {
		return nil, 0, noMemory(uid)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read memory %s: %w", uid, err)
	}
	versions, err := decodeMemory(r)
	return versions, r.Revision, err
}

// memories reads what a store remembers, the newest first.
func (p *Platform) memories(ctx context.Context, store string) ([]task.Memory, error) {
	records, err := p.store.Records(ctx, memoryKind(store), nil)
	if err != nil {
		return nil, fmt.Errorf("list memories: %w", err)
	}
	list := []task.Memory{}
	for _, r := range records {
		versions, err := decodeMemory(r)
		if err != nil {
			return nil, err
		}
		list = append(list, versions[len(versions)-1])
	}
	slices.SortFunc(list, func(a, b task.Memory) int {
		return cmp.Or(b.WrittenAt.Compare(a.WrittenAt), strings.Compare(a.UID, b.UID))
	})
	return list, nil
}

// remember writes a version of a memory: the first one of a new memory if m has
// no UID. What the store has already, word for word, is not kept twice.
func (p *Platform) remember(ctx context.Context, s MemoryStore, m task.Memory, version int) (task.Memory, error) {
	if err := task.ValidateMemory(m.Content, m.Reason); err != nil {
		return task.Memory{}, err
	}
	if m.UID != "" {
		m.Store, m.WrittenAt = s.UID, p.opts.Clock.Now().UTC().Truncate(time.Microsecond)
		return p.supersede(ctx, s, m, version)
	}
	return p.rememberAs(ctx, s, m, uuid.NewString())
}

// rememberAs keeps a new memory under a name.
func (p *Platform) rememberAs(ctx context.Context, s MemoryStore, m task.Memory, uid string) (task.Memory, error) {
	if err := task.ValidateMemory(m.Content, m.Reason); err != nil {
		return task.Memory{}, err
	}
	m.Store, m.WrittenAt = s.UID, p.opts.Clock.Now().UTC().Truncate(time.Microsecond)
	list, err := p.memories(ctx, s.UID)
	if err != nil {
		return task.Memory{}, err
	}
	same := func(o task.Memory) bool { return strings.TrimSpace(o.Content) == strings.TrimSpace(m.Content) }
	if i := slices.IndexFunc(list, same); i >= 0 {
		return list[i], nil
	}
	if len(list) >= maxMemories {
		return task.Memory{}, task.Invalid("store_uid", "the store %q has %d memories already, the most that it may have: replace or delete some", s.Name, maxMemories)
	}
	m.UID, m.Version = uid, 1
	return m, p.putMemory(ctx, s, []task.Memory{m}, 0)
}

// supersede writes a new version of a memory that is there.
func (p *Platform) supersede(ctx context.Context, s MemoryStore, m task.Memory, version int) (task.Memory, error) {
	for try := 0; ; try++ {
		versions, revision, err := p.memory(ctx, s.UID, m.UID)
		if err != nil {
			return task.Memory{}, err
		}
		last := versions[len(versions)-1]
		if version != 0 && version != last.Version {
			return task.Memory{}, &task.Error{Code: task.CodeConflict, Field: "version",
				Message: fmt.Sprintf("memory %s is at version %d by now: read it again and repeat the change", m.UID, last.Version)}
		}
		if last.Content == m.Content && last.RunID == m.RunID { // a retry
			return last, nil
		}
		m.Version = last.Version + 1
		versions = append(versions, m)
		err = p.putMemory(ctx, s, versions[max(0, len(versions)-maxMemoryVersions):], revision)
		if !errors.Is(err, task.ErrConflict) || try == rememberTries {
			return m, err
		}
	}
}

func (p *Platform) putMemory(ctx context.Context, s MemoryStore, versions []task.Memory, revision int64) error {
	data, err := json.Marshal(versions)
	if err != nil {
		return fmt.Errorf("encode memory: %w", err)
	}
	last := versions[len(versions)-1]
	_, err = p.store.PutRecord(ctx, task.Record{Kind: memoryKind(s.UID), Key: last.UID, Owner: s.Owner, Revision: revision,
		Data: data, UpdatedAt: last.WrittenAt})
	if err != nil {
		return fmt.Errorf("store memory %s: %w", last.UID, err)
	}
	return nil
}
