package environment

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// lockPoll is how often a held lock is tried again. The kernel's own waiting
// cannot be called off by a context.
const lockPoll = 20 * time.Millisecond

// errLocked is what tryLock fails with while another holds the lock.
var errLocked = errors.New("locked by another process")

// fileLock is held across processes until unlock, or until this process ends.
type fileLock struct{ f *os.File }

// tryLock takes the lock on the file at path, for one holder or (shared) for
// all who ask so, or fails with errLocked. The file stays.
func tryLock(path string, shared bool) (*fileLock, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lockFile(f, shared); err != nil {
		_ = f.Close()
		if errors.Is(err, errLocked) {
			return nil, err
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return &fileLock{f}, nil
}

// lock takes the lock on the file at path for itself, waiting until ctx ends.
func lock(ctx context.Context, path string) (*fileLock, error) {
	for {
		l, err := tryLock(path, false)
		if !errors.Is(err, errLocked) {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(lockPoll):
		}
	}
}

func (l *fileLock) unlock() { _ = l.f.Close() }
