package oz

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// Limits of what a run has of memories.
const (
	maxMemoryRefs        = 10                // stores
	maxAttached          = maxMemoryRefs - 1 // to an agent, which may have its own
	maxMemoryInstruction = 4 << 10           // bytes, of each
	maxMemoryRefsBytes   = 64 << 10
	// maxInjected is what an agent is told of memories when it begins, in bytes
	// and number; it asks for more with Recall.
	maxInjectedBytes, maxInjected = 12 << 10, 40
	defaultRecalled               = 10
	maxRecallQuery                = 4 << 10 // bytes
	maxRememberKey                = 128     // bytes
)

// memoryRef attaches a memory store (Oz API, MemoryStoreRef).
type memoryRef struct {
	UID          string `json:"uid"`
	Access       string `json:"access"`
	Instructions string `json:"instructions"`
	// Extract, ours, lets the store learn from the run's conversation.
	Extract bool `json:"extract,omitempty"`
}

// AutoMemoryInstructions are those of the memory store that is made with an
// agent identity.
const AutoMemoryInstructions = "Keep here what will help you in later runs: facts about the project, decisions, what people prefer, and mistakes not to repeat."

// parseMemoryRefs reads and judges the stores that a configuration names.
func parseMemoryRefs(field string, raw json.RawMessage) ([]memoryRef, error) {
	if emptyJSON(raw) {
		return nil, nil
	}
	if len(raw) > maxMemoryRefsBytes {
		return nil, task.Invalid(field, "has %d bytes, at most %d are allowed", len(raw), maxMemoryRefsBytes)
	}
	var refs []memoryRef
	if err := json.Unmarshal(raw, &refs); err != nil {
		return nil, task.Invalid(field, "must be a list of objects with uid, access and instructions, and extract, which is true or false")
	}
	if len(refs) > maxMemoryRefs {
		return nil, task.Invalid(field, "names %d stores, at most %d are allowed", len(refs), maxMemoryRefs)
	}
	for i, r := range refs {
		at := fmt.Sprintf("%s[%d]", field, i)
		switch {
		case r.UID == "" || slices.IndexFunc(refs, func(o memoryRef) bool { return o.UID == r.UID }) != i:
			return nil, task.Invalid(at+".uid", "must be set, and name each store once")
		case r.Access != executor.MemoryReadOnly && r.Access != executor.MemoryReadWrite:
			return nil, task.Invalid(at+".access", "%q is neither read_only nor read_write", r.Access)
		case r.Extract && r.Access != executor.MemoryReadWrite:
			return nil, task.Invalid(at+".extract", "needs access read_write: what is learned is written to the store")
		case r.Extract && slices.IndexFunc(refs, func(o memoryRef) bool { return o.Extract }) != i:
			return nil, task.Invalid(at+".extract", "may be set for one store of a run")
		case strings.TrimSpace(r.Instructions) == "":
			return nil, task.Invalid(at+".instructions", "must not be empty: say what the store is for")
		case len(r.Instructions) > maxMemoryInstruction:
			return nil, task.Invalid(at+".instructions", "has %d bytes, at most %d are allowed", len(r.Instructions), maxMemoryInstruction)
		}
		if err := task.ValidateText(at+".instructions", r.Instructions); err != nil {
			return nil, err
		}
	}
	return refs, nil
}

// checkMemoryRefs judges that the stores are there and belong to owner.
func (c *Client) checkMemoryRefs(ctx context.Context, field string, raw json.RawMessage, owner task.Scope) error {
	refs, err := parseMemoryRefs(field, raw)
	if err != nil {
		return err
	}
	for i, r := range refs {
		s, err := c.MemoryStore(ctx, r.UID)
		if err := belongs(fmt.Sprintf("%s[%d].uid", field, i), "memory store", r.UID, s.Owner, owner, err); err != nil {
			return err
		}
	}
	return nil
}

// runStore is a memory store of a run.
type runStore struct {
	memoryRef
	store MemoryStore
}

// runStores are the memory stores of a run that are still there. A run that
// nobody vouches for writes to none: what it was told would be told to others.
func (p *Platform) runStores(ctx context.Context, t task.Task) ([]runStore, error) {
	refs, err := parseMemoryRefs("config.memory_stores", t.Config.MemoryStores)
	if err != nil {
		return nil, err
	}
	var out []runStore
	for _, r := range refs {
		s, err := memoryStores().read(ctx, p, r.UID)
		if errors.Is(err, task.ErrNotFound) || err == nil && s.Owner != t.Owner {
			continue
		}
		if err != nil {
			return nil, err
		}
		if t.Untrusted {
			r.Access = executor.MemoryReadOnly
		}
		out = append(out, runStore{r, s})
	}
	return out, nil
}

// runMemory is what a run's agent is told of its memory stores.
func (p *Platform) runMemory(ctx context.Context, t task.Task) ([]executor.MemoryStore, error) {
	stores, err := p.runStores(ctx, t)
	if err != nil {
		return nil, err
	}
	var out []executor.MemoryStore
	bytes, count := maxInjectedBytes, maxInjected
	for _, s := range stores {
		list, err := p.memories(ctx, s.UID)
		if err != nil {
			return nil, err
		}
		told := executor.MemoryStore{UID: s.UID, Name: s.store.Name, Access: s.Access, Instructions: s.Instructions, Extract: s.Extract}
		for _, m := range rankMemories(t.Title+"\n"+t.Prompt, list, false) {
			if count == 0 || len(m.Content) > bytes {
				told.More = true
				break
			}
			bytes, count = bytes-len(m.Content), count-1
			told.Memories = append(told.Memories, m)
		}
		out = append(out, told)
	}
	return out, nil
}

