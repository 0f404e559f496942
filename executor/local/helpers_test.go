//go:build linux

package local_test

import "os"

func makePrivate(dir string) error { return os.Chmod(dir, 0o700) }
