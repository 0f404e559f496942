package environment_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"
	"gotest.tools/v3/poll"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/environment/internal/gittest"
	"github.com/oz-platform/cloudagents/task"
)

// cacheBench is a preparer with a cache, and one repository.
type cacheBench struct {
	t     *testing.T
	app   *gittest.Repo
	dir   string
	cache *environment.Cache
	p     *environment.Preparer
}

func newCacheBench(t *testing.T, opts *environment.CacheOptions) *cacheBench {
	t.Helper()
	b := &cacheBench{t: t, dir: t.TempDir(), app: gittest.New(t, "app", map[string]string{
		"a": "1", "dir/b": strings.Repeat("content\n", 1000), "dir/c d": "x"})}
	var err error
	b.cache, err = environment.OpenCache(b.dir, opts)
	assert.NilError(t, err)
	b.p = newPreparer(t, &environment.PreparerOptions{Cache: b.cache})
	return b
}

func (b *cacheBench) options(owner task.Scope) environment.Options {
	return environment.Options{Dir: b.t.TempDir(), Owner: owner, Config: config(nil, b.app)}
}

// run prepares a new workspace and checks that it is as good as a clone.
func (b *cacheBench) run(owner task.Scope, from environment.Origin) string {
	b.t.Helper()
	ws, err := b.p.Prepare(b.t.Context(), b.options(owner))
	assert.NilError(b.t, err)
	c := ws.Checkouts[0]
	assert.Equal(b.t, c.From, from)
	assert.Equal(b.t, c.Branch, "main")
	assert.Equal(b.t, c.Commit, b.app.Head(b.t, "main"))

	clone := filepath.Join(b.t.TempDir(), "plain")
	gittest.Git(b.t, b.t.TempDir(), "clone", "--quiet", b.app.URL(), clone)
	for _, args := range [][]string{{"status", "--porcelain", "--branch"}, {"rev-parse", "HEAD"}, {"ls-files", "--stage"},
		{"for-each-ref", "refs/heads", "refs/remotes"}, {"config", "remote.origin.url"}, {"config", "--get-regexp", "^branch"}} {
		assert.Equal(b.t, gittest.Git(b.t, c.Dir, args...), gittest.Git(b.t, clone, args...), "%q", args)
	}
	gittest.Git(b.t, c.Dir, "fsck", "--full", "--strict")
	return c.Dir
}

func (b *cacheBench) refill(owner task.Scope) {
	b.t.Helper()
	assert.NilError(b.t, b.p.Refill(b.t.Context(), b.options(owner)))
}

func (b *cacheBench) glob(pattern string) []string {
	b.t.Helper()
	list, err := filepath.Glob(filepath.Join(b.dir, "*", pattern))
	assert.NilError(b.t, err)
	return list
}

func TestMirrorSecondClone(t *testing.T) {
	b := newCacheBench(t, nil)
	b.run(team, environment.FromRemote)
	b.refill(team)
	second := b.run(team, environment.FromSpare)
	third := b.run(team, environment.FromMirror) // before the next refill
	b.refill(team)

	// The remote has moved on since the refill: files, branches, tags.
	b.app.Commit(t, "main", map[string]string{"a": "2", "new": "x"})
	b.app.Commit(t, "side", map[string]string{"a": "3"})
	gittest.Git(t, b.app.Work, "reset", "--quiet", "--hard", "HEAD~1")
	b.run(team, environment.FromSpare)
	b.run(team, environment.FromMirror)
	b.refill(team)
	gittest.Git(t, b.app.Bare, "update-ref", "-d", "refs/heads/side")
	b.run(team, environment.FromSpare)

	// What a run did to its files is its own affair.
	gittest.WriteFiles(t, second, map[string]string{"a": "spoilt by a run"})
	b.refill(team)
	b.run(team, environment.FromSpare)

	// Workspaces live on without the cache.
	assert.NilError(t, os.RemoveAll(b.dir))
	for _, dir := range []string{second, third} {
		gittest.Git(t, dir, "fsck", "--full", "--strict")
		gittest.Git(t, dir, "gc", "--quiet")
		_, err := os.Stat(filepath.Join(dir, ".git/objects/info/alternates"))
		assert.ErrorIs(t, err, os.ErrNotExist)
	}
	b.run(team, environment.FromRemote) // and runs without it
}

