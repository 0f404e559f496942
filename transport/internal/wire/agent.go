package wire

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
)

// Agent gives an agent identity (Oz API, AgentResponse). mask replaces the
// environment and headers of its MCP servers by "***".
func Agent(a access.Agent, mask bool) api.AgentResponse {
	k := a.Config
	out := api.AgentResponse{
		Uid: a.UID, Name: a.Name, Available: a.DeletedAt.IsZero(), IsDefault: a.Default,
		CreatedAt: a.CreatedAt.UTC(), UpdatedAt: a.UpdatedAt.UTC(),
		AgentType: optional(a.Type), Description: optional(a.Description), Prompt: optional(k.BasePrompt),
		BaseModel: k.ModelID, EnvironmentId: k.EnvironmentID, DefaultRunnerUid: k.RunnerID, WorkerHost: k.WorkerHost,
		CredentialStrategy: k.CredentialStrategy, Harness: harness(k.Harness), HarnessAuthSecrets: maps.Clone(k.HarnessAuthSecrets),
		InferenceProviders: slices.Clone(k.InferenceProviders), McpServers: maps.Clone(k.MCPServers),
		OnBehalfOfEnabled: &a.OnBehalfOf, Memory: agentMemory(a),
		Secrets: []api.SecretRef{}, Skills: append([]string{}, k.Skills...),
	}
	if k.Harness != nil {
		out.BaseHarness = k.HarnessType()
	}
	for _, name := range a.Secrets {
		out.Secrets = append(out.Secrets, api.SecretRef{Name: name})
	}
	if mask {
		out.McpServers = maskMCP(out.McpServers)
	}
	return out
}

// agentMemory gives the memory stores of an agent identity.
func agentMemory(a access.Agent) api.AgentMemory {
	m := api.AgentMemory{AttachedStores: []api.JSON{}}
	if len(a.Config.MemoryStores) > 0 {
		if err := json.Unmarshal(a.Config.MemoryStores, &m.AttachedStores); err != nil || m.AttachedStores == nil {
			m.AttachedStores = []api.JSON{} // judged when it was stored
		}
	}
	if a.AutoMemory != "" {
		m.AutoMemory = api.AutoMemory{Enabled: true, Store: &api.AutoMemoryStore{Uid: a.AutoMemory, Access: executor.MemoryReadWrite,
			Instructions: oz.AutoMemoryInstructions, OwnerType: "service_account", OwnerUid: a.UID}}
	}
	return m
}

// agentMemoryOf reads the memory stores of an agent identity.
func agentMemoryOf(m api.AgentMemory, a *access.Agent) {
	if len(m.AttachedStores) > 0 {
		a.Config.MemoryStores, _ = json.Marshal(m.AttachedStores) // raw JSON is written as it came
	}
	if m.AutoMemory.Store != nil {
		a.AutoMemory = m.AutoMemory.Store.Uid
	}
}

// AgentOf reads an agent identity.
func AgentOf(a api.AgentResponse) access.Agent {
	out := access.Agent{UID: a.Uid, Name: a.Name, Default: a.IsDefault, CreatedAt: a.CreatedAt, UpdatedAt: a.UpdatedAt,
		Type: valueOf(a.AgentType), Description: valueOf(a.Description), OnBehalfOf: valueOf(a.OnBehalfOfEnabled),
		Config: task.Config{
			BasePrompt: valueOf(a.Prompt), ModelID: a.BaseModel, EnvironmentID: a.EnvironmentId, RunnerID: a.DefaultRunnerUid,
			WorkerHost: a.WorkerHost, CredentialStrategy: a.CredentialStrategy, Harness: harnessOf(a.Harness),
			HarnessAuthSecrets: maps.Clone(a.HarnessAuthSecrets), InferenceProviders: given(a.InferenceProviders),
			MCPServers: maps.Clone(a.McpServers), Skills: listOf(a.Skills),
		}}
	agentMemoryOf(a.Memory, &out)
	for _, s := range a.Secrets {
		out.Secrets = append(out.Secrets, s.Name)
	}
	return out
}

