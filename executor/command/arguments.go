package command

import (
	"strconv"
	"strings"

	"github.com/oz-platform/cloudagents/task"
)

// arguments are those of the program oz, in the fixed order of section 8.1 of the worker protocol. Each is there only
// if the run asks for it, but for the first ones.
func (e *Executor) arguments(t task.Task, server string) []string {
	args := []string{"agent", "run"}
	if t.Owner.Type == task.ScopeTeam {
		args = append(args, "--share", "team:edit")
	}
	args = append(args, "--task-id", string(t.ID), "--sandboxed", "--server-root-url", server)
	args = append(args, configured(t.Config)...)
	idle := "--idle-on-complete" // with "=", which all parsers of optional values take
	switch minutes := t.Config.IdleTimeoutMinutes; {
	case minutes != nil && *minutes > 0:
		idle += "=" + strconv.Itoa(*minutes) + "m"
	case e.opts.IdleOnComplete != "":
		idle += "=" + e.opts.IdleOnComplete
	}
	return append(args, idle)
}

// configured are the arguments that the run's configuration gives. The MCP servers are left out: they may hold
// passwords, every user of a host can read arguments, and the agent fetches them with its bundle anyway.
func configured(c task.Config) []string {
	var args []string
	add := func(flag, value string) {
		if value = strings.TrimSpace(value); value != "" {
			args = append(args, flag, value)
		}
	}
	builtIn := c.HarnessType() == "oz"
	if builtIn {
		add("--model", c.ModelID)
	}
	add("--skill", c.SkillSpec)
	screen := builtIn
	if c.ComputerUseEnabled != nil {
		screen = *c.ComputerUseEnabled
	}
	if screen {
		args = append(args, "--computer-use")
	} else {
		args = append(args, "--no-computer-use")
	}
	if c.Harness != nil {
		add("--harness", c.Harness.Type)
	}
	add("--environment", c.EnvironmentID)
	return args
}
