//go:build unix

package sqlitestore

import (
	"os"

	"golang.org/x/sys/unix"
)

// tryLock takes the exclusive lock of an open file, or fails at once. The
// kernel frees it when the file is closed or the process ends.
func tryLock(f *os.File) error {
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
}