// A clone made after the remote's default branch changed has the new one.
func TestCacheFollowsTheDefaultBranch(t *testing.T) {
	b := newCacheBench(t, nil)
	b.refill(team)
	b.app.Commit(t, "trunk", map[string]string{"a": "trunk"})
	gittest.Git(t, b.app.Bare, "symbolic-ref", "HEAD", "refs/heads/trunk")
	check := func(from environment.Origin) {
		ws, err := b.p.Prepare(t.Context(), b.options(team))
		assert.NilError(t, err)
		c := ws.Checkouts[0]
		assert.Equal(t, c.From, from)
		assert.Equal(t, c.Branch, "trunk")
		assert.Equal(t, read(t, filepath.Join(c.Dir, "a")), "trunk")
		assert.Equal(t, gittest.Git(t, c.Dir, "for-each-ref", "--format=%(refname)", "refs/heads"), "refs/heads/trunk")
		assert.Equal(t, gittest.Git(t, c.Dir, "symbolic-ref", "refs/remotes/origin/HEAD"), "refs/remotes/origin/trunk")
	}
	check(environment.FromRemote) // the spare is of another branch
	b.refill(team)
	check(environment.FromSpare)
	check(environment.FromMirror)
}

// Packs are copies, not links: an agent that overwrites its own does not
// reach the mirror, nor the next run.
func TestCacheSharesNoFiles(t *testing.T) {
	b := newCacheBench(t, nil)
	b.refill(team)
	for _, from := range []environment.Origin{environment.FromSpare, environment.FromMirror} {
		dir := b.run(team, from)
		mine, err := filepath.Glob(filepath.Join(dir, ".git/objects/pack/*.pack"))
		assert.NilError(t, err)
		assert.Assert(t, len(mine) > 0)
		for _, path := range mine {
			info, err := os.Stat(path)
			assert.NilError(t, err)
			for _, cached := range b.glob("mirror.git/objects/pack/*.pack") {
				other, err := os.Stat(cached)
				assert.NilError(t, err)
				assert.Assert(t, !os.SameFile(info, other))
			}
		}
	}
}

func TestCacheKeepsOwnersApart(t *testing.T) {
	b := newCacheBench(t, nil)
	b.refill(team)
	b.run(mine, environment.FromRemote)
	b.run(task.Scope{}, environment.FromRemote)
	b.run(task.Scope{Type: task.ScopeUser, UID: team.UID}, environment.FromRemote)
	b.run(team, environment.FromSpare)
}

// The cache opens nothing that the remote has closed.
func TestCacheAsksTheRemoteFirst(t *testing.T) {
	b := newCacheBench(t, nil)
	b.refill(team)
	assert.NilError(t, os.Rename(b.app.Bare, b.app.Bare+".closed"))
	o := b.options(team)
	_, err := b.p.Prepare(t.Context(), o)
	setupFailure(t, err, "team/app")
	_, err = os.Stat(filepath.Join(o.Dir, "app"))
	assert.ErrorIs(t, err, os.ErrNotExist)
	assert.NilError(t, os.Rename(b.app.Bare+".closed", b.app.Bare))
	b.run(team, environment.FromSpare)
}

// overwrite puts zeros into the middle of every file.
func overwrite(t *testing.T, files []string) {
	t.Helper()
	assert.Assert(t, len(files) > 0)
	for _, path := range files {
		assert.NilError(t, os.Chmod(path, 0o600))
		data, err := os.ReadFile(path)
		assert.NilError(t, err)
		clear(data[len(data)/2 : len(data)*3/4])
		assert.NilError(t, os.WriteFile(path, data, 0o600))
	}
}

func TestCorruptMirrorIsRebuilt(t *testing.T) {
	for name, spoil := range map[string]func(b *cacheBench){
		"packs":   func(b *cacheBench) { overwrite(t, b.glob("mirror.git/objects/pack/*.pack")) },
		"indexes": func(b *cacheBench) { overwrite(t, b.glob("mirror.git/objects/pack/*.idx")) },
		"objects": func(b *cacheBench) { assert.NilError(t, os.RemoveAll(b.glob("mirror.git/objects")[0])) },
		"HEAD":    func(b *cacheBench) { assert.NilError(t, os.WriteFile(b.glob("mirror.git/HEAD")[0], nil, 0o600)) },
		"refs": func(b *cacheBench) {
			for _, path := range append(b.glob("mirror.git/packed-refs"), b.glob("mirror.git/refs/heads/*")...) {
				assert.NilError(t, os.Remove(path))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newCacheBench(t, nil)
			b.t = t
			b.refill(team)
			b.run(team, environment.FromSpare)
			spoil(b)
			if name == "refs" { // harmless: the fetch brings them back
				b.run(team, environment.FromMirror)
			} else {
				b.run(team, environment.FromRemote)
			}
			b.refill(team)
			b.run(team, environment.FromSpare)
			b.run(team, environment.FromMirror)

			spoil(b) // and once more, found by the refill itself
			b.refill(team)
			b.run(team, environment.FromSpare)
			b.run(team, environment.FromMirror)
		})
	}
}

