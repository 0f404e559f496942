package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// signingKeyBytes is the size of the key that signs download links.
const signingKeyBytes = 32

// signingKey reads the key that signs download links, or makes it at the
// first start, so that links survive a restart.
func signingKey(path string) ([]byte, error) {
	key, err := os.ReadFile(path)
	if err == nil && len(key) == signingKeyBytes {
		return key, nil
	}
	if err == nil {
		return nil, fmt.Errorf("%s has %d bytes, not %d; remove it to get a new one (old links end)", path, len(key), signingKeyBytes)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	key = make([]byte, signingKeyBytes)
	_, _ = rand.Read(key) // never fails
	// Written aside and renamed, so that a crash leaves no half key behind.
	tmp := path + ".new"
	if err := os.WriteFile(tmp, key, 0o600); err != nil {
		return nil, err
	}
	return key, os.Rename(tmp, path)
}
