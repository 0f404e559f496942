package opencode

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/executor/harness/cliagent"
)

// Version of OpenCode that this package was verified with.
const Version = "1.18.33"

const (
	// tokenName is the variable with the gateway's token; commands do not get it.
	tokenName = "OZ_OPENCODE_TOKEN"
	// nowhere is where the program looks for the package that its plugins need,
	// of which there are none: nobody listens there.
	nowhere = "http://127.0.0.1:9/"
	// What the model is taken to have when nobody says: tokens.
	defaultWindow, defaultOutput = 200_000, 32_000
	// serverWait is how long a server of the Model Context Protocol may take for
	// an answer: a tool of the platform's may wait for a person.
	serverWait = time.Hour
	// recallTimeout bounds asking the program what a session has.
	recallTimeout = time.Minute
	// maxRecall bounds its answer, in bytes.
	maxRecall = 64 << 20
)

// New returns a harness that drives OpenCode. opts may be nil.
func New(opts *cliagent.Options) *cliagent.Harness { return cliagent.New(agent{}, opts) }

// agent says what is OpenCode's own.
type agent struct{}

var (
	_ cliagent.Skilled = agent{}
	_ cliagent.Recalls = agent{}
	_ cliagent.Exports = agent{}
	_ cliagent.Patient = agent{}
)

// Program implements cliagent.Agent.
func (agent) Program() cliagent.Program {
	return cliagent.Program{Name: "opencode", Title: "OpenCode", Version: Version, Install: install}
}

// install names the package with the binary itself, without its launcher.
func install(version string) (spec, file string, ok bool) {
	arch := map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH]
	system := map[string]string{"linux": "linux", "darwin": "darwin"}[runtime.GOOS]
	if arch == "" || system == "" {
		return "", "", false
	}
	return "opencode-" + system + "-" + arch + "@" + version, "bin/opencode", true
}

// Wires implements cliagent.Agent.
func (agent) Wires() []string { return []string{"anthropic", "openai", "gemini"} }

// RetriesInSilence implements cliagent.Patient: the program says nothing of the
// six times that it asks again.
func (agent) RetriesInSilence() bool { return true }

// SkillRoot implements cliagent.Skilled.
func (agent) SkillRoot(state string) string {
	return filepath.Join(state, "config", "opencode", "skills")
}

// ReadsSkills implements cliagent.Skilled: all that it may have are given to it.
func (agent) ReadsSkills() []string { return nil }

// NewParser implements cliagent.Agent. A process of Launch's has one of its own.
func (agent) NewParser() cliagent.Parser { return &dialogue{} }

// Launch implements cliagent.Agent.
func (agent) Launch(l *cliagent.Launch) (cliagent.Command, error) {
	s := l.Session
	settings, err := configure(l)
	if err != nil {
		return cliagent.Command{}, err
	}
	env := places(l.State)
	env[tokenName] = s.Model.Token.Reveal()
	env["OPENCODE_CONFIG_CONTENT"] = string(settings)
	env["npm_config_registry"] = nowhere
	shell := filepath.Join(l.Scratch, "sh") // the name decides how the program calls it
	env["SHELL"] = shell
	if err := os.WriteFile(shell, restore(s.Env, env, `exec `+realShell()+` "$@"`), 0o700); err != nil {
		return cliagent.Command{}, err
	}
	d := &dialogue{dir: s.Dir, model: s.Model.ID}
	if l.Resume {
		d.resume = l.NativeID
	}
	if h := s.Task.Config.Harness; h != nil {
		d.effort = strings.ToLower(h.ReasoningLevel)
	}
	if d.servers, err = servers(l, env); err != nil {
		return cliagent.Command{}, err
	}
	return cliagent.Command{Args: []string{"acp", "--cwd", s.Dir}, Env: env, Drop: []string{"OPENCODE_"}, Parser: d}, nil
}

// places are the variables that keep the program's files in its home, and all
// but the model out of it.
func places(state string) map[string]string {
	return map[string]string{
		"XDG_DATA_HOME":   filepath.Join(state, "data"),
		"XDG_CONFIG_HOME": filepath.Join(state, "config"),
		"XDG_STATE_HOME":  filepath.Join(state, "state"),
		"XDG_CACHE_HOME":  filepath.Join(state, "cache"),
		// Where it looks for a person's own settings.
		"OPENCODE_TEST_HOME":               state,
		"OPENCODE_PURE":                    "1",
		"OPENCODE_DISABLE_AUTOUPDATE":      "1",
		"OPENCODE_DISABLE_MODELS_FETCH":    "1",
		"OPENCODE_DISABLE_SHARE":           "1",
		"OPENCODE_DISABLE_LSP_DOWNLOAD":    "1",
		"OPENCODE_DISABLE_DEFAULT_PLUGINS": "1",
		"OPENCODE_DISABLE_PROJECT_CONFIG":  "1",
		"OPENCODE_DISABLE_EXTERNAL_SKILLS": "1",
		"OPENCODE_DISABLE_CLAUDE_CODE":     "1",
	}
}

