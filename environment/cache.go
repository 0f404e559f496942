package environment

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/environment/git"
	"github.com/oz-platform/cloudagents/task"
)

// CacheOptions holds what a Cache can do without. The zero value is ready to
// use.
type CacheOptions struct {
	// MaxBytes is the size above which Prune removes the repositories that
	// were unused longest. Default 20 GiB.
	MaxBytes int64
	// MaxAge is how long a repository may be unused. Default 14 days.
	MaxAge time.Duration
	// Spares is how many finished checkouts Refill keeps ready for each
	// repository: one for each run that may start before the next Refill is
	// done. Default 1.
	Spares int
	// Clock tells the age. Default: the machine's.
	Clock task.Clock
}

// Cache keeps mirrors and spare checkouts of repositories on disk, for several
// processes at once. It never holds credentials. Safe for concurrent use.
//
// On disk each entry is a directory named by the hash of owner and URL:
//
//	<entry>/mirror.git   bare: all branches and tags
//	<entry>/spare-*      finished checkouts of the default branch
//	<entry>/new-*        something being made; a leftover unless the entry is locked
//	<entry>/used         its time is that of the last use
//	<entry>/bad          a copy from here was broken: the next Refill starts anew
//	locks/<entry>        held shared while copying, alone while changing
type Cache struct {
	dir  string
	opts CacheOptions
}

// OpenCache returns the cache in dir, which is made if it is not there. Use a
// disk that workspaces are on too, or spares must be copied. opts may be nil.
func OpenCache(dir string, opts *CacheOptions) (*Cache, error) {
	var o CacheOptions
	if opts != nil {
		o = *opts
	}
	o.MaxBytes = cmp.Or(o.MaxBytes, 20<<30)
	o.MaxAge = cmp.Or(o.MaxAge, 14*24*time.Hour)
	o.Spares = cmp.Or(o.Spares, 1)
	if o.Clock == nil {
		o.Clock = task.SystemClock()
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(abs, "locks"), 0o700); err != nil {
		return nil, fmt.Errorf("open the repository cache: %w", err)
	}
	return &Cache{dir: abs, opts: o}, nil
}

// source is what one entry of the cache is a copy of, and for whom.
type source struct {
	url   string
	owner task.Scope
}

// entry is the place of one source in the cache.
type entry struct{ dir, lock string }

// entry gives each owner and URL a place of its own. The parts are set apart
// by a byte that neither may hold.
func (c *Cache) entry(s source) entry {
	sum := sha256.Sum256([]byte(string(s.owner.Type) + "\x00" + s.owner.UID + "\x00" + s.url))
	return c.named(hex.EncodeToString(sum[:]))
}

func (c *Cache) named(name string) entry {
	return entry{dir: filepath.Join(c.dir, name), lock: filepath.Join(c.dir, "locks", name)}
}

func (e entry) path(name string) string { return filepath.Join(e.dir, name) }
func (e entry) mirror() string          { return e.path("mirror.git") }

// spares lists the finished checkouts.
func (e entry) spares() []string {
	list, _ := filepath.Glob(e.path("spare-*")) // the pattern is good
	return list
}

// touch makes now the time of the last use. A failure only makes the entry
// look older.
func (e entry) touch(now time.Time) {
	if f, err := os.OpenFile(e.path("used"), os.O_CREATE|os.O_WRONLY, 0o600); err == nil {
		_ = f.Close()
		_ = os.Chtimes(e.path("used"), now, now)
	}
}

// take puts a copy of s at dest without asking anybody: a spare if there is
// one, or else a copy of the mirror, not checked out. "" means that there is
// nothing to use. The copy may be behind the remote.
func (c *Cache) take(ctx context.Context, g *git.Git, s source, dest string) Origin {
	e := c.entry(s)
	if exists(e.path("bad")) {
		return ""
	}
	for _, spare := range e.spares() {
		// Whoever renames first has it.
		if os.Rename(spare, dest) == nil {
			e.touch(c.opts.Clock.Now())
			return FromSpare
		}
	}
	if !exists(e.mirror()) {
		return ""
	}
	held, err := tryLock(e.lock, true)
	if err != nil { // being changed; a plain clone is sooner than waiting
		return ""
	}
	defer held.unlock()
	e.touch(c.opts.Clock.Now())
	if err := g.CloneCopy(ctx, e.mirror(), s.url, dest); err != nil {
		if ctx.Err() == nil {
			c.distrust(s)
		}
		_ = os.RemoveAll(dest)
		return ""
	}
	return FromMirror
}

// distrust makes the next Refill build the entry of s anew, and keeps runs
// from using it until then.
func (c *Cache) distrust(s source) {
	if f, err := os.Create(c.entry(s).path("bad")); err == nil {
		_ = f.Close()
	}
}

// removeAside removes a directory of the cache: first from its name, so that
// nobody finds half of it.
func removeAside(e entry, path string) error {
	gone, err := os.MkdirTemp(e.dir, "new-")
	if err != nil {
		return err
	}
	if err := os.Rename(path, filepath.Join(gone, "gone")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.RemoveAll(gone)
}

// sweep removes what killed processes left behind. The entry must be locked.
func (e entry) sweep() {
	list, _ := filepath.Glob(e.path("new-*"))
	for _, path := range list {
		_ = os.RemoveAll(path)
	}
}

// sparePrefix begins the names of the spares of a commit.
func sparePrefix(commit string) string { return "spare-" + commit + "-" }

// spareName tells of which commit a spare is.
func spareName(commit, dir string) string {
	return sparePrefix(commit) + strings.TrimPrefix(filepath.Base(dir), "new-")
}
