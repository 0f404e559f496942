//go:build unix

package environment

import (
	"errors"
	"os"
	"syscall"
)

// lockFile takes the lock of an open file or fails with errLocked. It is free
// again when the file is closed.
func lockFile(f *os.File, shared bool) error {
	how := syscall.LOCK_EX
	if shared {
		how = syscall.LOCK_SH
	}
	err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errLocked
	}
	return err
}
