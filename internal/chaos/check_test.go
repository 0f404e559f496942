package chaos

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/task"
)

// scene is a run that went well, as the person, the store, the remote and the
// model know it.
type scene struct {
	checker *checker
	tale    *tale
	run     task.Task
	events  []task.Event
}

// newScene makes the scene of a story that pushes and hands over a file.
func newScene(t *testing.T) *scene {
	t.Helper()
	s := &story{number: 7, kind: kindPush, file: true}
	m := &model{counts: map[string]int{s.mark(0): 1, s.mark(1): 1}}
	r := &rig{model: m, config: Config{Server: "/none"}, dir: t.TempDir()}
	c := &checker{rig: r, report: newReport(Config{Store: SQLite()}), commits: map[string]int{}, refs: map[string]int{}}
	run := task.Task{ID: "run"}
	run.State = task.StateSucceeded
	var events []task.Event
	add := func(p task.Payload) { events = append(events, task.Event{Seq: int64(len(events) + 1), Payload: p}) }
	for k := range 2 {
		c.commits[s.subject(k)], c.refs[s.branch(k)] = 1, 1
		run.Artifacts = append(run.Artifacts, task.Artifact{Type: task.ArtifactFile, Path: s.path(k)},
			task.Artifact{Type: task.ArtifactReference, Title: s.branch(k)})
		add(&task.Input{Text: s.text(k)})
		add(&task.Effect{Key: "push:project:" + s.branch(k) + ":0123", State: task.EffectSettled})
	}
	add(&task.StateChanged{To: task.StateSucceeded})
	c.runs = map[task.ID]task.Task{run.ID: run}
	return &scene{checker: c, run: run, events: events, tale: &tale{story: s, id: run.ID, followed: 5,
		messages: []message{{0, true}, {1, true}}}}
}

func (s *scene) check() *Report {
	c := s.checker
	c.checkEnd(s.tale, s.run)
	c.checkMessages(s.tale, s.run, s.events)
	c.checkPushes(s.tale, s.events)
	c.checkArtifacts(s.tale, s.run)
	c.checkFollower(s.tale, s.events)
	c.checkLeft()
	return c.report
}

// TestCheckerFindsEachFault breaks one thing at a time in a scene where all is
// well.
func TestCheckerFindsEachFault(t *testing.T) {
	report := newScene(t).check()
	assert.Equal(t, len(report.Violations), 0, "%v", report.Violations)

	for name, tt := range map[string]struct {
		law     Law
		disturb func(*scene)
	}{
		"not ended":         {LawStuck, func(s *scene) { s.run.State = task.StateInProgress }},
		"sandbox runs":      {LawLeft, func(s *scene) { s.run.SandboxRunning = true }},
		"refused":           {LawRefused, func(s *scene) { s.tale.refusals = []string{"no"} }},
		"message lost":      {LawMessage, func(s *scene) { s.events[0].Payload = &task.Notice{} }},
		"message doubled":   {LawMessage, func(s *scene) { s.events[1].Payload = s.events[0].Payload }},
		"prompt doubled":    {LawPrompt, func(s *scene) { s.checker.rig.model.counts["[[7.1]]"] = 2 }},
		"prompt lost":       {LawPrompt, func(s *scene) { s.checker.rig.model.counts["[[7.1]]"] = 0 }},
		"push doubled":      {LawPush, func(s *scene) { s.checker.refs["chaos/7-0"] = 2 }},
		"commit doubled":    {LawPush, func(s *scene) { s.checker.commits["Work for 7-0"] = 2 }},
		"push lost":         {LawPush, func(s *scene) { delete(s.checker.refs, "chaos/7-1") }},
		"push claimed":      {LawPush, func(s *scene) { s.run.State = task.StateFailed; delete(s.checker.refs, "chaos/7-1") }},
		"file doubled":      {LawArtifact, func(s *scene) { s.run.Artifacts = append(s.run.Artifacts, s.run.Artifacts[0]) }},
		"branch doubled":    {LawArtifact, func(s *scene) { s.run.Artifacts = append(s.run.Artifacts, s.run.Artifacts[1]) }},
		"file lost":         {LawArtifact, func(s *scene) { s.run.Artifacts = s.run.Artifacts[1:] }},
		"follower's gap":    {LawFollower, func(s *scene) { s.tale.gaps = []string{"gap"} }},
		"follower's end":    {LawFollower, func(s *scene) { s.tale.followed = 4 }},
		"unknown workspace": {LawLeft, func(s *scene) { s.leave(t, "data-0", "run", "workspaces", "nobody") }},
		"old workspace":     {LawLeft, func(s *scene) { s.leave(t, "data-0", "run", "workspaces", "run") }},
		"cancel lost": {LawCancel, func(s *scene) {
			s.tale.story.kind, s.tale.cancelled = kindCancel, true
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			tt.disturb(s)
			report := s.check()
			assert.Assert(t, report.broken(tt.law) > 0, "%v", report.Violations)
			for _, v := range report.Violations {
				assert.Equal(t, v.Law, tt.law, "%s", v)
			}
		})
	}
}

