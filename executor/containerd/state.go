//go:build linux

package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oz-platform/cloudagents/executor"
)

const (
	stateFile = "state.json"
	exitFile  = "exit.json"
	fullFile  = "disk-limit" // there once a sandbox was killed for it

	stateVersion = 1

	// lockPoll is how often a call looks whether another one on the same sandbox is done.
	lockPoll = 2 * time.Millisecond
)

// state is what the next worker must know of a sandbox. It is written before the main command may run.
type state struct {
	Version   int             `json:"version"`
	Workspace string          `json:"workspace"`
	Box       string          `json:"box"` // container, snapshot and directory have this name
	Output    int64           `json:"output"`
	Origin    executor.Origin `json:"origin"`
	Enforced  executor.Limits `json:"enforced"`
	Bridge    bool            `json:"bridge,omitempty"`
}

// newState is that of a sandbox which is about to be started in the container box.
func newState(spec executor.Spec, p plan, box string, output int64, origin executor.Origin) state {
	return state{Version: stateVersion, Workspace: spec.Workspace, Box: box, Output: output, Origin: origin, Enforced: p.limits,
		Bridge: p.network == executor.NetworkBridge}
}

var (
	errClosed = errors.New("the executor is closed")

	// errBadState says that a state is not readable. The one way to get there is a machine that lost power, so what the
	// state was about has ended.
	errBadState = errors.New("unreadable state of a sandbox")

	unknownExit = executor.Exit{Code: -1, Unknown: true}
)

func readState(dir string) (state, error) {
	var st state
	data, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		return st, err
	}
	if err := json.Unmarshal(data, &st); err != nil {
		return state{}, fmt.Errorf("%w: %s: %w", errBadState, filepath.Join(dir, stateFile), err)
	}
	if st.Version != stateVersion {
		return st, fmt.Errorf("%s: version %d, this program knows %d", filepath.Join(dir, stateFile), st.Version, stateVersion)
	}
	return st, nil
}

func readExit(dir string) (executor.Exit, error) {
	var x executor.Exit
	data, err := os.ReadFile(filepath.Join(dir, exitFile))
	if err != nil {
		return x, err
	}
	return x, json.Unmarshal(data, &x)
}

// writeFile replaces a file as a whole.
func writeFile(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// lock locks the directory of a sandbox against other calls, in this process and others. It fails with ErrNotFound.
func (e *Executor) lock(ctx context.Context, id string) (*os.File, error) {
	dir := e.sandboxDir(id)
	for {
		fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ENOENT) {
			return nil, executor.ErrNotFound
		}
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: dir, Err: err}
		}
		f := os.NewFile(uintptr(fd), dir)
		err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && same(f, dir) {
			return f, nil
		}
		_ = f.Close()
		if err != nil && !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, os.NewSyscallError("flock", err)
		}
		if err := pause(ctx, lockPoll); err != nil {
			return nil, err
		}
	}
}

// same reports whether the open directory still has its name.
func same(f *os.File, path string) bool {
	a, err := f.Stat()
	b, err2 := os.Lstat(path)
	return err == nil && err2 == nil && os.SameFile(a, b)
}

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
