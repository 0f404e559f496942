package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/oz-platform/cloudagents/task"
)

// kindAgent are the records of agent identities.
const kindAgent = "access.agent"

// Limits of agent identities.
const maxAgents = 1000 // of one team: lists give all at once

// Agent is an agent identity: a service account of a team, with settings that
// its runs take where they say nothing themselves (Oz API, AgentResponse).
type Agent struct {
	UID  string `json:"uid"`
	Name string `json:"name"`
	Team string `json:"team"` // uid of the team it belongs to
	// Type is a role in a factory, CUSTOM for any other; "" when unsaid.
	Type        string `json:"type,omitempty"`
	Description string `json:"description,omitempty"`
	// Config are the settings. Its BasePrompt stands before that of a run; its
	// Secrets are never set, see the field beside it.
	Config task.Config `json:"config"`
	// Secrets are the names of secrets that are added to what a run is granted.
	Secrets []string `json:"secrets,omitempty"`
	// OnBehalfOf lets the agent's keys make runs for persons of the team.
	OnBehalfOf bool `json:"on_behalf_of,omitempty"`
	// AutoMemory is the uid of the memory store that was made with it; "" for
	// none.
	AutoMemory string `json:"auto_memory,omitempty"`
	// Default marks the team's own agent, which cannot be deleted.
	Default   bool           `json:"default,omitempty"`
	Creator   task.Principal `json:"creator"`
	CreatedAt time.Time      `json:"created_at"`
	UpdatedAt time.Time      `json:"updated_at"`
	// DeletedAt is when it was deleted; zero while it exists.
	DeletedAt time.Time `json:"deleted_at,omitzero"`
	// Revision counts the writes, from 1. PutAgent compares it.
	Revision int64 `json:"-"`
}

// Principal is the agent as one who acts.
func (a Agent) Principal() task.Principal {
	return task.Principal{Type: task.PrincipalServiceAccount, UID: a.UID, DisplayName: a.Name}
}

// Scope is the agent's team as an owner.
func (a Agent) Scope() task.Scope { return task.Scope{Type: task.ScopeTeam, UID: a.Team} }

// Agent returns one agent identity. It fails with task.ErrNotFound, also for
// one that was deleted.
func (r *Registry) Agent(ctx context.Context, uid string) (Agent, error) {
	rec, err := r.records.Record(ctx, kindAgent, uid)
	if err != nil {
		return Agent{}, fmt.Errorf("read %s: %w", kindAgent, err)
	}
	a, err := decodeAgent(rec)
	if err == nil && !a.DeletedAt.IsZero() {
		return Agent{}, hidden()
	}
	return a, err
}

// Agents lists the agent identities of a team by name, its default agent among
// them: that is made when it is first asked for.
func (r *Registry) Agents(ctx context.Context, team string) ([]Agent, error) {
	if err := r.ensureDefaultAgent(ctx, team); err != nil {
		return nil, err
	}
	owner := task.Scope{Type: task.ScopeTeam, UID: team}
	recs, err := r.records.Records(ctx, kindAgent, &owner)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", kindAgent, err)
	}
	list := []Agent{}
	for _, rec := range recs {
		a, err := decodeAgent(rec)
		if err != nil {
			return nil, err
		}
		if a.DeletedAt.IsZero() {
			list = append(list, a)
		}
	}
	slices.SortStableFunc(list, func(a, b Agent) int { return strings.Compare(a.Name, b.Name) }) // else by uid
	return list, nil
}

// CreateAgent stores a new agent identity. It sets UID, times and revision.
func (r *Registry) CreateAgent(ctx context.Context, a Agent) (Agent, error) {
	if err := checkAgent(a); err != nil {
		return Agent{}, err
	}
	known, err := r.Agents(ctx, a.Team)
	if err != nil {
		return Agent{}, err
	}
	if len(known) >= maxAgents {
		return Agent{}, task.Errorf(task.CodeOperationNotSupported, "the team has %d agents already: delete some first", maxAgents)
	}
	a.UID, a.CreatedAt, a.Default, a.DeletedAt, a.Revision = newUID(), r.now(), false, time.Time{}, 0
	return r.putAgent(ctx, a)
}

