package oz

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/secrets"
	"github.com/oz-platform/cloudagents/task"
)

// Limits of an agent identity.
const (
	maxAgentPrompt = 128 << 10 // bytes; it is part of every run's prompt
	maxAgentBytes  = 512 << 10 // of all its settings together
	maxAgentSkills = 100
	maxSkillSpec   = 500 // bytes
)

// changeTries is how often an agent is changed anew when others change it at
// the same time.
const changeTries = 20

// AgentInput says what an agent identity is to be (Oz API, CreateAgentRequest
// and UpdateAgentRequest): nil leaves a setting as it is, an empty value
// clears it, anything else replaces it whole.
type AgentInput struct {
	Name        *string
	Type        *string // a role in a factory, or CUSTOM
	Description *string
	Prompt      *string // stands before the prompt of each run
	Model       *string // for the built-in agent only
	Harness     *task.HarnessConfig
	// HarnessAuthSecrets names secrets by harness, as task.Config has it.
	HarnessAuthSecrets *map[string]string
	// InferenceProviders and Memory are JSON as the wire has it.
	InferenceProviders *json.RawMessage
	Memory             *json.RawMessage
	EnvironmentID      *string // of the agent's team
	RunnerID           *string // of the agent's team
	WorkerHost         *string
	CredentialStrategy *string
	MCPServers         *map[string]json.RawMessage
	Secrets            *[]string // names
	Skills             *[]string // owner/repo:path
	OnBehalfOf         *bool     // for leaders of the team to change
	FactoryID          *string   // there are no factories here
}

// CreateAgent makes an agent identity of the caller's only team. It fails with
// task.CodeNotAuthorized unless the caller is a person, and with
// task.CodeInvalidRequest for one who is on no team or on several.
func (c *Client) CreateAgent(ctx context.Context, in AgentInput) (access.Agent, error) {
	team, err := c.agentTeam(ctx)
	if err != nil {
		return access.Agent{}, err
	}
	a := access.Agent{Team: team, Creator: c.caller.Principal}
	if err := c.allow(ctx, access.AgentCreate, agentObject(a)); err != nil {
		return access.Agent{}, err
	}
	if err := c.Entitled(ctx, FeatureAgent, agentObject(a).Owner); err != nil {
		return access.Agent{}, err
	}
	if err := c.applyAgent(ctx, in, &a); err != nil {
		return access.Agent{}, err
	}
	undo := func() {}
	if memory, _ := parseAgentMemory(in.Memory); memory.wantsOwn() { // applyAgent has judged it
		if undo, err = c.ownMemory(ctx, &a, memory.ownLearns()); err != nil {
			return access.Agent{}, err
		}
	}
	d := agentDeed(access.AgentCreate, a)
	return doing(ctx, c, d, func() (access.Agent, error) {
		made, err := c.p.registry.CreateAgent(ctx, a)
		if err != nil {
			undo()
		}
		d.id = made.UID
		return made, err
	})
}

// Agents lists the agent identities of the caller's only team, by name. It
// fails as CreateAgent does.
func (c *Client) Agents(ctx context.Context) ([]access.Agent, error) {
	team, err := c.agentTeam(ctx)
	if err != nil {
		return nil, err
	}
	return c.p.registry.Agents(ctx, team)
}

// Agent returns one agent identity.
func (c *Client) Agent(ctx context.Context, uid string) (access.Agent, error) {
	return c.agent(ctx, uid, access.AgentView)
}

// UpdateAgent changes an agent identity; runs that exist keep what they were
// created with. It fails with task.CodeNotAuthorized unless the caller is a
// person.
func (c *Client) UpdateAgent(ctx context.Context, uid string, in AgentInput) (access.Agent, error) {
	for try := 0; ; try++ {
		a, err := c.ownAgent(ctx, uid)
		if err != nil {
			return access.Agent{}, err
		}
		if err := c.applyAgent(ctx, in, &a); err != nil {
			return access.Agent{}, err
		}
		a, err = doing(ctx, c, agentDeed(access.AgentManage, a), func() (access.Agent, error) { return c.p.registry.PutAgent(ctx, a) })
		if !errors.Is(err, task.ErrConflict) || try == changeTries {
			return a, err
		}
	}
}

