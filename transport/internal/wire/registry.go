package wire

import (
	"slices"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
)

// Each converts a list; the result is never nil (Oz API, required arrays).
func Each[A, B any](list []A, convert func(A) B) []B {
	out := make([]B, 0, len(list))
	for _, v := range list {
		out = append(out, convert(v))
	}
	return out
}

// MCPServer gives a shared MCP server as the wire has it.
func MCPServer(s oz.MCPServer) api.McpServerItem {
	return api.McpServerItem{Uid: s.UID, Name: s.Name, Description: s.Description, Config: slices.Clone(s.Config), Scope: scope(s.Owner),
		Creator: profile(s.Creator), CreatedAt: s.CreatedAt.UTC(), UpdatedAt: s.UpdatedAt.UTC(), Revision: s.Revision}
}

// MCPServerOf reads a shared MCP server.
func MCPServerOf(s api.McpServerItem) oz.MCPServer {
	return oz.MCPServer{Config: slices.Clone(s.Config), Registered: oz.Registered{UID: s.Uid, Name: s.Name, Description: s.Description,
		Owner: scopeOf(&s.Scope), Creator: principal(s.Creator), CreatedAt: s.CreatedAt, UpdatedAt: s.UpdatedAt, Revision: s.Revision}}
}

// Prompt gives a saved prompt as the wire has it.
func Prompt(p oz.SavedPrompt) api.PromptItem {
	return api.PromptItem{Uid: p.UID, Name: p.Name, Description: p.Description, Prompt: p.Prompt, Scope: scope(p.Owner),
		Creator: profile(p.Creator), CreatedAt: p.CreatedAt.UTC(), UpdatedAt: p.UpdatedAt.UTC(), Revision: p.Revision}
}

// PromptOf reads a saved prompt.
func PromptOf(p api.PromptItem) oz.SavedPrompt {
	return oz.SavedPrompt{Prompt: p.Prompt, Registered: oz.Registered{UID: p.Uid, Name: p.Name, Description: p.Description,
		Owner: scopeOf(&p.Scope), Creator: principal(p.Creator), CreatedAt: p.CreatedAt, UpdatedAt: p.UpdatedAt, Revision: p.Revision}}
}

// ModelEndpoint gives a model endpoint as the wire has it.
func ModelEndpoint(e oz.ModelEndpoint) api.ModelEndpointItem {
	return api.ModelEndpointItem{Uid: e.UID, Name: e.Name, Description: e.Description, Wire: e.Wire, BaseUrl: e.BaseURL, Secret: e.Secret,
		BearerAuth: e.BearerAuth, Models: e.Models, Prices: e.Prices, Scope: scope(e.Owner), Creator: profile(e.Creator),
		CreatedAt: e.CreatedAt.UTC(), UpdatedAt: e.UpdatedAt.UTC()}
}

// ModelEndpointOf reads a model endpoint.
func ModelEndpointOf(e api.ModelEndpointItem) oz.ModelEndpoint {
	return oz.ModelEndpoint{Wire: e.Wire, BaseURL: e.BaseUrl, Secret: e.Secret, BearerAuth: e.BearerAuth, Models: e.Models, Prices: e.Prices,
		Registered: oz.Registered{UID: e.Uid, Name: e.Name, Description: e.Description,
			Owner: scopeOf(&e.Scope), Creator: principal(e.Creator), CreatedAt: e.CreatedAt, UpdatedAt: e.UpdatedAt}}
}

// Rule gives a rule as the wire has it.
func Rule(p oz.Rule) api.RuleItem {
	return api.RuleItem{Uid: p.UID, Name: p.Name, Description: p.Description, Rule: p.Rule, Scope: scope(p.Owner),
		Creator: profile(p.Creator), CreatedAt: p.CreatedAt.UTC(), UpdatedAt: p.UpdatedAt.UTC(), Revision: p.Revision}
}

// RuleOf reads a rule.
func RuleOf(p api.RuleItem) oz.Rule {
	return oz.Rule{Rule: p.Rule, Registered: oz.Registered{UID: p.Uid, Name: p.Name, Description: p.Description,
		Owner: scopeOf(&p.Scope), Creator: principal(p.Creator), CreatedAt: p.CreatedAt, UpdatedAt: p.UpdatedAt, Revision: p.Revision}}
}

// Profile gives an agent profile as the wire has it.
func Profile(p oz.Profile) api.AgentProfileItem {
	item := api.AgentProfileItem{Uid: p.UID, Name: p.Name, Description: p.Description, BaseModel: p.Model, Permissions: p.Permissions, BuiltIn: p.BuiltIn}
	if p.BuiltIn {
		return item
	}
	owner, created, updated := scope(p.Owner), p.CreatedAt.UTC(), p.UpdatedAt.UTC()
	item.Scope, item.Creator, item.CreatedAt, item.UpdatedAt, item.Revision = &owner, profile(p.Creator), &created, &updated, p.Revision
	return item
}

