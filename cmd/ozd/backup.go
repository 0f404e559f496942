package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/oz-platform/cloudagents/internal/modelenv"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
)

const backupHelp = `Copy everything that a server keeps into a new directory, while it runs: the
database as of one moment, the key that seals secrets, and the files of runs.
Sandboxes and repository mirrors are left out; runs that are at work are in the
copy as they were.

To restore, start ozd with --data on the copy (or a copy of it), with no other
server on the same data.

A PostgreSQL database has tools of its own, which work while servers run:

  pg_dump --format=custom --file=oz.dump "$OZ_STORE"
  pg_restore --no-owner --dbname="$NEW_STORE" oz.dump

Keep the file secrets.key with the dump: without it secrets cannot be read, and
servers refuse to start on the database.`

// backupCommand is `ozd backup`.
func backupCommand(env modelenv.Lookup, stdout io.Writer) *cobra.Command {
	c := defaultConfig()
	cmd := &cobra.Command{
		Use: "backup <DIRECTORY>", Short: "Copy the data of a server, also while it runs", Long: backupHelp,
		Example: "  ozd backup --data /var/lib/oz /backup/oz-$(date +%F)",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || args[0] == "" {
				return usageError{errors.New("name the new directory")}
			}
			return nil
		},
	}
	c.register(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := c.load(cmd.Flags(), env); err != nil {
			return err
		}
		if err := c.backup(cmd.Context(), args[0]); err != nil {
			return err
		}
		fmt.Fprintf(stdout, "Copied %s to %s.\nTo restore: ozd --data %s\n", c.Data, args[0], args[0])
		return nil
	}
	return cmd
}

// backup copies the data directory. The database comes first: the files that
// its runs name are there by then.
func (c *config) backup(ctx context.Context, to string) error {
	if c.postgres() {
		return errors.New("backup: the database is PostgreSQL: use pg_dump, and copy the file secrets.key (see ozd backup --help)")
	}
	if _, err := os.Stat(filepath.Join(c.Data, "oz.db")); err != nil {
		return fmt.Errorf("backup: there is no server's data in %s: %w", c.Data, err)
	}
	// Made under another name first: one that was cut off must not look whole.
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, fmt.Errorf("backup: a new directory is needed: %s exists", to))
	}
	part, err := os.MkdirTemp(filepath.Dir(to), ".ozd-backup-*") // mode 0700
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	if err := c.copyData(ctx, part); err != nil {
		return errors.Join(err, os.RemoveAll(part))
	}
	return os.Rename(part, to)
}

// copyData copies database, key and files into a directory.
func (c *config) copyData(ctx context.Context, to string) error {
	if err := sqlitestore.Backup(ctx, filepath.Join(c.Data, "oz.db"), filepath.Join(to, "oz.db")); err != nil {
		return err
	}
	key := c.SecretsKey
	if key == "" {
		key = filepath.Join(c.Data, "secrets.key")
	}
	if err := copyFile(key, filepath.Join(to, "secrets.key")); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	return copyTree(ctx, filepath.Join(c.Data, "blobs"), filepath.Join(to, "blobs"))
}

// copyTree copies regular files. What goes away meanwhile was being written or
// removed, and no run of the copied database needs it.
func copyTree(ctx context.Context, from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("backup: %w", err)
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return fmt.Errorf("backup: %w", err)
		}
		switch target := filepath.Join(to, rel); {
		case d.IsDir():
			err = os.Mkdir(target, 0o700)
		case d.Type().IsRegular():
			err = copyFile(path, target)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("backup: %w", err)
		}
		return nil
	})
}

// copyFile copies a file for its owner alone, and makes the copy durable.
func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}