// DeleteAgent deletes an agent identity, and its API keys with it; its runs
// stay. A team's default agent stays, too.
func (c *Client) DeleteAgent(ctx context.Context, uid string) error {
	for try := 0; ; try++ {
		a, err := c.ownAgent(ctx, uid)
		if err != nil {
			return err
		}
		d := agentDeed(access.AgentManage, a)
		d.details = act("delete")
		err = c.audited(ctx, d, func() error { return c.p.registry.DeleteAgent(ctx, a) })
		if !errors.Is(err, task.ErrConflict) || try == changeTries {
			return err
		}
	}
}

// MayManageAgent reports whether the caller may change an agent identity.
func (c *Client) MayManageAgent(a access.Agent) bool {
	return access.Allow(c.caller, access.AgentManage, agentObject(a)) == nil
}

func agentObject(a access.Agent) access.Object {
	return access.Object{Owner: a.Scope(), Creator: a.Creator}
}

// agentDeed is an act on an agent identity.
func agentDeed(what access.Action, a access.Agent) *deed {
	return &deed{action: what, kind: "agent", id: a.UID, owner: a.Scope()}
}

// agent reads an agent identity and checks that the caller may do what to it.
func (c *Client) agent(ctx context.Context, uid string, what access.Action) (access.Agent, error) {
	a, err := c.p.registry.Agent(ctx, uid)
	object := access.Object{Owner: task.Scope{Type: "none"}} // nobody's: hidden from all
	if err == nil {
		object = agentObject(a)
	} else if !errors.Is(err, task.ErrNotFound) {
		return access.Agent{}, err
	}
	if denied := c.allow(ctx, what, object); err == nil || !errors.Is(denied, task.ErrNotFound) {
		err = cmp.Or(denied, err)
	}
	if errors.Is(err, task.ErrNotFound) { // the same words for none and for a hidden one
		return access.Agent{}, task.Errorf(task.CodeNotFound, "agent %q does not exist, or you may not see it", uid)
	}
	return a, err
}

// ownAgent reads an agent identity that the caller, a person, may change.
func (c *Client) ownAgent(ctx context.Context, uid string) (access.Agent, error) {
	a, err := c.agent(ctx, uid, access.AgentManage)
	if err == nil {
		err = c.checkPerson()
	}
	return a, err
}

func (c *Client) checkPerson() error {
	if c.caller.System || c.caller.Principal.IsPerson() {
		return nil
	}
	return task.Errorf(task.CodeNotAuthorized, "only a person may do this to agent identities: use a personal key")
}

// agentTeam is the team whose agents a person means who does not say.
func (c *Client) agentTeam(ctx context.Context) (string, error) {
	if err := c.allow(ctx, access.AgentView, access.Object{}); err != nil {
		return "", err
	}
	if err := c.checkPerson(); err != nil {
		return "", err
	}
	if o := c.p.opts.Owner; c.caller.System && o.Type == task.ScopeTeam {
		return o.UID, nil
	}
	switch len(c.caller.Teams) {
	case 0:
		return "", task.Errorf(task.CodeInvalidRequest, "agent identities belong to a team, and you are on none: make a team, or join one")
	case 1:
		return c.caller.Teams[0].UID, nil
	}
	return "", task.Errorf(task.CodeInvalidRequest, "you are on several teams, so that it is not clear whose agents are meant: use a personal key of somebody who is on that team alone")
}

