package oz

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/environment/mcp"
	"github.com/oz-platform/cloudagents/internal/crashpoint"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// idempotencyTTL is how long a repeated request is known.
const idempotencyTTL = 24 * time.Hour

// Submit implements Service. It fails with task.CodeInvalidRequest and the
// name of the field for a request that breaks a rule, with
// task.CodeResourceUnavailable while too many runs wait or the platform is
// draining, and with task.ErrConflict when the idempotency key was used for
// another request.
func (c *Client) Submit(ctx context.Context, r Request) (task.Task, error) {
	spec, err := c.draft(ctx, access.RunCreate, r)
	if err != nil {
		return task.Task{}, err
	}
	key, err := c.idempotencyKey(r)
	if err != nil {
		return task.Task{}, err
	}
	return c.create(ctx, r, task.Creation{Spec: spec, From: source(r), Key: key, MaxWaiting: c.p.opts.MaxWaiting})
}

// create stores the attachments and then the run.
func (c *Client) create(ctx context.Context, r Request, n task.Creation) (task.Task, error) {
	n.ID, n.Now = task.NewID(), c.p.opts.Clock.Now()
	n.Spec.ConversationID = string(n.ID)
	share, err := c.shareAtOnce(ctx, n.Spec)
	if err != nil {
		return task.Task{}, err
	}
	n.Commands = append(n.Commands, share...)
	if n.Spec.ContinuesID, n.Handoff, err = c.continued(ctx, r.ConversationID); err != nil {
		return task.Task{}, err
	}
	if n.Spec.Attachments, err = c.p.putAttachments(ctx, n.ID, r.Attachments); err != nil {
		return task.Task{}, err
	}
	crashpoint.Hit(crashpoint.SubmitStart)
	t, replayed, err := c.p.store.Create(ctx, n)
	crashpoint.Hit(crashpoint.SubmitCommitted)
	if len(n.Spec.Attachments) > 0 && (replayed || err != nil && c.p.isMissing(ctx, n.ID)) {
		c.p.dropAttachments(ctx, n.Spec.Attachments)
	}
	if replayed && err == nil { // the caller may have left the team since
		return c.Get(ctx, t.ID)
	}
	return t, err
}

// isMissing reports that there is no such run for certain: a store may fail to
// say that it has made one.
func (p *Platform) isMissing(ctx context.Context, id task.ID) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTimeout)
	defer cancel()
	_, err := p.store.Get(ctx, id)
	return errors.Is(err, task.ErrNotFound)
}

// lookTimeout bounds what is read after a request has failed.
const lookTimeout = 5 * time.Second

// source of a run (Oz API, POST /agent/runs).
func source(r Request) task.Source {
	switch {
	case r.Source != "":
		return r.Source
	case r.ParentRunID != "":
		return task.SourceOrchestration
	}
	return task.SourceAPI
}

// draft judges a request and makes the run's Spec of it, but for what depends
// on its ID.
func (c *Client) draft(ctx context.Context, a access.Action, r Request) (task.Spec, error) {
	if c.p.Draining() {
		return task.Spec{}, errDraining()
	}
	agent, err := c.agentOf(ctx, r)
	if err != nil {
		return task.Spec{}, err
	}
	owner, err := c.ownerOfRun(ctx, a, r, agent)
	if err != nil {
		return task.Spec{}, err
	}
	r.Config.MCPServers = mcp.Unwrap(r.Config.MCPServers)
	if err := r.check(c.p.opts.MaxAttachmentBytes); err != nil {
		return task.Spec{}, err
	}
	metadata, untrusted, err := c.inherit(ctx, r)
	if err != nil {
		return task.Spec{}, err
	}
	creator, err := c.creatorOf(ctx, r, owner, agent)
	if err != nil {
		return task.Spec{}, err
	}
	fingerprint, err := r.fingerprint()
	if err != nil {
		return task.Spec{}, err
	}
	spec := task.Spec{Fingerprint: fingerprint, Title: r.Title, Prompt: r.Prompt, Mode: r.Mode, Owner: owner, Creator: creator,
		Executor: c.caller.Principal, ParentID: r.ParentRunID, Metadata: metadata, Interactive: r.Interactive, Untrusted: untrusted}
	if creator != c.caller.Principal {
		spec.Requester = c.caller.Principal
	}
	if agent != nil {
		spec.Executor = agent.Principal()
	}
	if err := c.configure(ctx, r.Config, agent, &spec); err != nil {
		return task.Spec{}, err
	}
	if err := c.refer(ctx, &spec, r); err != nil {
		return task.Spec{}, err
	}
	if spec.Title == "" {
		spec.Title = title(spec.Prompt)
	}
	if err := c.configureSkills(ctx, a, r, &spec); err != nil {
		return task.Spec{}, err
	}
	if spec.Origins["memory_stores"] == layerRun { // an agent's were judged with it
		if err := c.checkMemoryRefs(ctx, "config.memory_stores", spec.Config.MemoryStores, spec.Owner); err != nil {
			return task.Spec{}, err
		}
	}
	r.Prompt = spec.Prompt // policies judge what the agent will read
	if err := c.p.checkPolicy(ctx, r); err != nil {
		return task.Spec{}, err
	}
	if err := c.entitledToRun(ctx, r, spec); err != nil {
		return task.Spec{}, err
	}
	return spec, c.p.admit(ctx, spec)
}

