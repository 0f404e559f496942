package sealed

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// maxKeyFileBytes bounds the key file: room for thousands of keys.
const maxKeyFileBytes = 1 << 20

// Keys is the key set of a sealed store, backed by a file.
type Keys struct {
	path string

	mu     sync.RWMutex
	handle *keyset.Handle
	aead   tink.AEAD
}

// OpenKeys reads the key file at path. If there is none, it creates one (mode 0600) and
// its directory (mode 0700); of several processes that do so at once, one wins and all
// use its key. It refuses a file or directory that others than the owner may read or
// write, anything but a regular file, and a file it does not understand, which it leaves
// alone.
func OpenKeys(path string) (*Keys, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open key file: %w", err)
	}
	handle, err := readKeys(path)
	if errors.Is(err, fs.ErrNotExist) {
		handle, err = createKeys(path)
	}
	if err != nil {
		return nil, fmt.Errorf("open key file %s: %w", path, err)
	}
	k := &Keys{path: path}
	if err := k.use(handle); err != nil {
		return nil, fmt.Errorf("open key file %s: %w", path, err)
	}
	return k, nil
}

// Rotate adds a key and makes it the primary one, first in the file and then in this
// process. Values sealed before still open; Store.Reseal moves them to the new key.
// Only one process may rotate at a time.
func (k *Keys) Rotate() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	// Another process may have rotated since; its key must not be lost.
	handle, err := readKeys(k.path)
	if err != nil {
		return fmt.Errorf("rotate keys in %s: %w", k.path, err)
	}
	manager := keyset.NewManagerFromHandle(handle)
	id, err := manager.Add(aead.AES256GCMKeyTemplate())
	if err == nil {
		err = manager.SetPrimary(id)
	}
	if err == nil {
		handle, err = manager.Handle()
	}
	if err == nil {
		err = writeKeys(k.path, handle, os.Rename)
	}
	if err == nil {
		err = k.use(handle)
	}
	if err != nil {
		return fmt.Errorf("rotate keys in %s: %w", k.path, err)
	}
	return nil
}

// use makes handle the keys of this process. k.mu is held, or k is new.
func (k *Keys) use(handle *keyset.Handle) error {
	primitive, err := aead.New(handle)
	if err != nil {
		return fmt.Errorf("the keys are not for sealing (AEAD): %w", err)
	}
	k.handle, k.aead = handle, primitive
	return nil
}

func (k *Keys) seal(plaintext, bound []byte) ([]byte, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.aead.Encrypt(plaintext, bound)
}

func (k *Keys) open(ciphertext, bound []byte) ([]byte, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.aead.Decrypt(ciphertext, bound)
}

func readKeys(path string) (*keyset.Handle, error) {
	if err := checkPrivate(filepath.Dir(path), fs.ModeDir); err != nil {
		return nil, err
	}
	if err := checkPrivate(path, 0); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(text)))
	if err != nil {
		// The cause may quote the file.
		return nil, errors.New("this is no Tink key set in JSON; restore it from a backup, or move it away to start with a new key (secrets sealed before are lost then)")
	}
	return handle, nil
}

// checkPrivate refuses what is not of the given type, what others have rights to, and
// a file that is too large to be what it should be.
func checkPrivate(path string, typ fs.FileMode) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	mode := info.Mode()
	if runtime.GOOS == "windows" {
		mode &^= 0o077 // Go invents these bits there; access lists decide
	}
	switch {
	case mode.Type() != typ:
		return fmt.Errorf("%s is of type %s; a regular file in a directory is needed, not a link to one", path, mode.Type())
	case typ == 0 && mode.Perm()&0o077 != 0:
		return fmt.Errorf("%s has mode %04o, so others may use the keys; run: chmod 600 %[1]s", path, mode.Perm())
	case typ == fs.ModeDir && mode.Perm()&0o022 != 0:
		return fmt.Errorf("%s has mode %04o, so others may replace the keys; run: chmod 700 %[1]s", path, mode.Perm())
	case typ == 0 && info.Size() > maxKeyFileBytes:
		return fmt.Errorf("%s has %d bytes, more than the %d a key file may have", path, info.Size(), maxKeyFileBytes)
	}
	return nil
}

// createKeys writes a new key set, unless another process has done so meanwhile.
func createKeys(path string) (*keyset.Handle, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, err
	}
	// A link, unlike a rename, does not replace what is there.
	if err := writeKeys(path, handle, os.Link); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return readKeys(path)
}

// writeKeys writes the key set to a file beside path, makes it durable, and puts it in
// place with publish.
func writeKeys(path string, handle *keyset.Handle, publish func(from, to string) error) (err error) {
	var text bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&text)); err != nil {
		return err
	}
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".keys-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if e := os.Remove(f.Name()); err == nil && !errors.Is(e, fs.ErrNotExist) {
			err = e
		}
	}()
	_, err = f.Write(text.Bytes())
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := publish(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes a new name in dir durable.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // directories cannot be synced there
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