// applyAgent changes a as in says, and judges what comes out.
func (c *Client) applyAgent(ctx context.Context, in AgentInput, a *access.Agent) error {
	if in.OnBehalfOf != nil && *in.OnBehalfOf != a.OnBehalfOf && !c.caller.System && !c.caller.Leads(a.Team) {
		return &task.Error{Code: task.CodeNotAuthorized, Field: "on_behalf_of_enabled", Message: "only an owner or admin of the team may change this"}
	}
	if in.FactoryID != nil && *in.FactoryID != "" {
		return notBuilt("factory_uid", "factories", "leave it out")
	}
	in.apply(a)
	for _, check := range []func(access.Agent) error{checkAgentTexts, checkAgentHarness, checkAgentSecrets, checkAgentSkills, checkAgentConfig} {
		if err := check(*a); err != nil {
			return err
		}
	}
	if in.Harness != nil { // one of before may have been switched off since
		if err := c.p.allowHarness("harness.type", a.Config); err != nil {
			return err
		}
	}
	memory, err := parseAgentMemory(in.Memory)
	if err != nil {
		return err
	}
	if a.UID != "" && memory.ownLearns() {
		return task.Invalid("memory.auto_memory.extract", "is for a new agent; of this one attach the store with extract, in attached_stores")
	}
	if memory.Stores != nil {
		a.Config.MemoryStores = nil
		if !emptyJSON(*memory.Stores) {
			a.Config.MemoryStores = bytes.Clone(*memory.Stores)
		}
		if err := c.checkMemoryRefs(ctx, "memory.attached_stores", a.Config.MemoryStores, a.Scope()); err != nil {
			return err
		}
	}
	if a.Config.HarnessType() == harnessBuiltIn {
		models, err := c.p.modelsOf(ctx, task.Scope{Type: task.ScopeTeam, UID: a.Team})
		if err != nil {
			return err
		}
		if err := checkModel(models, "base_model", a.Config); err != nil {
			return err
		}
	}
	if in.Prompt != nil {
		draft := task.Spec{Config: task.Config{BasePrompt: a.Config.BasePrompt}}
		if err := c.refer(ctx, &draft, Request{}); err != nil {
			return inField("prompt", err)
		}
	}
	if in.Skills != nil { // those of before may be out of reach just now
		if err := c.checkAgentReach(ctx, *a); err != nil {
			return err
		}
	}
	return c.checkAgentLinks(ctx, *a)
}

// checkAgentReach looks for each of the skills in its repository, where the
// server can look.
func (c *Client) checkAgentReach(ctx context.Context, a access.Agent) error {
	if c.p.opts.Skills == nil {
		return nil
	}
	for i, spec := range a.Config.Skills {
		field := fmt.Sprintf("skills[%d]", i)
		_, err := c.locate(ctx, wanted{field, spec}, nil, a.Scope())
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return task.Invalid(field, "%q cannot be used: %w", spec, err)
		}
	}
	return nil
}

// apply changes what is given.
func (in AgentInput) apply(a *access.Agent) {
	set(&a.Name, in.Name)
	set(&a.Type, in.Type)
	set(&a.Description, in.Description)
	set(&a.OnBehalfOf, in.OnBehalfOf)
	set(&a.Secrets, in.Secrets)
	k := &a.Config
	set(&k.BasePrompt, in.Prompt)
	set(&k.ModelID, in.Model)
	set(&k.EnvironmentID, in.EnvironmentID)
	set(&k.RunnerID, in.RunnerID)
	set(&k.CredentialStrategy, in.CredentialStrategy)
	set(&k.HarnessAuthSecrets, in.HarnessAuthSecrets)
	set(&k.MCPServers, in.MCPServers)
	if in.WorkerHost != nil {
		k.WorkerHost = strings.TrimSpace(*in.WorkerHost)
	}
	if h := in.Harness; h != nil {
		k.Harness = nil
		if *h != (task.HarnessConfig{}) {
			k.Harness = &task.HarnessConfig{Type: h.Type, ModelID: h.ModelID, ReasoningLevel: h.ReasoningLevel}
		}
	}
	if p := in.InferenceProviders; p != nil {
		k.InferenceProviders = nil
		if !emptyJSON(*p) {
			k.InferenceProviders = bytes.Clone(*p)
		}
	}
	if in.Skills != nil {
		k.Skills = nil
		for _, s := range *in.Skills {
			k.Skills = append(k.Skills, normalSkill(s))
		}
	}
}

// emptyJSON reports a value that says nothing.
func emptyJSON(raw json.RawMessage) bool {
	return slices.Contains([]string{"", "null", "{}", "[]", `""`}, string(bytes.Join(bytes.Fields(raw), nil)))
}