func TestCorruptSpareIsNotUsed(t *testing.T) {
	b := newCacheBench(t, nil)
	b.refill(team)
	assert.NilError(t, os.RemoveAll(filepath.Join(b.glob("spare-*")[0], ".git", "HEAD")))
	b.run(team, environment.FromRemote)
	b.refill(team)
	b.run(team, environment.FromSpare)
}

// TestRefillKeepsWhatIsGood: spares of the remote's commit are not made again,
// so that a run that comes while the cache is filled finds them.
func TestRefillKeepsWhatIsGood(t *testing.T) {
	b := newCacheBench(t, &environment.CacheOptions{Spares: 2})
	b.refill(team)
	first := b.glob("spare-*")
	assert.Equal(t, len(first), 2)
	b.refill(team)
	assert.DeepEqual(t, b.glob("spare-*"), first)
}

// Many runs at once get one spare each, or another copy.
func TestCacheUnderContention(t *testing.T) {
	b := newCacheBench(t, &environment.CacheOptions{Spares: 3})
	b.refill(team)
	assert.Equal(t, len(b.glob("spare-*")), 3)
	var mu sync.Mutex
	from := map[environment.Origin]int{}
	var wg sync.WaitGroup
	for range 6 {
		o := b.options(team)
		wg.Go(func() {
			ws, err := b.p.Prepare(t.Context(), o)
			assert.Check(t, err)
			mu.Lock()
			from[ws.Checkouts[0].From]++
			mu.Unlock()
			assert.Check(t, b.p.Refill(t.Context(), o))
		})
	}
	wg.Wait()
	assert.Assert(t, from[environment.FromSpare] >= 3, "%v", from)
	assert.Equal(t, len(b.glob("spare-*")), 3)
	assert.Equal(t, len(b.glob("new-*")), 0)
	b.run(team, environment.FromSpare)
}

func TestPrune(t *testing.T) {
	clock := &manualClock{now: time.Now()}
	b := newCacheBench(t, &environment.CacheOptions{MaxAge: time.Hour, MaxBytes: 1 << 30, Clock: clock})
	ctx := t.Context()
	b.refill(team)
	clock.add(50 * time.Minute)
	b.refill(mine)
	assert.Equal(t, len(b.glob("mirror.git")), 2)
	clock.add(20 * time.Minute)
	assert.NilError(t, b.cache.Prune(ctx)) // team's is too old
	assert.Equal(t, len(b.glob("mirror.git")), 1)
	b.run(mine, environment.FromSpare)

	small, err := environment.OpenCache(b.dir, &environment.CacheOptions{MaxBytes: 1, Clock: clock})
	assert.NilError(t, err)
	assert.NilError(t, small.Prune(ctx))
	assert.Equal(t, len(b.glob("mirror.git")), 0)
	b.run(mine, environment.FromRemote)
	left, err := os.ReadDir(b.dir)
	assert.NilError(t, err)
	assert.Equal(t, len(left), 1) // the locks
}

// A refill that is killed leaves nothing that a run could take, nor keeps the
// next refill from its work.
func TestRefillResumesAfterKill(t *testing.T) {
	b := newCacheBench(t, nil)
	o := b.options(team)
	deadline := time.Now().Add(time.Minute)
	for range 5 {
		cmd, out := startVictim(t, victim{Options: o, CacheDir: b.dir, Refill: true})
		for len(b.glob("new-*")) == 0 && len(b.glob("spare-*")) == 0 { // until it is at work, or was quick
			assert.Assert(t, time.Now().Before(deadline), "the refill does nothing")
		}
		assert.NilError(t, cmd.Process.Kill())
		_, _ = out.ReadString(0)
		_ = cmd.Wait()
	}
	poll.WaitOn(t, func(poll.LogT) poll.Result { // a child of the killed may take a moment to see it
		b.refill(team)
		return poll.Compare(is.Len(b.glob("new-*"), 0))
	})
	b.run(team, environment.FromSpare)
	b.run(team, environment.FromMirror)
}
