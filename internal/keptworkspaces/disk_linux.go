package keptworkspaces

import (
	"fmt"
	"math"

	"golang.org/x/sys/unix"
)

// FreeDisk tells how many bytes are free where root is.
func FreeDisk(root string) func() (int64, error) {
	return func() (int64, error) {
		var s unix.Statfs_t
		if err := unix.Statfs(root, &s); err != nil {
			return 0, fmt.Errorf("measure the disk of %s: %w", root, err)
		}
		return int64(min(s.Bavail*uint64(s.Bsize), math.MaxInt64)), nil
	}
}
