package github_test

import (
	"encoding/json"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger/github"
	"github.com/oz-platform/cloudagents/trigger/integration"
)

// TestLoans: an integration lends to all runs of its owner only when it is told
// to, for the repositories that it names; not when it is turned off or deleted.
func TestLoans(t *testing.T) {
	b := newBench(t, with{})
	ctx := t.Context()
	lent := func(owner task.Scope) (paths []string) {
		t.Helper()
		loans, err := b.origin.Loans(ctx, owner)
		assert.NilError(t, err)
		for _, l := range loans {
			assert.Equal(t, l.Source, b.in.Source())
			assert.Equal(t, "http://"+l.Host, b.web.URL)
			assert.Assert(t, l.Since.Equal(b.in.CreatedAt))
			for _, path := range []string{"acme/app", "ACME/Site", "evil/app", "acme/../evil/app", "acme/..", "acme", "acme/app/x", "acme//app", ""} {
				if l.Covers(path) {
					paths = append(paths, path)
				}
			}
		}
		return paths
	}
	change := func(enabled bool, s github.Settings) {
		t.Helper()
		raw, err := json.Marshal(s)
		assert.NilError(t, err)
		_, err = b.store.Update(ctx, b.in.UID, ann, func(i *integration.Spec) error { i.Enabled, i.Settings = enabled, raw; return nil }, nil)
		assert.NilError(t, err)
	}
	all := github.Settings{Handle: "oz-agent", LendToAllRuns: true}
	assert.DeepEqual(t, lent(red), []string(nil)) // not without being told to
	change(true, all)
	assert.DeepEqual(t, lent(red), []string{"acme/app", "ACME/Site", "evil/app"})
	assert.DeepEqual(t, lent(task.Scope{Type: task.ScopeTeam, UID: "blue"}), []string(nil))
	assert.DeepEqual(t, lent(task.Scope{Type: task.ScopeUser, UID: ann.UID}), []string(nil))
	all.Repositories = []string{"acme/*"}
	change(true, all)
	assert.DeepEqual(t, lent(red), []string{"acme/app", "ACME/Site"})
	change(false, all)
	assert.DeepEqual(t, lent(red), []string(nil))
	all.NoGitAccess = true
	change(true, all) // the store does not judge settings
	assert.DeepEqual(t, lent(red), []string(nil))
	raw, err := json.Marshal(all)
	assert.NilError(t, err)
	err = github.Check(raw)
	assert.ErrorIs(t, err, task.ErrInvalid)
	assert.ErrorContains(t, err, "settings.lend_to_all_runs")
	all.NoGitAccess = false
	change(true, all)
	assert.Equal(t, len(lent(red)), 2)
	assert.NilError(t, b.store.Delete(ctx, b.in.UID))
	assert.DeepEqual(t, lent(red), []string(nil))
}
