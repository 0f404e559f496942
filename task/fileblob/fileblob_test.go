package fileblob_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/fileblob"
)

func open(t *testing.T, dir string, opts *fileblob.Options) *fileblob.Store {
	t.Helper()
	s, err := fileblob.Open(dir, opts)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, s.Close()) })
	return s
}

func put(t *testing.T, s *fileblob.Store, key, content string) {
	t.Helper()
	n, err := s.PutBlob(t.Context(), key, strings.NewReader(content))
	assert.NilError(t, err)
	assert.Equal(t, n, int64(len(content)))
}

func get(t *testing.T, s *fileblob.Store, key string) string {
	t.Helper()
	r, err := s.OpenBlob(t.Context(), key)
	assert.NilError(t, err)
	defer func() { assert.NilError(t, r.Close()) }()
	b, err := io.ReadAll(r)
	assert.NilError(t, err)
	return string(b)
}

// files lists what the directory holds.
func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	assert.NilError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			info, err := d.Info()
			assert.NilError(t, err)
			assert.Equal(t, info.Mode().Perm(), fs.FileMode(0o600), path)
			name, err := filepath.Rel(dir, path)
			assert.NilError(t, err)
			names = append(names, filepath.ToSlash(name))
		}
		return err
	}))
	return names
}

func TestPutOpenDelete(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, nil)
	put(t, s, "runs/1/plan.md", "first")
	put(t, s, "runs/1/plan.md", "second")
	put(t, s, "runs/1", "a key that begins another")
	put(t, s, "runs", "")
	assert.Equal(t, get(t, s, "runs/1/plan.md"), "second")
	assert.Equal(t, get(t, s, "runs/1"), "a key that begins another")
	assert.Equal(t, get(t, s, "runs"), "")
	assert.DeepEqual(t, files(t, dir), []string{"runs", "runs+/1", "runs+/1+/plan.md"})

	assert.NilError(t, s.DeleteBlob(t.Context(), "runs/1"))
	assert.NilError(t, s.DeleteBlob(t.Context(), "runs/1"))
	assert.NilError(t, s.DeleteBlob(t.Context(), "never/was"))
	_, err := s.OpenBlob(t.Context(), "runs/1")
	assert.ErrorIs(t, err, task.ErrNotFound)
	assert.Equal(t, get(t, s, "runs/1/plan.md"), "second")
}

func TestBlobCanBeSought(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	put(t, s, "k", "0123456789")
	r, err := s.OpenBlob(t.Context(), "k")
	assert.NilError(t, err)
	defer func() { assert.NilError(t, r.Close()) }()
	_, err = r.Seek(-3, io.SeekEnd)
	assert.NilError(t, err)
	put(t, s, "k", "replaced while it is read")
	b, err := io.ReadAll(r)
	assert.NilError(t, err)
	assert.Equal(t, string(b), "789")
}

func TestKeysThatAreRefused(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, nil)
	for _, key := range []string{"", ".", "..", "a/..", "../a", "a/../b", "a/./b", "/a", "a/", "a//b", "a..b", "a b", "a\x00b", "a\\b", "é", "~unfinished/x",
		"a+", strings.Repeat("k", 256)} {
		_, err := s.PutBlob(t.Context(), key, strings.NewReader("x"))
		assert.ErrorIs(t, err, task.ErrInvalid, "put %q", key)
		_, err = s.OpenBlob(t.Context(), key)
		assert.ErrorIs(t, err, task.ErrInvalid, "open %q", key)
		assert.ErrorIs(t, s.DeleteBlob(t.Context(), key), task.ErrInvalid, "delete %q", key)
	}
	assert.Equal(t, len(files(t, dir)), 0)
	put(t, s, strings.Repeat("k", 255), "as long as may be")
}

func TestLinksDoNotLeadOut(t *testing.T) {
	outside := t.TempDir()
	assert.NilError(t, os.WriteFile(filepath.Join(outside, "secret"), []byte("s"), 0o600))
	dir := t.TempDir()
	s := open(t, dir, nil)
	assert.NilError(t, os.Symlink(outside, filepath.Join(dir, "way+")))
	assert.NilError(t, os.Symlink(filepath.Join(outside, "secret"), filepath.Join(dir, "link")))

	_, err := s.OpenBlob(t.Context(), "way/secret")
	assert.Assert(t, err != nil)
	_, err = s.OpenBlob(t.Context(), "link")
	assert.Assert(t, err != nil)
	_, err = s.PutBlob(t.Context(), "way/new", strings.NewReader("x"))
	assert.Assert(t, err != nil)
	assert.Assert(t, s.DeleteBlob(t.Context(), "way/secret") != nil)
	put(t, s, "link", "replaces the link, not what it leads to")
	b, err := os.ReadFile(filepath.Join(outside, "secret"))
	assert.NilError(t, err)
	assert.Equal(t, string(b), "s")
}

