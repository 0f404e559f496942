package slack_test

import (
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/secrets/sealed"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/integration"
	"github.com/oz-platform/cloudagents/trigger/slack"
	"github.com/oz-platform/cloudagents/trigger/slack/slacksim"
	"github.com/oz-platform/cloudagents/trigger/triggertest"
)

// TestYourAutomation is one to copy: it tries an integration's settings on a
// workspace that is played, with no server and no agent.
func TestYourAutomation(t *testing.T) {
	store, err := sqlitestore.Open(t.Context(), t.TempDir()+"/oz.db", nil)
	assert.NilError(t, err)
	defer func() { assert.NilError(t, store.Close()) }()
	keys, err := sealed.OpenKeys(t.TempDir() + "/keys/secrets.json")
	assert.NilError(t, err)
	integrations := integration.NewStore(store, sealed.New(store, keys, nil), &integration.Options{PublicURL: "https://oz.example.com"})

	// A workspace with a person and a channel, and a server that listens.
	workspace := slacksim.New(t)
	person, channel := workspace.AddUser("ann", "Ann Lee", "ann@example.com"), workspace.AddChannel(true)
	t.Run("server", func(t *testing.T) { // which stops before the store is closed
		rig := triggertest.New(t, store, []trigger.Origin{slack.NewOrigin(integrations, &slack.Options{APIURL: workspace.APIURL()})}, nil)

		// The integration under test, and the person's account here.
		owner, me := task.Scope{Type: task.ScopeTeam, UID: "red"}, task.Principal{Type: task.PrincipalUser, UID: "ann"}
		i, err := integrations.Create(t.Context(), integration.Slack, owner, me, integration.Spec{Name: "chat", Enabled: true, Prompt: "Write tests first."},
			map[string]string{slack.SecretSigning: workspace.SigningSecret, slack.SecretToken: workspace.Token})
		assert.NilError(t, err)
		assert.NilError(t, integrations.SetLink(t.Context(), integration.Link{Provider: integration.Slack, Account: slacksim.TeamID + "/" + person, Person: me}))
		workspace.Connect(slacksim.ToEngine(rig.Engine, i.UID))

		// Somebody asks; the run ends; the thread has its result.
		said := workspace.Say(person, channel, "", "<@"+slacksim.BotUser+"> mend the parser")
		rig.Settle()
		rig.Finish(rig.Runs()[0].ID, task.StateSucceeded, task.Status{Message: "The parser is mended."})
		rig.Settle()
		thread := workspace.Thread(channel, said.TS)
		assert.Equal(t, thread[len(thread)-1].Text, ":white_check_mark: *Done.*\nThe parser is mended.")
	})
}
