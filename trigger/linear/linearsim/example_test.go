package linearsim_test

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
	"github.com/oz-platform/cloudagents/trigger/linear"
	"github.com/oz-platform/cloudagents/trigger/linear/linearsim"
	"github.com/oz-platform/cloudagents/trigger/triggertest"
)

// TestOwnAutomation shows how to test an automation of one's own, and stands on
// nothing but exported names: issues that get the label "bug" are looked into,
// and the issue hears of it.
func TestOwnAutomation(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	db, err := sqlitestore.Open(ctx, filepath.Join(dir, "oz.db"), nil)
	assert.NilError(t, err)
	defer func() { assert.Check(t, db.Close()) }()
	keys, err := sealed.OpenKeys(filepath.Join(dir, "keys", "secrets.json"))
	assert.NilError(t, err)
	store := integration.NewStore(db, sealed.New(db, keys, nil), nil)

	// The automation.
	settings, err := json.Marshal(linear.Settings{Rules: []linear.Rule{{Kind: linear.IssueLabeled, LabelIDs: []string{"bug"}}}})
	assert.NilError(t, err)
	sim := linearsim.New(t, nil)
	me := task.Principal{Type: task.PrincipalUser, UID: "me"}
	i, err := store.Create(ctx, integration.Linear, task.Scope{Type: task.ScopeTeam, UID: "core"}, me,
		integration.Spec{Name: "bugs", Enabled: true, Prompt: "Find the cause. Change nothing.", Settings: settings},
		map[string]string{linear.SecretToken: sim.Token(), linear.SecretSigning: sim.SigningSecret()})
	assert.NilError(t, err)

	// A workspace, an engine, and somebody who works.
	origin := linear.NewOrigin(store, &linear.Options{APIURL: sim.URL})
	t.Run("story", func(t *testing.T) { // so that the engine ends before its store
		rig := triggertest.New(t, db, []trigger.Origin{origin}, nil)
		sim.SendTo(rig, i.UID)
		ann := sim.Person("Ann Able")
		assert.NilError(t, store.SetLink(ctx, integration.Link{Provider: integration.Linear, Account: ann.ID, Person: me}))
		issue := sim.Create(ann, linearsim.Issue{Title: "The export is empty"})
		sim.Change(ann, issue.ID, func(i *linearsim.Issue) { i.Labels = append(i.Labels, "bug") })
		rig.Settle()
		rig.Finish(rig.Runs()[0].ID, task.StateSucceeded, task.Status{Message: "A filter drops all rows."})
		rig.Settle()

		comments := sim.Comments(issue.ID)
		assert.Equal(t, comments[len(comments)-1].Body, "A filter drops all rows.")
	})
}
