package claude

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/oz-platform/cloudagents/executor/harness/cliagent"
)

// Version of Claude Code that this package was verified with.
const Version = "2.1.330"

// retries is how often the program asks again. The gateway has its own; this
// is for answers that broke off.
const retries = 4

// New returns a harness that drives Claude Code. opts may be nil.
func New(opts *cliagent.Options) *cliagent.Harness { return cliagent.New(agent{}, opts) }

// agent says what is Claude Code's own.
type agent struct{}

var (
	_ cliagent.Live    = agent{}
	_ cliagent.Skilled = agent{}
	_ cliagent.Keeps   = agent{}
)

// Program implements cliagent.Agent.
func (agent) Program() cliagent.Program {
	return cliagent.Program{Name: "claude", Title: "Claude Code", Version: Version, Install: install}
}

func install(version string) (spec, file string, ok bool) {
	arch := map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH]
	system := map[string]string{"linux": "linux", "darwin": "darwin"}[runtime.GOOS]
	if arch == "" || system == "" {
		return "", "", false
	}
	return "@anthropic-ai/claude-code-" + system + "-" + arch + "@" + version, "claude", true
}

// Wires implements cliagent.Agent.
func (agent) Wires() []string { return []string{"anthropic"} }

// ReadsRules implements harness.RuleReader: the program puts the file into its
// prompt by itself.
func (agent) ReadsRules() []string { return []string{"CLAUDE.md"} }

// SkillRoot implements cliagent.Skilled.
func (agent) SkillRoot(state string) string { return filepath.Join(state, "skills") }

// ReadsSkills implements cliagent.Skilled.
func (agent) ReadsSkills() []string { return []string{".claude/skills"} }

// SessionFiles implements cliagent.Keeps.
func (agent) SessionFiles() []string { return []string{"projects/*/*.jsonl"} }

// Launch implements cliagent.Agent.
func (agent) Launch(l *cliagent.Launch) (cliagent.Command, error) {
	s := l.Session
	args := []string{"-p", "--verbose", "--input-format", "stream-json", "--output-format", "stream-json",
		"--include-partial-messages", "--replay-user-messages", "--dangerously-skip-permissions", "--model", s.Model.ID}
	if l.Resume {
		args = append(args, "--resume", l.NativeID)
	} else {
		args = append(args, "--session-id", l.NativeID)
	}
	if l.TurnsLeft > 0 {
		args = append(args, "--max-turns", strconv.Itoa(l.TurnsLeft))
	}
	if h := s.Task.Config.Harness; h != nil {
		switch level := strings.ToLower(h.ReasoningLevel); level {
		case "low", "medium", "high", "xhigh", "max":
			args = append(args, "--effort", level)
		}
	}
	if s.Instructions != "" {
		file := filepath.Join(l.Scratch, "instructions.md")
		if err := os.WriteFile(file, []byte(s.Instructions), 0o600); err != nil {
			return cliagent.Command{}, err
		}
		args = append(args, "--append-system-prompt-file", file)
	}
	more, err := servers(l)
	if err != nil {
		return cliagent.Command{}, err
	}
	env := map[string]string{
		"ANTHROPIC_BASE_URL":   s.Model.BaseURL + "/anthropic",
		"ANTHROPIC_AUTH_TOKEN": s.Model.Token.Reveal(),
		"ANTHROPIC_MODEL":      s.Model.ID,
		// For what it does beside the work, such as a summary.
		"ANTHROPIC_SMALL_FAST_MODEL":               s.Model.ID,
		"ANTHROPIC_DEFAULT_HAIKU_MODEL":            s.Model.ID,
		"CLAUDE_CONFIG_DIR":                        l.State,
		"CLAUDE_CODE_MAX_RETRIES":                  strconv.Itoa(retries),
		"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
		"DISABLE_AUTOUPDATER":                      "1",
		"DISABLE_TELEMETRY":                        "1",
		"DISABLE_ERROR_REPORTING":                  "1",
		"ENABLE_TOOL_SEARCH":                       "false", // the servers' tools are there from the start
		"IS_SANDBOX":                               "1",     // or it refuses to run as root without asking
	}
	if m := s.Model.MaxOutput; m > 0 {
		env["CLAUDE_CODE_MAX_OUTPUT_TOKENS"] = strconv.FormatInt(min(m, 64_000), 10)
	}
	return cliagent.Command{Args: append(args, more...), Env: env, Drop: []string{"ANTHROPIC_", "CLAUDE_", "CLAUDECODE"}, NativeID: l.NativeID}, nil
}

