package runner_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/executor/harness/claude"
	"github.com/oz-platform/cloudagents/executor/harness/cliagent"
	"github.com/oz-platform/cloudagents/executor/harness/codex"
	"github.com/oz-platform/cloudagents/executor/harness/gemini"
	"github.com/oz-platform/cloudagents/executor/harness/harnesstest"
	"github.com/oz-platform/cloudagents/executor/harness/opencode"
	"github.com/oz-platform/cloudagents/executor/runner"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// realAgent is a third party's program, and how its model calls a command.
type realAgent struct {
	kind, wire, model string
	harness           harness.Harness
	command           func(line string) scripted.Step
}

func realAgents(t *testing.T) []realAgent {
	opts := func(name, version string) *cliagent.Options {
		return &cliagent.Options{Path: harnesstest.Program(t, name, version), Version: version, Poll: 100 * time.Millisecond}
	}
	return []realAgent{
		{"claude", "anthropic", modelID, claude.New(opts("claude", claude.Version)), func(l string) scripted.Step { return call("Bash", object{"command": l}) }},
		{"codex", "openai", "gpt-5.5", codex.New(opts("codex", codex.Version)), func(l string) scripted.Step { return call("exec_command", object{"cmd": l}) }},
		{"gemini", "gemini", "gemini-2.5-pro", gemini.New(opts("gemini", gemini.Version)), func(l string) scripted.Step { return call("run_shell_command", object{"command": l}) }},
		{"opencode", "anthropic", modelID, opencode.New(opts("opencode", opencode.Version)), func(l string) scripted.Step {
			return call("bash", object{"command": l, "description": "It does it."})
		}},
	}
}

// newAgentRig has a model for one agent.
func newAgentRig(t *testing.T, a realAgent, script scripted.Script) *rig {
	return newRig(t, setup{script: script,
		models: func(m *executor.Models) {
			m.Default = a.model
			m.Providers[0].Wire = a.wire
			if a.wire == "openai" {
				m.Providers[0].BaseURL += "/v1"
			}
		},
		runner: func(o *runner.Options) { o.Harnesses = map[string]harness.Harness{a.kind: a.harness} }})
}

// TestRealAgentsMendARepository has each real program do a whole run: clone,
// work, push, usage, and a follow-up that goes on with its own session.
func TestRealAgentsMendARepository(t *testing.T) {
	for _, a := range realAgents(t) {
		t.Run(a.kind, func(t *testing.T) {
			r := newAgentRig(t, a, play(
				a.command("sed -i s/helo/hello/ greeting.txt && sh check.sh && echo mended"),
				a.command("git checkout -q -b "+branch+" && git commit -qam 'Mend the greeting' && git push -q origin HEAD && echo pushed"),
				scripted.Step{Text: "The greeting is mended."},
				scripted.Step{Text: "You are welcome."}))
			id := r.submit(oz.Request{Prompt: "Mend the greeting.", Config: task.Config{Harness: &task.HarnessConfig{Type: a.kind}, EnvironmentID: r.environment(nil)}})
			run, events := r.finish(id)
			assert.Equal(t, run.State, task.StateSucceeded, describe(events))
			assert.Equal(t, run.Status.Message, "The greeting is mended.")
			assert.Equal(t, r.git(r.remote, "show", branch+":greeting.txt"), "hello world")
			assert.Equal(t, len(run.Artifacts), 1, describe(events))
			assert.Equal(t, run.Artifacts[0].ReferenceType, task.ReferenceBranch)
			asked := len(r.model.Requests())
			calls := 0
			for _, e := range events {
				if p, ok := e.Payload.(*task.UsageReport); ok {
					calls += p.Calls
				}
			}
			assert.Equal(t, calls, asked, "each call is counted once")

			assert.NilError(t, r.FollowUp(t.Context(), id, oz.Message{Text: "Thank you."}))
			r.worker.ended(2)
			run, err := r.Get(t.Context(), id)
			assert.NilError(t, err)
			assert.Equal(t, run.State, task.StateSucceeded)
			assert.Equal(t, run.Status.Message, "You are welcome.")
			sessions := map[string]bool{}
			r.until(id, func(e task.Event) bool {
				if p, ok := e.Payload.(*task.AgentSession); ok {
					sessions[p.ID] = true
				}
				return strings.Contains(describe([]task.Event{e}), "You are welcome.")
			})
			assert.Equal(t, len(sessions), 1, "one session for both")
			for _, q := range r.model.Requests() {
				assert.Equal(t, q.Problem, "")
			}
		})
	}
}