// TestFollowerAndFollowUps: who has seen the run end must look again after a
// message that was acknowledged, and need not after one whose answer was lost.
func TestFollowerAndFollowUps(t *testing.T) {
	for _, acked := range []bool{true, false} {
		s := newScene(t)
		s.tale.messages = append(s.tale.messages, message{2, acked})
		for _, p := range []task.Payload{&task.Input{Text: s.tale.story.text(2)}, &task.StateChanged{To: task.StateQueued}, &task.StateChanged{To: task.StateSucceeded}} {
			s.events = append(s.events, task.Event{Seq: int64(len(s.events) + 1), Payload: p})
		}
		s.checker.checkFollower(s.tale, s.events)
		assert.Equal(t, s.checker.report.broken(LawFollower) > 0, acked)
	}
}

// leave makes a directory among the servers' data.
func (s *scene) leave(t *testing.T, path ...string) {
	s.checker.rig.servers = []*server{{}}
	assert.NilError(t, os.MkdirAll(filepath.Join(append([]string{s.checker.rig.dir}, path...)...), 0o700))
}

// TestMindFinishesTheWork plays stories without any platform: the mind must do
// all acts in order, over failures, and then finish.
func TestMindFinishesTheWork(t *testing.T) {
	for number := range 60 {
		s := newStory(1, number)
		if s.kind != kindPush {
			continue
		}
		rnd := rand.New(rand.NewPCG(uint64(number), 0))
		r := &scripted.Request{Messages: []scripted.Message{said(s.text(0) + "\n\n" + s.text(1))}}
		pushed := map[string]bool{}
		branch := ""
		for step := 0; ; step++ {
			assert.Assert(t, step < 200, "story %d does not end", number)
			d := s.decide(r)
			if d.act == actFinish {
				break
			}
			if d.act == actCommit {
				branch = s.branch(d.message)
			}
			lost := rnd.IntN(4) == 0
			text := "exit code 0\n"
			switch {
			case d.act == actPush && rnd.IntN(4) > 0:
				pushed[branch] = true
			case d.act == actPush:
				lost = true
			case d.act == actProbe && pushed[s.branch(d.message)]:
				text += "0123\trefs/heads/" + s.branch(d.message)
			}
			marked := lost && rnd.IntN(2) == 0
			if lost && !marked { // as on OpenAI's wire
				text = "The run was restarted while this call was under way. Its outcome is unknown."
			}
			r.Messages = append(r.Messages, took(s.say(d), fmt.Sprint(step), text, marked)...)
			if lost && rnd.IntN(3) == 0 {
				r.Messages = append(r.Messages, said("The workspace was made anew from the repository."))
			}
		}
		assert.Assert(t, pushed[s.branch(0)] && pushed[s.branch(1)], "story %d finished without a push: %v", number, pushed)
	}
}

func said(text string) scripted.Message {
	return scripted.Message{Role: "user", Blocks: []scripted.Block{{Type: "text", Text: text}}}
}

// took is a turn of the agent and what became of it.
func took(step scripted.Step, id, text string, lost bool) []scripted.Message {
	c := step.ToolCalls[0]
	input := fmt.Appendf(nil, "{%q:%q,%q:%q,%q:%q}", "path", field(c, "path"), "command", field(c, "command"), "message", field(c, "message"))
	return []scripted.Message{
		{Role: "assistant", Blocks: []scripted.Block{{Type: "tool_use", ToolID: id, ToolName: c.Name, Input: input}}},
		{Role: "user", Blocks: []scripted.Block{{Type: "tool_result", ToolID: id, Text: text, IsError: lost}}},
	}
}

func field(c scripted.ToolCall, name string) string {
	s, _ := c.Input.(map[string]any)[name].(string)
	return s
}

// TestHonestFailureIsNoFault: a message whose work ended without success owes
// no branch, whatever later ones achieve.
func TestHonestFailureIsNoFault(t *testing.T) {
	s := newScene(t)
	failed := task.Event{Payload: &task.StateChanged{To: task.StateFailed}}
	s.events = append([]task.Event{s.events[0], failed}, s.events[2:]...) // without its push
	delete(s.checker.refs, "chaos/7-0")
	for _, v := range s.check().Violations {
		assert.Assert(t, v.Law != LawPush, "%v", v)
	}
}
