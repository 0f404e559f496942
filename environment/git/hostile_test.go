package git_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment/git"
	"github.com/oz-platform/cloudagents/environment/internal/gittest"
)

// traps arms the repository dir with every program we know of that git would
// run for it. Each leaves a file of its name in the directory it returns.
func traps(t *testing.T, dir, remoteURL string) string {
	t.Helper()
	sprung := t.TempDir()
	trap := func(name string) string {
		path := filepath.Join(t.TempDir(), name)
		script := "#!/bin/sh\ntouch '" + filepath.Join(sprung, name) + "'\ncat 2>/dev/null\nexit 0\n"
		assert.NilError(t, os.WriteFile(path, []byte(script), 0o755))
		return path
	}
	hooks := t.TempDir()
	for _, name := range []string{"pre-commit", "prepare-commit-msg", "commit-msg", "post-commit", "pre-push",
		"post-checkout", "reference-transaction", "post-index-change", "push-to-checkout"} {
		for _, where := range []string{hooks, filepath.Join(dir, ".git", "hooks")} {
			script, err := os.ReadFile(trap("hook-" + name))
			assert.NilError(t, err)
			assert.NilError(t, os.MkdirAll(where, 0o755))
			assert.NilError(t, os.WriteFile(filepath.Join(where, name), script, 0o755))
		}
	}
	included := filepath.Join(t.TempDir(), "included")
	gittest.Git(t, dir, "config", "--file", included, "filter.inc.clean", trap("filter-included"))
	for key, value := range map[string]string{
		"core.hooksPath":                 hooks,
		"core.fsmonitor":                 trap("fsmonitor"),
		"core.sshCommand":                trap("sshCommand"),
		"core.pager":                     trap("pager"),
		"core.editor":                    trap("editor"),
		"core.alternateRefsCommand":      trap("alternateRefs"),
		"core.askPass":                   trap("askPass"),
		"credential.helper":              "!" + trap("credential-helper"),
		"gpg.program":                    trap("gpg"),
		"commit.gpgSign":                 "true",
		"filter.evil.clean":              trap("filter-clean"),
		"filter.evil.smudge":             trap("filter-smudge"),
		"filter.evil.two.process":        trap("filter-process"),
		"filter.evil.two.required":       "true",
		"diff.evil.textconv":             trap("textconv"),
		"diff.evil.command":              trap("diff-command"),
		"diff.external":                  trap("diff-external"),
		"merge.evil.driver":              trap("merge-driver"),
		"alias.status":                   "!" + trap("alias"),
		"include.path":                   included,
		"remote.origin.pushurl":          "ext::" + trap("pushurl"),
		"remote.origin.receivepack":      trap("receivepack"),
		"url.ext::sh -c id.insteadOf":    remoteURL,
		"url.file:///evil.pushInsteadOf": remoteURL,
		"http.proxy":                     "http://127.0.0.1:1",
		"protocol.ext.allow":             "always",
	} {
		gittest.Git(t, dir, "config", key, value)
	}
	gittest.WriteFiles(t, dir, map[string]string{
		".gitattributes": "*.evil filter=evil diff=evil merge=evil\n*.two filter=evil.two\n*.three filter=inc\n",
		".gitmodules":    "[submodule \"s\"]\n\tpath = s\n\turl = ext::" + trap("submodule") + "\n\tupdate = !" + trap("submodule-update") + "\n",
		"x.evil":         "1\n", "y.two": "1\n", "z.three": "1\n",
	})
	return sprung
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	assert.NilError(t, err)
	list := []string{}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func TestGitIgnoresHooksAndConfig(t *testing.T) {
	g, ctx := open(t, nil), t.Context()
	r := gittest.New(t, "app", map[string]string{"x.evil": "0\n"})
	dir := clone(t, g, r)
	sprung := traps(t, dir, r.URL())

	_, err := g.Status(ctx, dir)
	assert.NilError(t, err)
	_, err = g.Diff(ctx, dir, "")
	assert.NilError(t, err)
	sha, err := g.Commit(ctx, dir, "work in a hostile repository")
	assert.NilError(t, err)
	for _, args := range [][]string{
		{"log", "-p"}, {"show"}, {"blame", "x.evil"}, {"diff-tree", "-p", "HEAD"}, {"grep", "1"}, {"ls-files"}, {"describe", "--always"},
		{"checkout", "-b", "more"}, {"switch", "-c", "even-more"}, {"branch", "-D", "more"}, {"tag", "v1"}, {"tag", "-d", "v1"},
		{"reset", "--hard", "HEAD~1"}, {"cherry-pick", sha}, {"revert", "--no-edit", "HEAD"}, {"reset", "--hard", sha},
		{"update-ref", "refs/heads/u", sha}, {"update-ref", "-d", "refs/heads/u"}, {"symbolic-ref", "refs/heads/s", "refs/heads/main"},
		{"mv", "x.evil", "w.evil"}, {"stash"}, {"stash", "drop"}, {"rebase", "main"}, {"merge", "main"}, {"restore", "."}, {"rm", "-f", "y.two"}, {"reset", "--hard", sha},
	} {
		_, err = g.Run(ctx, dir, args...)
		assert.NilError(t, err)
		assert.DeepEqual(t, names(t, sprung), []string{})
	}
	_, err = g.Push(ctx, dir, r.URL(), sha, "oz/fix")
	assert.NilError(t, err)
	assert.Equal(t, r.Head(t, "oz/fix"), sha)
	assert.NilError(t, g.RemoveOrigin(ctx, dir))
	assert.DeepEqual(t, names(t, sprung), []string{})

	// A submodule that names a program is left alone by clone and checkout.
	again := filepath.Join(t.TempDir(), "again")
	assert.NilError(t, g.Clone(ctx, r.URL(), again, git.CloneOptions{Treeless: true}))
	assert.NilError(t, g.CheckoutCommit(ctx, again, r.URL(), sha))
	assert.DeepEqual(t, names(t, sprung), []string{})

	// The traps are good: plain git steps into them.
	gittest.WriteFiles(t, dir, map[string]string{"x.evil": "2\n", "z.three": "2\n"})
	off := []string{"-c", "filter.evil.two.process=", "-c", "filter.evil.two.required=false"} // it breaks off all others
	for _, args := range [][]string{{"status"}, append(off, "diff"), append(off, "add", "x.evil", "z.three"), append(off, "commit", "-m", "x")} {
		out, _ := gittest.Command(dir, args...).CombinedOutput() // whatever it says
		t.Logf("git %s: %s", args, out)
	}
	caught := strings.Join(names(t, sprung), " ")
	for _, name := range []string{"fsmonitor", "filter-clean", "filter-included", "hook-pre-commit", "diff-"} {
		assert.Assert(t, strings.Contains(caught, name), "%s did not spring: %s", name, caught)
	}
}

// TestCredentialsNeverInArgv looks for the password, while git talks to a
// server that asks for it, in the arguments of every process of this machine,
// and afterwards in all files that were written.
func TestCredentialsNeverInArgv(t *testing.T) {
	const password = "tok/en+canary=7f3a9c"
	ctx := t.Context()
	r := gittest.New(t, "app", map[string]string{"a": "1"})
	var mu sync.Mutex
	var seen []string
	requests := 0
	server := gittest.Serve(t, filepath.Dir(r.Bare), &gittest.Server{Username: "oz", Password: password,
		Before: func(*http.Request) {
			mu.Lock()
			defer mu.Unlock()
			requests++
			files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
			for _, f := range files {
				if argv, err := os.ReadFile(f); err == nil && strings.Contains(string(argv), "canary") {
					seen = append(seen, string(argv))
				}
			}
		}})
	url := server.URL + "/app.git"

	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	g := open(t, &git.Options{Credentials: func(_ context.Context, host string) (git.Credential, error) {
		assert.Check(t, "http://"+host == server.URL, host)
		return git.Credential{Username: "oz", Password: password}, nil
	}})
	dir := filepath.Join(tmp, "app")
	assert.NilError(t, g.Clone(ctx, url, dir, git.CloneOptions{Treeless: true}))
	assert.NilError(t, g.CheckoutBranch(ctx, dir, url, "main"))
	assert.NilError(t, g.Fetch(ctx, dir, url))
	gittest.WriteFiles(t, dir, map[string]string{"a": "2"})
	sha, err := g.Commit(ctx, dir, "fix")
	assert.NilError(t, err)
	_, err = g.Push(ctx, dir, url, sha, "oz/fix")
	assert.NilError(t, err)
	assert.Equal(t, r.Head(t, "oz/fix"), sha)

	mu.Lock()
	defer mu.Unlock()
	assert.Assert(t, requests > 5, "%d requests got in", requests)
	assert.DeepEqual(t, seen, []string(nil))
	assert.NilError(t, filepath.WalkDir(tmp, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		assert.Assert(t, !strings.Contains(string(data), "canary"), path)
		return err
	}))
}

