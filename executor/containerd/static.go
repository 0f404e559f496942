//go:build linux

package containerd

import (
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// checkStatic refuses a binary that would need libraries of the image.
func checkStatic(path string) error {
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
