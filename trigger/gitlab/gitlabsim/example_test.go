package gitlabsim_test

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/secrets/sealed"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/gitlab"
	"github.com/oz-platform/cloudagents/trigger/gitlab/gitlabsim"
	"github.com/oz-platform/cloudagents/trigger/integration"
	"github.com/oz-platform/cloudagents/trigger/triggertest"
)

// TestOwnAutomation is how one tests an automation without GitLab: set the
// integration up as for the server, let somebody do something, look at the run,
// end it, and look at what is said.
func TestOwnAutomation(t *testing.T) {
	dir := t.TempDir()
	db, err := sqlitestore.Open(context.Background(), filepath.Join(dir, "oz.db"), nil)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, db.Close()) })
	keys, err := sealed.OpenKeys(filepath.Join(dir, "keys.json"))
	assert.NilError(t, err)
	store := integration.NewStore(db, sealed.New(db, keys, nil), nil)

	sim := gitlabsim.New(t, nil)
	settings, err := json.Marshal(gitlab.Settings{Handle: "oz-agent", Automations: []gitlab.Automation{
		{Name: "triage", On: []gitlab.Kind{gitlab.IssueLabeled}, Filter: gitlab.Filter{Labels: []string{"bug"}}, Prompt: "Find out who has to look at this."}}})
	assert.NilError(t, err)
	owner := task.Principal{Type: task.PrincipalUser, UID: "owner"}
	i, err := store.Create(t.Context(), integration.GitLab, task.Scope{Type: task.ScopeTeam, UID: "red"}, owner,
		integration.Spec{Name: "gitlab", Enabled: true, Settings: settings},
		map[string]string{gitlab.SecretToken: sim.Token(), gitlab.SecretSigning: sim.Secret()})
	assert.NilError(t, err)
	rig := triggertest.New(t, db, []trigger.Origin{gitlab.NewOrigin(store, &gitlab.Options{APIURL: sim.URL})}, nil)
	sim.SendTo(rig, i.UID)

	ann := sim.Person("ann")
	assert.NilError(t, store.SetLink(t.Context(), integration.Link{Provider: integration.GitLab, Account: gitlab.AccountKey(gitlab.DefaultURL, ann.ID),
		Name: "ann", Person: task.Principal{Type: task.PrincipalUser, UID: "ann"}}))
	issue := sim.Open(ann, gitlabsim.Thing{Title: "It crashes"})
	sim.Label(ann, issue.ID, "bug")
	rig.Settle()

	runs := rig.Runs()
	assert.Equal(t, len(runs), 1)
	assert.Assert(t, strings.Contains(runs[0].Prompt, "Find out who has to look at this."))
	rig.Finish(runs[0].ID, task.StateSucceeded, task.Status{Message: "It is the parser's."})
	rig.Settle()
	notes := sim.Notes(issue.ID)
	assert.Equal(t, len(notes), 2) // how the run goes on, and its result
	assert.Assert(t, strings.Contains(notes[1].Body, "It is the parser's."))
}
