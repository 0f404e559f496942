//go:build linux

package containerd

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/internal/tree"
)

const (
	warmDir       = "warm"
	warmWorkspace = "workspace" // below the directory of a state
	warmPrefix    = "warm-"     // of the names of snapshots
	// warmForm is part of what identifies a state; it changes with the form of what is kept.
	warmForm = 1
)

// warmState is what is written down of a kept state. With it there is one: it is written last and removed first.
//
// A directory below warm/ has its name before there is a snapshot "warm-<name>", and keeps it longer. Who makes or
// removes a state has its directory locked, who starts from it shares the lock.
type warmState struct {
	Version int       `json:"version"`
	ID      string    `json:"id"`
	Made    time.Time `json:"made"`
	Bytes   int64     `json:"bytes"`
}

// warm is a kept state that was found.
type warm struct {
	name  string
	state warmState
	used  time.Time
	lock  *os.File // nil unless taken
}

// release ends the use of a state that was taken. nil is none.
func (w *warm) release() {
	if w != nil {
		_ = w.lock.Close()
	}
}

// warmID stands for everything that makes a state.
func warmID(spec executor.Spec, p plan) string {
	data, _ := json.Marshal(struct { // strings and numbers cannot fail
		Form    int
		Key     string
		Chain   string
		Env     []string
		User    string
		Network executor.NetworkMode
		Mounts  []executor.Mount
	}{warmForm, spec.Warm.Key, p.image.chain, append(slices.Clone(p.image.env), spec.Env...), p.user, p.network, p.mounts})
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16])
}

func (e *Executor) warmPath(name string) string { return filepath.Join(e.root, warmDir, name) }

// warmNames lists the directories of states, whole or not.
func (e *Executor) warmNames() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(e.root, warmDir))
	names := make([]string, 0, len(entries))
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names, err
}

// readWarm reads what is written down of a state. One that is not whole is an error.
func (e *Executor) readWarm(name string) (warm, error) {
	path := filepath.Join(e.warmPath(name), stateFile)
	data, err := os.ReadFile(path)
	if err != nil {
		return warm{}, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return warm{}, err
	}
	w := warm{name: name, used: info.ModTime()}
	if err := json.Unmarshal(data, &w.state); err != nil {
		return w, err
	}
	if w.state.Version != warmForm {
		return w, fmt.Errorf("%s: version %d", path, w.state.Version)
	}
	return w, nil
}

// warmList gives the whole states, the newest first.
func (e *Executor) warmList() ([]warm, error) {
	names, err := e.warmNames()
	if err != nil {
		return nil, err
	}
	var list []warm
	for _, name := range names {
		if w, err := e.readWarm(name); err == nil {
			list = append(list, w)
		}
	}
	slices.SortFunc(list, func(a, b warm) int { return cmp.Or(b.state.Made.Compare(a.state.Made), cmp.Compare(a.name, b.name)) })
	return list, nil
}

// lockWarm locks the directory of a state without waiting.
func (e *Executor) lockWarm(name string, how int) (*os.File, error) {
	return lockDir(e.warmPath(name), how)
}

// lockDir locks a directory without waiting; it fails with EWOULDBLOCK.
func lockDir(path string, how int) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	if err := unix.Flock(fd, how|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, os.NewSyscallError("flock", err)
	}
	if !same(f, path) {
		_ = f.Close()
		return nil, &os.PathError{Op: "lock", Path: path, Err: unix.ENOENT}
	}
	return f, nil
}

// warmFor finds the state that a sandbox can start from, and has one made where there is none, or none that is new. nil
// means a cold start; whoever gets a state closes its lock.
func (e *Executor) warmFor(ctx context.Context, spec executor.Spec, p plan) *warm {
	if spec.Warm == nil || e.opts.WarmStates == 0 {
		return nil
	}
	id := warmID(spec, p)
	w, err := e.takeWarm(ctx, id)
	if err != nil {
		e.opts.Logger.Warn("look for a kept state", zap.String("sandbox", spec.ID), zap.Error(err))
	}
	if w == nil || time.Since(w.state.Made) > e.opts.WarmRefresh {
		e.prepareLater(id, spec, p)
	}
	return w
}

// takeWarm finds a state and keeps it from being removed.
func (e *Executor) takeWarm(ctx context.Context, id string) (*warm, error) {
	list, err := e.warmList()
	if err != nil {
		return nil, err
	}
	sn, err := e.snapshotter(ctx)
	if err != nil {
		return nil, err
	}
	for _, w := range list {
		if w.state.ID != id {
			continue
		}
		lock, err := e.lockWarm(w.name, unix.LOCK_SH)
		if err != nil {
			continue // being removed
		}
		_, err = e.readWarm(w.name)
		if err == nil {
			_, err = e.client.SnapshotService(sn).Stat(ctx, warmPrefix+w.name)
		}
		if err != nil {
			_ = lock.Close()
			continue
		}
		now := time.Now()
		_ = os.Chtimes(filepath.Join(e.warmPath(w.name), stateFile), now, now) // else it is removed sooner than others
		w.lock = lock
		return &w, nil
	}
	return nil, nil
}

