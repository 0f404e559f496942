package environment

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Prune removes repositories that were unused for longer than MaxAge and then,
// while the cache is larger than MaxBytes, those unused longest. What another
// process works on stays. Workspaces do not depend on the cache.
func (c *Cache) Prune(ctx context.Context) error {
	usages, err := c.usages(ctx)
	if err != nil {
		return err
	}
	slices.SortFunc(usages, func(a, b usage) int { return a.used.Compare(b.used) })
	var total int64
	for _, u := range usages {
		total += u.bytes
	}
	oldest := c.opts.Clock.Now().Add(-c.opts.MaxAge)
	var errs []error
	for _, u := range usages {
		if total <= c.opts.MaxBytes && !u.used.Before(oldest) {
			break // all that follow are younger
		}
		removed, err := u.entry.remove()
		errs = append(errs, err)
		if removed {
			total -= u.bytes
		}
	}
	return errors.Join(errs...)
}

// usage is what an entry costs, and when it last was of use.
type usage struct {
	entry entry
	used  time.Time
	bytes int64
}

func (c *Cache) usages(ctx context.Context) ([]usage, error) {
	dirs, err := os.ReadDir(c.dir)
	if err != nil {
		return nil, err
	}
	var list []usage
	for _, d := range dirs {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		if d.Name() == "locks" || !d.IsDir() {
			continue
		}
		u := usage{entry: c.named(d.Name())}
		u.bytes = treeBytes(u.entry.dir)
		if info, err := os.Stat(u.entry.path("used")); err == nil {
			u.used = info.ModTime()
		} else if info, err := d.Info(); err == nil { // being made, or never finished
			u.used = info.ModTime()
		}
		list = append(list, u)
	}
	return list, nil
}

// treeBytes adds up the files below dir. What vanishes meanwhile counts nothing.
func treeBytes(dir string) int64 {
	var total int64
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		if info, err := d.Info(); err == nil {
			total += info.Size()
		}
		return nil
	})
	return total
}

// remove removes the entry unless somebody works on it.
func (e entry) remove() (bool, error) {
	held, err := tryLock(e.lock, false)
	if errors.Is(err, errLocked) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer held.unlock()
	for _, path := range append(e.spares(), e.mirror()) {
		if err := removeAside(e, path); err != nil {
			return false, err
		}
	}
	return true, os.RemoveAll(e.dir)
}
