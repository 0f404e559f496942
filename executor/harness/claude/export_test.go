package claude

import "github.com/oz-platform/cloudagents/executor/harness/cliagent"

// Agent is what this package tells cliagent of the program.
func Agent() cliagent.Agent { return agent{} }