func errDraining() error {
	return &task.Error{Code: task.CodeResourceUnavailable, RetryAfterMS: 5000,
		Message: "the server is shutting down and takes no new work; try again in a few seconds"}
}

// ownerOfRun says whose the run is. With an agent that is its team.
func (c *Client) ownerOfRun(ctx context.Context, a access.Action, r Request, agent *access.Agent) (task.Scope, error) {
	if agent == nil || r.Team != nil && !*r.Team {
		return c.owner(ctx, a, r.Team)
	}
	return agent.Scope(), c.allow(ctx, a, access.Object{Owner: agent.Scope(), Creator: c.caller.Principal})
}

// owner says whose the run is, and whether the caller may make one there.
func (c *Client) owner(ctx context.Context, a access.Action, team *bool) (task.Scope, error) {
	if c.caller.System {
		return c.systemOwner(team)
	}
	if !c.caller.SignedIn() {
		return task.Scope{}, access.Allow(c.caller, a, access.Object{})
	}
	owner, err := ownerFor(c.caller, team)
	if err != nil {
		return task.Scope{}, err
	}
	return owner, c.allow(ctx, a, access.Object{Owner: owner, Creator: c.caller.Principal})
}

func (c *Client) systemOwner(team *bool) (task.Scope, error) {
	owner := c.p.opts.Owner
	if team != nil && *team != (owner.Type == task.ScopeTeam) {
		return task.Scope{}, task.Invalid("team", "the embedding program works for %s; act as somebody with Platform.As", owner)
	}
	return owner, nil
}

// ownerFor chooses between a caller's team and person (Oz API, team).
func ownerFor(c access.Caller, team *bool) (task.Scope, error) {
	person := c.Principal.IsPerson()
	switch wantsTeam := len(c.Teams) == 1 || !person; {
	case team != nil && !*team && !person:
		return task.Scope{}, task.Invalid("team", "this key acts for a team and for no person: leave team out or set it to true")
	case team != nil && !*team, team == nil && !wantsTeam:
		return task.Scope{Type: task.ScopeUser, UID: c.Principal.UID}, nil
	case len(c.Teams) == 1:
		return task.Scope{Type: task.ScopeTeam, UID: c.Teams[0].UID}, nil
	case len(c.Teams) == 0:
		return task.Scope{}, task.Invalid("team", "you are on no team: leave it out or set it to false")
	}
	return task.Scope{}, task.Invalid("team", "you are on several teams: use a key of the team that is meant")
}

// inherit checks the parent and gives the metadata with what it hands down, and
// whether nobody vouches for it: nobody does for its children, then.
func (c *Client) inherit(ctx context.Context, r Request) (metadata map[string]string, untrusted bool, err error) {
	if r.ParentRunID == "" {
		return maps.Clone(r.Metadata), false, nil
	}
	parent, err := c.run(ctx, r.ParentRunID, access.RunView)
	if errors.Is(err, task.ErrNotFound) {
		return nil, false, task.Invalid("parent_run_id", "there is no run %q that you may see", string(r.ParentRunID))
	}
	if err != nil {
		return nil, false, err
	}
	if err := c.p.checkDepth(ctx, parent); err != nil {
		return nil, false, err
	}
	metadata = maps.Clone(parent.Metadata)
	if metadata == nil {
		metadata = map[string]string{}
	}
	maps.Copy(metadata, r.Metadata)
	if len(metadata) > maxMetadata {
		return nil, false, task.Invalid("metadata", "has %d keys with those inherited from the parent, at most %d are allowed", len(metadata), maxMetadata)
	}
	return metadata, parent.Untrusted, nil
}

