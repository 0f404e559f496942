package gitlab_test

import (
	"encoding/json"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger/gitlab"
	"github.com/oz-platform/cloudagents/trigger/integration"
)

// TestLoans: an integration lends to all runs of its owner only when it is told
// to, for the projects that it names, below its server's address; not when it
// is turned off or deleted.
func TestLoans(t *testing.T) {
	b := newBench(t, nil, nil)
	o, ctx := mergeOrigin(b), t.Context()
	lent := func(owner task.Scope, host string) (paths []string) {
		t.Helper()
		loans, err := o.Loans(ctx, owner)
		assert.NilError(t, err)
		for _, l := range loans {
			assert.Equal(t, l.Source, b.i.Source())
			assert.Equal(t, l.Host, host)
			assert.Assert(t, l.Since.Equal(b.i.CreatedAt))
			for _, path := range []string{"group/project", "Group/sub/project", "git/group/project", "evil/project", "group/../evil/project", "group", ""} {
				if l.Covers(path) {
					paths = append(paths, path)
				}
			}
		}
		return paths
	}
	change := func(enabled bool, s gitlab.Settings) {
		t.Helper()
		raw, err := json.Marshal(s)
		assert.NilError(t, err)
		_, err = b.store.Update(ctx, b.i.UID, owner, func(i *integration.Spec) error { i.Enabled, i.Settings = enabled, raw; return nil }, nil)
		assert.NilError(t, err)
	}
	all := gitlab.Settings{Handle: "oz-agent", LendToAllRuns: true}
	assert.DeepEqual(t, lent(team, ""), []string(nil)) // not without being told to
	change(true, all)
	assert.DeepEqual(t, lent(team, "gitlab.com"), []string{"group/project", "Group/sub/project", "git/group/project", "evil/project"})
	assert.DeepEqual(t, lent(task.Scope{Type: task.ScopeTeam, UID: "blue"}, ""), []string(nil))
	all.Projects = []string{"group/*"}
	change(true, all)
	assert.DeepEqual(t, lent(team, "gitlab.com"), []string{"group/project", "Group/sub/project"})
	all.URL = "https://code.example:8443/git"
	change(true, all)
	assert.DeepEqual(t, lent(team, "code.example:8443"), []string{"git/group/project"})
	change(false, all)
	assert.DeepEqual(t, lent(team, ""), []string(nil))
	all.NoGitAccess = true
	raw, err := json.Marshal(all)
	assert.NilError(t, err)
	err = gitlab.Check(raw)
	assert.ErrorIs(t, err, task.ErrInvalid)
	assert.ErrorContains(t, err, "settings.lend_to_all_runs")
	all.NoGitAccess = false
	change(true, all)
	assert.Equal(t, len(lent(team, "code.example:8443")), 1)
	assert.NilError(t, b.store.Delete(ctx, b.i.UID))
	assert.DeepEqual(t, lent(team, ""), []string(nil))
}
