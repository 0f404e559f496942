// Package gitskills finds skills in git repositories. It fetches the newest
// commit of each, without history and, where the host allows it, without the
// contents of other files; nothing is checked out, and nothing in a repository
// is run.
//
//	source, err := gitskills.Open(ctx, dir, &gitskills.Options{Credentials: credentials})
//	...
//	defer source.Close()
//	platform, err := oz.New(store, &oz.Options{Skills: source})
//
// # Limits
//
// A repository that could be read is looked at again after Options.MaxAge. What
// was fetched stays in dir, and is removed when it was unused for 14 days or
// when a fetch has left too many parts. One process may use dir at a time.
package gitskills

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/oz-platform/cloudagents/environment/git"
	"github.com/oz-platform/cloudagents/environment/skill"
	"github.com/oz-platform/cloudagents/environment/skill/skillmd"
	"github.com/oz-platform/cloudagents/task"
)

const (
	// keep is how long an unused repository stays on disk.
	keep = 14 * 24 * time.Hour
	// maxPacks is how many fetches a repository may hold before it is fetched
	// anew: old commits are never removed from it.
	maxPacks = 40
	// maxRemembered bounds the answers that are kept in memory, and
	// maxRememberedBytes their texts.
	maxRemembered, maxRememberedBytes = 1000, 64 << 20
)

// Options holds what a Source can do without. The zero value is ready to use.
type Options struct {
	// Credentials is as in git.Options. Default: none.
	Credentials func(ctx context.Context, host string) (git.Credential, error)
	// MaxAge is how long an answer is good. Default 5 minutes.
	MaxAge time.Duration
	// Timeout bounds each of the at most two fetches that one look takes.
	// Default 20 s, so that a client that waits a minute gets an answer.
	Timeout time.Duration
	// Clock tells the age. Default: the machine's.
	Clock task.Clock
}

// Source implements skill.Source. Make one with Open. Safe for concurrent use.
type Source struct {
	git  *git.Git
	dir  string
	opts Options

	mu    sync.Mutex
	known map[string]*repository
	bytes int // of all that is known
}

var _ skill.Source = (*Source)(nil)

// repository is what is known of one repository. Its lock is held while it is
// looked at, so that callers who ask at once share one look.
type repository struct {
	lock   chan struct{} // holds a token while locked
	skills []skill.Skill
	read   time.Time // zero before the first look
	bytes  int       // of the skills' texts; Source.mu guards it
}

// Open returns a Source that keeps what it fetches in dir, which is made if it
// is not there. It fails when there is no git. opts may be nil.
func Open(ctx context.Context, dir string, opts *Options) (*Source, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	o.MaxAge = cmp.Or(o.MaxAge, 5*time.Minute)
	o.Timeout = cmp.Or(o.Timeout, 20*time.Second)
	if o.Clock == nil {
		o.Clock = task.SystemClock()
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the directory of skills: %w", err)
	}
	g, err := git.Open(ctx, &git.Options{Credentials: o.Credentials, RemoteTimeout: o.Timeout, LocalTimeout: o.Timeout})
	if err != nil {
		return nil, fmt.Errorf("open git for skills: %w", err)
	}
	s := &Source{git: g, dir: dir, opts: o, known: map[string]*repository{}}
	s.prune()
	return s, nil
}

// Close removes what Open made beside dir. No method may be running or called
// later.
func (s *Source) Close() error { return s.git.Close() }

// prune removes repositories that were unused for long. What cannot be removed
// is tried again at the next Open.
func (s *Source) prune() {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && e.IsDir() && s.opts.Clock.Now().Sub(info.ModTime()) > keep {
			_ = os.RemoveAll(filepath.Join(s.dir, e.Name()))
		}
	}
}

