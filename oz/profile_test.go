package oz_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// TestRunTakesItsProfile: a run keeps the permissions that its profile had when
// it was created, and the model where it names none.
func TestRunTakesItsProfile(t *testing.T) {
	p, _ := newPlatform(t, nil)
	ctx := t.Context()
	made, err := p.CreateProfile(ctx, oz.ProfileInput{Name: "careful", Permissions: task.Permissions{ExecuteCommands: task.LevelAlwaysAsk}})
	assert.NilError(t, err)
	want := task.Permissions{ExecuteCommands: task.LevelAlwaysAsk, CommandDenylist: task.DefaultCommandDenylist()}
	assert.DeepEqual(t, made.Permissions, want)
	run, err := p.Submit(ctx, oz.Request{Prompt: "x", Config: task.Config{ProfileID: made.UID}})
	assert.NilError(t, err)
	_, err = p.UpdateProfile(ctx, made.UID, oz.ProfileChange{Permissions: &task.Permissions{CommandDenylist: []string{}}})
	assert.NilError(t, err)
	run, err = p.Get(ctx, run.ID)
	assert.NilError(t, err)
	assert.DeepEqual(t, *run.Config.Permissions, want)
	assert.Equal(t, run.Origins["permissions"], "profile")
	now, err := p.Profile(ctx, made.UID)
	assert.NilError(t, err)
	assert.DeepEqual(t, now.Permissions, task.Permissions{CommandDenylist: []string{}})

	assert.NilError(t, p.DeleteProfile(ctx, made.UID))
	_, err = p.Submit(ctx, oz.Request{Prompt: "x", Config: task.Config{ProfileID: made.UID}})
	assert.Equal(t, task.CodeOf(err), task.CodeNotFound)
	plain, err := p.Submit(ctx, oz.Request{Prompt: "x"})
	assert.NilError(t, err)
	assert.Assert(t, plain.Config.Permissions == nil, "runs have no profile by themselves")
}

// TestProfilesOfTeams: a profile is seen and changed as other things of the
// registry are, and the built-in ones stay as they are.
func TestProfilesOfTeams(t *testing.T) {
	p, _ := newPlatform(t, nil)
	who, ctx := people(t, p), t.Context()
	made, err := who["ann"].CreateProfile(ctx, oz.ProfileInput{Name: "careful"})
	assert.NilError(t, err)
	_, err = who["bob"].UpdateProfile(ctx, made.UID, oz.ProfileChange{Name: ptr("x")})
	assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized)
	_, err = who["cid"].Profile(ctx, made.UID)
	assert.ErrorIs(t, err, task.ErrNotFound)
	for name, want := range map[string]string{"bob": "cli default careful", "cid": "cli default"} {
		list, err := who[name].Profiles(ctx)
		assert.NilError(t, err)
		var got []string
		for _, l := range list {
			if l.BuiltIn {
				got = append(got, l.UID)
			} else {
				got = append(got, l.Name)
			}
		}
		assert.Assert(t, cmp.Equal(strings.Join(got, " "), want), name)
	}
	assert.Equal(t, task.CodeOf(who["ann"].DeleteProfile(ctx, oz.ProfileDefault)), task.CodeInvalidRequest)
	_, err = who["ann"].UpdateProfile(ctx, oz.ProfileCLI, oz.ProfileChange{Name: ptr("x")})
	assert.Equal(t, task.CodeOf(err), task.CodeInvalidRequest)
	own, err := who["ann"].CreateProfile(ctx, oz.ProfileInput{Name: "mine", Team: ptr(false)})
	assert.NilError(t, err)
	_, err = who["ann"].Submit(ctx, oz.Request{Prompt: "x", Config: task.Config{ProfileID: own.UID}})
	assert.ErrorContains(t, err, "use a profile of that team")
}

// TestPermissionsThatNobodyHolds are refused before the run begins.
func TestPermissionsThatNobodyHolds(t *testing.T) {
	p, _ := newPlatform(t, nil)
	for _, tt := range []struct {
		agent string
		p     task.Permissions
		want  string
	}{
		{"oz", task.Permissions{CommandDenylist: []string{"("}}, "config.permissions.command_denylist[0]"},
		{"claude", task.Permissions{ExecuteCommands: task.LevelAlwaysAsk}, "cannot wait for approvals"},
		{"claude", task.Permissions{CommandDenylist: []string{"git push.*"}}, "cannot be held to the command_denylist"},
		{"claude", task.Permissions{ExecuteCommands: task.LevelNever, CommandAllowlist: []string{"ls"}}, "cannot be held to a command_allowlist"},
		{"claude", task.Permissions{InteractWithCommands: task.LevelNever}, "interact_with_commands: never"},
		{"codex", task.Permissions{CommandDenylist: task.DefaultCommandDenylist()}, "cannot be held to the command_denylist"},
		{"gemini", task.Permissions{ApplyDiffs: task.LevelNever}, "apply_diffs: never"},
	} {
		_, err := p.Submit(t.Context(), oz.Request{Prompt: "x", Config: task.Config{Harness: &task.HarnessConfig{Type: tt.agent}, Permissions: &tt.p}})
		assert.ErrorContains(t, err, tt.want)
		assert.Equal(t, task.CodeOf(err), task.CodeInvalidRequest)
	}
}
