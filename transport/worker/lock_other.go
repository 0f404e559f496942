//go:build !unix

package worker

import "os"

// lockFile does nothing: only one process may use a directory.
func lockFile(*os.File) error { return nil }
