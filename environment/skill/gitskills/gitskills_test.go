package gitskills_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment/git"
	"github.com/oz-platform/cloudagents/environment/internal/gittest"
	"github.com/oz-platform/cloudagents/environment/skill"
	"github.com/oz-platform/cloudagents/environment/skill/gitskills"
	"github.com/oz-platform/cloudagents/task"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is set by hand.
type clock struct {
	task.Clock
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{Clock: task.SystemClock(), now: time.Now()} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func open(t *testing.T, dir string, opts *gitskills.Options) *gitskills.Source {
	t.Helper()
	s, err := gitskills.Open(t.Context(), dir, opts)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, s.Close()) })
	return s
}

func md(name string) string {
	return "---\nname: " + name + "\ndescription: d\n---\nBody of " + name + "\n"
}

func names(list []skill.Skill) string {
	var all []string
	for _, s := range list {
		all = append(all, s.Name+"="+s.Path)
	}
	return strings.Join(all, " ")
}

// TestSkillsOfARepository follows a repository over its changes, with a
// password, and asks it as seldom as it may.
func TestSkillsOfARepository(t *testing.T) {
	repo := gittest.New(t, "app", map[string]string{".claude/skills/b/SKILL.md": md("two"), ".warp/skills/a/SKILL.md": md("one"),
		".warp/skills/huge/SKILL.md": strings.Repeat("x", skill.MaxFileBytes+1), ".warp/skills/a/notes.md": "x", "README.md": "x"})
	gittest.Git(t, repo.Bare, "config", "uploadpack.allowFilter", "true")
	var asked atomic.Int64
	server := gittest.Serve(t, filepath.Dir(repo.Bare), &gittest.Server{Username: "bot", Password: "pass-1234-word",
		Before: func(*http.Request) { asked.Add(1) }})
	c := newClock()
	source := open(t, t.TempDir(), &gitskills.Options{Clock: c, Credentials: func(context.Context, string) (git.Credential, error) {
		return git.Credential{Username: "bot", Password: "pass-1234-word"}, nil
	}})
	r := skill.Repository{Owner: "acme", Name: "app", URL: server.URL + "/app.git"}
	look := func(refresh bool) string {
		t.Helper()
		list, err := source.Skills(t.Context(), r, refresh)
		assert.NilError(t, err)
		return names(list)
	}
	const first = "one=.warp/skills/a/SKILL.md huge=.warp/skills/huge/SKILL.md two=.claude/skills/b/SKILL.md"
	assert.Equal(t, look(false), first)
	list, err := source.Skills(t.Context(), r, false)
	assert.NilError(t, err)
	assert.Equal(t, list[0].Body, "Body of one")
	assert.Assert(t, strings.Contains(list[1].Malformed, "bytes"))

	repo.Commit(t, "main", map[string]string{".agents/skills/c/SKILL.md": md("three")})
	before := asked.Load()
	assert.Equal(t, look(false), first, "remembered")
	assert.Equal(t, asked.Load(), before)
	const second = "one=.warp/skills/a/SKILL.md huge=.warp/skills/huge/SKILL.md three=.agents/skills/c/SKILL.md two=.claude/skills/b/SKILL.md"
	assert.Equal(t, look(true), second, "refreshed")

	repo.Commit(t, "topic", map[string]string{".warp/skills/d/SKILL.md": md("four")})
	r.Ref = "topic"
	assert.Assert(t, strings.Contains(look(false), "four="))
	r.Ref = ""
	gittest.Git(t, repo.Work, "rm", "-rq", ".agents", ".warp")
	repo.Commit(t, "main", nil)
	c.advance(time.Hour)
	assert.Equal(t, look(false), "two=.claude/skills/b/SKILL.md", "old")
}

// TestManyAskAtOnce: they share one look.
func TestManyAskAtOnce(t *testing.T) {
	repo := gittest.New(t, "app", map[string]string{".warp/skills/a/SKILL.md": md("one")})
	var looks atomic.Int64
	server := gittest.Serve(t, filepath.Dir(repo.Bare), &gittest.Server{Before: func(r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/info/refs") {
			looks.Add(1)
		}
	}})
	source := open(t, t.TempDir(), nil)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			list, err := source.Skills(t.Context(), skill.Repository{Name: "app", URL: server.URL + "/app.git"}, false)
			assert.Check(t, err)
			assert.Check(t, names(list) == "one=.warp/skills/a/SKILL.md")
		})
	}
	group.Wait()
	assert.Assert(t, looks.Load() <= 2, "%d looks", looks.Load()) // a look fetches the commit, then contents
}

