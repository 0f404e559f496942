package runner_test

import (
	"context"
	"net/http"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/webhook"
)

// TestEventsBringTheirFiles: the payload of a webhook is a file for the agent,
// and so is that of the next event about the same thing.
func TestEventsBringTheirFiles(t *testing.T) {
	t.Parallel()
	read := command("cat ../.oz/attachments/*/event-payload.json || cat .oz/attachments/*/event-payload.json")
	r := newRig(t, setup{script: play(read, finish("One."), read, finish("Two."))})
	w, err := r.CreateWebhook(t.Context(), oz.WebhookInput{Spec: webhook.Spec{Name: "crashes", Enabled: true, Prompt: "Look into it.", Entity: "id"}})
	assert.NilError(t, err)
	post := func(body string) task.ID {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		reply, err := r.Triggers().Receive(ctx, "w", trigger.Request{Path: w.UID, Header: http.Header{"Authorization": {"Bearer " + w.Secret}}, Body: []byte(body)})
		assert.NilError(t, err)
		for {
			d, err := r.Delivery(ctx, reply.Delivery)
			assert.NilError(t, err)
			if d.Outcome != "" {
				assert.Equal(t, len(d.Runs), 1, "%s: %s", d.Outcome, d.Reason)
				return d.Runs[0]
			}
		}
	}
	id := post(`{"id":7,"says":"first"}`)
	run, events := r.finish(id)
	assert.Equal(t, run.State, task.StateSucceeded, "%s\n%s", run.Head.Status.Message, describe(events))
	assert.Assert(t, is.Contains(payloads[*task.ToolResult](events)[0].Content, "first"))
	assert.Equal(t, post(`{"id":7,"says":"second"}`), id)
	run, events = r.finish(id)
	assert.Equal(t, run.State, task.StateSucceeded, "%s\n%s", run.Head.Status.Message, describe(events))
	results := payloads[*task.ToolResult](events)
	assert.Assert(t, is.Contains(results[len(results)-2].Content, "second"), describe(events)) // the last one is of finish
}
