package environment

import (
	"bytes"
	"crypto/sha1" // git's own checksum, against decay and not against people
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
)

// checkPacks compares every pack of a bare repository, and its index, with the
// checksum at its end (gitformat-pack: the hash of all that comes before it).
// Copying a mirror does not look inside, so decay would spread unseen.
func checkPacks(mirror string) error {
	files, err := filepath.Glob(filepath.Join(mirror, "objects", "pack", "*"))
	if err != nil {
		return err
	}
	for _, file := range files {
		if ext := filepath.Ext(file); ext != ".pack" && ext != ".idx" {
			continue
		}
		if err := checkTrailer(file); err != nil {
			return err
		}
	}
	return nil
}

// checkTrailer accepts the hash of either kind of repository.
func checkTrailer(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	for _, h := range []hash.Hash{sha1.New(), sha256.New()} {
		body := info.Size() - int64(h.Size())
		if body < 0 {
			continue
		}
		if _, err := io.Copy(h, io.NewSectionReader(f, 0, body)); err != nil {
			return err
		}
		trailer := make([]byte, h.Size())
		if _, err := f.ReadAt(trailer, body); err != nil {
			return err
		}
		if bytes.Equal(trailer, h.Sum(nil)) {
			return nil
		}
	}
	return fmt.Errorf("%s does not match its checksum", filepath.Base(path))
}
