package task

import (
	"fmt"
	"regexp"
)

// Level says whether an agent may do a kind of thing by itself (Oz platform,
// PRO-1).
type Level string

// The levels of a permission. Empty is LevelAgentDecides.
const (
	// LevelAgentDecides lets the agent do it, or ask when it thinks it should.
	LevelAgentDecides Level = "agent_decides"
	// LevelAlwaysAllow lets the agent do it.
	LevelAlwaysAllow Level = "always_allow"
	// LevelAlwaysAsk makes the run wait for a person's approval, each time.
	LevelAlwaysAsk Level = "always_ask"
	// LevelNever prohibits it.
	LevelNever Level = "never"
)

// What becomes of a run whose agent has tried what is prohibited.
const (
	// ProhibitedFails ends the run as FAILED.
	ProhibitedFails = "fail"
	// ProhibitedRefuses tells the agent, which goes on.
	ProhibitedRefuses = "refuse"
)

// Limits of Permissions; ours.
const (
	MaxPatterns     = 200 // in each list
	MaxPatternBytes = 1000
)

// Permissions are what a run's agent may do: those of the agent profile that it
// was created with. Deny lists win over allow lists, and allow lists over
// levels. Patterns are regular expressions (RE2) that must match as a whole.
//
// They keep an agent from mistakes, not a program from malice: a command that
// may run may start any other one. What must not happen a sandbox has to keep.
type Permissions struct {
	// ApplyDiffs is for changing files with the agent's tools, ReadFiles for
	// reading and searching with them. Commands have their own rules.
	ApplyDiffs Level `json:"apply_diffs,omitempty"`
	ReadFiles  Level `json:"read_files,omitempty"`
	// CreatePlans is for writing a plan.
	CreatePlans Level `json:"create_plans,omitempty"`
	// ExecuteCommands is for commands that no list names.
	ExecuteCommands Level `json:"execute_commands,omitempty"`
	// InteractWithCommands is for writing to a command that runs.
	InteractWithCommands Level `json:"interact_with_commands,omitempty"`
	// CallMCPTools is for tools of MCP servers that no list names.
	CallMCPTools Level `json:"call_mcp_tools,omitempty"`
	// CommandAllowlist and CommandDenylist match single commands with their
	// arguments, such as `git push(\s.*)?`: of "a && b | c" each one by itself.
	CommandAllowlist []string `json:"command_allowlist,omitempty"`
	CommandDenylist  []string `json:"command_denylist,omitzero"` // an empty one is kept: profiles without one get the default
	// ToolAllowlist and ToolDenylist match names of tools; those of MCP servers
	// are mcp__SERVER__TOOL.
	ToolAllowlist []string `json:"tool_allowlist,omitempty"`
	ToolDenylist  []string `json:"tool_denylist,omitempty"`
	// OnProhibited is ProhibitedFails or ProhibitedRefuses. Default: the first
	// for runs on the caller's own machine, the second for others.
	OnProhibited string `json:"on_prohibited,omitempty"`
}

// DefaultCommandDenylist is the deny list of profiles that have said nothing
// (Oz platform, PRO-1).
func DefaultCommandDenylist() []string {
	return []string{`wget(\s.*)?`, `curl(\s.*)?`, `rm(\s.*)?`, `eval(\s.*)?`}
}

// Validate judges permissions below field, such as "config.permissions". It
// fails with ErrInvalid.
func (p Permissions) Validate(field string) error {
	for _, l := range []struct {
		name  string
		level Level
	}{{"apply_diffs", p.ApplyDiffs}, {"read_files", p.ReadFiles}, {"create_plans", p.CreatePlans}, {"execute_commands", p.ExecuteCommands},
		{"interact_with_commands", p.InteractWithCommands}, {"call_mcp_tools", p.CallMCPTools}} {
		switch l.level {
		case "", LevelAgentDecides, LevelAlwaysAllow, LevelAlwaysAsk, LevelNever:
		default:
			return Invalid(field+"."+l.name, "%q is none of agent_decides, always_allow, always_ask, never", string(l.level))
		}
	}
	for _, l := range []struct {
		name     string
		patterns []string
	}{{"command_allowlist", p.CommandAllowlist}, {"command_denylist", p.CommandDenylist}, {"tool_allowlist", p.ToolAllowlist}, {"tool_denylist", p.ToolDenylist}} {
		if _, err := CompilePatterns(field+"."+l.name, l.patterns); err != nil {
			return err
		}
	}
	switch p.OnProhibited {
	case "", ProhibitedFails, ProhibitedRefuses:
		return nil
	}
	return Invalid(field+".on_prohibited", "%q is neither fail nor refuse", p.OnProhibited)
}

// CompilePatterns makes the expressions of one list, each of which matches a
// whole text, with line breaks in it or not. It fails with ErrInvalid.
func CompilePatterns(field string, patterns []string) ([]*regexp.Regexp, error) {
	if len(patterns) > MaxPatterns {
		return nil, Invalid(field, "has %d patterns, at most %d are allowed", len(patterns), MaxPatterns)
	}
	out := make([]*regexp.Regexp, 0, len(patterns))
	for i, p := range patterns {
		at := fmt.Sprintf("%s[%d]", field, i)
		if p == "" || len(p) > MaxPatternBytes {
			return nil, Invalid(at, "must have 1 to %d bytes", MaxPatternBytes)
		}
		if _, err := regexp.Compile(p); err != nil { // by itself: "a)(b" must not pass for being wrapped
			return nil, Invalid(at, "is no regular expression: %w", err)
		}
		re, err := regexp.Compile(`(?s)\A(?:` + p + `)\z`)
		if err != nil {
			return nil, Invalid(at, "is no regular expression: %w", err)
		}
		out = append(out, re)
	}
	return out, nil
}

// Fails reports whether a prohibited act ends a run that executes at where.
func (p Permissions) Fails(where Location) bool {
	if p.OnProhibited == "" {
		return where == LocationLocal
	}
	return p.OnProhibited == ProhibitedFails
}