func TestFailures(t *testing.T) {
	repo := gittest.New(t, "app", map[string]string{"a": "x"})
	locked := gittest.Serve(t, filepath.Dir(repo.Bare), &gittest.Server{Username: "bot", Password: "pass-1234-word"})
	gone := gittest.Serve(t, t.TempDir(), &gittest.Server{})
	away := gone.URL
	dead := gittest.Serve(t, t.TempDir(), &gittest.Server{})
	dead.Close()
	empty := gittest.New(t, "empty", nil)
	source := open(t, t.TempDir(), nil)
	for _, tt := range []struct {
		name, url, ref string
		code           task.Code
		says           string
	}{
		{"no password", locked.URL + "/app.git", "", task.CodeExternalAuthRequired, "acme/app"},
		{"no repository", away + "/app.git", "", task.CodeNotFound, "no repository acme/app"},
		{"no branch", repo.URL(), "nothing", task.CodeNotFound, `"nothing"`},
		{"no server", dead.URL + "/app.git", "", task.CodeResourceUnavailable, "cannot be reached"},
		{"nothing in it", empty.URL(), "", "", ""},
		{"no skills", repo.URL(), "", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			list, err := source.Skills(t.Context(), skill.Repository{Owner: "acme", Name: "app", URL: tt.url, Ref: tt.ref}, false)
			assert.Equal(t, task.CodeOf(err), tt.code, "%v", err)
			assert.Equal(t, len(list), 0)
			if tt.code != "" {
				assert.ErrorContains(t, err, tt.says)
			}
		})
	}
}

// TestBrokenCopyIsFetchedAnew: what a killed process or a full disk has left
// behind mends itself.
func TestBrokenCopyIsFetchedAnew(t *testing.T) {
	repo := gittest.New(t, "app", map[string]string{".warp/skills/a/SKILL.md": md("one")})
	dir, r := t.TempDir(), skill.Repository{Name: "app", URL: repo.URL()}
	source := open(t, dir, nil)
	_, err := source.Skills(t.Context(), r, false)
	assert.NilError(t, err)
	packs, err := filepath.Glob(filepath.Join(dir, "*", "objects", "pack", "*"))
	assert.NilError(t, err)
	assert.Assert(t, len(packs) > 0)
	for _, p := range packs {
		assert.NilError(t, os.Remove(p))
	}
	list, err := source.Skills(t.Context(), r, true)
	assert.NilError(t, err)
	assert.Equal(t, names(list), "one=.warp/skills/a/SKILL.md")
}

// TestManyLargeSkills: no more is read than is allowed together, the first
// folders first.
func TestManyLargeSkills(t *testing.T) {
	files := map[string]string{".opencode/skills/last/SKILL.md": md("last")}
	for i := range 20 {
		files[fmt.Sprintf(".warp/skills/s%02d/SKILL.md", i)] = md(fmt.Sprint("s", i)) + fmt.Sprint(i) + strings.Repeat("x", 125_000)
	}
	repo := gittest.New(t, "app", files)
	list, err := open(t, t.TempDir(), nil).Skills(t.Context(), skill.Repository{Name: "app", URL: repo.URL()}, false)
	assert.NilError(t, err)
	assert.Equal(t, len(list), 16) // of 2 MiB
	assert.Equal(t, list[15].Name, "s15")
}

// TestUnusedCopiesAreRemoved when the source is opened.
func TestUnusedCopiesAreRemoved(t *testing.T) {
	repo := gittest.New(t, "app", map[string]string{".warp/skills/a/SKILL.md": md("one")})
	dir, c := t.TempDir(), newClock()
	_, err := open(t, dir, &gitskills.Options{Clock: c}).Skills(t.Context(), skill.Repository{Name: "app", URL: repo.URL()}, false)
	assert.NilError(t, err)
	count := func() int {
		entries, err := os.ReadDir(dir)
		assert.NilError(t, err)
		return len(entries)
	}
	open(t, dir, &gitskills.Options{Clock: c})
	assert.Equal(t, count(), 1)
	c.advance(15 * 24 * time.Hour)
	open(t, dir, &gitskills.Options{Clock: c})
	assert.Equal(t, count(), 0)
}
