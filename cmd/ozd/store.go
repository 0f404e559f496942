package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/secrets/sealed"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/fileblob"
	"github.com/oz-platform/cloudagents/task/pgstore"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
)

// postgres reports that the store is a PostgreSQL database, which other
// servers may use too.
func (c *config) postgres() bool {
	return strings.HasPrefix(c.Store, "postgres://") || strings.HasPrefix(c.Store, "postgresql://")
}

// checkStore judges the setting without repeating it: it may hold a password.
func (c *config) checkStore() error {
	if c.Store == "" || c.postgres() {
		return nil
	}
	return errors.New("store: must be empty (SQLite in the data directory) or a postgres:// URL")
}

// passwordInFlag reports that the command line, which every user of the host
// can read, holds the database's password.
func passwordInFlag(value string) bool {
	u, err := url.Parse(value)
	if err != nil || u.User == nil {
		return false
	}
	_, has := u.User.Password()
	return has
}

// storePlace says where the database is, without credentials.
func (c *config) storePlace() string {
	u, err := url.Parse(c.Store)
	if err != nil || u.Host == "" {
		return ""
	}
	return " at " + u.Host + u.Path
}

// storeWait is how long to wait for the database. A file is there or not.
func (c *config) storeWait() time.Duration {
	if !c.postgres() {
		return 0
	}
	return c.StoreWait
}

// openStore opens the database.
func (c *config) openStore(ctx context.Context, p *patience) (store task.Store, err error) {
	if !c.postgres() {
		return sqlitestore.Open(ctx, filepath.Join(c.Data, "oz.db"), nil)
	}
	err = p.attempt(ctx, func() (err error) {
		store, err = pgstore.Open(ctx, c.Store, nil)
		return err
	})
	return store, err
}

// openBlobs opens the store of files: the database when servers share one, so
// that they share the files, too; else a directory.
func (c *config) openBlobs(store task.Store) (task.BlobStore, error) {
	if blobs, ok := store.(task.BlobStore); ok {
		return blobs, nil
	}
	return fileblob.Open(filepath.Join(c.Data, "blobs"), nil)
}

// openSealed opens the store of secrets, and gives the key that signs download
// links. Every server of one database needs the same key file.
func (c *config) openSealed(ctx context.Context, store task.Store, p *patience) (*sealed.Store, []byte, error) {
	path := c.SecretsKey
	if path == "" {
		path = filepath.Join(c.Data, "secrets.key")
	}
	keys, err := sealed.OpenKeys(path)
	if err != nil {
		return nil, nil, err
	}
	s := sealed.New(store, keys, nil)
	var links []byte
	err = p.attempt(ctx, func() (err error) {
		links, err = s.SharedKey(ctx, "download links")
		return err
	})
	if errors.Is(err, sealed.ErrOtherKeys) {
		return nil, nil, fmt.Errorf("%s does not fit this database: %w, and name it with --secrets-key (env OZ_SECRETS_KEY)", path, sealed.ErrOtherKeys)
	}
	return s, links, err
}

// workerID names this server's worker. Servers that share a database need
// names of their own, which stay the same over restarts, since each takes up
// again what its name has left running.
func (c *config) workerID() (string, error) {
	if c.Worker.ID != "" {
		return c.Worker.ID, nil
	}
	if !c.postgres() {
		return "local", nil
	}
	path := filepath.Join(c.Data, "worker-id")
	name, err := os.ReadFile(path)
	if err == nil {
		return strings.TrimSpace(string(name)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("worker.id: %w", err)
	}
	random := make([]byte, 4)
	_, _ = rand.Read(random) // never fails
	id := "local-" + hex.EncodeToString(random)
	// Written aside and renamed, so that a crash leaves no half name behind.
	if err := os.WriteFile(path+".new", []byte(id+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("worker.id: %w", err)
	}
	return id, os.Rename(path+".new", path)
}