func checkAgentTexts(a access.Agent) error {
	if strings.TrimSpace(a.Name) == "" {
		return task.Invalid("name", "must not be empty")
	}
	switch a.Type {
	case "", "FOREMAN", "TRIAGE", "SPEC", "IMPLEMENT", "REVIEW", "VERIFY", "CUSTOM":
	default:
		return task.Invalid("agent_type", "%q is none of FOREMAN, TRIAGE, SPEC, IMPLEMENT, REVIEW, VERIFY, CUSTOM", a.Type)
	}
	if len(a.Config.BasePrompt) > maxAgentPrompt {
		return task.Invalid("prompt", "has %d bytes, at most %d are allowed", len(a.Config.BasePrompt), maxAgentPrompt)
	}
	return cmp.Or(checkLine("name", a.Name, maxName), task.ValidateText("prompt", a.Config.BasePrompt),
		checkLine("base_model", a.Config.ModelID, maxName), task.ValidateText("description", a.Description))
}

func checkAgentHarness(a access.Agent) error {
	h := a.Config.Harness
	if h == nil {
		return nil
	}
	switch t := a.Config.HarnessType(); t {
	case harnessBuiltIn:
		if h.ModelID != "" || h.ReasoningLevel != "" {
			return task.Invalid("harness.model_id", "and reasoning_level are for other agents than the built-in one; name its model in base_model")
		}
	case "claude", "codex", "gemini", "opencode":
		if a.Config.ModelID != "" {
			return task.Invalid("base_model", "is for the built-in agent only: clear it, and name the model of %s in harness.model_id", t)
		}
	default:
		return task.Invalid("harness.type", "%q is none of oz, claude, codex, gemini, opencode", t)
	}
	return cmp.Or(checkLine("harness.model_id", h.ModelID, maxName), checkLine("harness.reasoning_level", h.ReasoningLevel, maxName))
}

func checkAgentSecrets(a access.Agent) error {
	if len(a.Secrets) > maxSecretNames {
		return task.Invalid("secrets", "at most %d names are allowed", maxSecretNames)
	}
	seen := map[string]bool{}
	for i, name := range a.Secrets {
		field := fmt.Sprintf("secrets[%d]", i)
		if err := secrets.CheckName(name); err != nil {
			return task.Invalid(field, "%w", err)
		}
		if seen[name] {
			return task.Invalid(field, "%q is named twice", name)
		}
		seen[name] = true
	}
	for harness, name := range a.Config.HarnessAuthSecrets {
		if err := secrets.CheckName(name); name != "" && err != nil {
			return task.Invalid("harness_auth_secrets."+harness, "%w", err)
		}
	}
	return nil
}

// normalSkill spells a skill spec in the one way that is stored; what is none
// stays as it is.
func normalSkill(spec string) string {
	repo, file, ok := strings.Cut(strings.TrimSpace(spec), ":")
	if !ok || file == "" {
		return spec
	}
	return strings.TrimSpace(repo) + ":" + path.Clean(strings.TrimSpace(file))
}

// checkAgentSkills judges the form of skill specs (Oz API, agent identities).
func checkAgentSkills(a access.Agent) error {
	if len(a.Config.Skills) > maxAgentSkills {
		return task.Invalid("skills", "at most %d are allowed", maxAgentSkills)
	}
	for i, spec := range a.Config.Skills {
		field := fmt.Sprintf("skills[%d]", i)
		repo, file, ok := strings.Cut(spec, ":")
		owner, name, full := strings.Cut(repo, "/")
		if !ok || !full || !repositoryPart(owner) || !repositoryPart(name) || file == "" || file == "." || strings.HasPrefix(file, "/") ||
			file == ".." || strings.HasPrefix(file, "../") {
			return task.Invalid(field, "%q must be owner/repo:path, with a path inside the repository", spec)
		}
		if err := checkLine(field, spec, maxSkillSpec); err != nil {
			return err
		}
		if slices.Index(a.Config.Skills, spec) != i {
			return task.Invalid(field, "%q is named twice", spec)
		}
	}
	return nil
}

// repositoryPart judges an owner or a name of a repository.
func repositoryPart(s string) bool {
	return s != "" && s != "." && s != ".." && !strings.ContainsFunc(s, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.')
	})
}

