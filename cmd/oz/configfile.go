package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/oz-platform/cloudagents/internal/yamlfile"
	"github.com/oz-platform/cloudagents/task"
)

// configFile is the run configuration that --file names (Oz command line, run
// config file). Unknown keys are errors.
type configFile struct {
	Name          string         `yaml:"name"`
	EnvironmentID string         `yaml:"environment_id"`
	RunnerID      string         `yaml:"runner_id"`
	ModelID       string         `yaml:"model_id"`
	BasePrompt    string         `yaml:"base_prompt"`
	SystemPrompt  string         `yaml:"system_prompt"` // another name for base_prompt
	MCPServers    map[string]any `yaml:"mcp_servers"`
	Host          string         `yaml:"host"`
	ComputerUse   *bool          `yaml:"computer_use_enabled"`
}

// maxConfigBytes bounds the file.
const maxConfigBytes = 1 << 20

// configFile reads the file that the flag or the environment names; none
// gives an empty configuration. JSON is YAML too, so one reader does for both.
func (a *app) configFile(path string) (task.Config, error) {
	if path == "" {
		path = a.env("WARP_AGENT_CONFIG_FILE")
	}
	if path == "" {
		return task.Config{}, nil
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return task.Config{}, usageError{fmt.Errorf("--file: %w", err)}
	}
	if len(raw) > maxConfigBytes {
		return task.Config{}, usageError{fmt.Errorf("--file: %s has %d bytes, at most %d are allowed", path, len(raw), maxConfigBytes)}
	}
	var f configFile
	if err := yamlfile.Unmarshal(raw, &f); err != nil {
		return task.Config{}, usageError{fmt.Errorf("--file %s:\n%w\nKnown keys: name, environment_id, runner_id, model_id, base_prompt, mcp_servers, host, computer_use_enabled", path, err)}
	}
	return f.config()
}

func (f configFile) config() (task.Config, error) {
	c := task.Config{Name: f.Name, EnvironmentID: f.EnvironmentID, RunnerID: f.RunnerID, ModelID: f.ModelID,
		BasePrompt: f.BasePrompt, WorkerHost: f.Host, ComputerUseEnabled: f.ComputerUse}
	if c.BasePrompt == "" {
		c.BasePrompt = f.SystemPrompt
	}
	for name, server := range f.MCPServers {
		raw, err := json.Marshal(server)
		if err != nil {
			return c, usageError{fmt.Errorf("--file: mcp_servers.%s: %w", name, err)}
		}
		if c.MCPServers == nil {
			c.MCPServers = map[string]json.RawMessage{}
		}
		c.MCPServers[name] = raw
	}
	return c, nil
}
