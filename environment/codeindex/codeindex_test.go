package codeindex

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment/git"
	"github.com/oz-platform/cloudagents/environment/internal/gittest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// work makes a repository of files, and what indexes it.
func work(t testing.TB, files map[string]string) (dir string, g *git.Git) {
	t.Helper()
	dir = t.TempDir()
	gittest.Git(t, dir, "init", "-q")
	gittest.WriteFiles(t, dir, files)
	commit(t, dir)
	g, err := git.Open(context.Background(), nil)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, g.Close()) })
	return dir, g
}

func commit(t testing.TB, dir string) {
	gittest.Git(t, dir, "add", "-A")
	gittest.Git(t, dir, "-c", "user.name=x", "-c", "user.email=x@example.com", "commit", "-q", "--allow-empty", "-m", "x")
}

// found is the best place for a query, as path:line.
func found(t testing.TB, r *Repository, query string) string {
	t.Helper()
	hits, err := r.Search(t.Context(), query, 10)
	assert.NilError(t, err)
	if len(hits) == 0 {
		return ""
	}
	return fmt.Sprintf("%s:%d", hits[0].Path, hits[0].Line)
}

var shop = map[string]string{
	"cart/cart.go":      "package cart\n\nimport \"x\"\n\n// Total adds it up.\nfunc (c *Cart) Total() int {\n\treturn sum(c.items)\n}\n",
	"cart/use.go":       "package cart\n\nvar x = c.Total() + c.Total()\n// Total Total Total\n",
	"web/retry.ts":      "export class Backoff {\n  private retryDelayMs = 5;\n}\n",
	"docs/payments.md":  "# Payments\n\nRefunds are made at night.\n",
	"data/big.json":     strings.Repeat("refunds ", 200_000),
	"bin/tool":          "refunds\x00refunds",
	"gen/out.go":        "package gen // generated total\n",
	"umlaut/größe.py":   "def größe():\n    return 1\n",
	".cursorignore":     "gen/\n",
	".codeiumignore":    "*.secret\n",
	"keys/a.secret":     "refunds\n",
	"-rf/--option.txt":  "hostile name\n",
	"new\nline/file.go": "package newline // weirdname\n",
}

func TestSearch(t *testing.T) {
	dir, g := work(t, shop)
	assert.NilError(t, os.Symlink("/etc/passwd", filepath.Join(dir, "passwd.txt")))
	commit(t, dir)
	r := Open(g, dir, nil)
	state, err := r.Status()
	assert.NilError(t, err)
	assert.Equal(t, state, Discovering)
	assert.NilError(t, r.Prepare(t.Context()))
	state, err = r.Status()
	assert.NilError(t, err)
	assert.Equal(t, state, Synced)
	for query, want := range map[string]string{
		"Total": "cart/cart.go:6", "where is the total computed": "cart/cart.go:6", "retry delay": "web/retry.ts:2", "backoff": "web/retry.ts:1",
		"refunds": "docs/payments.md:3", `"made at night"`: "docs/payments.md:3", "payments": "docs/payments.md:1", "größe": "umlaut/größe.py:1",
		"weirdname": "new\nline/file.go:1", "generated": "", "nothing_like_it": "", `"root:x:0"`: "", "": "", "hostile": "-rf/--option.txt:1",
	} {
		assert.Equal(t, found(t, r, query), want, query)
	}
	hits, err := r.Search(t.Context(), "Total", 1)
	assert.NilError(t, err)
	assert.Equal(t, len(hits), 1)
	assert.Equal(t, hits[0].First, 4)
	assert.Equal(t, hits[0].Text, "\n// Total adds it up.\nfunc (c *Cart) Total() int {\n\treturn sum(c.items)\n}\n")
}

// TestIndexFollowsTheTree: what is written, added, committed or removed after
// the index was built is found as it is now.
func TestIndexFollowsTheTree(t *testing.T) {
	dir, g := work(t, shop)
	r := Open(g, dir, nil)
	assert.NilError(t, r.Prepare(t.Context()))
	gittest.WriteFiles(t, dir, map[string]string{"cart/cart.go": "package cart\n", "cart/new.go": "package cart\n\nfunc Fresh() {}\n"})
	assert.Equal(t, found(t, r, "Fresh"), "cart/new.go:3")
	assert.Equal(t, found(t, r, "adds it up"), "")
	commit(t, dir)
	assert.Equal(t, found(t, r, "Fresh"), "cart/new.go:3")
	many := map[string]string{}
	for i := range maxChanged + 50 {
		many[fmt.Sprintf("many/f%d.go", i)] = fmt.Sprintf("package many\n\nfunc Item%dEnd() {}\n", i)
	}
	gittest.WriteFiles(t, dir, many)
	assert.Equal(t, found(t, r, "Item77End"), "many/f77.go:3")
	built := r.x
	assert.Equal(t, found(t, r, "Item78End"), "many/f78.go:3")
	assert.Assert(t, built == r.x, "built anew for nothing")
	gittest.WriteFiles(t, dir, map[string]string{"many/f78.go": "package many\n\n\nfunc Renamed() {}\n"})
	assert.Equal(t, found(t, r, "Renamed"), "many/f78.go:4")
	assert.NilError(t, os.RemoveAll(filepath.Join(dir, "many")))
	assert.Equal(t, found(t, r, "Item77End"), "")
}

