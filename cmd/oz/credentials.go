package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// credentials are what 'oz login' keeps: a key for each server, so that none is
// ever sent to another one.
type credentials struct {
	// Server is the one that was signed in to last: the default.
	Server string                `json:"server,omitempty"`
	Keys   map[string]credential `json:"keys"` // by server
}

// credential is a key. Nothing prints it.
type credential struct {
	Key string `json:"key"`
	// Made says that signing in made the key, so that signing out ends it.
	Made bool `json:"made,omitempty"`
}

// credentialFile is where they are kept.
func credentialFile() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("find your configuration directory: %w", err)
	}
	return filepath.Join(dir, "oz", "credentials.json"), nil
}

// loadCredentials reads the file. None is as good as an empty one; one that
// others can read is refused.
func loadCredentials() (credentials, error) {
	c := credentials{Keys: map[string]credential{}}
	path, err := credentialFile()
	if err != nil {
		return c, nil // nobody signed in without a place to keep it
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return c, fmt.Errorf("%s can be read by others (mode %04o): sign in again after 'chmod 600', and end its keys", path, info.Mode().Perm())
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		// The library's error may repeat what it read.
		return c, fmt.Errorf("%s is not what 'oz login' writes; remove it and sign in again", path)
	}
	if c.Keys == nil {
		c.Keys = map[string]credential{}
	}
	return c, nil
}

// save replaces the file as a whole.
func (c credentials) save() error {
	path, err := credentialFile()
	if err != nil {
		return err
	}
	raw, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".credentials-") // made with mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(append(raw, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
