package git_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment/git"
	"github.com/oz-platform/cloudagents/environment/internal/gittest"
)

// TestFetchTip reads single files of a remote without a checkout, and follows
// the remote.
func TestFetchTip(t *testing.T) {
	ctx := t.Context()
	big := strings.Repeat("x", 3000)
	r := gittest.New(t, "app", map[string]string{"docs/a.md": "first\n", "docs/big.md": big, "src/main.go": "package main\n"})
	assert.NilError(t, os.Symlink("../src/main.go", filepath.Join(r.Work, "docs", "link.md")))
	r.Commit(t, "main", nil)
	gittest.Git(t, r.Bare, "config", "uploadpack.allowFilter", "true")
	server := gittest.Serve(t, filepath.Dir(r.Bare), &gittest.Server{Username: "bot", Password: "pass-1234-word"})
	url := server.URL + "/" + filepath.Base(r.Bare)
	g := open(t, &git.Options{Credentials: func(context.Context, string) (git.Credential, error) {
		return git.Credential{Username: "bot", Password: "pass-1234-word"}, nil
	}})
	dir := filepath.Join(t.TempDir(), "tip.git")

	read := func() map[string]string {
		t.Helper()
		commit, err := g.FetchTip(ctx, dir, url, "")
		assert.NilError(t, err)
		assert.Equal(t, commit, r.Head(t, "main"))
		files, err := g.TreeFiles(ctx, dir, commit, "docs", "missing")
		assert.NilError(t, err)
		var blobs []string
		for _, f := range files {
			blobs = append(blobs, f.Blob)
		}
		contents, err := g.ReadBlobs(ctx, dir, url, 1000, blobs...)
		assert.NilError(t, err)
		out := map[string]string{}
		for _, f := range files {
			out[f.Path] = string(contents[f.Blob])
		}
		return out
	}
	assert.DeepEqual(t, read(), map[string]string{"docs/a.md": "first\n", "docs/big.md": ""}) // no link, nothing too large
	r.Commit(t, "main", map[string]string{"docs/a.md": "second\n"})
	assert.DeepEqual(t, read(), map[string]string{"docs/a.md": "second\n", "docs/big.md": ""})

	commit := r.Commit(t, "topic", map[string]string{"docs/a.md": "third\n"})
	for _, ref := range []string{"topic", commit} {
		got, err := g.FetchTip(ctx, dir, url, ref)
		assert.NilError(t, err, ref)
		assert.Equal(t, got, commit)
	}
	_, err := g.FetchTip(ctx, dir, url, "nothing")
	assert.Equal(t, git.ReasonOf(err), git.ReasonRef, "%v", err)
	config, err := os.ReadFile(filepath.Join(dir, "config"))
	assert.NilError(t, err)
	assert.Assert(t, !strings.Contains(string(config), "pass-1234-word"), "%s", config)
}

// TestFetchTipLeavesContentsOut: a remote that allows it sends trees only, and
// then no more than what is read.
func TestFetchTipLeavesContentsOut(t *testing.T) {
	ctx := t.Context()
	r := gittest.New(t, "app", map[string]string{"docs/a.md": "wanted\n", "src/main.go": "not wanted\n"})
	gittest.Git(t, r.Bare, "config", "uploadpack.allowFilter", "true")
	var fetches atomic.Int64
	server := gittest.Serve(t, filepath.Dir(r.Bare), &gittest.Server{Before: func(r *http.Request) {
		if r.Method == http.MethodPost {
			fetches.Add(1)
		}
	}})
	url := server.URL + "/" + filepath.Base(r.Bare)
	g, dir := open(t, nil), filepath.Join(t.TempDir(), "tip.git")
	commit, err := g.FetchTip(ctx, dir, url, "main")
	assert.NilError(t, err)
	files, err := g.TreeFiles(ctx, dir, commit, "docs")
	assert.NilError(t, err)
	assert.Equal(t, len(files), 1)
	_, err = g.ReadBlobs(ctx, dir, url, 1000, files[0].Blob)
	assert.NilError(t, err)

	have := gittest.Git(t, dir, "cat-file", "--batch-all-objects", "--batch-check=%(objecttype)")
	assert.Equal(t, strings.Count(have, "blob"), 1, have)
	before := fetches.Load()
	_, err = g.ReadBlobs(ctx, dir, url, 1000, files[0].Blob) // it is there already
	assert.NilError(t, err)
	assert.Assert(t, fetches.Load()-before <= 1)
}

// TestFetchTipWithoutFilters: a remote that knows no filters sends all.
func TestFetchTipWithoutFilters(t *testing.T) {
	ctx := t.Context()
	r := gittest.New(t, "app", map[string]string{"docs/a.md": "x\n"})
	g, dir := open(t, nil), filepath.Join(t.TempDir(), "tip.git")
	commit, err := g.FetchTip(ctx, dir, r.URL(), "")
	assert.NilError(t, err)
	files, err := g.TreeFiles(ctx, dir, commit, "docs")
	assert.NilError(t, err)
	contents, err := g.ReadBlobs(ctx, dir, r.URL(), 1000, files[0].Blob)
	assert.NilError(t, err)
	assert.Equal(t, string(contents[files[0].Blob]), "x\n")
	assert.Assert(t, slices.Equal(files, []git.TreeFile{{Path: "docs/a.md", Blob: files[0].Blob}}))

	empty := gittest.New(t, "empty", nil)
	_, err = g.FetchTip(ctx, filepath.Join(t.TempDir(), "e.git"), empty.URL(), "")
	assert.Equal(t, git.ReasonOf(err), git.ReasonRef, "%v", err)
}