// workspaceFrom makes the workspace of a sandbox from that of a kept state, unless there is one: what was worked on stays.
// A workspace has its name only when it is whole.
func (e *Executor) workspaceFrom(ctx context.Context, key string, w *warm) error {
	if _, err := os.Lstat(e.workspaceDir(key)); err == nil {
		return nil
	}
	tmp, lock, err := e.newWorkspace(ctx, w)
	if err != nil {
		return err
	}
	err = unix.Renameat2(unix.AT_FDCWD, tmp, unix.AT_FDCWD, e.workspaceDir(key), unix.RENAME_NOREPLACE)
	if err == nil {
		return lock.Close()
	}
	_ = e.dropWorkspace(ctx, tmp, lock) // else the next Open does
	if !errors.Is(err, unix.EEXIST) {   // another sandbox of the same run was first
		return os.NewSyscallError("renameat2", err)
	}
	return nil
}

// newWorkspace makes a workspace without a key, empty or from the state w, and locks it: one that nobody has locked is a
// leftover. After an error nothing of it is left.
func (e *Executor) newWorkspace(ctx context.Context, w *warm) (dir string, lock *os.File, err error) {
	dir, err = os.MkdirTemp(filepath.Join(e.root, workspacesDir), newPrefix)
	if err != nil {
		return "", nil, err
	}
	if lock, err = lockDir(dir, unix.LOCK_EX); err != nil {
		_ = os.Remove(dir) // unless it was removed as a leftover just now
		return "", nil, err
	}
	if w != nil {
		err = copyTree(ctx, filepath.Join(e.warmPath(w.name), warmWorkspace), dir)
	} else {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		return "", nil, errors.Join(err, e.dropWorkspace(ctx, dir, lock))
	}
	return dir, lock, nil
}

// dropWorkspace removes a workspace that has no key, and lets go of its lock.
func (e *Executor) dropWorkspace(ctx context.Context, dir string, lock *os.File) error {
	defer lock.Close()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupPatience)
	defer cancel()
	return tree.Remove(ctx, filepath.Join(e.root, workspacesDir), filepath.Base(dir))
}

// newPrefix begins the names of workspaces on their way.
const newPrefix = ".new-"

// tidyWarm removes states that are not whole, of which there are too many, or which a newer one replaces, the one first
// that was not used for longest. What a sandbox stands on, or somebody is making, stays for later.
func (e *Executor) tidyWarm(ctx context.Context) error {
	e.warmTidy.Lock()
	defer e.warmTidy.Unlock()
	names, err := e.warmNames()
	if err != nil {
		return err
	}
	list, err := e.warmList()
	if err != nil {
		return err
	}
	keep := e.worthKeeping(list)
	var errs []error
	for _, name := range names {
		if !keep[name] {
			errs = append(errs, e.dropWarm(ctx, name))
		}
	}
	return errors.Join(errs...)
}

// worthKeeping chooses from a list that has the newest first.
func (e *Executor) worthKeeping(list []warm) map[string]bool {
	seen := map[string]bool{}
	newest := make([]warm, 0, len(list))
	for _, w := range list {
		if !seen[w.state.ID] {
			newest = append(newest, w)
		}
		seen[w.state.ID] = true
	}
	slices.SortStableFunc(newest, func(a, b warm) int { return b.used.Compare(a.used) })
	keep := map[string]bool{}
	var total int64
	for _, w := range newest {
		if total += w.state.Bytes; len(keep) == e.opts.WarmStates || total > e.opts.WarmDisk {
			break
		}
		keep[w.name] = true
	}
	return keep
}

// dropWarm removes a state, unless it is locked. Its directory stays while a sandbox stands on its snapshot.
func (e *Executor) dropWarm(ctx context.Context, name string) error {
	lock, err := e.lockWarm(name, unix.LOCK_EX)
	if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	return e.dropLocked(ctx, name)
}

func (e *Executor) dropLocked(ctx context.Context, name string) error {
	if err := os.Remove(filepath.Join(e.warmPath(name), stateFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := tree.Remove(ctx, e.warmPath(name), warmWorkspace); err != nil {
		return err
	}
	sn, err := e.snapshotter(ctx)
	if err != nil {
		return err
	}
	err = e.client.SnapshotService(sn).Remove(ctx, warmPrefix+name)
	if errdefs.IsFailedPrecondition(err) {
		return nil // a sandbox stands on it
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove the snapshot of a kept state: %w", err)
	}
	return tree.Remove(ctx, filepath.Join(e.root, warmDir), name)
}

// sweepWorkspaces removes workspaces that were never whole.
func (e *Executor) sweepWorkspaces(ctx context.Context) error {
	top := filepath.Join(e.root, workspacesDir)
	entries, err := os.ReadDir(top)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), newPrefix) {
			continue
		}
		lock, err := lockDir(filepath.Join(top, entry.Name()), unix.LOCK_EX)
		if err != nil {
			continue // somebody is at it
		}
		err = tree.Remove(ctx, top, entry.Name())
		_ = lock.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// newWarmName gives the directory of a state.
func newWarmName(id string) string { return id + "-" + strings.ToLower(rand.Text()[:10]) }
