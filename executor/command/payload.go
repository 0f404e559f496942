package command

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/task"
)

// PayloadVersion is the version of Payload that this package writes. Fields may be added to it.
const PayloadVersion = 1

// defaultImage is what a run without an image is said to want (Oz worker protocol, section 4.3).
const defaultImage = "ubuntu:22.04"

// Payload is what the dispatch command reads from its standard input, as one JSON object (Oz worker protocol, section
// 11.1). InstanceShape is ours.
type Payload struct {
	Version int `json:"version"` // PayloadVersion
	// RunID and ExecutionID name the work; several executions of one run follow each other.
	RunID       task.ID          `json:"run_id"`
	ExecutionID task.ExecutionID `json:"execution_id"`
	// ServerRootURL is where the agent finds the platform.
	ServerRootURL string `json:"server_root_url"`
	WorkerID      string `json:"worker_id"`
	// DockerImage is the run's image, or a general one.
	DockerImage string `json:"docker_image"`
	// BaseArgs are the arguments of the program oz.
	BaseArgs []string `json:"base_args"`
	// Env are variables that the agent needs; WARP_API_KEY is the token of the execution.
	Env map[string]string `json:"env"`
	// Sidecars is null: the platform has none. Kept for readers of the published contract.
	Sidecars []struct{} `json:"sidecars"`
	// InstanceShape is the machine that the run asks for; nil when it asks for none.
	InstanceShape *InstanceShape `json:"instance_shape,omitempty"`
	Task          PayloadTask    `json:"task"`
}

// InstanceShape is a machine. Zero fields are not asked for.
type InstanceShape struct {
	VCPUs    float64 `json:"vcpus,omitempty"`
	MemoryGB float64 `json:"memory_gb,omitempty"` // GiB
}

// PayloadTask describes the run.
type PayloadTask struct {
	ID             task.ID           `json:"id"`
	Title          string            `json:"title"`
	TaskDefinition PayloadDefinition `json:"task_definition"`
	CreatedAt      time.Time         `json:"created_at"`
	UpdatedAt      time.Time         `json:"updated_at"`
	Owner          PayloadOwner      `json:"owner"`
	// AgentConfigSnapshot is the run's resolved configuration.
	AgentConfigSnapshot task.Config `json:"agent_config_snapshot"`
	AgentConversationID string      `json:"agent_conversation_id,omitempty"`
}

// PayloadDefinition holds the prompt.
type PayloadDefinition struct {
	Prompt string `json:"prompt"`
}

// PayloadOwner is the person or team whose run it is. The published contract has a number for an Id; ours are text.
type PayloadOwner struct {
	Type string `json:"Type"` // "USER" or "TEAM"
	UID  string `json:"Uid"`
}

// payload makes the payload of a spec. Its error wraps executor.ErrInvalidSpec.
func (e *Executor) payload(spec executor.Spec) (*Payload, error) {
	var h executor.Handshake
	if err := json.Unmarshal(spec.Stdin, &h); err != nil {
		return nil, fmt.Errorf("%w: Stdin must be an executor.Handshake as JSON", executor.ErrInvalidSpec) // err might quote the token
	}
	if h.Token == "" || h.ServerURL == "" {
		return nil, fmt.Errorf("%w: the Handshake in Stdin must have server_url and token", executor.ErrInvalidSpec)
	}
	t := task.Task{ID: cmp.Or(h.TaskID, task.ID(spec.Workspace))}
	if spec.Task != nil {
		t = *spec.Task
	}
	p := &Payload{Version: PayloadVersion, RunID: t.ID, ExecutionID: task.ExecutionID(spec.ID), ServerRootURL: h.ServerURL, WorkerID: e.opts.WorkerID,
		DockerImage: imageOf(t), BaseArgs: e.arguments(t, h.ServerURL), Env: variables(t, h, spec.Env), InstanceShape: shapeOf(spec.Limits),
		Task: PayloadTask{ID: t.ID, Title: t.Title, TaskDefinition: PayloadDefinition{t.Prompt}, CreatedAt: t.CreatedAt, UpdatedAt: t.UpdatedAt,
			Owner: ownerOf(t), AgentConfigSnapshot: t.Config, AgentConversationID: t.ConversationID}}
	return p, nil
}

// encode gives the JSON, whose values reach no log.
func (p *Payload) encode() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // people read this with jq and sed
	if err := enc.Encode(p); err != nil {
		return nil, fmt.Errorf("encode the payload: %w", err)
	}
	return b.Bytes(), nil
}

// variables are those of section 8.2, those of the spec over them.
func variables(t task.Task, h executor.Handshake, extra []string) map[string]string {
	env := map[string]string{
		"TASK_ID": string(t.ID), "OZ_RUN_ID": string(t.ID), "GIT_TERMINAL_PROMPT": "0", "GH_PROMPT_DISABLED": "1", "WARP_SERVER_ROOT_URL": h.ServerURL,
	}
	for _, v := range extra {
		name, value, _ := strings.Cut(v, "=")
		env[name] = value
	}
	env["WARP_API_KEY"] = h.Token.Reveal()
	return env
}

func imageOf(t task.Task) string {
	var c environment.Config
	if len(t.Environment) == 0 || json.Unmarshal(t.Environment, &c) != nil {
		return defaultImage
	}
	return cmp.Or(c.DockerImage, defaultImage)
}

func ownerOf(t task.Task) PayloadOwner {
	kind := "USER"
	if t.Owner.Type == task.ScopeTeam {
		kind = "TEAM"
	}
	return PayloadOwner{Type: kind, UID: t.Owner.UID}
}

func shapeOf(l executor.Limits) *InstanceShape {
	s := InstanceShape{VCPUs: l.CPUs, MemoryGB: float64(l.Memory) / (1 << 30)}
	if s == (InstanceShape{}) {
		return nil
	}
	return &s
}
