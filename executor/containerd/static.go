//go:build linux

package containerd

import (
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// CheckRunner says why path cannot be Options.Runner: it must be an absolute path of a program for this host's processor
// that needs no libraries, which images may not have. Empty is this program.
func CheckRunner(path string) error {
	if path == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find this executable, which is to be the Runner: %w", err)
		}
		path = self
	}
	if !filepath.IsAbs(path) {
		return fmt.Errorf("the Runner %q must be an absolute path", path)
	}
	if info, err := os.Stat(path); err != nil {
		return fmt.Errorf("the Runner: %w", err)
	} else if info.Mode().Perm()&0o111 == 0 {
		return fmt.Errorf("the Runner %s is not executable", path)
	}
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("the Runner %s is no Linux program: %w", path, err)
	}
	defer f.Close()
	want := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[runtime.GOARCH]
	if want != 0 && f.Machine != want {
		return fmt.Errorf("the Runner %s is for another processor (%s); this host has %s", path, f.Machine, runtime.GOARCH)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("the Runner %s needs shared libraries, which images may not have: build it with CGO_ENABLED=0", path)
		}
	}
	return nil
}