func TestSizeLimit(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, &fileblob.Options{MaxBytes: 4})
	put(t, s, "k", "1234")
	_, err := s.PutBlob(t.Context(), "k", strings.NewReader("12345"))
	assert.ErrorIs(t, err, task.ErrInvalid)
	assert.Equal(t, get(t, s, "k"), "1234")
	assert.DeepEqual(t, files(t, dir), []string{"k"})
	put(t, open(t, t.TempDir(), &fileblob.Options{MaxBytes: math.MaxInt64}), "k", "as large as one likes")
}

func TestFailedPutLeavesTheOldBlob(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, nil)
	put(t, s, "k", "old")

	broken := errors.New("the sender has gone")
	_, err := s.PutBlob(t.Context(), "k", io.MultiReader(strings.NewReader("half"), iotest.ErrReader(broken)))
	assert.ErrorIs(t, err, broken)

	ctx, cancel := context.WithCancel(t.Context())
	_, err = s.PutBlob(ctx, "k", io.MultiReader(strings.NewReader("half"), cancelReader(cancel), strings.NewReader("rest")))
	assert.ErrorIs(t, err, context.Canceled)

	assert.Equal(t, get(t, s, "k"), "old")
	assert.DeepEqual(t, files(t, dir), []string{"k"})
}

// cancelReader ends the context when it is read, and is empty.
type cancelReader context.CancelFunc

func (c cancelReader) Read([]byte) (int, error) { c(); return 0, io.EOF }

func TestOpenSweepsUnfinishedWrites(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, nil)
	put(t, s, "k", "kept")
	assert.NilError(t, os.WriteFile(filepath.Join(dir, "~unfinished", "x"), []byte("half"), 0o600))
	s = open(t, dir, nil)
	assert.Equal(t, get(t, s, "k"), "kept")
	assert.DeepEqual(t, files(t, dir), []string{"k"})
}

func TestConcurrentPutsAreWhole(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	put(t, s, "shared", strings.Repeat("0", 1<<16))
	var all sync.WaitGroup
	for i := range 8 {
		content := bytes.Repeat([]byte{byte('0' + i)}, 1<<16)
		all.Go(func() {
			for n := range 10 {
				_, err := s.PutBlob(t.Context(), "shared", bytes.NewReader(content))
				assert.Check(t, err)
				_, err = s.PutBlob(t.Context(), fmt.Sprintf("own/%d/%d", i, n), bytes.NewReader(content[:n]))
				assert.Check(t, err)
			}
		})
		all.Go(func() {
			for range 10 {
				r, err := s.OpenBlob(t.Context(), "shared")
				if !assert.Check(t, err) {
					return
				}
				b, err := io.ReadAll(r)
				assert.Check(t, errors.Join(err, r.Close()))
				assert.Check(t, len(b) == 1<<16 && bytes.Count(b, b[:1]) == len(b), "a mixture of two blobs")
			}
		})
	}
	all.Wait()
}

func FuzzKey(f *testing.F) {
	for _, key := range []string{"a", "a/b", "../x", "a/../../x", "~unfinished", "a+/b", "."} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		top := t.TempDir()
		dir := filepath.Join(top, "blobs")
		s := open(t, dir, nil)
		_, err := s.PutBlob(t.Context(), key, strings.NewReader("x"))
		if err == nil {
			assert.Equal(t, get(t, s, key), "x")
			assert.Equal(t, len(files(t, dir)), 1)
		}
		entries, err := os.ReadDir(top)
		assert.NilError(t, err)
		assert.Equal(t, len(entries), 1, "something was written outside")
	})
}

func Example() {
	dir, err := os.MkdirTemp("", "blobs")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	blobs, err := fileblob.Open(dir, nil)
	if err != nil {
		panic(err)
	}
	defer func() { _ = blobs.Close() }()

	ctx := context.Background()
	size, err := blobs.PutBlob(ctx, "runs/1/plan.md", strings.NewReader("# Plan"))
	fmt.Println(size, err)
	_, err = blobs.OpenBlob(ctx, "runs/2/plan.md")
	fmt.Println(errors.Is(err, task.ErrNotFound))
	// Output:
	// 6 <nil>
	// true
}
