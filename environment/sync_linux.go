package environment

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncDisk waits until the file system that holds dir has all it was given.
func syncDisk(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}
