package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
	"github.com/oz-platform/cloudagents/trigger/schedule"
	"github.com/oz-platform/cloudagents/trigger/webhook"
)

// House is what Furnish puts onto a server: something of each kind.
type House struct {
	Environment, Agent, Schedule, Webhook string // their uids
	// Runs by their state. INPROGRESS is still at work, at the end of Live.
	Runs map[task.State]task.ID
	Live *client.Link

	worked int // runs with a transcript
}

// Client is the SDK with a key.
func (e *Env) Client(t testing.TB, key string) *client.Client {
	t.Helper()
	c, err := client.New(e.URL, &client.Options{APIKey: key})
	assert.NilError(t, err)
	return c
}

// Furnish makes things as a team has them after a while. The server needs a
// worker, and may have no runs yet.
func (e *Env) Furnish(t testing.TB) *House {
	t.Helper()
	ctx := context.Background()
	admin, mary := e.Client(t, transporttest.AdminKey), e.Client(t, e.Member)
	h := &House{Runs: map[task.State]task.ID{}}
	env, err := admin.CreateEnvironment(ctx, environment.Config{Name: "tally", Description: "The ledger and its tests", DockerImage: "golang:1.26",
		SetupCommands: []string{"go mod download"}}, nil)
	assert.NilError(t, err)
	h.Environment = env.UID
	agent, err := admin.CreateAgent(ctx, oz.AgentInput{Name: ptr("Reviewer"), Description: ptr("Looks at pull requests before people do")})
	assert.NilError(t, err)
	h.Agent = agent.UID
	_, err = admin.CreateSecret(ctx, oz.SecretInput{Name: "DEPLOY_TOKEN", Value: "k3J9-xQ2m-Zp7v-Rt5w", Description: "For the staging server"})
	assert.NilError(t, err)
	s, err := admin.CreateSchedule(ctx, oz.ScheduleInput{Spec: schedule.Spec{Name: "Nightly dependency check", Cron: "0 3 * * *", Enabled: true, Prompt: "Look for updates of our dependencies"}})
	assert.NilError(t, err)
	h.Schedule = s.ID
	w, err := admin.CreateWebhook(ctx, oz.WebhookInput{Spec: webhook.Spec{Name: "crashes", Enabled: true, Prompt: "Look into this crash"}})
	assert.NilError(t, err)
	h.Webhook = w.UID
	_, err = admin.CreatePrompt(ctx, oz.PromptInput{Name: "triage", Prompt: "Triage what is new"})
	assert.NilError(t, err)
	_, err = admin.CreateRule(ctx, oz.RuleInput{Name: "style", Rule: "Write plain English"})
	assert.NilError(t, err)

	h.run(t, e, admin, oz.Request{Prompt: "Splitting a refund loses cents. Find the cause and mend it without touching the tests.", Config: task.Config{EnvironmentID: env.UID}}, task.StateSucceeded, h.work)
	h.run(t, e, mary, oz.Request{Prompt: "Bring the changelog up to date with what was merged this week."}, task.StateFailed, nil)
	h.run(t, e, admin, oz.Request{Prompt: "Move the settings page to the new form."}, task.StateError, nil)
	h.run(t, e, admin, oz.Request{Prompt: "Rename the table invoices to bills."}, task.StateBlocked, h.work)
	h.run(t, e, mary, oz.Request{Prompt: "Try whether the cache helps at all."}, task.StateCancelled, nil)
	h.run(t, e, admin, oz.Request{Prompt: "Add a test for each rule of the tax table, and find out why the build of branch tax-2027 is red.", Config: task.Config{EnvironmentID: env.UID}}, task.StateInProgress, h.work)
	return h
}

// More makes the list of runs longer, for pictures.
func (h *House) More(t testing.TB, e *Env) {
	t.Helper()
	admin, mary := e.Client(t, transporttest.AdminKey), e.Client(t, e.Member)
	kept := maps.Clone(h.Runs)
	for i, prompt := range []string{"Review pull request 41: retries of the mail queue.", "Find the flaky test in the payment suite.", "Write the release notes of 2.14.",
		"Upgrade the build image to Go 1.26 and say what breaks."} {
		by := admin
		if i%2 == 1 {
			by = mary
		}
		h.run(t, e, by, oz.Request{Prompt: prompt, Config: task.Config{EnvironmentID: h.Environment}}, task.StateSucceeded, h.work)
	}
	h.Runs = kept
}

func ptr[T any](v T) *T { return &v }

// run makes a run and takes it to a state, with work before.
func (h *House) run(t testing.TB, e *Env, by *client.Client, r oz.Request, end task.State, work func(testing.TB, *client.Link)) {
	t.Helper()
	ctx := context.Background()
	run, err := by.Submit(ctx, r)
	assert.NilError(t, err)
	link, err := client.NewLink(e.Claimed(), nil)
	assert.NilError(t, err)
	assert.NilError(t, link.Begin(ctx))
	if work != nil {
		work(t, link)
	}
	h.Runs[end] = run.ID
	status := task.Status{}
	switch end {
	case task.StateInProgress:
		h.Live = link
		return
	case task.StateCancelled:
		assert.NilError(t, by.Cancel(ctx, run.ID))
		return
	case task.StateFailed:
		status = task.Status{Message: "the setup command `go mod download` failed with exit code 1", ErrorCode: task.CodeEnvironmentSetupFailed}
	case task.StateError:
		status = task.Status{Message: "the worker lost its sandbox three times in a row", ErrorCode: task.CodeInternal, Retryable: true}
	case task.StateBlocked:
		status = task.Status{Message: "Shall old links go on working?", Question: &task.Question{ID: "q1", Kind: task.QuestionPerson, ExpiresAt: time.Now().Add(24 * time.Hour), Text: "Shall old links go on working?", Choices: []string{"Redirect them", "Let them break"}}}
	}
	heartbeat, err := link.Heartbeat(ctx)
	assert.NilError(t, err)
	assert.NilError(t, link.End(ctx, task.End{State: end, Status: status, SeenInput: heartbeat.LastInput}))
}

