//go:build !crashpoints

package crashpoint

// Enabled reports whether this build can crash on purpose.
const Enabled = false

// Hit does nothing in this build.
func Hit(Name) {}

// Env gives the variables that a child process needs to crash as asked: none
// in this build.
func Env() []string { return nil }
