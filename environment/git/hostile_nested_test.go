package git_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment/git"
	"github.com/oz-platform/cloudagents/environment/internal/gittest"
)

// trap makes a program that leaves a file of its name in the directory sprung.
func trap(t *testing.T, sprung, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	script := "#!/bin/sh\ntouch '" + filepath.Join(sprung, name) + "'\nexit 1\n"
	assert.NilError(t, os.WriteFile(path, []byte(script), 0o755))
	return path
}

// A repository within the work tree has a configuration of its own, which git
// reads when it looks whether that submodule has changed.
func TestNestedRepositoryRunsNothing(t *testing.T) {
	g, ctx := open(t, nil), t.Context()
	r := gittest.New(t, "app", map[string]string{"a": "0\n"})
	dir, sprung := clone(t, g, r), t.TempDir()
	nested := filepath.Join(dir, "nested")
	gittest.Git(t, dir, "init", "--quiet", "--initial-branch=main", nested)
	gittest.WriteFiles(t, nested, map[string]string{".gitattributes": "*.evil filter=evil\n", "x.evil": "10\n"})
	gittest.Git(t, nested, "add", "--all")
	gittest.Git(t, nested, "commit", "--quiet", "--message=nested")
	_, err := g.Commit(ctx, dir, "a nested repository")
	assert.NilError(t, err)

	gittest.Git(t, nested, "config", "filter.evil.clean", trap(t, sprung, "filter-clean"))
	gittest.Git(t, nested, "config", "core.fsmonitor", trap(t, sprung, "fsmonitor"))
	gittest.Git(t, dir, "config", "submodule.nested.ignore", "none")
	number := 10
	change := func() {
		number++ // of one length, so that git must read the file to see the change
		text := strconv.Itoa(number) + "\n"
		gittest.WriteFiles(t, dir, map[string]string{"a": text, "nested/x.evil": text, ".gitmodules": "[submodule \"nested\"]\n\tpath = nested\n\turl = ./nested\n\tignore = none\n"})
	}
	change()
	for _, args := range [][]string{
		{"status"}, {"diff"}, {"diff", "HEAD"}, {"add", "--all"}, {"diff", "--cached"}, {"stash"}, {"stash", "drop"}, {"describe", "--dirty", "--always"},
		{"reset", "--hard"}, {"checkout", "-b", "other"}, {"rebase", "main"},
	} {
		change()
		_, _ = g.Run(ctx, dir, args...) // some refuse to go on in a changed work tree
		if len(names(t, sprung)) > 0 {
			t.Errorf("%v: %v", args, names(t, sprung))
			os.RemoveAll(sprung)
			os.Mkdir(sprung, 0o755)
		}
	}
	change()
	_, err = g.Status(ctx, dir)
	assert.NilError(t, err)
	_, err = g.Diff(ctx, dir, "")
	assert.NilError(t, err)
	_, err = g.Commit(ctx, dir, "change")
	assert.NilError(t, err)
	assert.DeepEqual(t, names(t, sprung), []string{})

	// The trap is good: plain git steps into it.
	change()
	gittest.Git(t, dir, "status")
	assert.Assert(t, len(names(t, sprung)) > 0)
}

// A treeless clone fetches what it lacks when a command needs it, by a program
// that its configuration may name.
func TestLazyFetchRunsNothing(t *testing.T) {
	g, ctx := open(t, nil), t.Context()
	r := gittest.New(t, "app", map[string]string{"a": "0\n"})
	gittest.Git(t, r.Bare, "config", "uploadpack.allowFilter", "true")
	gittest.Git(t, r.Bare, "config", "uploadpack.allowAnySHA1InWant", "true")
	r.Commit(t, "main", map[string]string{"a": "1\n"})
	dir, sprung := filepath.Join(t.TempDir(), "app"), t.TempDir()
	assert.NilError(t, g.Clone(ctx, r.URL(), dir, git.CloneOptions{Treeless: true}))
	assert.NilError(t, g.CheckoutBranch(ctx, dir, r.URL(), "main"))
	gittest.Git(t, dir, "config", "remote.origin.uploadpack", trap(t, sprung, "uploadpack"))
	gittest.Git(t, dir, "config", "core.sshCommand", trap(t, sprung, "ssh"))
	_, _ = g.Run(ctx, dir, "show", "HEAD~1:a")
	assert.DeepEqual(t, names(t, sprung), []string{})

	gittest.Git(t, dir, "config", "remote.origin.url", "git://127.0.0.1:1/app")
	gittest.Git(t, dir, "config", "core.gitProxy", trap(t, sprung, "proxy"))
	gittest.Git(t, dir, "config", "--unset", "remote.origin.uploadpack")
	_, _ = g.Run(ctx, dir, "show", "HEAD~1:a")
	assert.DeepEqual(t, names(t, sprung), []string{})

	_, _ = gittest.Command(dir, "show", "HEAD~1:a").CombinedOutput() // the trap is good
	assert.DeepEqual(t, names(t, sprung), []string{"proxy"})
}

