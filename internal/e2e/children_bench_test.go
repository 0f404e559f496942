package e2e_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/internal/servertest"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// manyChildren is how many children the issue names.
const manyChildren = 20

// says matches a conversation by what people said in it and whether a tool has
// answered.
func says(word string, answered bool) func(*scripted.Request) bool {
	return func(r *scripted.Request) bool {
		said, results := false, 0
		for _, m := range r.Messages {
			for _, b := range m.Blocks {
				said = said || m.Role == "user" && b.Type == "text" && strings.Contains(b.Text, word)
				if b.Type == "tool_result" {
					results++
				}
			}
		}
		return said && (results > 0) == answered
	}
}

// spawner is a model that starts manyChildren in one turn, and is the model of
// these, which finish at once.
func spawner() scripted.Script {
	var calls []scripted.ToolCall
	for i := range manyChildren {
		calls = append(calls, scripted.ToolCall{Name: "spawn_run", Input: map[string]any{"key": fmt.Sprint("c", i), "prompt": "PART"}})
	}
	finish := []scripted.ToolCall{{Name: "finish", Input: map[string]any{"outcome": "success", "summary": "Done."}}}
	return scripted.Script{Steps: []scripted.Step{
		{Match: says("LEAD", false), ToolCalls: calls},
		{Match: says("LEAD", true), ToolCalls: finish},
		{Match: says("PART", false), ToolCalls: finish},
	}}
}

// BenchmarkChildren gives how long it takes until the children of one parent
// are all at work, from the creation of the first: on ozd's own worker, each in
// a sandbox of the local executor with a runner of its own. The issue allows
// 2 s for 20.
func BenchmarkChildren(b *testing.B) {
	s := servertest.New(b, filepath.Join(binaries, "ozd"), spawner())
	config := filepath.Join(s.Dir, "ozd.yaml")
	text, err := os.ReadFile(config)
	assert.NilError(b, err)
	assert.NilError(b, os.WriteFile(config, fmt.Appendf(text, "max_concurrent: %d\n", 2*manyChildren), 0o600))
	s.Start()
	c := s.Client()
	ctx, cancel := context.WithTimeout(b.Context(), 10*patience)
	defer cancel()
	var made, started []time.Duration
	for b.Loop() {
		lead, err := c.Submit(ctx, oz.Request{Prompt: "LEAD"})
		assert.NilError(b, err)
		for _, err := range c.Watch(ctx, lead.ID, 0) {
			assert.NilError(b, err)
		}
		page, err := c.List(ctx, task.Query{AncestorID: lead.ID, Sort: task.SortCreatedAt, Asc: true, Limit: 2 * manyChildren})
		assert.NilError(b, err)
		assert.Equal(b, len(page.Tasks), manyChildren)
		first, last := page.Tasks[0].CreatedAt, time.Time{}
		for _, t := range page.Tasks {
			for _, err := range c.Watch(ctx, t.ID, 0) {
				assert.NilError(b, err)
			}
			done, err := c.Get(ctx, t.ID)
			assert.NilError(b, err)
			assert.Equal(b, done.State, task.StateSucceeded, done.Head.Status.Message)
			if done.StartedAt.After(last) {
				last = done.StartedAt
			}
		}
		made = append(made, page.Tasks[manyChildren-1].CreatedAt.Sub(first))
		started = append(started, last.Sub(first))
	}
	b.ReportMetric(0, "ns/op")
	for unit, list := range map[string][]time.Duration{"made-ms": made, "started-ms": started} {
		slices.Sort(list)
		b.ReportMetric(float64(list[len(list)/2].Microseconds())/1000, unit)
	}
}
