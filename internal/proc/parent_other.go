//go:build !linux

package proc

import "os/exec"

// RunBound runs cmd like cmd.Run. Only Linux ends it with this process.
func RunBound(cmd *exec.Cmd) error { return cmd.Run() }