// A signature is checked by a program that the configuration names.
func TestSignatureChecksRunNothing(t *testing.T) {
	g, ctx := open(t, nil), t.Context()
	r := gittest.New(t, "app", map[string]string{"a": "0\n"})
	dir, sprung := clone(t, g, r), t.TempDir()
	commit := filepath.Join(t.TempDir(), "commit")
	assert.NilError(t, os.WriteFile(commit, []byte("tree "+gittest.Git(t, dir, "rev-parse", "HEAD^{tree}")+
		"\nparent "+gittest.Git(t, dir, "rev-parse", "HEAD")+
		"\nauthor A <a@example.com> 0 +0000\ncommitter A <a@example.com> 0 +0000\n"+
		"gpgsig -----BEGIN PGP SIGNATURE-----\n \n x\n -----END PGP SIGNATURE-----\n\nsigned\n"), 0o600))
	signed := gittest.Git(t, dir, "hash-object", "-t", "commit", "-w", commit)
	for _, key := range []string{"gpg.program", "gpg.openpgp.program", "gpg.ssh.program", "gpg.x509.program"} {
		gittest.Git(t, dir, "config", key, trap(t, sprung, key))
	}
	gittest.Git(t, dir, "config", "merge.verifySignatures", "true")
	for _, args := range [][]string{{"log", "-1", "--format=%G?", signed}, {"log", "-1", "--show-signature", signed}, {"merge", signed}} {
		_, _ = g.Run(ctx, dir, args...) // the signature is not good
		assert.DeepEqual(t, names(t, sprung), []string{})
	}
	_, _ = gittest.Command(dir, "log", "-1", "--format=%G?", signed).CombinedOutput() // the traps are good
	assert.Assert(t, len(names(t, sprung)) > 0)
}

// What is shown of a commit is what would be pushed, not what a replacement
// ref puts in its place.
func TestReplacementsDoNotCount(t *testing.T) {
	g, ctx := open(t, nil), t.Context()
	r := gittest.New(t, "app", map[string]string{"a": "0\n"})
	dir := clone(t, g, r)
	gittest.WriteFiles(t, dir, map[string]string{"a": "what is pushed\n"})
	pushed, err := g.Commit(ctx, dir, "real")
	assert.NilError(t, err)
	gittest.Git(t, dir, "replace", pushed, pushed+"~1")
	res, err := g.Run(ctx, dir, "show", pushed)
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(string(res.Stdout), "what is pushed"), "%s", res.Stdout)
}

// What is staged is what plain git would stage, odd paths included.
func TestStageIsAddAll(t *testing.T) {
	g, ctx := open(t, nil), t.Context()
	r := gittest.New(t, "app", map[string]string{"gone": "1", "file": "1", "dir/a": "1", "dir/b": "1", "mode": "1", ".gitignore": "ignored\n", "old": "the same text\n"})
	ours, theirs := clone(t, g, r), clone(t, g, r)
	for _, dir := range []string{ours, theirs} {
		for _, name := range []string{"gone", "file", "dir"} {
			assert.NilError(t, os.RemoveAll(filepath.Join(dir, name)))
		}
		gittest.WriteFiles(t, dir, map[string]string{"file/a": "2", "dir": "2", "ignored": "2", "*": "2", ":(exclude)x": "2",
			"-n": "2", "line\nbreak": "2", "\"quoted\" ü": "2", "deep/er/still": "2", "staged": "2"})
		assert.NilError(t, os.Chmod(filepath.Join(dir, "mode"), 0o755))
		assert.NilError(t, os.Symlink("/nowhere", filepath.Join(dir, "link")))
		gittest.Git(t, dir, "add", "staged")
		gittest.Git(t, dir, "mv", "old", "new")
		gittest.WriteFiles(t, dir, map[string]string{"new": "the same text, nearly\n"})
		gittest.Git(t, dir, "init", "--quiet", "nested")
		gittest.WriteFiles(t, dir, map[string]string{"nested/x": "1"})
		gittest.Git(t, filepath.Join(dir, "nested"), "add", "x")
		cmd := gittest.Command(filepath.Join(dir, "nested"), "commit", "--quiet", "--message=nested")
		cmd.Env = append(cmd.Env, "GIT_AUTHOR_DATE=@1 +0000", "GIT_COMMITTER_DATE=@1 +0000")
		assert.NilError(t, cmd.Run())
	}
	_, err := g.Run(ctx, ours, "add", "--all")
	assert.NilError(t, err)
	gittest.Git(t, theirs, "add", "--all")
	assert.DeepEqual(t, strings.Split(gittest.Git(t, ours, "ls-files", "--stage", "-z"), "\x00"),
		strings.Split(gittest.Git(t, theirs, "ls-files", "--stage", "-z"), "\x00"))
}

// Since git 2.54 a configuration may hold hooks. An older git, such as the one
// that runs here, ignores them, so this looks at what git is told.
func TestConfiguredHooksAreOff(t *testing.T) {
	told := filepath.Join(t.TempDir(), "told")
	wrapper := filepath.Join(t.TempDir(), "git")
	assert.NilError(t, os.WriteFile(wrapper, []byte("#!/bin/sh\nenv > '"+told+"'\nexec git \"$@\"\n"), 0o755))
	g := open(t, &git.Options{Path: wrapper})
	dir := clone(t, g, gittest.New(t, "app", map[string]string{"a": "0\n"}))
	gittest.Git(t, dir, "config", "hook.evil.one.command", "touch sprung")
	gittest.Git(t, dir, "config", "hook.evil.one.event", "pre-commit")
	_, err := g.Run(t.Context(), dir, "status")
	assert.NilError(t, err)
	env, err := os.ReadFile(told)
	assert.NilError(t, err)
	number := regexp.MustCompile(`GIT_CONFIG_KEY_(\d+)=hook\.evil\.one\.enabled\n`).FindStringSubmatch(string(env))
	assert.Assert(t, len(number) == 2 && strings.Contains(string(env), "GIT_CONFIG_VALUE_"+number[1]+"=false\n"), "%s", env)
}
