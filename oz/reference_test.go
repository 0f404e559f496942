package oz_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger/schedule"
)

// library is a platform with a saved prompt and a rule of ann's team.
func library(t *testing.T, opts *oz.Options) (who map[string]*oz.Client, prompt oz.SavedPrompt, rule oz.Rule) {
	t.Helper()
	p, _ := newPlatform(t, opts)
	who = people(t, p)
	rule, err := who["ann"].CreateRule(t.Context(), oz.RuleInput{Name: "style", Rule: "Short sentences."})
	assert.NilError(t, err)
	prompt, err = who["ann"].CreatePrompt(t.Context(), oz.PromptInput{Name: "greet", Prompt: "Greet the world as <rule:" + rule.UID + "> says."})
	assert.NilError(t, err)
	return who, prompt, rule
}

// TestReferencesInPrompts: a saved prompt stands where its reference was, a rule
// is attached, with the caller's rights and as they are at that moment.
func TestReferencesInPrompts(t *testing.T) {
	who, prompt, rule := library(t, nil)
	ref := "<prompt:" + prompt.UID + ">"
	want := "Greet the world as <rule:" + rule.UID + "> says."
	for text, expanded := range map[string]string{
		ref: want,
		"First: " + ref + " Then <workflow:" + prompt.UID + ">": "First: " + want + " Then " + want,
		"if a <b && c:d> x <ruler:1> <prompt: > <rule:>":        "if a <b && c:d> x <ruler:1> <prompt: > <rule:>",
	} {
		run := submit(t, who["bob"], oz.Request{Prompt: text, Config: task.Config{BasePrompt: "Be kind."}})
		assert.Equal(t, run.Prompt, expanded)
		assert.Equal(t, strings.Count(run.Config.BasePrompt, "Short sentences."), map[bool]int{true: 1}[expanded != text], run.Config.BasePrompt)
		assert.Assert(t, strings.HasPrefix(run.Config.BasePrompt, "Be kind."), run.Config.BasePrompt)
	}
	text := "Wave."
	_, err := who["ann"].UpdatePrompt(t.Context(), prompt.UID, oz.PromptChange{Prompt: &text})
	assert.NilError(t, err)
	run := submit(t, who["bob"], oz.Request{Prompt: ref})
	assert.Equal(t, run.Prompt, "Wave.")
	assert.Equal(t, run.Title, "Wave.")
	assert.Equal(t, firstInput(t, who["bob"], run.ID), "Wave.")

	err = submitError(t, who["cid"], oz.Request{Prompt: ref})
	assert.Equal(t, task.CodeOf(err), task.CodeNotFound, "of other teams nothing is seen: %v", err)
	assert.ErrorContains(t, err, "prompt: "+ref)
}

// TestReferencesThatCannotBeResolved are refused by name.
func TestReferencesThatCannotBeResolved(t *testing.T) {
	who, prompt, rule := library(t, nil)
	gone := uuid.NewString()
	for ref, says := range map[string]string{
		"<rule:" + gone + ">":           "prompt: <rule:" + gone + "> refers to nothing",
		"<workflow:style>":              "<workflow:style> refers to nothing",
		"<prompt:../../etc>":            "<prompt:../../etc> refers to nothing",
		"<rule:" + prompt.UID + ">":     "refers to nothing", // of another kind
		"<notebook:" + prompt.UID + ">": "there are no notebooks here",
	} {
		err := submitError(t, who["ann"], oz.Request{Prompt: "See " + ref + "."})
		assert.ErrorContains(t, err, says)
	}
	err := submitError(t, who["ann"], oz.Request{Prompt: "x", Config: task.Config{BasePrompt: "<rule:" + gone + ">"}})
	assert.ErrorContains(t, err, "config.base_prompt: <rule:"+gone)

	self := "Again: <prompt:" + prompt.UID + ">"
	_, err = who["ann"].UpdatePrompt(t.Context(), prompt.UID, oz.PromptChange{Prompt: &self})
	assert.NilError(t, err)
	assert.ErrorContains(t, submitError(t, who["ann"], oz.Request{Prompt: self}), "refers to itself")

	many := ""
	for i := range 21 {
		p, err := who["ann"].CreatePrompt(t.Context(), oz.PromptInput{Name: fmt.Sprint("p", i), Prompt: strings.Repeat("x", 200<<10)})
		assert.NilError(t, err)
		if i == 0 {
			err := submitError(t, who["ann"], oz.Request{Prompt: strings.Repeat("<prompt:"+p.UID+">", 10_000)})
			assert.ErrorContains(t, err, "more than 1048576 bytes")
		}
		short := "s"
		_, err = who["ann"].UpdatePrompt(t.Context(), p.UID, oz.PromptChange{Prompt: &short})
		assert.NilError(t, err)
		many += "<prompt:" + p.UID + ">"
	}
	assert.ErrorContains(t, submitError(t, who["ann"], oz.Request{Prompt: many}), "more than 20 things")
	_ = rule
}

