// Package agents has the coding agents that the commands of this module drive.
package agents

import (
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/executor/harness/claude"
	"github.com/oz-platform/cloudagents/executor/harness/codex"
	"github.com/oz-platform/cloudagents/executor/harness/gemini"
	"github.com/oz-platform/cloudagents/executor/harness/opencode"
	ozagent "github.com/oz-platform/cloudagents/executor/harness/oz"
)

// All makes a harness for each agent, by the type that runs name it with.
func All() map[string]harness.Harness {
	return map[string]harness.Harness{"oz": ozagent.New(nil), "claude": claude.New(nil), "codex": codex.New(nil), "gemini": gemini.New(nil),
		"opencode": opencode.New(nil)}
}