// NewAgentOf reads what a new agent identity is to be.
func NewAgentOf(r api.CreateAgentRequest) oz.AgentInput {
	return AgentInputOf(api.UpdateAgentRequest{
		Name: &r.Name, AgentType: r.AgentType, Description: r.Description, Prompt: r.Prompt, BaseModel: r.BaseModel, Harness: r.Harness,
		BaseHarness: r.BaseHarness, HarnessAuthSecrets: r.HarnessAuthSecrets, InferenceProviders: r.InferenceProviders,
		EnvironmentId: r.EnvironmentId, DefaultRunnerUid: r.DefaultRunnerUid, WorkerHost: r.WorkerHost, CredentialStrategy: r.CredentialStrategy,
		McpServers: r.McpServers, Secrets: r.Secrets, Skills: r.Skills, Memory: r.Memory, OnBehalfOfEnabled: r.OnBehalfOfEnabled, FactoryUid: r.FactoryUid,
	})
}

// NewAgent asks for a new agent identity.
func NewAgent(in oz.AgentInput) api.CreateAgentRequest {
	r := AgentInput(in)
	return api.CreateAgentRequest{
		Name: valueOf(r.Name), AgentType: r.AgentType, Description: r.Description, Prompt: r.Prompt, BaseModel: r.BaseModel, Harness: r.Harness,
		BaseHarness: r.BaseHarness, HarnessAuthSecrets: r.HarnessAuthSecrets, InferenceProviders: r.InferenceProviders,
		EnvironmentId: r.EnvironmentId, DefaultRunnerUid: r.DefaultRunnerUid, WorkerHost: r.WorkerHost, CredentialStrategy: r.CredentialStrategy,
		McpServers: r.McpServers, Secrets: r.Secrets, Skills: r.Skills, Memory: r.Memory, OnBehalfOfEnabled: r.OnBehalfOfEnabled, FactoryUid: r.FactoryUid,
	}
}

// AgentInputOf reads a change of an agent identity: what is absent or null
// stays as it is. The retired base_harness counts where harness is not given.
func AgentInputOf(r api.UpdateAgentRequest) oz.AgentInput {
	in := oz.AgentInput{
		Name: r.Name, Type: r.AgentType, Description: r.Description, Prompt: r.Prompt, Model: r.BaseModel, Harness: harnessOf(r.Harness),
		HarnessAuthSecrets: r.HarnessAuthSecrets, InferenceProviders: rawOf(r.InferenceProviders), Memory: rawOf(r.Memory),
		EnvironmentID: r.EnvironmentId, RunnerID: r.DefaultRunnerUid, WorkerHost: r.WorkerHost, CredentialStrategy: r.CredentialStrategy,
		Skills: r.Skills, OnBehalfOf: r.OnBehalfOfEnabled, FactoryID: r.FactoryUid, MCPServers: r.McpServers,
	}
	if in.Harness == nil && r.BaseHarness != nil {
		in.Harness = &task.HarnessConfig{Type: *r.BaseHarness}
	}
	if r.Secrets != nil {
		names := []string{}
		for _, s := range *r.Secrets {
			names = append(names, s.Name)
		}
		in.Secrets = &names
	}
	return in
}

// AgentInput asks for a change of an agent identity.
func AgentInput(in oz.AgentInput) api.UpdateAgentRequest {
	r := api.UpdateAgentRequest{
		Name: in.Name, AgentType: in.Type, Description: in.Description, Prompt: in.Prompt, BaseModel: in.Model, Harness: harness(in.Harness),
		HarnessAuthSecrets: in.HarnessAuthSecrets, InferenceProviders: raw(in.InferenceProviders), Memory: raw(in.Memory),
		EnvironmentId: in.EnvironmentID, DefaultRunnerUid: in.RunnerID, WorkerHost: in.WorkerHost, CredentialStrategy: in.CredentialStrategy,
		Skills: in.Skills, OnBehalfOfEnabled: in.OnBehalfOf, FactoryUid: in.FactoryID, McpServers: in.MCPServers,
	}
	if in.Secrets != nil {
		refs := []api.SecretRef{}
		for _, name := range *in.Secrets {
			refs = append(refs, api.SecretRef{Name: name})
		}
		r.Secrets = &refs
	}
	return r
}

// optional gives nil for an empty text.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// valueOf gives what p points to, the zero value for nil.
func valueOf[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// listOf gives nil for an empty list.
func listOf(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	return slices.Clone(list)
}

func rawOf(v api.JSON) *json.RawMessage {
	if v = given(v); v == nil {
		return nil
	}
	return &v
}

func raw(p *json.RawMessage) api.JSON { return slices.Clone(valueOf(p)) }
