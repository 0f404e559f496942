package codeindex

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/oz-platform/cloudagents/environment/git"
)

// State says how far the index of a repository is (Oz platform, CTX-3).
type State string

// The states.
const (
	Discovering State = "discovering files"
	Synced      State = "synced"
	Failed      State = "failed"
	TooLarge    State = "codebase too large"
)

const (
	// maxChanged is how many changed files are searched beside an index; with
	// more a new one is built.
	maxChanged = 300
	// keptIndexes is how many indexes of one repository stay in the cache.
	keptIndexes = 3
	// maxIndexFile bounds what is read of the cache.
	maxIndexFile = 2 << 30
)

// ignoreFiles name files that are not to be indexed, in the form of .gitignore.
// What .gitignore names is not tracked in the first place.
var ignoreFiles = [...]string{".warpindexingignore", ".cursorignore", ".cursorindexingignore", ".codeiumignore"}

// Options holds what a Repository can do without.
type Options struct {
	// Dir is where indexes are kept for later runs; "" keeps none.
	Dir string
	// Key names the repository among those in Dir. Default: its directory.
	Key string
	// Embeddings lets Find search by meaning, too, once Embed was called.
	// Default: nil, nothing is sent anywhere.
	Embeddings *Embeddings
}

// Repository is the index of one working tree. Safe for concurrent use.
type Repository struct {
	git  *git.Git
	dir  string
	opts Options

	ready chan struct{} // closed when Prepare has ended
	once  sync.Once
	err   error // why there is no index; set before ready is closed

	ignored map[string]bool // set by prepare
	means   *meaning        // nil without Options.Embeddings

	mu    sync.Mutex
	x     *index
	built map[string]stamp // changed files that the index knows as they were
}

// stamp tells whether a file was written since.
type stamp struct {
	size int64
	time time.Time
}

// Open makes the index of the working tree at dir. Prepare fills it.
func Open(g *git.Git, dir string, opts *Options) *Repository {
	r := &Repository{git: g, dir: dir, ready: make(chan struct{})}
	if opts != nil {
		r.opts = *opts
	}
	r.opts.Key = cmp.Or(r.opts.Key, dir)
	if r.opts.Embeddings != nil {
		r.means = &meaning{to: r.opts.Embeddings.withDefaults(), files: map[string][]piece{}, known: map[pieceID]vector{}}
	}
	return r
}

// Prepare loads the index or builds it. It is called once; Search waits for it.
// The error is that of Status.
func (r *Repository) Prepare(ctx context.Context) error {
	r.once.Do(func() {
		defer close(r.ready)
		r.err = r.prepare(ctx)
	})
	return r.err
}

// Status says how far the index is, and for Failed and TooLarge why.
func (r *Repository) Status() (State, error) {
	select {
	case <-r.ready:
	default:
		return Discovering, nil
	}
	switch {
	case r.err == nil:
		return Synced, nil
	case errors.Is(r.err, errTooLarge):
		return TooLarge, r.err
	}
	return Failed, r.err
}

// ErrNotReady is a search that ended before the index was there.
var ErrNotReady = errors.New("the index is not ready yet")

// Search finds the best places for a query, of which one in quotation marks is
// looked for word by word. It waits for Prepare; when ctx ends before that it
// fails with ErrNotReady. limit is at most MaxHits; 0 is 10.
func (r *Repository) Search(ctx context.Context, text string, limit int) ([]Hit, error) {
	select {
	case <-r.ready:
	case <-ctx.Done():
		return nil, ErrNotReady
	}
	if r.err != nil {
		return nil, r.err
	}
	root, err := os.OpenRoot(r.dir)
	if err != nil {
		return nil, fmt.Errorf("open repository: %w", err)
	}
	defer func() { _ = root.Close() }() // only read
	return r.search(ctx, root, newQuery(text), min(cmp.Or(limit, 10), MaxHits))
}