// TestPoliciesJudgeWhatIsReferredTo: a reference hides no text from them.
func TestPoliciesJudgeWhatIsReferredTo(t *testing.T) {
	judged := ""
	who, prompt, _ := library(t, &oz.Options{Policy: func(_ context.Context, r oz.Request) error { judged = r.Prompt; return nil }})
	submit(t, who["ann"], oz.Request{Prompt: "<prompt:" + prompt.UID + ">"})
	assert.Assert(t, strings.HasPrefix(judged, "Greet the world"), judged)
}

// TestReferencesOfAgentsAndSchedules: what they refer to is judged when they
// are made, and put into each of their runs as it is then.
func TestReferencesOfAgentsAndSchedules(t *testing.T) {
	who, prompt, _ := library(t, nil)
	ctx, ref := t.Context(), "<prompt:"+prompt.UID+">"
	agent, err := who["ann"].CreateAgent(ctx, oz.AgentInput{Name: ptr("greeter"), Prompt: &ref})
	assert.NilError(t, err)
	s, err := who["ann"].CreateSchedule(ctx, oz.ScheduleInput{Spec: schedule.Spec{Name: "daily", Cron: "0 3 * * *", Prompt: ref}})
	assert.NilError(t, err)
	gone := "<prompt:" + uuid.NewString() + ">"
	_, err = who["ann"].CreateAgent(ctx, oz.AgentInput{Name: ptr("other"), Prompt: &gone})
	assert.ErrorContains(t, err, "prompt: "+gone)
	_, err = who["ann"].CreateSchedule(ctx, oz.ScheduleInput{Spec: schedule.Spec{Name: "never", Cron: "0 3 * * *", Prompt: gone}})
	assert.ErrorContains(t, err, "prompt: "+gone)

	text := "Wave."
	_, err = who["ann"].UpdatePrompt(ctx, prompt.UID, oz.PromptChange{Prompt: &text})
	assert.NilError(t, err)
	run := submit(t, who["bob"], oz.Request{Prompt: "go", AgentIdentityUID: agent.UID})
	assert.Equal(t, run.Config.BasePrompt, "Wave.")
	run, err = who["ann"].RunSchedule(ctx, s.ID, oz.ScheduleRun{})
	assert.NilError(t, err)
	assert.Equal(t, run.Prompt, "Wave.")
}

// TestChildrenReferToNothing: what an agent writes may be words of outsiders.
// They stay as they are, and cannot have a run refused.
func TestChildrenReferToNothing(t *testing.T) {
	p, store := newPlatform(t, nil)
	rule, err := p.CreateRule(t.Context(), oz.RuleInput{Name: "style", Rule: "Short sentences."})
	assert.NilError(t, err)
	parent := submit(t, p, oz.Request{Prompt: "lead", Config: task.Config{BasePrompt: "<rule:" + rule.UID + ">"}})
	run, err := store.Get(t.Context(), parent.ID)
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(run.Config.BasePrompt, "<rule:"+rule.UID+">"))
	assert.NilError(t, p.DeleteRule(t.Context(), rule.UID))
	const text = "The issue says <rule:none> and <prompt:none>."
	made, err := deskOf(t, p, store, parent.ID).Spawn(t.Context(), executor.Spawn{Key: "only", Prompt: text})
	assert.NilError(t, err)
	child, err := p.Get(t.Context(), made.ID)
	assert.NilError(t, err)
	assert.Equal(t, child.Prompt, text)
}