// PutAgent replaces an agent identity if its revision is still a.Revision,
// else it fails with task.ErrConflict.
func (r *Registry) PutAgent(ctx context.Context, a Agent) (Agent, error) {
	if err := checkAgent(a); err != nil {
		return Agent{}, err
	}
	return r.putAgent(ctx, a)
}

// DeleteAgent deletes an agent identity. By the same write its keys stop
// working: each use of one looks for the agent. Its runs stay.
func (r *Registry) DeleteAgent(ctx context.Context, a Agent) error {
	if a.Default {
		return task.Errorf(task.CodeInvalidRequest, "this is the team's default agent, which cannot be deleted")
	}
	a.DeletedAt = r.now()
	if _, err := r.putAgent(ctx, a); err != nil {
		return err
	}
	return r.dropKeysOf(ctx, a)
}

// dropKeysOf clears away the keys of a deleted agent.
func (r *Registry) dropKeysOf(ctx context.Context, a Agent) error {
	owner := a.Scope()
	recs, err := r.records.Records(ctx, kindKey, &owner)
	if err != nil {
		return fmt.Errorf("list keys: %w", err)
	}
	for _, rec := range recs {
		k, err := decodeKey(rec)
		if err != nil || k.Agent != a.UID {
			continue
		}
		if err := r.records.DeleteRecord(ctx, kindKey, k.hash); err != nil && !errors.Is(err, task.ErrNotFound) {
			return fmt.Errorf("delete key %s: %w", k.UID, err)
		}
	}
	return nil
}

func checkAgent(a Agent) error {
	if strings.TrimSpace(a.Name) == "" || len(a.Name) > maxName {
		return task.Invalid("name", "must have 1 to %d bytes", maxName)
	}
	return nil
}

func (r *Registry) putAgent(ctx context.Context, a Agent) (Agent, error) {
	a.UpdatedAt = r.now()
	data, err := json.Marshal(a)
	if err != nil {
		return Agent{}, fmt.Errorf("encode agent: %w", err)
	}
	rec := task.Record{Kind: kindAgent, Key: a.UID, Owner: a.Scope(), Revision: a.Revision, Data: data, UpdatedAt: a.UpdatedAt}
	if rec.Revision, err = r.records.PutRecord(ctx, rec); errors.Is(err, task.ErrConflict) {
		return Agent{}, &task.Error{Code: task.CodeConflict, Err: err, Message: "the agent was changed meanwhile: read it again and repeat the change"}
	} else if err != nil {
		return Agent{}, fmt.Errorf("write agent: %w", err)
	}
	return decodeAgent(rec) // shares nothing with the caller
}

func decodeAgent(rec task.Record) (Agent, error) {
	var a Agent
	if err := json.Unmarshal(rec.Data, &a); err != nil {
		return Agent{}, fmt.Errorf("decode agent %s: %w", rec.Key, err)
	}
	a.Revision = rec.Revision
	return a, nil
}

// defaultAgents is the name space of the default agents' uids: each follows
// from its team, so that no race makes two.
var defaultAgents = uuid.MustParse("6f0d2a52-5d0b-4a0e-9f43-3a4f2b7a9c11")

// DefaultAgent is the uid of a team's default agent.
func DefaultAgent(team string) string { return uuid.NewSHA1(defaultAgents, []byte(team)).String() }

func (r *Registry) ensureDefaultAgent(ctx context.Context, team string) error {
	uid := DefaultAgent(team)
	_, err := r.records.Record(ctx, kindAgent, uid)
	if !errors.Is(err, task.ErrNotFound) {
		return err
	}
	a := Agent{UID: uid, Name: "Default agent", Team: team, Default: true, CreatedAt: r.now()}
	if _, err = r.putAgent(ctx, a); errors.Is(err, task.ErrConflict) { // somebody else has made it
		return nil
	}
	return err
}
