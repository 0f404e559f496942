package codex

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/executor/harness/cliagent"
)

// Version of Codex that this package was verified with.
const Version = "0.169.0"

const (
	// tokenName is the variable with the gateway's token; commands do not get it.
	tokenName = "OZ_CODEX_TOKEN"
	// headerName begins the variables with the values of servers' headers.
	headerName = "OZ_CODEX_HEADER_"
	// retries is how often the program asks again. The gateway has its own; this
	// is for answers that broke off.
	retries = 4
	// serverSeconds is how long a server may take to start, unless it says.
	serverSeconds = 20
	// callSeconds is how long a call of a server's tool may take: the platform's
	// own may take minutes, and bound themselves.
	callSeconds = 900
)

// New returns a harness that drives Codex. opts may be nil.
func New(opts *cliagent.Options) *cliagent.Harness { return cliagent.New(agent{}, opts) }

// agent says what is Codex's own.
type agent struct{}

var (
	_ cliagent.Skilled = agent{}
	_ cliagent.Keeps   = agent{}
)

// Program implements cliagent.Agent.
func (agent) Program() cliagent.Program {
	return cliagent.Program{Name: "codex", Title: "Codex", Version: Version, Install: install}
}

// install names the package with the binary itself, without its launcher.
func install(version string) (spec, file string, ok bool) {
	arch := map[string][2]string{"amd64": {"x64", "x86_64"}, "arm64": {"arm64", "aarch64"}}[runtime.GOARCH]
	system := map[string][2]string{"linux": {"linux", "unknown-linux-musl"}, "darwin": {"darwin", "apple-darwin"}}[runtime.GOOS]
	if arch[0] == "" || system[0] == "" {
		return "", "", false
	}
	return fmt.Sprintf("@openai/codex@%s-%s-%s", version, system[0], arch[0]), "vendor/" + arch[1] + "-" + system[1] + "/bin/codex", true
}

// Wires implements cliagent.Agent.
func (agent) Wires() []string { return []string{"openai"} }

// ReadsRules implements harness.RuleReader: the program puts the file into its
// prompt by itself.
func (agent) ReadsRules() []string { return []string{"AGENTS.md"} }

// SkillRoot implements cliagent.Skilled.
func (agent) SkillRoot(state string) string { return filepath.Join(state, "skills") }

// ReadsSkills implements cliagent.Skilled.
func (agent) ReadsSkills() []string { return []string{".agents/skills"} }

// SessionFiles implements cliagent.Keeps.
func (agent) SessionFiles() []string { return []string{"sessions/*/*/*/rollout-*.jsonl"} }

