package environment_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/environment/internal/gittest"
	"github.com/oz-platform/cloudagents/task"
)

// keeping is an environment whose setup leaves traces inside and outside the repository.
func keeping(app *gittest.Repo) environment.Config {
	return config([]string{`date +%N >> ../setups; cp a.txt built.txt; echo changed >> b.txt; git config local.trace left; mkdir -p .git/hooks; printf '#!/bin/sh\ntouch "$0.ran"\n' > .git/hooks/post-checkout; chmod +x .git/hooks/post-checkout`}, app)
}

// keep prepares a state in dir.
func keep(t *testing.T, dir string, c environment.Config) {
	t.Helper()
	_, err := newPreparer(t, nil).Prepare(t.Context(), environment.Options{Dir: dir, Keep: true, Config: c})
	assert.NilError(t, err)
}

func setups(t *testing.T, dir string) int {
	t.Helper()
	return strings.Count(read(t, filepath.Join(dir, "setups")), "\n")
}

// TestWarmUnchanged: where nothing has changed nothing is done again.
func TestWarmUnchanged(t *testing.T) {
	app := gittest.New(t, "app", map[string]string{"a.txt": "1\n", "b.txt": "2\n"})
	dir := t.TempDir()
	keep(t, dir, keeping(app))
	var s steps
	o := environment.Options{Dir: dir, Report: s.report, Config: keeping(app)}
	ws, err := newPreparer(t, nil).Prepare(t.Context(), o)
	assert.NilError(t, err)
	repo := filepath.Join(dir, "app")
	assert.DeepEqual(t, ws, environment.Workspace{Dir: dir, WorkingDir: repo, Checkouts: []environment.Checkout{
		{Repo: "team/app", URL: app.URL(), Dir: repo, Branch: "main", Commit: app.Head(t, "main"), From: environment.FromWarm}}})
	assert.DeepEqual(t, s.list, []string{"clone 1 started", "clone 1 done"})
	assert.Equal(t, setups(t, dir), 1)
	assert.Equal(t, read(t, filepath.Join(repo, "b.txt")), "2\nchanged\n", "as the setup left it")

	again, err := newPreparer(t, nil).Prepare(t.Context(), o)
	assert.NilError(t, err)
	assert.DeepEqual(t, again, ws)
}

// TestWarmOtherBranch: a new branch beside ours is fetched; the rest stays as the setup left it.
func TestWarmOtherBranch(t *testing.T) {
	app := gittest.New(t, "app", map[string]string{"a.txt": "1\n", "b.txt": "2\n"})
	dir := t.TempDir()
	keep(t, dir, keeping(app))
	other := app.Commit(t, "other", map[string]string{"c.txt": "3\n"})
	_, err := newPreparer(t, nil).Prepare(t.Context(), environment.Options{Dir: dir, Config: keeping(app)})
	assert.NilError(t, err)
	repo := filepath.Join(dir, "app")
	assert.Equal(t, setups(t, dir), 1)
	assert.Equal(t, gittest.Git(t, repo, "rev-parse", "origin/other"), other)
	assert.Equal(t, gittest.Git(t, repo, "config", "local.trace"), "left")
	assert.Equal(t, gittest.Git(t, repo, "status", "--porcelain"), "M b.txt\n?? built.txt")
	gittest.Git(t, repo, "fsck", "--connectivity-only")
	_, err = os.Stat(filepath.Join(repo, ".git/hooks/post-checkout.ran"))
	assert.Assert(t, os.IsNotExist(err), "no hook of the setup runs beside the credentials")
}

// TestWarmMoved: when the branch has moved, its new commits are fetched, and the setup runs again on them.
func TestWarmMoved(t *testing.T) {
	app := gittest.New(t, "app", map[string]string{"a.txt": "1\n", "b.txt": "2\n", "gone.txt": "x"})
	gittest.Git(t, app.Bare, "config", "uploadpack.allowFilter", "true")
	dir := t.TempDir()
	keep(t, dir, keeping(app))
	gittest.WriteFiles(t, filepath.Join(dir, "app"), map[string]string{"cache/untracked": "kept"})
	gittest.Git(t, app.Work, "rm", "-q", "gone.txt")
	moved := app.Commit(t, "main", map[string]string{"a.txt": "new\n"})
	ws, err := newPreparer(t, nil).Prepare(t.Context(), environment.Options{Dir: dir, Config: keeping(app)})
	assert.NilError(t, err)
	repo := filepath.Join(dir, "app")
	assert.DeepEqual(t, ws.Checkouts, []environment.Checkout{
		{Repo: "team/app", URL: app.URL(), Dir: repo, Branch: "main", Commit: moved, From: environment.FromWarm}})
	assert.Equal(t, setups(t, dir), 2)
	assert.Equal(t, read(t, filepath.Join(repo, "built.txt")), "new\n")
	assert.Equal(t, read(t, filepath.Join(repo, "b.txt")), "2\nchanged\n", "the setup's changes are those of the second time")
	assert.Equal(t, read(t, filepath.Join(repo, "cache/untracked")), "kept", "what a build reuses is there")
	assert.Equal(t, gittest.Git(t, repo, "status", "--porcelain", "--branch"), "## main...origin/main\n M b.txt\n?? built.txt\n?? cache/")
	left, err := filepath.Glob(filepath.Join(dir, ".renew-*"))
	assert.NilError(t, err)
	assert.Equal(t, len(left), 0)
}