// search asks git what has changed while it looks into the index.
func (r *Repository) search(ctx context.Context, root *os.Root, q query, limit int) ([]Hit, error) {
	r.mu.Lock()
	x, built := r.x, r.built
	r.mu.Unlock()
	type answer struct {
		files map[string]bool
		err   error
	}
	asked := make(chan answer, 1)
	go func() {
		files, err := r.changes(ctx, x.head.Commit)
		asked <- answer{files, err}
	}()
	hits, err := q.read(ctx, root, x.candidates(&q))
	got := <-asked
	if err = cmp.Or(err, got.err); err != nil {
		return nil, err
	}
	changed := unknown(root, got.files, built)
	if len(changed) > maxChanged {
		if x, err = r.rebuild(ctx, root, got.files); err != nil {
			return nil, err
		}
		hits, err = q.read(ctx, root, x.candidates(&q))
		return best(hits, limit), err
	}
	hits = slices.DeleteFunc(hits, func(h Hit) bool { return changed[h.Path] })
	more, err := q.read(ctx, root, slices.Sorted(maps.Keys(changed)))
	return best(append(hits, more...), limit), err
}

// unknown gives those of the changed files that were written after the index
// was built.
func unknown(root *os.Root, changed map[string]bool, built map[string]stamp) map[string]bool {
	out := map[string]bool{}
	for p := range changed {
		if was, ok := built[p]; !ok || was != stampOf(root, p) {
			out[p] = true
		}
	}
	return out
}

func stampOf(root *os.Root, path string) stamp {
	info, err := root.Lstat(path)
	if err != nil {
		return stamp{}
	}
	return stamp{info.Size(), info.ModTime()}
}

// rebuild makes an index of what is there now. It is not kept: it is that of no
// commit.
func (r *Repository) rebuild(ctx context.Context, root *os.Root, changed map[string]bool) (*index, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	files, err := r.list(ctx)
	if err != nil {
		return nil, err
	}
	built := map[string]stamp{}
	for p := range changed { // before they are read: what is written meanwhile counts as changed
		built[p] = stampOf(root, p)
	}
	for _, f := range files {
		delete(changed, f)
	}
	files = append(files, slices.Sorted(maps.Keys(changed))...) // not tracked yet
	x, err := build(ctx, root, r.x.head.Commit, files)
	if err != nil {
		return nil, err
	}
	r.x, r.built = x, built
	return x, nil
}

func (r *Repository) prepare(ctx context.Context) error {
	commit, err := r.git.Head(ctx, r.dir)
	if err == nil {
		r.ignored, err = r.ignoredFiles(ctx)
	}
	if err != nil {
		return fmt.Errorf("index %s: %w", filepath.Base(r.dir), err)
	}
	if x := r.load(ctx, commit); x != nil {
		r.x = x
		return nil
	}
	files, err := r.list(ctx)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(r.dir)
	if err != nil {
		return fmt.Errorf("index %s: %w", filepath.Base(r.dir), err)
	}
	defer func() { _ = root.Close() }() // only read
	if r.x, err = build(ctx, root, commit, files); err != nil {
		return fmt.Errorf("index %s: %w", filepath.Base(r.dir), err)
	}
	if changed, err := r.changes(ctx, commit); err == nil && len(changed) == 0 { // else it is that of no commit
		r.keep(r.x)
	}
	return nil
}

// names splits what git lists with NUL characters.
func names(res git.Result) ([]string, error) {
	if res.Truncated {
		return nil, fmt.Errorf("%w: git lists more than can be taken", errTooLarge)
	}
	var out []string
	for name := range strings.SplitSeq(string(res.Stdout), "\x00") {
		if name != "" && filepath.IsLocal(filepath.FromSlash(name)) {
			out = append(out, name)
		}
	}
	return out, nil
}

// list gives the files that git tracks and no ignore file names.
func (r *Repository) list(ctx context.Context) ([]string, error) {
	res, err := r.git.Run(ctx, r.dir, "ls-files", "-z", "--cached", "--deduplicate")
	if err != nil {
		return nil, fmt.Errorf("list files: %w", err)
	}
	all, err := names(res)
	files := all[:0]
	for _, f := range all {
		if !r.ignored[f] {
			files = append(files, f)
		}
	}
	return files, err
}

