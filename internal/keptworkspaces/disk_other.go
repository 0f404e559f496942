//go:build !linux

package keptworkspaces

// FreeDisk is not known on this system.
func FreeDisk(string) func() (int64, error) { return nil }