// configure makes the program's settings, and the file with the run's
// instructions. Nothing in them is secret.
func configure(l *cliagent.Launch) ([]byte, error) {
	s := l.Session
	window, output := cmp.Or(s.Model.ContextWindow, defaultWindow), cmp.Or(s.Model.MaxOutput, defaultOutput)
	model := map[string]any{"name": s.Model.ID, "tool_call": true, "limit": map[string]int64{"context": window, "output": output}}
	if h := s.Task.Config.Harness; h != nil && h.ReasoningLevel != "" {
		model["reasoning"] = true
	}
	npm, path := provider(s.Model.Wire)
	out := map[string]any{
		"autoupdate": false, "share": "disabled", "snapshot": false,
		"model": "oz/" + s.Model.ID, "small_model": "oz/" + s.Model.ID,
		"enabled_providers": []string{"oz"},
		"provider": map[string]any{"oz": map[string]any{"name": "Oz", "npm": npm,
			"options": map[string]any{"baseURL": s.Model.BaseURL + path, "apiKey": "{env:" + tokenName + "}", "timeout": false},
			"models":  map[string]any{s.Model.ID: model}}},
		"agent":        map[string]any{"title": map[string]any{"disable": true}}, // nobody sees the titles
		"permission":   permissions(l),
		"experimental": map[string]any{"mcp_timeout": serverWait.Milliseconds()},
	}
	if s.Instructions != "" {
		file := filepath.Join(l.Scratch, "instructions.md")
		if err := os.WriteFile(file, []byte(s.Instructions), 0o600); err != nil {
			return nil, err
		}
		out["instructions"] = []string{file}
	}
	return json.Marshal(out)
}

// provider is the part of the program that speaks a wire, and where the gateway
// has it.
func provider(wire string) (npm, path string) {
	switch wire {
	case "openai":
		return "@ai-sdk/openai-compatible", "/openai/v1" // Chat Completions, which all have
	case "gemini":
		return "@ai-sdk/google", "/gemini/v1beta"
	}
	return "@ai-sdk/anthropic", "/anthropic/v1"
}

// permissions lets the program do all but use the tools of servers that are
// denied. The last rule that matches counts, so their order is kept.
func permissions(l *cliagent.Launch) json.RawMessage {
	rules := []string{`"*":"allow"`}
	add := func(name, verdict string) {
		key, _ := json.Marshal(name) // a text always marshals
		rules = append(rules, string(key)+":"+verdict)
	}
	for _, m := range l.Session.MCP {
		prefix := toolName(m.Name) + "_"
		if m.Allow != nil {
			add(prefix+"*", `"deny"`)
		}
		for _, tool := range m.Allow {
			add(prefix+toolName(tool), `"allow"`)
		}
		for _, tool := range m.Deny {
			add(prefix+toolName(tool), `"deny"`)
		}
	}
	return json.RawMessage("{" + strings.Join(rules, ",") + "}")
}

var notInName = regexp.MustCompile(`[^a-zA-Z0-9_*-]`)

// toolName is a name as the program has it.
func toolName(name string) string { return notInName.ReplaceAllString(name, "_") }

// server is one server of the Model Context Protocol in the protocol's words.
type server struct {
	Type    string   `json:"type,omitempty"`
	Name    string   `json:"name"`
	URL     string   `json:"url,omitempty"`
	Headers []pair   `json:"headers,omitempty"`
	Command string   `json:"command,omitempty"`
	Args    []string `json:"args"`
	Env     []pair   `json:"env"`
}

type pair struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// servers gives the session's servers. They are said to the program on its
// standard input, where nobody else reads what may be secret.
func servers(l *cliagent.Launch, env map[string]string) ([]server, error) {
	out := []server{}
	start := ""
	for _, m := range l.Session.MCP {
		switch {
		case m.URL != "":
			out = append(out, server{Type: "http", Name: m.Name, URL: m.URL, Headers: pairs(m.Headers), Args: []string{}, Env: []pair{}})
		case len(m.Command) > 0:
			if start == "" {
				start = filepath.Join(l.Scratch, "start")
				if err := os.WriteFile(start, restore(l.Session.Env, env, `cd "$1" && shift && exec "$@"`), 0o700); err != nil {
					return nil, err
				}
			}
			args := append([]string{start, cmp.Or(m.Dir, l.Session.Dir)}, m.Command...)
			out = append(out, server{Name: m.Name, Command: "/bin/sh", Args: args, Env: pairs(m.Env)})
		}
	}
	return out, nil
}

