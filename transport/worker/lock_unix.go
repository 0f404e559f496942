//go:build unix

package worker

import (
	"os"

	"golang.org/x/sys/unix"
)

// lockFile locks f until it is closed, by this process or by its end.
func lockFile(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }
