package catalog

import (
	"regexp"

	"github.com/oz-platform/cloudagents/task"
)

// plainProgram matches a pattern that means one program with any arguments.
var plainProgram = regexp.MustCompile(`\A([A-Za-z0-9_-]+)(\(\\s\.\*\)\?)\z`)

// PlainProgram gives the program of a pattern such as `rm(\s.*)?`, which means it
// with any arguments. Of other patterns ok is false.
func PlainProgram(pattern string) (program string, ok bool) {
	m := plainProgram.FindStringSubmatch(pattern)
	if m == nil {
		return "", false
	}
	return m[1], true
}

// HoldsPermissions fails with task.ErrInvalid, for field, if the agents of a
// harness cannot be held to permissions: it is better that a run is refused than
// that a profile says what nobody keeps. Tools of the platform and of MCP servers
// are judged by the runner, for every harness; the built-in agent can be held to
// all. Of the others none waits with a call for an approval; what their own
// tools do Claude Code alone can be held to, by tool and by program.
func HoldsPermissions(field, harness string, p task.Permissions) error {
	if harness == "oz" {
		return nil
	}
	for _, l := range []struct {
		name  string
		level task.Level
	}{{"apply_diffs", p.ApplyDiffs}, {"read_files", p.ReadFiles}, {"create_plans", p.CreatePlans}, {"execute_commands", p.ExecuteCommands},
		{"interact_with_commands", p.InteractWithCommands}, {"call_mcp_tools", p.CallMCPTools}} {
		own := l.name == "apply_diffs" || l.name == "read_files" || l.name == "execute_commands" || l.name == "interact_with_commands"
		switch {
		case l.level == task.LevelAlwaysAsk:
			return task.Invalid(field, "the agent %s cannot wait for approvals (%s: always_ask): use the built-in agent, or another level", harness, l.name)
		case l.level != task.LevelNever || !own:
		case harness != "claude" || l.name == "interact_with_commands":
			return task.Invalid(field, "the agent %s cannot be held to %s: never: use the built-in agent", harness, l.name)
		}
	}
	if len(p.CommandAllowlist) > 0 && p.ExecuteCommands == task.LevelNever {
		return task.Invalid(field, "the agent %s cannot be held to a command_allowlist: use the built-in agent", harness)
	}
	for _, pattern := range p.CommandDenylist {
		if _, ok := PlainProgram(pattern); harness != "claude" || !ok {
			return task.Invalid(field, "the agent %s cannot be held to the command_denylist %q: use the built-in agent", harness, pattern)
		}
	}
	return nil
}