// ProfileOf reads an agent profile.
func ProfileOf(p api.AgentProfileItem) oz.Profile {
	out := oz.Profile{Model: p.BaseModel, Permissions: p.Permissions, BuiltIn: p.BuiltIn,
		Registered: oz.Registered{UID: p.Uid, Name: p.Name, Description: p.Description, Revision: p.Revision}}
	if p.BuiltIn || p.Scope == nil || p.CreatedAt == nil || p.UpdatedAt == nil {
		return out
	}
	out.Owner, out.Creator, out.CreatedAt, out.UpdatedAt = scopeOf(p.Scope), principal(p.Creator), *p.CreatedAt, *p.UpdatedAt
	return out
}

// MemoryStore gives a memory store as the wire has it.
func MemoryStore(s oz.MemoryStore) api.MemoryStoreItem {
	return api.MemoryStoreItem{Uid: s.UID, Name: s.Name, Description: s.Description, Scope: scope(s.Owner),
		Creator: profile(s.Creator), CreatedAt: s.CreatedAt.UTC(), UpdatedAt: s.UpdatedAt.UTC(), Revision: s.Revision}
}

// MemoryStoreOf reads a memory store.
func MemoryStoreOf(s api.MemoryStoreItem) oz.MemoryStore {
	return oz.MemoryStore{Registered: oz.Registered{UID: s.Uid, Name: s.Name, Description: s.Description,
		Owner: scopeOf(&s.Scope), Creator: principal(s.Creator), CreatedAt: s.CreatedAt, UpdatedAt: s.UpdatedAt, Revision: s.Revision}}
}

// Runner gives a runner profile as the wire has it.
func Runner(r oz.Runner) api.RunnerItem {
	return api.RunnerItem{Uid: r.UID, Name: r.Name, Config: RunnerConfig(r.Config), Scope: scope(r.Owner),
		Creator: profile(r.Creator), CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(), Revision: r.Revision}
}

// RunnerOf reads a runner profile.
func RunnerOf(r api.RunnerItem) oz.Runner {
	return oz.Runner{Config: RunnerConfigOf(r.Config), Registered: oz.Registered{UID: r.Uid, Name: r.Name,
		Owner: scopeOf(&r.Scope), Creator: principal(r.Creator), CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt, Revision: r.Revision}}
}

// RunnerConfig gives a compute profile as the wire has it.
func RunnerConfig(c oz.RunnerConfig) api.RunnerConfig {
	return api.RunnerConfig{Description: c.Description, Os: c.OS, Arch: c.Arch, DockerImage: c.DockerImage, MacosVersion: c.MacOSVersion,
		Vcpus: c.VCPUs, MemoryGb: c.MemoryGB, SetupCommands: slices.Clone(c.SetupCommands)}
}

// RunnerConfigOf reads a compute profile.
func RunnerConfigOf(c api.RunnerConfig) oz.RunnerConfig {
	return oz.RunnerConfig{Description: c.Description, OS: c.Os, Arch: c.Arch, DockerImage: c.DockerImage, MacOSVersion: c.MacosVersion,
		VCPUs: c.Vcpus, MemoryGB: c.MemoryGb, SetupCommands: slices.Clone(c.SetupCommands)}
}

// Worker gives a worker as the wire has it.
func Worker(w oz.WorkerStatus) api.WorkerItem {
	item := api.WorkerItem{Id: w.ID, Instance: w.Instance, Ready: w.Ready, Draining: w.Draining, Active: w.Active, Idle: w.Idle, Retained: w.Retained, Capacity: w.Capacity,
		Labels: slices.Clone(w.Labels), Dedicated: w.Dedicated, Remote: w.Remote, Version: w.Version, Backend: w.Backend, Platform: w.Platform,
		ConnectedSince: optionalTime(w.Since)}
	if w.Owner.Type == task.ScopeTeam {
		item.Team = w.Owner.UID
	}
	for _, id := range w.Executions {
		item.Executions = append(item.Executions, string(id))
	}
	return item
}

// WorkerOf reads a worker.
func WorkerOf(w api.WorkerItem) oz.WorkerStatus {
	s := oz.WorkerStatus{ID: w.Id, Instance: w.Instance, Ready: w.Ready, Draining: w.Draining, Active: w.Active, Idle: w.Idle, Retained: w.Retained, Capacity: w.Capacity,
		Labels: slices.Clone(w.Labels), Dedicated: w.Dedicated, Remote: w.Remote, Version: w.Version, Backend: w.Backend, Platform: w.Platform,
		Since: timeOf(w.ConnectedSince)}
	if w.Team != "" {
		s.Owner = task.Scope{Type: task.ScopeTeam, UID: w.Team}
	}
	for _, id := range w.Executions {
		s.Executions = append(s.Executions, task.ExecutionID(id))
	}
	return s
}

// agentSkill shows the skill that a run carries out (Oz API, RunAgentSkill).
func agentSkill(s *task.Skill) *api.RunAgentSkill {
	if s == nil {
		return nil
	}
	return &api.RunAgentSkill{Name: s.Name, Description: s.Description, FullPath: s.Path, BundledSkillId: s.BundledID}
}

func agentSkillOf(s *api.RunAgentSkill) *task.Skill {
	if s == nil {
		return nil
	}
	return &task.Skill{Name: s.Name, Description: s.Description, Path: s.FullPath, BundledID: s.BundledSkillId}
}