// checkDepth refuses a child of a run that is too far from its root.
func (p *Platform) checkDepth(ctx context.Context, parent task.Task) error {
	depth := 1
	for t := parent; t.ParentID != ""; depth++ {
		if depth >= p.opts.MaxDepth {
			return task.Invalid("parent_run_id", "run %s is a child itself: the tree of runs may be %d deep", parent.ID, p.opts.MaxDepth)
		}
		next, err := p.store.Get(ctx, t.ParentID)
		if err != nil {
			return fmt.Errorf("parent of run %s: %w", t.ID, err)
		}
		t = next
	}
	return nil
}

// configure resolves the run's configuration and records where it came from.
func (c *Client) configure(ctx context.Context, asked task.Config, agent *access.Agent, spec *task.Spec) error {
	asked, err := cloneConfig(asked)
	if err != nil {
		return task.Invalid("config", "%w", err)
	}
	profile, err := c.profileLayer(ctx, asked, spec.Owner)
	if err != nil {
		return err
	}
	layers := []layer{{layerRun, asked}, profile}
	defaults := c.p.defaults()
	if agent != nil {
		layers = append(layers, agentLayer(*agent, asked))
	}
	if id := environmentOfRun(append(layers, layer{layerDefault, defaults})); id != "" {
		env, err := c.environmentFor(ctx, id, spec.Owner)
		if err != nil {
			return err
		}
		if spec.Environment, err = json.Marshal(env.Config); err != nil {
			return fmt.Errorf("encode environment: %w", err)
		}
		layers = append(layers, layer{layerEnvironment, task.Config{Secrets: env.Config.Secrets, RunnerID: env.Config.DefaultRunner}})
	}
	spec.Config, spec.Origins = resolve(append(layers, layer{layerDefault, defaults})...)
	if agent != nil {
		withAgent(*agent, asked, spec)
		if err := checkHarness(spec.Config); err != nil {
			return err
		}
	}
	if err := cmp.Or(c.p.allowHarness("config.harness.type", spec.Config), checkPermissions(spec.Config)); err != nil {
		return err
	}
	for _, step := range []func(context.Context, *task.Spec) error{c.configureRunner, c.configureMCP, c.configureHarness} {
		if err := step(ctx, spec); err != nil {
			return err
		}
	}
	models, err := c.p.modelsOf(ctx, spec.Owner)
	if err != nil {
		return err
	}
	if k, name, ok := authSecret(spec.Config); ok {
		models = withOwnKey(models, k, name, "", "")
	}
	return checkModel(models, "", spec.Config)
}

// environmentOfRun names the environment that a run is to have, "" for none.
func environmentOfRun(layers []layer) string {
	for _, l := range layers {
		if l.config.EnvironmentID != "" {
			return l.config.EnvironmentID
		}
	}
	return ""
}

// environmentFor finds the environment of a run (Oz API, POST /agent/runs).
func (c *Client) environmentFor(ctx context.Context, id string, owner task.Scope) (environment.Environment, error) {
	const field = "config.environment_id"
	env, err := c.Environment(ctx, id)
	if errors.Is(err, task.ErrNotFound) {
		return env, &task.Error{Code: task.CodeNotFound, Field: field, Message: fmt.Sprintf("there is no environment %q that you may use", id), Err: err}
	}
	if err != nil {
		return env, err
	}
	if owner.Type == task.ScopeTeam && env.Owner != owner {
		return env, task.Invalid(field, "environment %q belongs to %s and the run to a team: use an environment of that team, or set team to false", id, env.Owner.Type)
	}
	return env, nil
}

// checkPolicy asks the operator's hook.
func (p *Platform) checkPolicy(ctx context.Context, r Request) error {
	if p.opts.Policy == nil {
		return nil
	}
	return contentRefused(ctx, p.opts.Policy(ctx, r))
}

