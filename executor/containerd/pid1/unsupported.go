//go:build !linux

package pid1

import "os"

// Main is the whole program of a container's first process. ok is false when this process is none, as always on this
// system.
func Main() (code int, ok bool) { return 0, false }

// Forwarded returns the signals that reach the main command: none on this system.
func Forwarded() []os.Signal { return nil }
