package tools_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/executor/harness/harnesstest"
	"github.com/oz-platform/cloudagents/executor/harness/tools"
	"github.com/oz-platform/cloudagents/task"
)

// object is a tool's input.
type object = map[string]any

// do calls a tool of a session by name.
func do(t *testing.T, s *harness.Session, name string, in any) (harness.ToolAnswer, *harness.ToolError) {
	t.Helper()
	raw, err := json.Marshal(in)
	assert.NilError(t, err)
	for _, tool := range s.Tools {
		if tool.Name != name {
			continue
		}
		answer, err := tool.Run(t.Context(), harness.ToolCall{ID: "c1", Input: raw})
		var no *harness.ToolError
		if err != nil && !errors.As(err, &no) {
			t.Fatalf("%s: %v", name, err)
		}
		return answer, no
	}
	t.Fatalf("there is no tool %s", name)
	return harness.ToolAnswer{}, nil
}

// TestStandard: every tool is one that every wire and agent can take.
func TestStandard(t *testing.T) {
	s := harnesstest.NewLab(t, harnesstest.LabOptions{NoRepo: true}).Session(t)
	for _, tool := range s.Tools {
		assert.Assert(t, is.Regexp(regexp.MustCompile(`^[a-z0-9_]{1,48}$`), tool.Name))
		var schema struct {
			Type       string         `json:"type"`
			Properties map[string]any `json:"properties"`
			Required   []string       `json:"required"`
		}
		assert.NilError(t, json.Unmarshal([]byte(tool.Schema), &schema), tool.Name)
		assert.Equal(t, schema.Type, "object", tool.Name)
		for _, r := range schema.Required {
			assert.Assert(t, schema.Properties[r] != nil, "%s requires %s, which it does not have", tool.Name, r)
		}
		assert.Assert(t, tool.Description != "" && tool.Category != "", tool.Name)
		_, no := do(t, s, tool.Name, object{"no_such_field": 1})
		assert.Assert(t, no != nil && no.Input, tool.Name)
		assert.Assert(t, is.Contains(no.Message, "no_such_field"), tool.Name)
	}
}

// TestLaterSetWins: who gives a tool of the same name replaces ours.
func TestLaterSetWins(t *testing.T) {
	s := harnesstest.NewLab(t, harnesstest.LabOptions{NoRepo: true}).Session(t)
	mine := harness.Tool{Name: tools.NameAskUser, Run: func(context.Context, harness.ToolCall) (harness.ToolAnswer, error) {
		return harness.ToolAnswer{Text: "mine"}, nil
	}}
	before := len(s.Tools)
	s.Tools = tools.For(s, tools.Standard, func(*harness.Session) []harness.Tool { return []harness.Tool{mine} })
	assert.Equal(t, len(s.Tools), before)
	answer, no := do(t, s, tools.NameAskUser, object{})
	assert.Assert(t, no == nil)
	assert.Equal(t, answer.Text, "mine")
}

// TestReportedOnce: an artifact that the log has is not reported again, by a
// new execution neither.
func TestReportedOnce(t *testing.T) {
	lab := harnesstest.NewLab(t, harnesstest.LabOptions{NoRepo: true})
	assert.NilError(t, os.WriteFile(filepath.Join(lab.Root, "a.txt"), []byte("result"), 0o600))
	for range 2 {
		s := lab.Session(t)
		for range 2 {
			_, no := do(t, s, tools.NameReportArtifact, object{"type": "file", "path": "a.txt"})
			assert.Assert(t, no == nil, "%v", no)
			_, no = do(t, s, tools.NameReportArtifact, object{"type": "pull_request", "url": "https://example.com/pull/1", "branch": "b"})
			assert.Assert(t, no == nil, "%v", no)
		}
	}
	assert.Equal(t, len(harnesstest.Payloads[*task.ArtifactReported](lab.Log)), 2)
}

// TestAskUser: a question ends the work, and the run waits for its answer.
func TestAskUser(t *testing.T) {
	s := harnesstest.NewLab(t, harnesstest.LabOptions{NoRepo: true}).Session(t)
	answer, no := do(t, s, tools.NameAskUser, object{"question": " Which branch? "})
	assert.Assert(t, no == nil)
	assert.Equal(t, answer.End.State, task.StateBlocked)
	assert.Equal(t, answer.End.Status.Message, "Which branch?")
	q := answer.End.Status.Question
	assert.DeepEqual(t, q, s.Desk.Open())
	assert.Equal(t, q.OnExpiry, task.ExpiryFail)
	assert.Assert(t, q.ExpiresAt.After(time.Now().Add(23*time.Hour)))
	select {
	case <-s.Desk.Asked():
	default:
		t.Fatal("whoever drives the agent is not told")
	}
	again, no := do(t, s, tools.NameAskUser, object{"question": "Which branch?"})
	assert.Assert(t, no == nil, "the same call, made again")
	assert.Equal(t, again.End.Status.Question.ID, q.ID)
	for name, in := range map[string]object{
		"empty": {"question": "  "}, "long": {"question": strings.Repeat("q", task.MaxQuestionBytes+1)},
		"twice": {"question": "Which?", "choices": []string{"a", "a"}}, "blank choice": {"question": "Which?", "choices": []string{" "}},
	} {
		_, no = do(t, s, tools.NameAskUser, in)
		assert.Assert(t, no != nil && no.Input, name)
	}
}