// TestWarmWithSecrets: a run with secrets runs its setup with them.
func TestWarmWithSecrets(t *testing.T) {
	app := gittest.New(t, "app", map[string]string{"a.txt": "1\n"})
	c := config([]string{`echo "${TOKEN:-none}" >> ../setups`}, app)
	dir := t.TempDir()
	keep(t, dir, c)
	_, err := newPreparer(t, nil).Prepare(t.Context(), environment.Options{Dir: dir, Config: c, Secrets: map[string]string{"TOKEN": "value"}})
	assert.NilError(t, err)
	assert.Equal(t, read(t, filepath.Join(dir, "setups")), "none\nvalue\n")
	_, err = newPreparer(t, nil).Prepare(t.Context(), environment.Options{Dir: t.TempDir(), Keep: true, Config: c, Secrets: map[string]string{"TOKEN": "value"}})
	assert.Equal(t, task.CodeOf(err), task.CodeInvalidRequest)
	assert.ErrorContains(t, err, "keep")
}

// TestWarmUnusable: a state of another configuration, one that was cut off while it was brought up to date, and one whose
// repository is not as a clone leaves it are removed, and the workspace is prepared as if there had been none.
func TestWarmUnusable(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, app *gittest.Repo, dir string, c *environment.Config){
		"other configuration": func(_ *testing.T, _ *gittest.Repo, _ string, c *environment.Config) {
			c.SetupCommands = append(c.SetupCommands, "true")
		},
		"cut off": func(t *testing.T, _ *gittest.Repo, dir string, _ *environment.Config) {
			path := filepath.Join(dir, ".oz/prepared.json")
			text := strings.Replace(read(t, path), `"warm":true`, `"warm":true,"updating":true`, 1)
			assert.NilError(t, os.WriteFile(path, []byte(text), 0o600))
		},
		"submodules": func(t *testing.T, app *gittest.Repo, dir string, _ *environment.Config) {
			assert.NilError(t, os.Mkdir(filepath.Join(dir, "app/.git/modules"), 0o700))
			app.Commit(t, "main", map[string]string{"a.txt": "1\n"})
		},
		"link": func(t *testing.T, app *gittest.Repo, dir string, _ *environment.Config) {
			refs := filepath.Join(dir, "app/.git/refs")
			assert.NilError(t, os.Rename(refs, refs+"2"))
			assert.NilError(t, os.Symlink("refs2", refs))
			app.Commit(t, "main", map[string]string{"a.txt": "1\n"})
		},
		"no repository": func(t *testing.T, _ *gittest.Repo, dir string, _ *environment.Config) {
			assert.NilError(t, os.RemoveAll(filepath.Join(dir, "app")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			app := gittest.New(t, "app", map[string]string{"a.txt": "1\n", "b.txt": "2\n"})
			dir := t.TempDir()
			c := keeping(app)
			keep(t, dir, c)
			assert.NilError(t, os.MkdirAll(filepath.Join(dir, "cache/deep"), 0o700))
			assert.NilError(t, os.Chmod(filepath.Join(dir, "cache"), 0o500))
			spoil(t, app, dir, &c)
			ws, err := newPreparer(t, nil).Prepare(t.Context(), environment.Options{Dir: dir, Config: c})
			assert.NilError(t, err)
			assert.Equal(t, ws.Checkouts[0].From, environment.FromRemote)
			assert.Equal(t, ws.Checkouts[0].Commit, app.Head(t, "main"))
			assert.Equal(t, setups(t, dir), 1)
			_, err = os.Stat(filepath.Join(dir, "cache"))
			assert.Assert(t, os.IsNotExist(err))
		})
	}
}

// TestWarmForeignConfiguration: what a setup command wrote into a repository's configuration runs no program while the
// repository is brought up to date with the run's credentials.
func TestWarmForeignConfiguration(t *testing.T) {
	app := gittest.New(t, "app", map[string]string{"a.txt": "1\n", ".gitattributes": "*.txt filter=evil\n"})
	trap := filepath.Join(t.TempDir(), "ran")
	c := config([]string{`[ -e .git/done ] || git config core.fsmonitor "touch ` + trap + `; false"; git config filter.evil.smudge "touch ` + trap + `; cat"; git config core.sshCommand "touch ` + trap + `"; git config remote.origin.uploadpack "touch ` + trap + `;git-upload-pack"; touch .git/done`}, app)
	dir := t.TempDir()
	keep(t, dir, c)
	_ = os.Remove(trap) // git itself may have run it in the setup
	app.Commit(t, "other", map[string]string{"a.txt": "2\n"})
	_, err := newPreparer(t, nil).Prepare(t.Context(), environment.Options{Dir: dir, Config: c})
	assert.NilError(t, err)
	_, err = os.Stat(trap)
	assert.Assert(t, os.IsNotExist(err), "a program of the repository's configuration was run")
}
