package claude

import (
	"regexp"
	"slices"

	"github.com/oz-platform/cloudagents/executor/catalog"
	"github.com/oz-platform/cloudagents/task"
)

// ownTools are the program's, by the permission that they need.
var ownTools = struct{ edit, read, run, all []string }{
	edit: []string{"Edit", "MultiEdit", "Write", "NotebookEdit"},
	read: []string{"Read", "Glob", "Grep", "LS"},
	run:  []string{"Bash"},
	all: []string{"Agent", "Bash", "BashOutput", "Edit", "Glob", "Grep", "KillShell", "LS", "MultiEdit", "NotebookEdit", "Read", "Skill", "Task", "TodoWrite",
		"WebFetch", "WebSearch", "Write"},
}

// disallowed puts what a profile prohibits into the words of the program's
// --disallowedTools, which holds whatever else it is allowed. The platform has
// let no run through that asks for more (catalog.HoldsPermissions).
func disallowed(p task.Permissions) []string {
	var out []string
	for _, l := range []struct {
		level task.Level
		tools []string
	}{{p.ApplyDiffs, ownTools.edit}, {p.ReadFiles, ownTools.read}, {p.ExecuteCommands, ownTools.run}} {
		if l.level == task.LevelNever {
			out = append(out, l.tools...)
		}
	}
	for _, pattern := range p.CommandDenylist {
		if program, ok := catalog.PlainProgram(pattern); ok {
			out = append(out, "Bash("+program+":*)")
		}
	}
	for _, pattern := range p.ToolDenylist {
		re, err := regexp.Compile(`\A(?:` + pattern + `)\z`)
		if err != nil {
			continue // the run was refused for it
		}
		for _, tool := range ownTools.all {
			if re.MatchString(tool) {
				out = append(out, tool)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