// ignoredFiles asks git, which knows the form of ignore files best.
func (r *Repository) ignoredFiles(ctx context.Context) (map[string]bool, error) {
	args := []string{"ls-files", "-z", "--cached", "--ignored"}
	out := map[string]bool{}
	for _, name := range ignoreFiles {
		if info, err := os.Lstat(filepath.Join(r.dir, name)); err == nil && info.Mode().IsRegular() && info.Size() <= MaxFileBytes {
			args = append(args, "--exclude-from="+name)
		}
	}
	if len(args) > 4 {
		res, err := r.git.Run(ctx, r.dir, args...)
		if err != nil {
			return nil, fmt.Errorf("list ignored files: %w", err)
		}
		list, err := names(res)
		if err != nil {
			return nil, err
		}
		for _, f := range list {
			out[f] = true
		}
	}
	return out, nil
}

// changes lists the files that differ from a commit, those that git does not
// track among them. It takes no lock that the agent's own git would meet: git
// status takes none, where git diff does.
func (r *Repository) changes(ctx context.Context, commit string) (map[string]bool, error) {
	head, status, err := r.git.StatusAt(ctx, r.dir)
	if err != nil {
		return nil, fmt.Errorf("list changed files: %w", err)
	}
	out := map[string]bool{}
	add := func(path string) {
		if !r.ignored[path] && filepath.IsLocal(filepath.FromSlash(path)) {
			out[path] = true
		}
	}
	for _, c := range status {
		add(c.Path)
	}
	if head == commit {
		return out, nil
	}
	res, err := r.git.Run(ctx, r.dir, "diff-tree", "-r", "--name-only", "-z", "--no-renames", commit, head, "--")
	if err != nil {
		return nil, fmt.Errorf("list changed files: %w", err)
	}
	list, err := names(res)
	for _, f := range list {
		add(f)
	}
	return out, err
}

// prefix begins the names of the repository's indexes in the cache.
func (r *Repository) prefix() string {
	sum := sha256.Sum256([]byte(r.opts.Key))
	return hex.EncodeToString(sum[:16]) + "-"
}

// load takes an index from the cache: that of the commit, or the newest of
// another one from which few files have changed.
func (r *Repository) load(ctx context.Context, commit string) *index {
	if r.opts.Dir == "" {
		return nil
	}
	if x := readIndex(filepath.Join(r.opts.Dir, r.prefix()+commit)); x != nil && x.head.Commit == commit {
		return x
	}
	for _, file := range r.kept() {
		x := readIndex(file)
		if x == nil {
			continue
		}
		if changed, err := r.changes(ctx, x.head.Commit); err == nil && len(changed) <= maxChanged/3 {
			return x
		}
	}
	return nil
}

// kept lists the repository's indexes in the cache, the newest first.
func (r *Repository) kept() []string {
	entries, err := os.ReadDir(r.opts.Dir)
	if err != nil {
		return nil
	}
	var out []string
	var times []time.Time
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !strings.HasPrefix(e.Name(), r.prefix()) || strings.HasSuffix(e.Name(), ".tmp") {
			continue
		}
		i := 0
		for i < len(times) && times[i].After(info.ModTime()) {
			i++
		}
		out = append(out[:i], append([]string{filepath.Join(r.opts.Dir, e.Name())}, out[i:]...)...)
		times = append(times[:i], append([]time.Time{info.ModTime()}, times[i:]...)...)
	}
	return out
}

// readIndex gives nil for what is no index: it is built again.
func readIndex(file string) *index {
	info, err := os.Lstat(file)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxIndexFile {
		return nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }() // only read
	data, err := io.ReadAll(io.LimitReader(f, maxIndexFile))
	if err != nil {
		return nil
	}
	x, err := decode(data)
	if err != nil {
		return nil
	}
	return x
}

// keep stores an index whole or not at all. What fails costs the next run a
// build.
func (r *Repository) keep(x *index) {
	if r.opts.Dir == "" || os.MkdirAll(r.opts.Dir, 0o700) != nil {
		return
	}
	data, err := x.encode()
	if err != nil {
		return
	}
	temp := filepath.Join(r.opts.Dir, r.prefix()+uuid.NewString()+".tmp")
	if os.WriteFile(temp, data, 0o600) != nil || os.Rename(temp, filepath.Join(r.opts.Dir, r.prefix()+x.head.Commit)) != nil {
		_ = os.Remove(temp)
		return
	}
	for i, file := range r.kept() {
		if i >= keptIndexes {
			_ = os.Remove(file)
		}
	}
}