// checkAgentConfig judges what a run's configuration has, too, by its rules.
func checkAgentConfig(a access.Agent) error {
	k := a.Config
	switch k.CredentialStrategy {
	case "", "EXECUTOR", "CREATOR":
	default:
		return task.Invalid("credential_strategy", "%q is neither EXECUTOR nor CREATOR", k.CredentialStrategy)
	}
	if err := checkWorkerHost("worker_host", k.WorkerHost); err != nil {
		return err
	}
	if err := unprefixed(checkMCPServers(k)); err != nil {
		return err
	}
	if data, err := json.Marshal(a); err != nil {
		return task.Invalid("inference_providers", "is not valid JSON: %w", err)
	} else if len(data) > maxAgentBytes {
		return task.Invalid("prompt", "and the other settings have %d bytes together, at most %d are allowed", len(data), maxAgentBytes)
	}
	return nil
}

// unprefixed names a field of a run's configuration as an agent calls it.
func unprefixed(err error) error {
	var e *task.Error
	if !errors.As(err, &e) {
		return err
	}
	clear := *e
	clear.Field = strings.TrimPrefix(e.Field, "config.")
	return &clear
}

// agentMemoryInput is what a request says of memory (Oz API, agent identities).
type agentMemoryInput struct {
	Stores *json.RawMessage `json:"attached_stores"`
	Auto   *struct {
		Enabled *bool `json:"enabled"`
		Extract *bool `json:"extract"` // ours, for a new agent
	} `json:"auto_memory"`
}

// parseAgentMemory reads it; a null says nothing.
func parseAgentMemory(raw *json.RawMessage) (in agentMemoryInput, err error) {
	if raw == nil {
		return in, nil
	}
	if err := json.Unmarshal(*raw, &in); err != nil {
		return in, task.Invalid("memory", "must be an object with attached_stores and auto_memory")
	}
	if in.Stores == nil && !in.ownLearns() {
		return in, nil
	}
	var refs []memoryRef
	if in.Stores != nil {
		if refs, err = parseMemoryRefs("memory.attached_stores", *in.Stores); err != nil {
			return in, err
		}
	}
	switch {
	case len(refs) > maxAttached:
		return in, task.Invalid("memory.attached_stores", "names %d stores, at most %d are allowed beside the agent's own", len(refs), maxAttached)
	case in.ownLearns() && !in.wantsOwn():
		return in, task.Invalid("memory.auto_memory.extract", "needs enabled: there is no store that could learn")
	case in.ownLearns() && slices.ContainsFunc(refs, func(r memoryRef) bool { return r.Extract }):
		return in, task.Invalid("memory.auto_memory.extract", "another store learns already; one of a run may")
	}
	return in, nil
}

// ownLearns reports that a new agent's own store learns from its conversations.
func (in agentMemoryInput) ownLearns() bool {
	return in.Auto != nil && in.Auto.Extract != nil && *in.Auto.Extract
}

// wantsOwn reports that a new agent gets a memory store of its own, which it
// does unless that is declined.
func (in agentMemoryInput) wantsOwn() bool {
	return in.Auto == nil || in.Auto.Enabled == nil || *in.Auto.Enabled
}

// checkAgentLinks judges what an agent refers to: whatever a run of the team
// could not use is refused here already.
func (c *Client) checkAgentLinks(ctx context.Context, a access.Agent) error {
	if id := a.Config.EnvironmentID; id != "" {
		env, err := c.Environment(ctx, id)
		if err := belongs("environment_id", "environment", id, env.Owner, a.Scope(), err); err != nil {
			return err
		}
	}
	if id := a.Config.RunnerID; id != "" {
		r, err := c.Runner(ctx, id)
		if err := belongs("default_runner_uid", "runner profile", id, r.Owner, a.Scope(), err); err != nil {
			return err
		}
	}
	return nil
}

// belongs judges a thing that was looked up, with the error of that.
func belongs(field, what, id string, owner, want task.Scope, err error) error {
	if errors.Is(err, task.ErrNotFound) {
		return &task.Error{Code: task.CodeNotFound, Field: field, Err: err, Message: fmt.Sprintf("there is no %s %q that you may use", what, id)}
	}
	if err == nil && owner != want {
		err = task.Invalid(field, "%s %q does not belong to the agent's team", what, id)
	}
	return err
}

