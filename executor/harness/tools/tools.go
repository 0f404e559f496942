package tools

import (
	"strings"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/task"
)

// Names of the tools that other packages know.
const (
	NameUpdateTodos    = "update_todos"
	NameReportArtifact = "report_artifact"
	NameOpenPull       = "open_pull_request"
	NameWritePlan      = "write_plan"
	NameAskUser        = "ask_user"
	NameNotifyUser     = "notify_user"
	NameFinish         = "finish"
	NameRecall         = "recall"
	NameRemember       = "remember"
	NameSearchCodebase = "search_codebase"
	NameListSkills     = "list_skills"
	NameReadSkill      = "read_skill"
	NameSpawnRun       = "spawn_run"
	NameListRuns       = "list_runs"
	NameWaitForRuns    = "wait_for_runs"
	NameCancelRun      = "cancel_run"
	NameSendMessage    = "send_message"
	NameReadMessages   = "read_messages"
)

// For makes the tools of several sets for a session. Of two with one name the
// later one is taken, in the place of the earlier.
func For(s *harness.Session, sets ...harness.ToolSet) []harness.Tool {
	var out []harness.Tool
	at := map[string]int{}
	for _, set := range sets {
		for _, t := range set(s) {
			if i, ok := at[t.Name]; ok {
				out[i] = t
				continue
			}
			at[t.Name] = len(out)
			out = append(out, t)
		}
	}
	return out
}

// Standard are the tools that every session has.
func Standard(s *harness.Session) []harness.Tool {
	r := newReporter(s)
	return append([]harness.Tool{updateTodos(s), reportArtifact(s, r), writePlan(s, r), askUser(s), finish(s)}, Runs(s)...)
}

// whilePlanning offers a tool in the modes whose work begins with a plan.
func whilePlanning(m task.Mode) bool { return m == task.ModePlan || m == task.ModeOrchestrate }

// uid is the same for the same thing in the same run, so that reporting it
// again changes nothing.
func uid(s *harness.Session, parts ...string) string {
	return executor.ArtifactUID(s.Task.ID, parts...)
}

// clean makes text fit for every store, without secrets.
func clean(s *harness.Session, text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s.Redactor.String(text), "\ufffd"), "\x00", "")
}