// TestRealAgentPushesThroughThePlatform has Claude Code push with the tool that
// has the credentials.
func TestRealAgentPushesThroughThePlatform(t *testing.T) {
	a := realAgents(t)[0]
	r := newAgentRig(t, a, play(
		a.command("git checkout -q -b "+branch+" && sed -i s/helo/hello/ greeting.txt && git commit -qam 'Mend the greeting'"),
		call("mcp__oz__push_branch", object{}),
		scripted.Step{Text: "It is pushed."}))
	id := r.submit(oz.Request{Prompt: "Mend it.", Config: task.Config{Harness: &task.HarnessConfig{Type: a.kind}, EnvironmentID: r.environment(nil)}})
	run, events := r.finish(id)
	assert.Equal(t, run.State, task.StateSucceeded, describe(events))
	assert.Equal(t, r.git(r.remote, "show", branch+":greeting.txt"), "hello world")
	reported := 0
	for _, e := range events {
		if _, ok := e.Payload.(*task.ArtifactReported); ok {
			reported++
		}
	}
	assert.Equal(t, reported, 1, describe(events))
}

// TestRealAgentAsks has Claude Code ask through the platform's tool, and go on
// with the answer.
func TestRealAgentAsks(t *testing.T) {
	a := realAgents(t)[0]
	r := newAgentRig(t, a, play(
		call("mcp__oz__ask_user", object{"question": "Which branch?"}),
		scripted.Step{Text: "I wait for the answer."},
		scripted.Step{Text: "It is done."}))
	id := r.submit(oz.Request{Prompt: "Do it.", Config: task.Config{Harness: &task.HarnessConfig{Type: a.kind}}})
	run, events := r.finish(id)
	assert.Equal(t, run.State, task.StateBlocked, describe(events))
	assert.Equal(t, run.Status.Message, "Which branch?")
	assert.NilError(t, r.FollowUp(t.Context(), id, oz.Message{Text: "release-2"}))
	r.worker.ended(2)
	run, err := r.Get(t.Context(), id)
	assert.NilError(t, err)
	assert.Equal(t, run.State, task.StateSucceeded, "%+v", run.Status)
	last := r.model.Requests()[len(r.model.Requests())-1]
	assert.Assert(t, strings.Contains(string(last.Body), "release-2"))
}

// TestRealAgentsGoOnElsewhere: the sandbox is gone, and each real program goes on
// in its own session in a new one. What holds a secret is not kept: then it is
// told the conversation.
func TestRealAgentsGoOnElsewhere(t *testing.T) {
	for _, a := range realAgents(t) {
		for _, secret := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/secret=%v", a.kind, secret), func(t *testing.T) {
				r := newAgentRig(t, a, play(a.command("echo $DEPLOY_TOKEN"), scripted.Step{Text: "I have looked."}, scripted.Step{Text: "You are welcome."}))
				if secret {
					_, err := r.CreateSecret(t.Context(), oz.SecretInput{Name: "DEPLOY_TOKEN", Value: "s3cr3t-Vq8Zk2Lm9Tx"})
					assert.NilError(t, err)
				}
				id := r.submit(oz.Request{Prompt: "Look at FIRST-WORDS.", Config: task.Config{Harness: &task.HarnessConfig{Type: a.kind}, EnvironmentID: r.environment(nil)}})
				run, events := r.finish(id)
				assert.Equal(t, run.State, task.StateSucceeded, describe(events))
				kept := 0
				for _, p := range payloads[*task.SnapshotTaken](events) {
					for _, f := range p.Files {
						if f.Kind == task.SnapshotAgent {
							kept++
						}
					}
				}
				assert.Equal(t, kept == 1, !secret, describe(events))
				assert.Equal(t, strings.Contains(describe(events), "it holds a secret (DEPLOY_TOKEN)"), secret, describe(events))

				assert.NilError(t, os.RemoveAll(r.workspace(id)))
				assert.NilError(t, r.FollowUp(t.Context(), id, oz.Message{Text: "Thank you."}))
				run, events = r.finish(id)
				assert.Equal(t, run.State, task.StateSucceeded, describe(events))
				if !secret { // a session begun anew begins the script anew, too
					assert.Equal(t, run.Status.Message, "You are welcome.")
				}
				told := false
				sessions := map[string]bool{}
				for _, p := range payloads[*task.AgentSession](events) {
					sessions[p.ID], told = true, told || p.Told
				}
				assert.Equal(t, told, secret, describe(events))
				assert.Equal(t, len(sessions) == 1, !secret)
				all := r.model.Requests()
				last := string(all[len(all)-1].Body)
				assert.Equal(t, strings.Count(last, "FIRST-WORDS"), 1, last)
				assert.Assert(t, secret || !strings.Contains(last, "was made anew"), "nothing is lost")
			})
		}
	}
}
