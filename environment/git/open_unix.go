//go:build unix

package git

import (
	"os"
	"syscall"
)

// openPlain opens what may be anything for reading: it follows no link and
// waits for no other end of a pipe.
func openPlain(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
}
