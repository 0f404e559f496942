package sqlitestore

import (
	"os"

	"golang.org/x/sys/windows"
)

// tryLock takes the exclusive lock of an open file, or fails at once. The
// system frees it when the file is closed or the process ends.
func tryLock(f *os.File) error {
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	return windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, &windows.Overlapped{})
}
