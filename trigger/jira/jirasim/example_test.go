package jirasim_test

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/secrets/sealed"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/integration"
	"github.com/oz-platform/cloudagents/trigger/jira"
	"github.com/oz-platform/cloudagents/trigger/jira/jirasim"
	"github.com/oz-platform/cloudagents/trigger/triggertest"
)

// TestOwnAutomation shows how to test an automation of one's own, and stands on
// nothing but exported names: issues of one project that get a label are looked
// into, and the issue hears of it.
func TestOwnAutomation(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	db, err := sqlitestore.Open(ctx, filepath.Join(dir, "oz.db"), nil)
	assert.NilError(t, err)
	defer func() { assert.Check(t, db.Close()) }()
	keys, err := sealed.OpenKeys(filepath.Join(dir, "keys", "secrets.json"))
	assert.NilError(t, err)
	store := integration.NewStore(db, sealed.New(db, keys, nil), nil)

	// The automation.
	sim := jirasim.New(t, nil)
	settings, err := json.Marshal(jira.Settings{Site: "https://acme.atlassian.net", Email: sim.Email(), Projects: []string{"WEB"}, Label: "triage"})
	assert.NilError(t, err)
	me := task.Principal{Type: task.PrincipalUser, UID: "me"}
	i, err := store.Create(ctx, integration.Jira, task.Scope{Type: task.ScopeTeam, UID: "core"}, me,
		integration.Spec{Name: "triage", Enabled: true, Prompt: "Find the cause. Change nothing.", Settings: settings},
		map[string]string{jira.SecretToken: sim.Token(), jira.SecretSigning: sim.SigningSecret()})
	assert.NilError(t, err)

	// A site, an engine, and somebody who works.
	origin := jira.NewOrigin(store, &jira.Options{APIURL: sim.URL})
	t.Run("story", func(t *testing.T) { // so that the engine ends before its store
		rig := triggertest.New(t, db, []trigger.Origin{origin}, nil)
		sim.SendTo(rig, i.UID)
		ann := sim.Person("Ann Able")
		assert.NilError(t, store.SetLink(ctx, integration.Link{Provider: integration.Jira, Account: ann.ID, Person: me}))
		issue := sim.Create(ann, jirasim.Issue{Key: "WEB-1", Summary: "The export is empty"})
		sim.Label(ann, issue.ID, "triage")
		rig.Settle()
		rig.Finish(rig.Runs()[0].ID, task.StateSucceeded, task.Status{Message: "A filter drops all rows."})
		rig.Settle()

		comments := sim.Comments(issue.ID)
		assert.Equal(t, jirasim.TextOf(comments[len(comments)-1].Body), "A filter drops all rows.")
	})
}