func pairs(m map[string]string) []pair {
	out := []pair{}
	for name, value := range m {
		out = append(out, pair{name, value})
	}
	slices.SortFunc(out, func(a, b pair) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// restore is a script that undoes what changed over the session's environment,
// and goes on with then. A server's own variables are set before and stay.
func restore(session []string, changed map[string]string, then string) []byte {
	var b strings.Builder
	b.WriteString("#!/bin/sh\n")
	for _, name := range slices.Sorted(maps.Keys(changed)) {
		was := "unset " + name
		if value, ok := lookup(session, name); ok {
			was = "export " + name + "=" + quoted(value)
		}
		b.WriteString(was + "\n")
	}
	b.WriteString(then + "\n")
	return []byte(b.String())
}

func lookup(env []string, name string) (string, bool) {
	for _, v := range slices.Backward(env) {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value, true
		}
	}
	return "", false
}

// quoted is s as one word of the shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// realShell runs the agent's commands.
func realShell() string {
	if info, err := os.Stat("/bin/bash"); err == nil && info.Mode()&0o111 != 0 {
		return "/bin/bash"
	}
	return "/bin/sh"
}

// sessionName is what the program calls its sessions.
var sessionName = regexp.MustCompile(`\Ases_[A-Za-z0-9]{1,64}\z`)

// Received implements cliagent.Agent; Recall is asked in its place.
func (agent) Received(string, string, []cliagent.Prompt) ([]bool, bool) { return nil, false }

// Recall implements cliagent.Recalls. The program keeps its sessions in a
// database of its own, which it reads out.
func (agent) Recall(ctx context.Context, at cliagent.Place, session string, prompts []cliagent.Prompt) ([]bool, bool) {
	if !sessionName.MatchString(session) {
		return nil, false
	}
	if _, err := os.Stat(filepath.Join(at.State, "data", "opencode", "opencode.db")); err != nil {
		file := copyOf(at, session) // of an earlier workspace
		if _, err := os.Stat(file); err != nil {
			return nil, false
		}
		if _, err := ask(ctx, at, "import", file); err != nil {
			return nil, false
		}
	}
	out, err := ask(ctx, at, "db", fmt.Sprintf(`select 'session' as kind, '' as text from session where id = '%[1]s' union all select * from (`+
		`select 'said', coalesce(json_extract(p.data, '$.text'), '') from part p join message m on m.id = p.message_id `+
		`where m.session_id = '%[1]s' and json_extract(m.data, '$.role') = 'user' and json_extract(p.data, '$.type') = 'text' order by p.id)`, session), "--format", "json")
	if err != nil {
		return nil, false
	}
	return recalled(out, prompts)
}

// copies, in the program's home, has copies of sessions as the program makes them.
const copies = "export"

func copyOf(at cliagent.Place, session string) string {
	return filepath.Join(at.State, copies, session+".json")
}

// SessionFiles implements cliagent.Keeps.
func (agent) SessionFiles() []string { return []string{copies + "/*.json"} }

// Export implements cliagent.Exports. Its database would have secrets in pieces,
// where nobody finds them.
func (agent) Export(ctx context.Context, at cliagent.Place, session string) error {
	if !sessionName.MatchString(session) {
		return fmt.Errorf("%q is no session of OpenCode's", session)
	}
	out, err := ask(ctx, at, "export", session)
	if err != nil {
		return fmt.Errorf("copy the session: %w", err)
	}
	if !json.Valid(out) {
		return errors.New("copy the session: OpenCode gave no whole document")
	}
	file := copyOf(at, session)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return os.WriteFile(file, out, 0o600)
}

// ask runs the program for what it knows.
func ask(ctx context.Context, at cliagent.Place, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, recallTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, at.Path, args...)
	cmd.Dir, cmd.WaitDelay = at.Dir, time.Second
	cmd.Env = slices.DeleteFunc(slices.Clone(at.Env), func(v string) bool { return strings.HasPrefix(v, "OPENCODE_") })
	for name, value := range places(at.State) {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Env = append(cmd.Env, "npm_config_registry="+nowhere)
	out := &bounded{most: maxRecall}
	cmd.Stdout = out
	if err := cmd.Run(); err != nil {
		return nil, err
	}
	if out.over {
		return nil, fmt.Errorf("it has more than %d bytes", maxRecall)
	}
	return out.data, nil
}

// recalled reads the program's answer.
func recalled(answer []byte, prompts []cliagent.Prompt) ([]bool, bool) {
	var rows []struct{ Kind, Text string }
	if json.Unmarshal(answer, &rows) != nil || len(rows) == 0 {
		return nil, false
	}
	m := cliagent.NewMatcher(prompts)
	for _, row := range rows {
		if row.Kind == "said" {
			m.Said(row.Text)
		}
	}
	return m.Received(), true
}

// bounded keeps what is written, up to a limit.
type bounded struct {
	data []byte
	most int
	over bool
}

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	if len(b.data)+len(p) > b.most {
		b.over = true
		return len(p), nil
	}
	b.data = append(b.data, p...)
	return len(p), nil
}