// agentOf finds the agent that carries out what a request asks for: the one
// that it names, or the one whose key it came with; nil for none.
func (c *Client) agentOf(ctx context.Context, r Request) (*access.Agent, error) {
	if err := r.checkOrigin(); err != nil {
		return nil, err
	}
	uid := cmp.Or(r.AgentIdentityUID, c.caller.Agent())
	if uid == "" {
		return nil, nil
	}
	a, err := c.agent(ctx, uid, access.AgentView)
	if errors.Is(err, task.ErrNotFound) {
		return nil, &task.Error{Code: task.CodeNotFound, Field: "agent_identity_uid", Err: err, Message: fmt.Sprintf("there is no agent %q that you may use", uid)}
	}
	return &a, err
}

// creatorOf says who asked for a run: the caller, or the person for whom an
// agent's key acts (Oz API, on_behalf_of).
func (c *Client) creatorOf(ctx context.Context, r Request, owner task.Scope, agent *access.Agent) (task.Principal, error) {
	if r.OnBehalfOf == "" {
		return c.caller.Principal, nil
	}
	refuse := func(why string) (task.Principal, error) {
		return task.Principal{}, &task.Error{Code: task.CodeNotAuthorized, Field: "on_behalf_of", Message: why}
	}
	switch {
	case c.caller.Agent() == "":
		return refuse("only the key of an agent identity may name another person; use that person's own key")
	case agent == nil || agent.UID != c.caller.Agent() || !agent.OnBehalfOf:
		return refuse("this agent may not act for others: an admin of the team can allow it (on_behalf_of_enabled)")
	case owner.Type != task.ScopeTeam:
		return task.Principal{}, task.Invalid("on_behalf_of", "is for team runs only")
	}
	uid := r.OnBehalfOf
	if u, err := c.p.registry.UserByEmail(ctx, uid); err == nil {
		uid = u.UID
	} else if !errors.Is(err, task.ErrNotFound) {
		return task.Principal{}, err
	}
	u, err := c.p.registry.Caller(ctx, uid)
	if err != nil && !errors.Is(err, task.ErrNotFound) {
		return task.Principal{}, err
	}
	if on := func(m access.Membership) bool { return m.UID == owner.UID }; err != nil || !slices.ContainsFunc(u.Teams, on) {
		return task.Principal{}, task.Invalid("on_behalf_of", "nobody on the team has the uid or e-mail address %q", r.OnBehalfOf)
	}
	return u.Principal, nil
}

// withAgent completes a resolved configuration by what does not go by the
// first layer that has it: the agent's prompt stands before the run's, MCP
// servers go by their names, and the agent's secrets are added (Oz API,
// resolution order).
func withAgent(a access.Agent, asked task.Config, spec *task.Spec) {
	k := &spec.Config
	const both = layerRun + ", " + layerAgent
	if p := a.Config.BasePrompt; p != "" && asked.BasePrompt != "" {
		k.BasePrompt, spec.Origins["base_prompt"] = p+"\n\n"+asked.BasePrompt, both
	}
	if len(a.Config.MCPServers) > 0 && len(asked.MCPServers) > 0 {
		merged := maps.Clone(a.Config.MCPServers)
		maps.Copy(merged, asked.MCPServers)
		k.MCPServers, spec.Origins["mcp_servers"] = merged, both
	}
	if k.Secrets == nil {
		return // all that the trigger grants, and so the agent's, too
	}
	names := slices.Clone(*k.Secrets)
	for _, name := range a.Secrets {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	k.Secrets = &names
}

// agentLayer is what an agent gives to a run that does not say. Its model is
// for the built-in agent, so it goes with no other.
func agentLayer(a access.Agent, asked task.Config) layer {
	k := a.Config
	if asked.HarnessType() != harnessBuiltIn {
		k.ModelID = ""
	}
	k.MemoryStores = agentMemory(a)
	return layer{layerAgent, k}
}
