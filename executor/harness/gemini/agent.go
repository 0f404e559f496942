package gemini

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/executor/harness/cliagent"
)

// Version of Gemini CLI that this package was verified with.
const Version = "0.61.0"

const (
	// headerName begins the variables with the values of servers' headers.
	headerName = "OZ_GEMINI_HEADER_"
	// attempts is how often the program asks for an answer. The gateway has its
	// own retries; one more is for an answer that came empty.
	attempts = 2
	// serverWait is how long a server may take for an answer: the program has one
	// limit for starting it and for each call. The platform's own tools may take
	// minutes, and bound themselves.
	serverWait = 15 * time.Minute
)

// New returns a harness that drives Gemini CLI. opts may be nil.
func New(opts *cliagent.Options) *cliagent.Harness { return cliagent.New(agent{}, opts) }

// agent says what is Gemini CLI's own.
type agent struct{}

var (
	_ cliagent.Skilled  = agent{}
	_ cliagent.Keeps    = agent{}
	_ cliagent.Restarts = agent{}
)

// Program implements cliagent.Agent.
func (agent) Program() cliagent.Program {
	return cliagent.Program{Name: "gemini", Title: "Gemini CLI", Version: Version,
		Install: func(version string) (spec, file string, ok bool) {
			return "@google/gemini-cli@" + version, "bundle/gemini.js", true
		}}
}

// Wires implements cliagent.Agent.
func (agent) Wires() []string { return []string{"gemini"} }

// ReadsRules implements harness.RuleReader: the program puts the file into its
// prompt by itself.
func (agent) ReadsRules() []string { return []string{"GEMINI.md"} }

// RestartsBrokenOff implements cliagent.Restarts: the program ends when an
// answer breaks off in the middle.
func (agent) RestartsBrokenOff() bool { return true }

// SkillRoot implements cliagent.Skilled.
func (agent) SkillRoot(state string) string { return filepath.Join(state, ".gemini", "skills") }

// ReadsSkills implements cliagent.Skilled.
func (agent) ReadsSkills() []string { return []string{".gemini/skills", ".agents/skills"} }

// SessionFiles implements cliagent.Keeps.
func (agent) SessionFiles() []string {
	return []string{".gemini/projects.json", ".gemini/tmp/*/.project_root", ".gemini/tmp/*/chats/*.jsonl"}
}

// Launch implements cliagent.Agent.
func (agent) Launch(l *cliagent.Launch) (cliagent.Command, error) {
	s := l.Session
	tmp := filepath.Join(l.Scratch, "tmp")
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return cliagent.Command{}, err
	}
	env := map[string]string{
		"GEMINI_API_KEY":             s.Model.Token.Reveal(),
		"GOOGLE_GEMINI_BASE_URL":     s.Model.BaseURL + "/gemini",
		"GEMINI_CLI_HOME":            l.State,
		"GEMINI_CLI_NO_RELAUNCH":     "true",
		"GEMINI_CLI_TRUST_WORKSPACE": "true",
		"GEMINI_TELEMETRY_ENABLED":   "false",
		"NO_BROWSER":                 "true",
		"NODE_NO_WARNINGS":           "1",
		"TMPDIR":                     tmp, // it leaves reports of the model's errors there
	}
	if err := settle(l, env); err != nil {
		return cliagent.Command{}, err
	}
	args := []string{"--output-format", "stream-json", "--approval-mode", "yolo", "--model", s.Model.ID}
	if l.Resume {
		if err := mend(l.State, l.NativeID); err != nil {
			return cliagent.Command{}, err
		}
		args = append(args, "--resume", l.NativeID)
	} else {
		args = append(args, "--session-id", l.NativeID)
	}
	return cliagent.Command{Args: args, Env: env, Drop: []string{"GEMINI_", "GOOGLE_"}, Stdin: []byte(l.Prompt.Text), NativeID: l.NativeID}, nil
}

// settle writes the program's settings and instructions. Values that may be
// secret are in files of the scratch directory and in env.
func settle(l *cliagent.Launch, env map[string]string) error {
	dir := filepath.Join(l.State, ".gemini")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	list, err := servers(l, env)
	if err != nil {
		return err
	}
	model := map[string]any{"skipNextSpeakerCheck": true} // it would ask the model once more after each answer
	if l.TurnsLeft > 0 {
		model["maxSessionTurns"] = l.TurnsLeft
	}
	settings, err := json.Marshal(map[string]any{
		"security":   map[string]any{"auth": map[string]any{"selectedType": "gemini-api-key"}, "folderTrust": map[string]any{"enabled": false}},
		"general":    map[string]any{"maxAttempts": attempts, "enableAutoUpdate": false, "enableAutoUpdateNotification": false, "checkpointing": map[string]any{"enabled": false}},
		"privacy":    map[string]any{"usageStatisticsEnabled": false},
		"telemetry":  map[string]any{"enabled": false},
		"model":      model,
		"mcpServers": list,
	})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "settings.json"), settings, 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "GEMINI.md"), []byte(l.Session.Instructions), 0o600)
}

// server is one server of the Model Context Protocol in the program's words.
type server struct {
	Command string            `json:"command,omitempty"`
	Args    []string          `json:"args,omitempty"`
	URL     string            `json:"httpUrl,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	Trust   bool              `json:"trust"`
	Timeout int64             `json:"timeout,omitempty"` // in ms, of starting it and of each call
	Include []string          `json:"includeTools,omitempty"`
	Exclude []string          `json:"excludeTools,omitempty"`
}

// servers gives the session's servers in the program's words, and puts the
// values of their headers into env.
func servers(l *cliagent.Launch, env map[string]string) (map[string]server, error) {
	out := map[string]server{}
	for i, m := range l.Session.MCP {
		to := server{Trust: true, Timeout: max(m.StartTimeout, serverWait).Milliseconds()}
		switch {
		case m.URL != "":
			to.URL, to.Headers = m.URL, map[string]string{}
			for j, name := range slices.Sorted(maps.Keys(m.Headers)) {
				v := fmt.Sprintf("%s%d_%d", headerName, i, j)
				env[v] = m.Headers[name]
				to.Headers[name] = "${" + v + "}"
			}
		case len(m.Command) > 0:
			script := filepath.Join(l.Scratch, fmt.Sprintf("server-%d.sh", i))
			if err := os.WriteFile(script, starter(m, l.Session.Dir), 0o600); err != nil {
				return nil, err
			}
			to.Command, to.Args = "/bin/sh", append([]string{script}, m.Command...)
		default:
			continue
		}
		if exact(m.Allow) {
			to.Include = m.Allow
		}
		if exact(m.Deny) {
			to.Exclude = m.Deny
		}
		out[m.Name] = to
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

// NewParser implements cliagent.Agent.
func (agent) NewParser() cliagent.Parser { return &parser{} }