// TestRunsBadInput: calls about other runs that are none name what is wrong,
// before anybody is asked.
func TestRunsBadInput(t *testing.T) {
	s := harnesstest.NewLab(t, harnesstest.LabOptions{NoRepo: true, Mode: task.ModeOrchestrate}).Session(t)
	child := object{"key": "a", "prompt": "x"}
	for name, tt := range map[string]struct {
		tool string
		in   object
		want string
	}{
		"wait for nobody":     {tools.NameWaitForRuns, object{"runs": []string{}}, "runs must name 1 to"},
		"wait backwards":      {tools.NameWaitForRuns, object{"runs": []string{"a"}, "minutes": -1}, "minutes must be 0 to"},
		"wait for ever":       {tools.NameWaitForRuns, object{"runs": []string{"a"}, "minutes": 1 << 30}, "minutes must be 0 to"},
		"cancel nobody":       {tools.NameCancelRun, object{}, "run is needed"},
		"letter to nobody":    {tools.NameSendMessage, object{"subject": "s", "body": "b"}, "to: must name 1 to"},
		"children twice":      {tools.NameWritePlan, object{"title": "t", "markdown": "m", "children": []object{child, child}}, "is there twice"},
		"child without task":  {tools.NameWritePlan, object{"title": "t", "markdown": "m", "children": []object{{"key": "a"}}}, "say what the child"},
		"odd key":             {tools.NameWritePlan, object{"title": "t", "markdown": "m", "children": []object{{"key": "a b", "prompt": "x"}}}, "must have 1 to 64"},
		"nothing in parallel": {tools.NameWritePlan, object{"title": "t", "markdown": "m", "parallelism": 2}, "parallelism is for plans with children"},
		"negative":            {tools.NameWritePlan, object{"title": "t", "markdown": "m", "parallelism": -1, "children": []object{child}}, "may not be negative"},
	} {
		t.Run(name, func(t *testing.T) {
			_, no := do(t, s, tt.tool, tt.in)
			assert.Assert(t, no != nil && no.Input)
			assert.Assert(t, is.Contains(no.Message, tt.want))
		})
	}
}

// TestPlanNamesChildren: the plan's children go with it, and another plan is
// another version of the same document.
func TestPlanNamesChildren(t *testing.T) {
	lab := harnesstest.NewLab(t, harnesstest.LabOptions{NoRepo: true, Mode: task.ModeOrchestrate})
	s := lab.Session(t)
	for _, key := range []string{"a", "b", "b"} {
		_, no := do(t, s, tools.NameWritePlan, object{"title": "t", "markdown": "m", "parallelism": 3, "children": []object{{"key": key, "prompt": "x", "harness": "claude"}}})
		assert.Assert(t, no == nil, "%v", no)
	}
	plans := harnesstest.Payloads[*task.ArtifactReported](lab.Log)
	assert.Equal(t, len(plans), 2)
	assert.Equal(t, plans[0].Artifact.DocumentUID, plans[1].Artifact.DocumentUID)
	var m executor.PlanMetadata
	assert.NilError(t, json.Unmarshal(plans[1].Artifact.Metadata, &m))
	assert.DeepEqual(t, *m.Orchestration, executor.Orchestration{Parallelism: 3,
		Children: []executor.Spawn{{Key: "b", Prompt: "x", Config: executor.ChildConfig{Harness: "claude"}}}})
}

// TestChildrenSpawnNothing: a child is not offered what it may not do, and
// nobody spawns in plan mode.
func TestChildrenSpawnNothing(t *testing.T) {
	s := harnesstest.NewLab(t, harnesstest.LabOptions{NoRepo: true}).Session(t)
	offered := func(set []harness.Tool, m task.Mode) (names []string) {
		for _, tool := range set {
			if tool.Offered(m) {
				names = append(names, tool.Name)
			}
		}
		return names
	}
	assert.Assert(t, is.Contains(offered(s.Tools, task.ModeNormal), tools.NameSpawnRun))
	assert.Assert(t, is.Contains(offered(s.Tools, task.ModeOrchestrate), tools.NameWritePlan))
	assert.Assert(t, !slices.Contains(offered(s.Tools, task.ModePlan), tools.NameSpawnRun))
	s.Task.ParentID = task.NewID()
	mine := offered(tools.Runs(s), task.ModeNormal)
	assert.Assert(t, !slices.Contains(mine, tools.NameSpawnRun) && slices.Contains(mine, tools.NameSendMessage))
}

func TestBadInput(t *testing.T) {
	s := harnesstest.NewLab(t, harnesstest.LabOptions{NoRepo: true}).Session(t)
	for name, tt := range map[string]struct {
		tool string
		in   any
		want string
	}{
		"array for object": {tools.NameUpdateTodos, []int{1}, "not a JSON object"},
		"wrong type":       {tools.NameUpdateTodos, object{"todos": "x"}, `field "todos" must be an array, not string`},
		"empty title":      {tools.NameUpdateTodos, object{"todos": []object{{"title": " "}}}, "todos[0]"},
		"type":             {tools.NameReportArtifact, object{"type": "poem"}, "type must be"},
		"NUL":              {tools.NameReportArtifact, object{"type": "file", "path": "a\x00"}, "NUL"},
		"no plan":          {tools.NameWritePlan, object{"title": "x", "markdown": ""}, "markdown"},
	} {
		t.Run(name, func(t *testing.T) {
			_, no := do(t, s, tt.tool, tt.in)
			assert.Assert(t, no != nil && no.Input)
			assert.Assert(t, is.Contains(no.Message, tt.want))
		})
	}
	assert.NilError(t, os.Symlink("/etc/passwd", filepath.Join(s.Root, "out")))
	_, no := do(t, s, tools.NameReportArtifact, object{"type": "file", "path": "out"})
	assert.Equal(t, no.State, task.ToolDenied)
}