// idempotencyKey names the request, and the hash of all that it says.
func (c *Client) idempotencyKey(r Request) (*task.IdempotencyKey, error) {
	if r.IdempotencyKey == "" {
		return nil, nil
	}
	sum, err := r.fingerprint()
	if err != nil {
		return nil, err
	}
	return &task.IdempotencyKey{
		Principal:   string(c.caller.Principal.Type) + ":" + c.caller.Principal.UID,
		Key:         r.IdempotencyKey,
		Fingerprint: sum,
		KeepUntil:   c.p.opts.Clock.Now().Add(idempotencyTTL),
	}, nil
}

// fingerprint is a hash of all that the request says.
func (r Request) fingerprint() ([]byte, error) {
	body, err := json.Marshal(struct {
		Request Request
		Source  task.Source
	}{r, r.Source})
	if err != nil {
		return nil, task.Invalid("config", "%w", err)
	}
	sum := sha256.Sum256(body)
	return sum[:], nil
}

// maxTwins bounds how many of a caller's newest runs are looked through for
// one that the same request made, twinsPage how many of them are in memory at
// once: each has its prompt.
const maxTwins, twinsPage = 1000, 50

// Submitted finds the newest run that the caller's same request has made since
// a moment: for clients that repeat a request whose answer was lost, without an
// IdempotencyKey. found is false when there is none among the caller's newest
// maxTwins runs.
func (c *Client) Submitted(ctx context.Context, r Request, since time.Time) (t task.Task, found bool, err error) {
	want, err := r.fingerprint()
	if err != nil {
		return task.Task{}, false, err
	}
	q := task.Query{CreatedAfter: since, Sort: task.SortCreatedAt, Limit: twinsPage}
	if r.OnBehalfOf == "" {
		q.CreatorUID = c.caller.Principal.UID
	} else { // somebody else is the creator of what an agent's key asked for
		q.ExecutorUID = c.caller.Principal.UID
	}
	for range maxTwins / twinsPage {
		page, err := c.List(ctx, q)
		if err != nil {
			return task.Task{}, false, err
		}
		for _, t := range page.Tasks {
			if bytes.Equal(t.Fingerprint, want) && requester(t) == c.caller.Principal {
				return t, true, nil
			}
		}
		if q.After = page.Next; q.After == nil {
			break
		}
	}
	return task.Task{}, false, nil
}

// requester is who sent the request that made a run.
func requester(t task.Task) task.Principal {
	if t.Requester.UID != "" {
		return t.Requester
	}
	return t.Creator
}

// putAttachments stores the files of a request.
func (p *Platform) putAttachments(ctx context.Context, id task.ID, in []AttachmentInput) ([]task.Attachment, error) {
	return p.putAttachmentsAs(ctx, id, "", in)
}

// putAttachmentsAs stores files of what an event says to a run, under a name
// for that: another try of the same stores the same.
func (p *Platform) putAttachmentsAs(ctx context.Context, id task.ID, name string, in []AttachmentInput) ([]task.Attachment, error) {
	if len(in) > 0 && p.opts.Blobs == nil {
		return nil, notBuilt("attachments", "a store for files", "leave the attachments out")
	}
	var out []task.Attachment
	for i, a := range in {
		n := strconv.Itoa(i)
		if name != "" {
			n = name + "-" + n
		}
		key := attachmentKey(id, n)
		if _, err := p.opts.Blobs.PutBlob(ctx, key, bytes.NewReader(a.Data)); err != nil {
			if name == "" { // else an earlier try may have stored the same ones
				p.dropAttachments(ctx, out)
			}
			return nil, fmt.Errorf("store attachment %d: %w", i, err)
		}
		out = append(out, task.Attachment{FileName: a.FileName, MIMEType: a.MIMEType, SizeBytes: int64(len(a.Data)), Blob: key})
	}
	return out, nil
}

// attachmentKey is where a file given with a prompt lies.
func attachmentKey(id task.ID, n string) string { return fmt.Sprintf("attachments/%s/%s", id, n) }

// dropAttachments removes files that no run came to own.
func (p *Platform) dropAttachments(ctx context.Context, list []task.Attachment) {
	for _, a := range list {
		_ = p.opts.Blobs.DeleteBlob(context.WithoutCancel(ctx), a.Blob) // what stays is in nobody's way
	}
}