var _ executor.Rememberer = (*link)(nil)

// Recall implements executor.Rememberer.
func (l *link) Recall(ctx context.Context, r executor.Recall) ([]task.Memory, error) {
	t, err := l.self(ctx)
	if err != nil {
		return nil, err
	}
	if len(r.Query) > maxRecallQuery {
		return nil, task.Invalid("query", "has %d bytes, at most %d are allowed", len(r.Query), maxRecallQuery)
	}
	if r.Limit, err = bounded(r.Limit, defaultRecalled, executor.MaxRecalled); err != nil {
		return nil, err
	}
	stores, err := l.p.runStores(ctx, t)
	if err != nil {
		return nil, err
	}
	var all []task.Memory
	for _, s := range stores {
		list, err := l.p.memories(ctx, s.UID)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	found := rankMemories(r.Query, all, strings.TrimSpace(r.Query) != "")
	return found[:min(len(found), r.Limit)], nil
}

// Remember implements executor.Rememberer.
func (l *link) Remember(ctx context.Context, r executor.Remembering) (task.Memory, error) {
	t, err := l.self(ctx)
	if err != nil {
		return task.Memory{}, err
	}
	if r.Key == "" || len(r.Key) > maxRememberKey {
		return task.Memory{}, task.Invalid("key", "must have 1 to %d bytes", maxRememberKey)
	}
	stores, err := l.p.runStores(ctx, t)
	if err != nil {
		return task.Memory{}, err
	}
	s, err := writableStore(stores, r.Store)
	if err != nil {
		return task.Memory{}, err
	}
	e, err := l.execution(ctx)
	if err != nil {
		return task.Memory{}, err
	}
	redactor, err := l.p.redactor(ctx, e)
	if err != nil {
		return task.Memory{}, err
	}
	m := task.Memory{UID: r.Replaces, Content: redactor.String(r.Content), Reason: redactor.String(r.Reason), Author: t.Executor, RunID: t.ID}
	if m.UID != "" {
		return l.p.remember(ctx, s, m, 0)
	}
	return l.p.rememberOnce(ctx, s, m, uuid.NewSHA1(uuid.NameSpaceOID, []byte(string(t.ID)+"\x00"+r.Key)).String())
}

// rememberOnce keeps a memory under a name that is the same for the same act.
func (p *Platform) rememberOnce(ctx context.Context, s MemoryStore, m task.Memory, uid string) (task.Memory, error) {
	versions, _, err := p.memory(ctx, s.UID, uid)
	if err == nil {
		return versions[0], nil
	}
	if !errors.Is(err, task.ErrNotFound) {
		return task.Memory{}, err
	}
	return p.rememberAs(ctx, s, m, uid)
}

// writableStore chooses among a run's stores.
func writableStore(stores []runStore, uid string) (MemoryStore, error) {
	for _, s := range stores {
		switch {
		case uid == "" && s.Access == executor.MemoryReadWrite:
			return s.store, nil
		case uid == s.UID && s.Access != executor.MemoryReadWrite:
			return MemoryStore{}, &task.Error{Code: task.CodeNotAuthorized, Field: "store_uid", Message: fmt.Sprintf("the memory store %q is read-only for this run", s.store.Name)}
		case uid == s.UID:
			return s.store, nil
		}
	}
	if uid != "" {
		return MemoryStore{}, &task.Error{Code: task.CodeNotFound, Field: "store_uid", Message: fmt.Sprintf("the run has no memory store %q", uid)}
	}
	return MemoryStore{}, &task.Error{Code: task.CodeNotAuthorized, Field: "store_uid", Message: "the run has no memory store that it may write to"}
}

// ownMemory makes the store that a new agent identity has for itself, and
// attaches it (Oz platform, MEM-1). One that learns is attached as such.
func (c *Client) ownMemory(ctx context.Context, a *access.Agent, learns bool) (undo func(), err error) {
	team := true
	name := []rune(a.Name)
	s, err := memoryStores().add(ctx, c, MemoryStore{Registered: Registered{
		Name:        string(name[:min(len(name), maxRegisteredName-12)]) + " " + uuid.NewString()[:8],
		Description: "What this agent remembers."}}, &team)
	if err != nil {
		return nil, err
	}
	a.AutoMemory = s.UID
	undo = func() { _ = memoryStores().remove(context.WithoutCancel(ctx), c, s.UID) } // a store too many harms nobody
	if !learns {
		return undo, nil
	}
	refs, err := parseMemoryRefs("memory.attached_stores", a.Config.MemoryStores)
	if err == nil {
		own := ownRef(a.AutoMemory)
		own.Extract = true
		a.Config.MemoryStores, err = json.Marshal(append([]memoryRef{own}, refs...))
	}
	if err != nil {
		undo()
	}
	return undo, err
}

// ownRef attaches an agent's own memory store.
func ownRef(uid string) memoryRef {
	return memoryRef{UID: uid, Access: executor.MemoryReadWrite, Instructions: AutoMemoryInstructions}
}

// agentMemory is what an agent's runs have of memory stores: those attached,
// and its own.
func agentMemory(a access.Agent) json.RawMessage {
	refs, err := parseMemoryRefs("memory", a.Config.MemoryStores)
	if err != nil || a.AutoMemory == "" {
		return a.Config.MemoryStores // judged where it is used
	}
	if !slices.ContainsFunc(refs, func(r memoryRef) bool { return r.UID == a.AutoMemory }) {
		refs = append([]memoryRef{ownRef(a.AutoMemory)}, refs...)
	}
	raw, err := json.Marshal(refs)
	if err != nil {
		return a.Config.MemoryStores
	}
	return raw
}