// server is one server of the Model Context Protocol in the program's words.
type server struct {
	Type    string            `json:"type"`
	Command string            `json:"command,omitempty"`
	Args    []string          `json:"args,omitempty"`
	Env     map[string]string `json:"env,omitempty"`
	URL     string            `json:"url,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
}

// servers writes the session's servers into a file, for their values may be
// secret, and gives the arguments that name it.
func servers(l *cliagent.Launch) ([]string, error) {
	list := map[string]server{}
	var denied []string
	for _, m := range l.Session.MCP {
		if m.URL != "" {
			list[m.Name] = server{Type: "http", URL: m.URL, Headers: m.Headers}
		} else if len(m.Command) > 0 {
			c := cliagent.InDir(m, l.Session.Dir)
			list[m.Name] = server{Type: "stdio", Command: c[0], Args: c[1:], Env: m.Env}
		}
		for _, tool := range m.Deny {
			denied = append(denied, "mcp__"+m.Name+"__"+tool)
		}
	}
	data, err := json.Marshal(map[string]any{"mcpServers": list})
	if err != nil {
		return nil, err
	}
	file := filepath.Join(l.Scratch, "mcp.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return nil, err
	}
	args := []string{"--mcp-config", file, "--strict-mcp-config"}
	if p := l.Session.Task.Config.Permissions; p != nil {
		denied = append(denied, disallowed(*p)...)
	}
	if len(denied) > 0 {
		args = append(append(args, "--disallowedTools"), denied...)
	}
	return args, nil
}

// Encode implements cliagent.Live.
func (agent) Encode(p cliagent.Prompt) ([]byte, error) {
	data, err := json.Marshal(map[string]any{"type": "user", "uuid": p.ID, "session_id": "", "parent_tool_use_id": nil,
		"message": map[string]string{"role": "user", "content": p.Text}})
	return append(data, '\n'), err
}

// entry is what a line of the session's file tells of a prompt.
type entry struct {
	UUID       string `json:"uuid"`
	Attachment struct {
		Source string `json:"source_uuid"`
	} `json:"attachment"`
}

// Received implements cliagent.Agent: the session's file has each prompt by
// its name, those that came while the program worked as attachments.
func (agent) Received(state, session string, prompts []cliagent.Prompt) ([]bool, bool) {
	if filepath.Base(session) != session || session == "" {
		return nil, false
	}
	files, err := filepath.Glob(filepath.Join(state, "projects", "*", session+".jsonl"))
	if err != nil || len(files) != 1 {
		return nil, false
	}
	have := map[string]bool{}
	if err := cliagent.EachLine(files[0], func(line []byte) {
		var e entry
		if json.Unmarshal(line, &e) == nil {
			have[cmp.Or(e.Attachment.Source, e.UUID)] = true
		}
	}); err != nil {
		return nil, false
	}
	out := make([]bool, len(prompts))
	for i, p := range prompts {
		out[i] = have[p.ID]
	}
	return out, true
}

// NewParser implements cliagent.Agent.
func (agent) NewParser() cliagent.Parser { return &parser{} }

func retryText(attempt, most int, status *int, why string) string {
	text := fmt.Sprintf("Claude Code asks the model again (%d of %d): %s", attempt, most, why)
	if status != nil {
		text += fmt.Sprintf(" (status %d)", *status)
	}
	return text + "."
}