// work writes a transcript with something of each kind.
func (h *House) work(t testing.TB, link *client.Link) {
	t.Helper()
	ctx := context.Background()
	h.worked++
	report := fmt.Sprintf("report-%d", h.worked)
	blob, size, err := link.Upload(ctx, report, strings.NewReader("# Report\n\nAll 214 tests pass.\n"))
	assert.NilError(t, err)
	heartbeat, err := link.Heartbeat(ctx)
	assert.NilError(t, err)
	raw := func(v any) json.RawMessage { data, _ := json.Marshal(v); return data }
	events := []task.Payload{
		&task.Phase{Name: task.PhaseWorkspace, Status: task.PhaseStarted}, &task.Phase{Name: task.PhaseWorkspace, Status: task.PhaseDone, Detail: "demo/tally from remote", DurationMS: 66},
		&task.Phase{Name: task.PhaseSetup, Status: task.PhaseStarted}, &task.Phase{Name: task.PhaseSetup, Status: task.PhaseDone, DurationMS: 103},
		&task.Phase{Name: task.PhaseAgent, Status: task.PhaseStarted},
		&task.Delivered{Inputs: []int64{heartbeat.LastInput}},
		&task.TurnStarted{Turn: 1},
		&task.Reasoning{ID: "r1", Text: "The tests tell which totals lose cents. I run them before I read the code."},
		&task.Message{ID: "m1", Text: "I start with the **tests**, to see what fails."},
		&task.ToolCall{ID: "c1", Name: "run_command", Category: task.CategoryCommand, Input: raw(map[string]any{"command": "go test ./..."})},
		&task.TurnEnded{Turn: 1, Model: "claude-sonnet-4-5", StopReason: "tool_use", DurationMS: 1850},
		&task.ToolOutput{CallID: "c1", Text: "\x1b[31m--- FAIL: TestSplitKeepsEveryCent (0.00s)\x1b[0m\n    split_test.go:26: Split(-0.01, 2) adds up to 0.00\nFAIL\n"},
		&task.ToolResult{CallID: "c1", Name: "run_command", Category: task.CategoryCommand, State: task.ToolFailed, Content: "exit code 1", Output: raw(map[string]any{"exit_code": 1}), DurationMS: 389},
		&task.UsageReport{Category: "primary_agent", Model: "claude-sonnet-4-5", Provider: "anthropic", Tokens: task.TokenCount{Input: 18200, Output: 940}, Cost: task.CostUSD{Input: 0.0546, Output: 0.0141}, Priced: true, Calls: 1},
		&task.Todos{Items: []task.Todo{{Title: "Reproduce the failure", Done: true}, {Title: "Find the cause", Done: true}, {Title: "Mend it"}, {Title: "Prove it with all tests"}}},
		&task.TurnStarted{Turn: 2},
		&task.Message{ID: "m2", Text: "Only *negative* totals lose cents:\n\n- Go's remainder takes the sign of the dividend\n- the loop finds no index below it\n\n```go\nbase, rest := total/Cents(n), total%Cents(n)\n```\n\n| total | shares |\n|---|---|\n| -0.01 | 0, -0.01 |\n"},
		&task.ToolCall{ID: "c2", Name: "edit_files", Category: task.CategoryFiles, Input: raw(map[string]any{"title": "Give out the remainder of refunds too"})},
		&task.TurnEnded{Turn: 2, Model: "claude-sonnet-4-5", StopReason: "tool_use", DurationMS: 2210},
		&task.ToolResult{CallID: "c2", Name: "edit_files", Category: task.CategoryFiles, State: task.ToolCompleted, Content: "edited split.go",
			Output: raw(map[string]any{"diff": "--- a/split.go\n+++ b/split.go\n@@ -10,3 +10,4 @@\n \tfor i := range shares {\n-\t\tshares[i]++\n+\t\tshares[i] += cent\n+\t\trest--\n \t}\n"}), DurationMS: 12},
		&task.ArtifactReported{Artifact: task.Artifact{UID: fmt.Sprintf("pr-%d", h.worked), Type: task.ArtifactPullRequest, Title: "Give out the remainder of refunds too", URL: "https://github.com/demo/tally/pull/42", Branch: "oz/refunds"}},
		&task.ArtifactReported{Artifact: task.Artifact{UID: report, Type: task.ArtifactFile, Title: "Report", Path: "out/report.md", MIMEType: "text/markdown", SizeBytes: size, Blob: blob}},
		&task.Notice{Text: "The push waits for a second look."},
	}
	list := make([]task.Event, 0, len(events))
	for _, p := range events {
		list = append(list, task.Event{Payload: p})
	}
	assert.NilError(t, link.Append(ctx, 0, list))
}

// Key makes a key of a person of the house.
func (e *Env) Key(t testing.TB, user string, kind access.KeyType) (raw, uid string) {
	t.Helper()
	caller, err := e.Platform.Registry().Caller(context.Background(), user)
	assert.NilError(t, err)
	raw, k, err := e.Platform.Registry().CreateKey(context.Background(), caller, access.KeySpec{Name: "browser", Type: kind})
	assert.NilError(t, err)
	return raw, k.UID
}
