package oz_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/fileblob"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/webhook"
)

// TestOneConfigurationWhateverTheTrigger: a webhook, a cron tick, a mention in
// a chat and a request by hand for the same definition make four runs, each
// with its source, that resolve to the same configuration.
func TestOneConfigurationWhateverTheTrigger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		blobs, err := fileblob.Open(t.TempDir(), nil)
		assert.NilError(t, err)
		defer func() { assert.Check(t, blobs.Close()) }()
		p, _ := with(t, &oz.Options{Blobs: blobs, Origins: []trigger.Origin{board{}}}, newWorker("w", 8, succeed))
		ann, team := people(t, p)["ann"], true
		env, err := ann.CreateEnvironment(ctx, environment.Config{Name: "demo", SetupCommands: []string{"make"}}, &team)
		assert.NilError(t, err)
		config := task.Config{EnvironmentID: env.UID, BasePrompt: "Be brief.", Secrets: &[]string{"TOKEN"}, Limits: &task.Limits{MaxTurns: 7}}

		in := hourly()
		in.Config, in.Team = config, &team
		_, err = ann.CreateSchedule(ctx, in)
		assert.NilError(t, err)
		hook, err := ann.CreateWebhook(ctx, oz.WebhookInput{Team: &team, Spec: webhook.Spec{Name: "crashes", Enabled: true, Prompt: in.Prompt, Config: config}})
		assert.NilError(t, err)
		stop := start(t, p)
		defer stop()
		_, err = p.Triggers().Receive(ctx, "w", trigger.Request{Path: hook.UID, Body: []byte(`{"crash":1}`), Time: time.Now(),
			Header: http.Header{"Authorization": {"Bearer " + hook.Secret}}})
		assert.NilError(t, err)
		body, err := json.Marshal(trigger.Start{Kind: task.SourceSlack, Title: "t", Prompt: in.Prompt, Config: config,
			Owner: hook.Owner, Creator: ann.Caller().Principal})
		assert.NilError(t, err)
		_, err = p.Triggers().Receive(ctx, "board", trigger.Request{Path: "1", Body: body})
		assert.NilError(t, err)
		submit(t, ann, oz.Request{Prompt: in.Prompt, Config: config, Team: &team})
		time.Sleep(time.Hour) // of virtual time: a tick

		arrived, err := ann.Deliveries(ctx, task.DeliveryQuery{Source: "webhook/" + hook.UID})
		assert.NilError(t, err)
		assert.Equal(t, arrived[0].Outcome, task.OutcomeStarted, "%+v", arrived)
		page, err := ann.List(ctx, task.Query{})
		assert.NilError(t, err)
		assert.Equal(t, len(page.Tasks), 4)
		var sources []task.Source
		want := page.Tasks[0]
		assert.Equal(t, want.Config.EnvironmentID, env.UID)
		for _, run := range page.Tasks {
			sources = append(sources, run.Source)
			assert.DeepEqual(t, run.Config, want.Config)
			assert.Equal(t, string(run.Environment), string(want.Environment), run.Source)
			assert.Equal(t, run.Owner, want.Owner, run.Source)
			assert.Equal(t, run.State, task.StateSucceeded, run.Source)
		}
		slices.Sort(sources) // a webhook is the API's, as the Oz API has no other name for it
		assert.DeepEqual(t, sources, []task.Source{task.SourceAPI, task.SourceAPI, task.SourceScheduledAgent, task.SourceSlack})
	})
}
