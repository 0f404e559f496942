package permit

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/oz-platform/cloudagents/task"
)

// Decision is what becomes of a call.
type Decision int

// The decisions.
const (
	// Allow lets the call be made.
	Allow Decision = iota
	// Ask needs a person's approval before.
	Ask
	// Refuse is for a call that cannot be judged: the agent may make another.
	Refuse
	// Prohibit is for a call that the profile does not allow.
	Prohibit
)

// Verdict is a decision with its reason, a sentence for the agent and for
// people; empty for Allow.
type Verdict struct {
	Decision Decision
	Reason   string
}

// Names of tools whose calls are commands.
const (
	toolCommand = "run_command"
	toolWrite   = "write_to_command"
)

// mcpPrefix begins the names of tools of MCP servers.
const mcpPrefix = "mcp__"

// Guard judges calls of tools. A nil Guard allows all. Safe for concurrent use.
type Guard struct {
	p                                          task.Permissions
	outward                                    bool // see Outward
	where                                      task.Location
	commandAllow, commandDeny, toolAllow, deny []*regexp.Regexp
}

// New makes the guard of a run that executes at where; nil for nil permissions.
// It fails with task.ErrInvalid for permissions that break a rule.
func New(p *task.Permissions, where task.Location) (*Guard, error) {
	if p == nil {
		return nil, nil
	}
	const field = "config.permissions"
	if err := p.Validate(field); err != nil {
		return nil, err
	}
	g := &Guard{p: *p, where: where}
	for _, l := range []struct {
		to       *[]*regexp.Regexp
		name     string
		patterns []string
	}{{&g.commandAllow, "command_allowlist", p.CommandAllowlist}, {&g.commandDeny, "command_denylist", p.CommandDenylist},
		{&g.toolAllow, "tool_allowlist", p.ToolAllowlist}, {&g.deny, "tool_denylist", p.ToolDenylist}} {
		var err error
		if *l.to, err = task.CompilePatterns(field+"."+l.name, l.patterns); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// Outward makes a guard, which may be nil, stricter, for a run that nobody
// vouches for: what MCP servers do for it, others may see, so that a person must
// approve each call that the profile does not prohibit.
func Outward(g *Guard) *Guard {
	strict := Guard{outward: true}
	if g != nil {
		strict = *g
		strict.outward = true
	}
	return &strict
}

// Fails reports whether a prohibited call ends the run.
func (g *Guard) Fails() bool { return g != nil && g.p.Fails(g.where) }

// Judge judges a call of a tool with an input that nobody has judged yet. Ways
// to ask a person and to end the work are always open.
func (g *Guard) Judge(tool string, input json.RawMessage) Verdict {
	if g == nil || tool == "finish" || tool == "ask_user" {
		return Verdict{}
	}
	if p := match(g.deny, tool); p != "" {
		return Verdict{Prohibit, fmt.Sprintf("The agent profile prohibits the tool %s (tool_denylist: %s).", tool, p)}
	}
	switch tool {
	case toolCommand:
		return g.command(input)
	case toolWrite:
		if v := g.written(input); v.Decision != Allow {
			return v
		}
	}
	name, level, what := g.level(tool)
	v := byLevel(name, level, what)
	if match(g.toolAllow, tool) != "" {
		v = Verdict{}
	}
	if g.outward && v.Decision == Allow && strings.HasPrefix(tool, mcpPrefix) {
		return Verdict{Ask, "Nobody vouches for what started this run, so that a person must approve " + what + "."}
	}
	return v
}

// level is the one that counts for a tool that no list names.
func (g *Guard) level(tool string) (name string, l task.Level, what string) {
	switch tool {
	case toolWrite:
		return "interact_with_commands", g.p.InteractWithCommands, "writing to commands that run"
	case "edit_files", "write_file":
		return "apply_diffs", g.p.ApplyDiffs, "changing files"
	case "read_files", "grep", "file_glob", "search_codebase":
		return "read_files", g.p.ReadFiles, "reading files"
	case "write_plan":
		return "create_plans", g.p.CreatePlans, "writing plans"
	}
	if strings.HasPrefix(tool, mcpPrefix) {
		return "call_mcp_tools", g.p.CallMCPTools, "calling tools of MCP servers"
	}
	return "", task.LevelAlwaysAllow, ""
}

func byLevel(name string, l task.Level, what string) Verdict {
	switch l {
	case task.LevelNever:
		return Verdict{Prohibit, fmt.Sprintf("The agent profile prohibits %s (%s: never).", what, name)}
	case task.LevelAlwaysAsk:
		return Verdict{Ask, fmt.Sprintf("The agent profile wants a person's approval for %s (%s: always_ask).", what, name)}
	}
	return Verdict{}
}

// command judges a command line. A call that is none of the tool is let
// through: the tool refuses it.
func (g *Guard) command(input json.RawMessage) Verdict {
	var in struct {
		Command string `json:"command"`
	}
	if json.Unmarshal(input, &in) != nil || strings.TrimSpace(in.Command) == "" {
		return Verdict{}
	}
	read, err := readLine(in.Command)
	if v := g.denied(in.Command, read, err); v.Decision != Allow {
		return v
	}
	if err == nil && g.allowed(read) || match(g.toolAllow, toolCommand) != "" {
		return Verdict{}
	}
	return byLevel("execute_commands", g.p.ExecuteCommands, "running this command")
}

// denied judges by the deny list.
func (g *Guard) denied(text string, read line, err error) Verdict {
	if len(g.commandDeny) == 0 {
		return Verdict{}
	}
	const why = "The agent profile prohibits the command %q (command_denylist: %s)."
	for _, c := range read.commands {
		for _, form := range []string{c.text, c.named} {
			if p := match(g.commandDeny, form); p != "" {
				return Verdict{Prohibit, fmt.Sprintf(why, short(form), p)}
			}
		}
	}
	if p := match(g.commandDeny, strings.TrimSpace(text)); p != "" { // of the whole line
		return Verdict{Prohibit, fmt.Sprintf(why, short(text), p)}
	}
	const ask = "The agent profile prohibits some commands, and this line cannot be judged: "
	switch {
	case errors.Is(err, errUnreadable):
		return Verdict{Refuse, ask + short(err.Error()) + "."}
	case read.unknown != "":
		return Verdict{Refuse, ask + short(read.unknown) + "."}
	}
	return Verdict{}
}

// allowed reports that the allow list names every command of the line, which
// does nothing beside.
func (g *Guard) allowed(read line) bool {
	if len(g.commandAllow) == 0 || len(read.commands) == 0 || !read.plain || read.unknown != "" {
		return false
	}
	for _, c := range read.commands {
		if !c.inner && match(g.commandAllow, c.text) == "" {
			return false
		}
	}
	return true
}

// written judges what is written to a command by the deny list, for it may be a
// shell. What is no shell's language is only matched as it stands.
func (g *Guard) written(input json.RawMessage) Verdict {
	var in struct {
		Input string `json:"input"`
	}
	if json.Unmarshal(input, &in) != nil {
		return Verdict{}
	}
	for _, text := range append(strings.Split(in.Input, "\n"), in.Input) {
		read, _ := readLine(text)
		read.unknown = ""
		if v := g.denied(text, read, nil); v.Decision != Allow {
			return v
		}
	}
	return Verdict{}
}

// match gives the pattern that matches; "" when none does.
func match(list []*regexp.Regexp, text string) string {
	for _, re := range list {
		if re.MatchString(text) {
			return strings.TrimSuffix(strings.TrimPrefix(re.String(), `(?s)\A(?:`), `)\z`)
		}
	}
	return ""
}

// short bounds what a message quotes.
func short(text string) string {
	text = strings.ReplaceAll(strings.TrimSpace(text), computed, "?")
	const most = 200
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