// Launch implements cliagent.Agent.
func (agent) Launch(l *cliagent.Launch) (cliagent.Command, error) {
	s := l.Session
	env := map[string]string{"CODEX_HOME": l.State, tokenName: s.Model.Token.Reveal()}
	list, err := servers(l, env)
	if err != nil {
		return cliagent.Command{}, err
	}
	// Values that may be secret are in variables and files: arguments and
	// settings have their names only.
	settings := map[string]any{
		"model":                       s.Model.ID,
		"model_provider":              "oz",
		"approval_policy":             "never",
		"sandbox_mode":                "danger-full-access",
		"allow_login_shell":           false, // its profile would replace the PATH of the environment
		"check_for_update_on_startup": false,
		"analytics":                   map[string]any{"enabled": false},
		"model_providers": map[string]any{"oz": map[string]any{"name": "Oz", "base_url": s.Model.BaseURL + "/openai/v1", "env_key": tokenName,
			"wire_api": "responses", "request_max_retries": 0, "stream_max_retries": retries}},
		"shell_environment_policy": map[string]any{"inherit": "all", "ignore_default_excludes": true, "exclude": []string{tokenName, headerName + "*"}},
		"mcp_servers":              list,
	}
	if s.Instructions != "" {
		settings["developer_instructions"] = s.Instructions
	}
	if h := s.Task.Config.Harness; h != nil && h.ReasoningLevel != "" {
		settings["model_reasoning_effort"] = strings.ToLower(h.ReasoningLevel)
	}
	if err := os.WriteFile(filepath.Join(l.State, "config.toml"), table(settings), 0o600); err != nil {
		return cliagent.Command{}, err
	}
	args := []string{"exec", "--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "--disable", "plugins", "-C", s.Dir}
	if l.Resume {
		args = append(args, "resume", l.NativeID)
	}
	return cliagent.Command{Args: append(args, "-"), Env: env, Drop: []string{"OPENAI_", "CODEX_"}, Stdin: []byte(l.Prompt.Text)}, nil
}

// servers gives the session's servers in the program's words, and puts the
// values of their headers into env.
func servers(l *cliagent.Launch, env map[string]string) (map[string]any, error) {
	out := map[string]any{}
	for i, m := range l.Session.MCP {
		seconds := m.StartTimeout.Seconds()
		list := map[string]any{"startup_timeout_sec": cmp.Or(seconds, serverSeconds), "tool_timeout_sec": callSeconds}
		switch {
		case m.URL != "":
			headers := map[string]any{}
			for j, name := range slices.Sorted(maps.Keys(m.Headers)) {
				v := fmt.Sprintf("%s%d_%d", headerName, i, j)
				env[v] = m.Headers[name]
				headers[name] = v
			}
			list["url"], list["env_http_headers"] = m.URL, headers
		case len(m.Command) > 0:
			script := filepath.Join(l.Scratch, fmt.Sprintf("server-%d.sh", i))
			if err := os.WriteFile(script, starter(m, l.Session.Dir), 0o600); err != nil {
				return nil, err
			}
			list["command"], list["args"] = "/bin/sh", append([]string{script}, m.Command...)
		default:
			continue
		}
		if exact(m.Allow) && m.Allow != nil {
			list["enabled_tools"] = m.Allow
		}
		if exact(m.Deny) && m.Deny != nil {
			list["disabled_tools"] = m.Deny
		}
		out[m.Name] = list
	}
	return out, nil
}

// exact reports whether no name stands for several.
func exact(names []string) bool {
	return !slices.ContainsFunc(names, func(n string) bool { return strings.HasSuffix(n, "*") })
}

// starter is a script that gives a server its variables and its directory.
func starter(m harness.MCPServer, dir string) []byte {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(m.Env)) {
		fmt.Fprintf(&b, "export %s=%s\n", name, quoted(m.Env[name]))
	}
	fmt.Fprintf(&b, "cd %s && exec \"$@\"\n", quoted(cmp.Or(m.Dir, dir)))
	return []byte(b.String())
}

// quoted is s as one word of the shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// rollout is what a line of the session's file tells of the conversation.
type rollout struct {
	Type    string `json:"type"`
	Payload struct {
		Type    string `json:"type"`
		Role    string `json:"role"`
		Content []struct {
			Text string `json:"text"`
		} `json:"content"`
	} `json:"payload"`
}

// Received implements cliagent.Agent: the session's file has what the user
// said, word for word.
func (agent) Received(state, session string, prompts []cliagent.Prompt) ([]bool, bool) {
	if session == "" || strings.ContainsAny(session, `/\*?[`) {
		return nil, false
	}
	files, err := filepath.Glob(filepath.Join(state, "sessions", "*", "*", "*", "rollout-*-"+session+".jsonl"))
	if err != nil || len(files) != 1 {
		return nil, false
	}
	m := cliagent.NewMatcher(prompts)
	if err := cliagent.EachLine(files[0], func(line []byte) {
		var r rollout
		if json.Unmarshal(line, &r) != nil || r.Type != "response_item" || r.Payload.Type != "message" || r.Payload.Role != "user" {
			return
		}
		for _, c := range r.Payload.Content {
			m.Said(c.Text)
		}
	}); err != nil {
		return nil, false
	}
	return m.Received(), true
}

// NewParser implements cliagent.Agent.
func (agent) NewParser() cliagent.Parser { return &parser{} }