func TestCredentialsInErrors(t *testing.T) {
	ctx := t.Context()
	r := gittest.New(t, "app", map[string]string{"a": "1"})
	server := gittest.Serve(t, filepath.Dir(r.Bare), &gittest.Server{Username: "oz", Password: "right"})
	url := server.URL + "/app.git"

	_, err := open(t, nil).RemoteRefs(ctx, url) // must not prompt
	assert.Equal(t, git.ReasonOf(err), git.ReasonAccess, "%v", err)

	wrong := open(t, &git.Options{Credentials: func(context.Context, string) (git.Credential, error) {
		return git.Credential{Username: "oz", Password: "wrong-canary"}, nil
	}})
	_, err = wrong.RemoteRefs(ctx, url)
	assert.Equal(t, git.ReasonOf(err), git.ReasonAccess, "%v", err)
	assert.Assert(t, !strings.Contains(err.Error(), "canary"))

	// A git that tells all it knows.
	chatty := filepath.Join(t.TempDir(), "git")
	assert.NilError(t, os.WriteFile(chatty, []byte("#!/bin/sh\ntest \"$1\" = version && exec git version\n"+
		"env >&2; echo https://u:wrong-canary@host/x https://other-token@host/x >&2; exit 3\n"), 0o755))
	tells := open(t, &git.Options{Path: chatty, Credentials: func(context.Context, string) (git.Credential, error) {
		return git.Credential{Username: "oz", Password: "wrong-canary"}, nil
	}})
	_, err = tells.RemoteRefs(ctx, url)
	assert.ErrorContains(t, err, "exit code 3")
	assert.ErrorContains(t, err, "***")
	assert.Assert(t, !strings.Contains(err.Error(), "canary") && !strings.Contains(err.Error(), "other-token"), "%v", err)

	// Only a TLS connection, or one that stays here, is worth a password.
	asked := open(t, &git.Options{RemoteTimeout: 1, Credentials: func(_ context.Context, host string) (git.Credential, error) {
		t.Errorf("asked for the credential of %s", host)
		return git.Credential{}, nil
	}})
	_, err = asked.RemoteRefs(ctx, "http://192.0.2.1/x/y")
	assert.Assert(t, err != nil)
}

// TestCredentialsForARepository: what is asked for names the repository as its
// address does, and comes before what is for a whole host.
func TestCredentialsForARepository(t *testing.T) {
	ctx := t.Context()
	r := gittest.New(t, "app", map[string]string{"a": "1"})
	server := gittest.Serve(t, filepath.Dir(r.Bare), &gittest.Server{Username: "oz", Password: "right"})
	var asked []string
	g := open(t, &git.Options{
		Credentials: func(context.Context, string) (git.Credential, error) {
			t.Error("asked for the host alone")
			return git.Credential{}, nil
		},
		CredentialsFor: func(_ context.Context, host, path string) (git.Credential, error) {
			asked = append(asked, "http://"+host+" "+path)
			if path != "app" {
				return git.Credential{}, nil
			}
			return git.Credential{Username: "oz", Password: "right"}, nil
		}})
	_, err := g.RemoteRefs(ctx, server.URL+"/app.git")
	assert.NilError(t, err)
	_, err = g.RemoteRefs(ctx, server.URL+"/deep/other.git")
	assert.Equal(t, git.ReasonOf(err), git.ReasonAccess, "%v", err)
	assert.DeepEqual(t, asked, []string{server.URL + " app", server.URL + " deep/other"})
}
