package task

import (
	"encoding/json"
	"time"
)

// Config is how a run is to be executed (Oz API, AmbientAgentConfig). A run
// stores the resolved configuration, so later edits of an environment or an
// agent never change what a past run says of itself.
type Config struct {
	// Name groups runs in lists; the skill's name when a run comes from a skill.
	Name string `json:"name,omitempty"`
	// ModelID names the model, or "auto".
	ModelID string `json:"model_id,omitempty"`
	// BasePrompt stands before every prompt of the run.
	BasePrompt string `json:"base_prompt,omitempty"`
	// EnvironmentID names what is prepared around the agent; empty for a bare sandbox.
	EnvironmentID string `json:"environment_id,omitempty"`
	// SkillSpec is the skill that the run carries out: name, repo:name or owner/repo:path.
	SkillSpec string `json:"skill_spec,omitempty"`
	// Skills are further skills that the agent may use.
	Skills []string `json:"skills,omitempty"`
	// MCPServers are tools of others, by name (Oz API, McpServerConfig).
	MCPServers map[string]json.RawMessage `json:"mcp_servers,omitempty"`
	// ComputerUseEnabled lets the agent use a screen; nil takes the default.
	ComputerUseEnabled *bool `json:"computer_use_enabled,omitempty"`
	// ComputerUseModelID names the model for that.
	ComputerUseModelID string `json:"computer_use_model_id,omitempty"`
	// CredentialStrategy is CREATOR or EXECUTOR: whose accounts are used.
	CredentialStrategy string `json:"credential_strategy,omitempty"`
	// IdleTimeoutMinutes is how long the workspace stays after the end, 1 to 60 minutes.
	IdleTimeoutMinutes *int `json:"idle_timeout_minutes,omitempty"`
	// WorkerHost names the worker; empty for any, "warp" for the server's own.
	WorkerHost string `json:"worker_host,omitempty"`
	// WorkerLabels are what the worker must have, all of them; ours, beside the
	// official fields.
	WorkerLabels []string `json:"worker_labels,omitempty"`
	// RunnerID names the shape of the machine.
	RunnerID string `json:"runner_id,omitempty"`
	// Harness chooses the coding agent; nil is the built-in one.
	Harness *HarnessConfig `json:"harness,omitempty"`
	// HarnessAuthSecrets names the secrets that third-party agents sign in with.
	HarnessAuthSecrets map[string]string `json:"harness_auth_secrets,omitempty"`
	// InferenceProviders, MemoryStores and SessionSharing are kept as the wire gave them.
	InferenceProviders json.RawMessage `json:"inference_providers,omitempty"`
	MemoryStores       json.RawMessage `json:"memory_stores,omitempty"`
	SessionSharing     json.RawMessage `json:"session_sharing,omitempty"`
	// Secrets narrows the secrets of the run to these names: nil inherits
	// what the trigger grants, an empty list grants none.
	Secrets *[]string `json:"secrets,omitempty"`
	// Limits stop the run; ours, beside the official fields.
	Limits *Limits `json:"limits,omitempty"`
	// ProfileID names the agent profile; empty for none, with which the agent
	// may do all that its tools can.
	ProfileID string `json:"profile_id,omitempty"`
	// Permissions are the profile's as of creation, or what the request said
	// itself; then the profile's do not count.
	Permissions *Permissions `json:"permissions,omitempty"`
}

// HarnessConfig chooses the coding agent (Oz API, Harness).
type HarnessConfig struct {
	Type string `json:"type,omitempty"` // default "oz", the built-in agent
	// ModelID is the agent's own name of a model.
	ModelID string `json:"model_id,omitempty"`
	// ReasoningLevel is the agent's own word, such as "high".
	ReasoningLevel string `json:"reasoning_level,omitempty"`
}

// HarnessType gives the harness of the run, "oz" by default.
func (c Config) HarnessType() string {
	if c.Harness == nil || c.Harness.Type == "" {
		return "oz"
	}
	return c.Harness.Type
}

// ModelAsked gives the model that the run asks for, "" for none, and the field
// that says so: agents other than the built-in one have a field of their own.
func (c Config) ModelAsked() (field, model string) {
	if c.HarnessType() == "oz" {
		return "config.model_id", c.ModelID
	}
	if c.Harness == nil {
		return "config.harness.model_id", ""
	}
	return "config.harness.model_id", c.Harness.ModelID
}

// Limits end a run's work before it is done: it stops with a reason and keeps
// its work. Zero fields take the platform's defaults.
type Limits struct {
	// MaxTurns bounds the model's turns in one execution.
	MaxTurns int `json:"max_turns,omitempty"`
	// MaxTokens bounds input and output tokens together, over the whole run.
	MaxTokens int64 `json:"max_tokens,omitempty"`
	// MaxCostUSD bounds the model cost in dollars, over the whole run.
	MaxCostUSD float64 `json:"max_cost_usd,omitempty"`
	// MaxMinutes bounds the time of one execution, in minutes.
	MaxMinutes int `json:"max_minutes,omitempty"`
}

// MaxRuntime is MaxMinutes as a duration; 0 when unset.
func (l Limits) MaxRuntime() time.Duration { return time.Duration(l.MaxMinutes) * time.Minute }
