package oz_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
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

// TestEventsBringTheirRepository: it is cloned beside those of the environment,
// or at its commit if it is one of them; an environment of another host alone is
// refused, and one that has no room stays as it is.
func TestEventsBringTheirRepository(t *testing.T) {
	decided := make(chan task.Delivery, 10)
	p, _ := newPlatform(t, &oz.Options{Origins: []trigger.Origin{board{}},
		Triggers: trigger.Options{Poll: 5 * time.Millisecond, OnDelivery: func(d task.Delivery) { decided <- d }}})
	ann := people(t, p)["ann"]
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Triggers().Run(ctx) }()
	defer func() { stop(); assert.NilError(t, <-done) }()
	commit := strings.Repeat("a1", 20)
	event := trigger.Repository{Owner: "acme", Name: "app", URL: "https://github.com/acme/app.git", Commit: commit}
	own := environment.Repo{Owner: "acme", Name: "app", URL: event.URL, Ref: commit}
	many := make([]environment.Repo, environment.MaxRepos)
	for n := range many {
		many[n] = environment.Repo{Owner: "acme", Name: fmt.Sprintf("r%d", n)}
	}
	team := true
	for name, tt := range map[string]struct {
		has, want []environment.Repo
		none      bool // no environment
		refused   bool
	}{
		"no environment":       {none: true, want: []environment.Repo{own}},
		"an empty one":         {want: []environment.Repo{own}},
		"another repository":   {has: []environment.Repo{{Owner: "acme", Name: "lib"}}, want: []environment.Repo{{Owner: "acme", Name: "lib"}, own}},
		"the same":             {has: []environment.Repo{{Owner: "Acme", Name: "App", Ref: "main"}}, want: []environment.Repo{{Owner: "Acme", Name: "App", Ref: commit}}},
		"one of its directory": {has: []environment.Repo{{Owner: "other", Name: "app"}}, want: []environment.Repo{{Owner: "other", Name: "app"}}},
		"full":                 {has: many, want: many},
		"two hosts":            {has: []environment.Repo{{Owner: "a", Name: "b", URL: "https://gitlab.com/a/b"}, {Owner: "acme", Name: "lib"}}, want: []environment.Repo{{Owner: "a", Name: "b", URL: "https://gitlab.com/a/b"}, {Owner: "acme", Name: "lib"}, own}},
		"another host":         {has: []environment.Repo{{Owner: "a", Name: "b", URL: "https://gitlab.com/a/b"}}, refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			start := trigger.Start{Kind: task.SourceGitHubWebhook, Title: "t", Prompt: "look", Owner: task.Scope{Type: task.ScopeTeam, UID: "red"}, Creator: ann.Caller().Principal, Repository: &event}
			if !tt.none {
				env, err := ann.CreateEnvironment(t.Context(), environment.Config{Name: name, Repos: tt.has}, &team)
				assert.NilError(t, err)
				start.Config.EnvironmentID = env.UID
			}
			body, err := json.Marshal(start)
			assert.NilError(t, err)
			_, err = p.Triggers().Receive(ctx, "board", trigger.Request{Path: name, Body: body})
			assert.NilError(t, err)
			d := <-decided
			if tt.refused {
				assert.Equal(t, d.Outcome, task.OutcomeFailed)
				assert.Assert(t, strings.Contains(d.Reason, "another host than acme/app"), d.Reason)
				return
			}
			assert.Equal(t, d.Outcome, task.OutcomeStarted, d.Reason)
			var got environment.Config
			assert.NilError(t, json.Unmarshal(get(t, p, d.Runs[0]).Environment, &got))
			assert.DeepEqual(t, got.Repos, tt.want)
		})
	}
}