// TestIndexIsKept: the next run takes the index of the commit, or of one before
// it, and one that was torn or changed is built anew.
func TestIndexIsKept(t *testing.T) {
	dir, g := work(t, shop)
	cache := t.TempDir()
	open := func() *Repository {
		r := Open(g, dir, &Options{Dir: cache, Key: "shop"})
		assert.NilError(t, r.Prepare(t.Context()))
		return r
	}
	first := open()
	files, err := os.ReadDir(cache)
	assert.NilError(t, err)
	assert.Equal(t, len(files), 1)
	file := filepath.Join(cache, files[0].Name())
	whole, err := os.ReadFile(file)
	assert.NilError(t, err)

	gittest.WriteFiles(t, dir, map[string]string{"cart/new.go": "package cart\n\nfunc Fresh() {}\n"})
	commit(t, dir)
	next := open()
	assert.Equal(t, next.x.head.Commit, first.x.head.Commit, "few files have changed since")
	assert.Equal(t, found(t, next, "Fresh"), "cart/new.go:3")

	for name, data := range map[string][]byte{"torn": whole[:len(whole)/2], "empty": {}, "changed": append(append([]byte{}, whole[:len(whole)-1]...), whole[len(whole)-1]^1)} {
		assert.NilError(t, os.WriteFile(file, data, 0o600))
		r := open()
		assert.Equal(t, found(t, r, "backoff"), "web/retry.ts:1", name)
		assert.Assert(t, r.x.head.Commit != first.x.head.Commit, name)
		for _, f := range r.kept() {
			assert.NilError(t, os.Remove(f))
		}
	}
	for i := range 3 * keptIndexes { // each far from those before
		many := map[string]string{}
		for j := range maxChanged {
			many[fmt.Sprintf("many/f%d.go", j)] = fmt.Sprint("package many ", i, j)
		}
		gittest.WriteFiles(t, dir, many)
		commit(t, dir)
		open()
	}
	files, err = os.ReadDir(cache)
	assert.NilError(t, err)
	assert.Equal(t, len(files), keptIndexes)
	gittest.WriteFiles(t, dir, map[string]string{"many/f1.go": "package dirty"})
	assert.Equal(t, found(t, open(), "dirty"), "many/f1.go:1")
}

func TestNoIndex(t *testing.T) {
	g, err := git.Open(t.Context(), nil)
	assert.NilError(t, err)
	defer func() { assert.Check(t, g.Close()) }()
	r := Open(g, t.TempDir(), nil)
	assert.Assert(t, r.Prepare(t.Context()) != nil)
	state, err := r.Status()
	assert.Equal(t, state, Failed)
	assert.Assert(t, err != nil)
	_, err = r.Search(t.Context(), "x", 1)
	assert.Assert(t, err != nil)

	slow := Open(g, t.TempDir(), nil) // nobody prepares it
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err = slow.Search(ctx, "x", 1)
	assert.ErrorIs(t, err, ErrNotReady)

	root, err := os.OpenRoot(t.TempDir())
	assert.NilError(t, err)
	defer func() { assert.Check(t, root.Close()) }()
	_, err = build(t.Context(), root, "", make([]string, MaxFiles+1))
	assert.Assert(t, errors.Is(err, errTooLarge))
	slow.err = err
	close(slow.ready)
	state, _ = slow.Status()
	assert.Equal(t, state, TooLarge)
}

// FuzzParse: no stored index makes a search read beyond it, or name a file
// outside the repository.
func FuzzParse(f *testing.F) {
	root, err := os.OpenRoot(f.TempDir())
	assert.NilError(f, err)
	defer func() { _ = root.Close() }()
	assert.NilError(f, os.WriteFile(filepath.Join(root.Name(), "a.go"), []byte("package abc\n"), 0o600))
	x, err := build(f.Context(), root, strings.Repeat("ab", 20), []string{"a.go"})
	assert.NilError(f, err)
	data, err := x.encode()
	assert.NilError(f, err)
	f.Add(data[len(magic)+32:])
	f.Add([]byte("\x02{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		x, err := parse(data)
		if err != nil {
			return
		}
		for _, p := range x.paths {
			assert.Assert(t, filepath.IsLocal(p))
		}
		_, _, _ = x.files("package")
		q := newQuery("package abc")
		_, _ = q.read(t.Context(), root, x.candidates(&q))
	})
}