// Skills implements skill.Source.
func (s *Source) Skills(ctx context.Context, r skill.Repository, refresh bool) ([]skill.Skill, error) {
	key := keyOf(r)
	asked := s.opts.Clock.Now()
	repo := s.repository(key)
	select {
	case repo.lock <- struct{}{}:
		defer func() { <-repo.lock }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	now := s.opts.Clock.Now()
	// A look that began after this call is as good as one of its own.
	fresh := !repo.read.IsZero() && now.Sub(repo.read) < s.opts.MaxAge && (!refresh || repo.read.After(asked))
	if fresh {
		return slices.Clone(repo.skills), nil
	}
	skills, err := s.look(ctx, r, filepath.Join(s.dir, key))
	if err != nil {
		return nil, failure(r, err)
	}
	repo.skills, repo.read = skills, now
	s.count(key, repo)
	return slices.Clone(skills), nil
}

// keyOf gives each owner, URL and ref a place of its own. The parts are set
// apart by a byte that none may hold.
func keyOf(r skill.Repository) string {
	sum := sha256.Sum256([]byte(string(r.For.Type) + "\x00" + r.For.UID + "\x00" + r.URL + "\x00" + r.Ref))
	return hex.EncodeToString(sum[:])
}

func (s *Source) repository(key string) *repository {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.known[key]
	if r == nil {
		s.forget(maxRemembered-1, maxRememberedBytes)
		r = &repository{lock: make(chan struct{}, 1)}
		s.known[key] = r
	}
	return r
}

// count takes note of how much is known of a repository now. One that was
// forgotten while somebody waited for its lock does not count.
func (s *Source) count(key string, r *repository) {
	size := 0
	for _, k := range r.skills {
		size += len(k.Name) + len(k.Description) + len(k.Body) + len(k.Path) + len(k.Malformed)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known[key] != r {
		return
	}
	s.bytes += size - r.bytes
	r.bytes = size
	s.forget(maxRemembered, maxRememberedBytes)
}

// forget drops answers, any that nobody looks at now, until there are no more
// than so many of no more than so many bytes. The caller holds s.mu.
func (s *Source) forget(most, mostBytes int) {
	for key, r := range s.known {
		if len(s.known) <= most && s.bytes <= mostBytes {
			return
		}
		if len(r.lock) == 0 {
			delete(s.known, key)
			s.bytes -= r.bytes
		}
	}
}

// look reads the skills of a repository, from a new copy when the one at dir
// turns out to be broken.
func (s *Source) look(ctx context.Context, r skill.Repository, dir string) ([]skill.Skill, error) {
	if packs, _ := filepath.Glob(filepath.Join(dir, "objects", "pack", "*.pack")); len(packs) > maxPacks {
		if err := os.RemoveAll(dir); err != nil {
			return nil, err
		}
	}
	_, missing := os.Stat(dir)
	skills, err := s.lookAt(ctx, r, dir)
	if err == nil || ctx.Err() != nil || missing != nil || git.ReasonOf(err) != git.ReasonOther {
		return skills, err
	}
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	return s.lookAt(ctx, r, dir)
}

func (s *Source) lookAt(ctx context.Context, r skill.Repository, dir string) ([]skill.Skill, error) {
	commit, err := s.git.FetchTip(ctx, dir, r.URL, r.Ref)
	if err != nil {
		if r.Ref == "" && git.ReasonOf(err) == git.ReasonRef { // empty: HEAD names nothing
			return nil, nil
		}
		return nil, err
	}
	now := s.opts.Clock.Now()
	_ = os.Chtimes(dir, now, now) // else it only looks older
	tree, err := s.git.TreeFiles(ctx, dir, commit, skill.Folders()...)
	if err != nil {
		return nil, err
	}
	tree = slices.DeleteFunc(tree, func(f git.TreeFile) bool { _, _, ok := skill.Split(f.Path); return !ok })
	slices.SortFunc(tree, func(a, b git.TreeFile) int { return skillmd.Compare(a.Path, b.Path) })
	tree = tree[:min(len(tree), skill.MaxSkills)]
	files, err := s.read(ctx, r, dir, tree)
	if err != nil {
		return nil, err
	}
	return skillmd.Collect(files), nil
}

// batch is how many files are read at once: each may be as large as is allowed,
// and git's output is bounded.
const batch = 50

// read gives the contents of the files, as far as they go together.
func (s *Source) read(ctx context.Context, r skill.Repository, dir string, tree []git.TreeFile) ([]skillmd.File, error) {
	var files []skillmd.File
	total := 0
	for part := range slices.Chunk(tree, batch) {
		var blobs []string
		for _, f := range part {
			blobs = append(blobs, f.Blob)
		}
		contents, err := s.git.ReadBlobs(ctx, dir, r.URL, skill.MaxFileBytes, blobs...)
		if err != nil {
			return nil, err
		}
		for _, f := range part {
			data := contents[f.Blob]
			if total += len(data); total > skill.MaxTotalBytes {
				return files, nil
			}
			files = append(files, skillmd.File{Path: f.Path, Data: data})
		}
	}
	return files, nil
}

// failure says what users can do about it.
func failure(r skill.Repository, err error) error {
	name := cmp.Or(r.String(), "the repository")
	switch git.ReasonOf(err) {
	case git.ReasonAccess:
		return task.Errorf(task.CodeExternalAuthRequired, "the server may not read %s: an operator must give it git credentials for that host%w", name, hidden{err})
	case git.ReasonNotFound:
		return task.Errorf(task.CodeNotFound, "there is no repository %s, or the server may not see it%w", name, hidden{err})
	case git.ReasonRef:
		return task.Errorf(task.CodeNotFound, "%s has no branch, tag or commit %q%w", name, r.Ref, hidden{err})
	case git.ReasonNetwork, git.ReasonTimeout:
		return task.Errorf(task.CodeResourceUnavailable, "%s cannot be reached now%w", name, hidden{err})
	}
	return fmt.Errorf("look for skills in %s: %w", name, err)
}

// hidden is a cause for logs: what git said of a host is not for every user.
type hidden struct{ error }

func (hidden) Error() string   { return "" }
func (h hidden) Unwrap() error { return h.error }
