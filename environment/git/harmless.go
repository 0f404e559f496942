package git

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

const (
	// maxPlainConfig bounds a configuration that is looked at here: git is asked
	// about larger ones each time.
	maxPlainConfig = 64 << 10
	// maxHarmless bounds the configurations that are remembered; then all are forgotten.
	maxHarmless = 1024
)

// harmless remembers configurations that name no program, by their text, so
// that git need not be asked about them before each command. Safe for
// concurrent use; the zero value is ready.
type harmless struct {
	mu    sync.Mutex
	known map[[sha256.Size]byte]struct{}
}

func (h *harmless) has(key [sha256.Size]byte) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, ok := h.known[key]
	return ok
}

func (h *harmless) add(key [sha256.Size]byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.known == nil || len(h.known) >= maxHarmless {
		h.known = map[[sha256.Size]byte]struct{}{}
	}
	h.known[key] = struct{}{}
}

// configKey names what the configuration of the repository at dir says. plain is
// false when that is not in its own files alone, or cannot be read here.
func configKey(dir string) (key [sha256.Size]byte, plain bool) {
	if _, err := os.Lstat(filepath.Join(dir, ".git", "commondir")); !errors.Is(err, fs.ErrNotExist) {
		return key, false // its configuration is somewhere else
	}
	var all []byte
	for _, name := range []string{"config", "config.worktree"} {
		text, err := readConfig(filepath.Join(dir, ".git", name))
		switch {
		case errors.Is(err, fs.ErrNotExist) && name != "config":
		case err != nil, len(text) > maxPlainConfig, bytes.Contains(bytes.ToLower(text), []byte("include")):
			return key, false
		}
		all = append(append(all, text...), 0)
	}
	return sha256.Sum256(all), true
}

// readConfig reads a little more than maxPlainConfig at most, and no pipe.
func readConfig(path string) ([]byte, error) {
	f, err := openPlain(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	return io.ReadAll(io.LimitReader(f, maxPlainConfig+1))
}
