package wire

import (
	"maps"
	"slices"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
)

// Config gives a configuration as the wire has it (Oz API, AmbientAgentConfig).
func Config(c task.Config) api.AmbientAgentConfig {
	return api.AmbientAgentConfig{
		Name: c.Name, ModelId: c.ModelID, BasePrompt: c.BasePrompt, EnvironmentId: c.EnvironmentID,
		SkillSpec: c.SkillSpec, Skills: slices.Clone(c.Skills), McpServers: maps.Clone(c.MCPServers),
		ComputerUseEnabled: clone(c.ComputerUseEnabled), ComputerUseModelId: c.ComputerUseModelID,
		CredentialStrategy: c.CredentialStrategy, IdleTimeoutMinutes: clone(c.IdleTimeoutMinutes),
		WorkerHost: c.WorkerHost, WorkerLabels: slices.Clone(c.WorkerLabels), RunnerId: c.RunnerID,
		Harness: harness(c.Harness), HarnessAuthSecrets: maps.Clone(c.HarnessAuthSecrets),
		InferenceProviders: c.InferenceProviders, MemoryStores: c.MemoryStores, SessionSharing: c.SessionSharing,
		Secrets: cloneList(c.Secrets), Limits: limits(c.Limits), ProfileId: c.ProfileID, Permissions: clone(c.Permissions),
	}
}

// ConfigOf reads a configuration. The retired harness.auth_secret_name becomes
// the harness's entry of harness_auth_secrets, unless that is set.
func ConfigOf(c api.AmbientAgentConfig) task.Config {
	out := task.Config{
		Name: c.Name, ModelID: c.ModelId, BasePrompt: c.BasePrompt, EnvironmentID: c.EnvironmentId,
		SkillSpec: c.SkillSpec, Skills: slices.Clone(c.Skills), MCPServers: maps.Clone(c.McpServers),
		ComputerUseEnabled: clone(c.ComputerUseEnabled), ComputerUseModelID: c.ComputerUseModelId,
		CredentialStrategy: c.CredentialStrategy, IdleTimeoutMinutes: clone(c.IdleTimeoutMinutes),
		WorkerHost: c.WorkerHost, WorkerLabels: slices.Clone(c.WorkerLabels), RunnerID: c.RunnerId,
		Harness: harnessOf(c.Harness), HarnessAuthSecrets: maps.Clone(c.HarnessAuthSecrets),
		InferenceProviders: given(c.InferenceProviders), MemoryStores: given(c.MemoryStores), SessionSharing: given(c.SessionSharing),
		Secrets: cloneList(c.Secrets), Limits: limitsOf(c.Limits), ProfileID: c.ProfileId, Permissions: clone(c.Permissions),
	}
	if h := c.Harness; h != nil && h.AuthSecretName != "" {
		key := h.Type + "_auth_secret_name"
		if out.HarnessAuthSecrets == nil {
			out.HarnessAuthSecrets = map[string]string{}
		}
		if out.HarnessAuthSecrets[key] == "" {
			out.HarnessAuthSecrets[key] = h.AuthSecretName
		}
	}
	return out
}

func harness(h *task.HarnessConfig) *api.Harness {
	if h == nil {
		return nil
	}
	return &api.Harness{Type: h.Type, ModelId: h.ModelID, ReasoningLevel: h.ReasoningLevel}
}

func harnessOf(h *api.Harness) *task.HarnessConfig {
	if h == nil {
		return nil
	}
	return &task.HarnessConfig{Type: h.Type, ModelID: h.ModelId, ReasoningLevel: h.ReasoningLevel}
}

func limits(l *task.Limits) *api.Limits {
	if l == nil {
		return nil
	}
	return &api.Limits{MaxTurns: l.MaxTurns, MaxTokens: l.MaxTokens, MaxCostUsd: l.MaxCostUSD, MaxMinutes: l.MaxMinutes}
}

func limitsOf(l *api.Limits) *task.Limits {
	if l == nil {
		return nil
	}
	return &task.Limits{MaxTurns: l.MaxTurns, MaxTokens: l.MaxTokens, MaxCostUSD: l.MaxCostUsd, MaxMinutes: l.MaxMinutes}
}

// clone copies what p points to, so that both sides share no memory.
func clone[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}

func cloneList[T any](p *[]T) *[]T {
	if p == nil {
		return nil
	}
	v := append([]T{}, *p...) // an empty list stays one: it means none
	return &v
}

// given drops a JSON null, which means that the member is absent.
func given(raw api.JSON) api.JSON {
	if string(raw) == "null" {
		return nil
	}
	return slices.Clone(raw)
}
