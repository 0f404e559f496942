// Package filesecrets offers the files of a directory as secrets, one file each, named
// by the variable: the layout of Docker's /run/secrets and of a Kubernetes secret volume.
//
//	provider, err := filesecrets.New(team, "/run/secrets/oz")
//
// A file is read when a run starts, so a rotated secret needs no restart. One line feed
// (or CRLF) at its end is no part of the secret, because editors and echo add it; more
// of them, and any other white space, are. Directories and names that begin with a dot
// are passed over: Kubernetes keeps its own there. Symbolic links are followed within
// the directory only.
package filesecrets

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/oz-platform/cloudagents/secrets"
	"github.com/oz-platform/cloudagents/task"
)

// maxFiles bounds the directory: more secrets than an environment has room for mean
// that it is the wrong one.
const maxFiles = 1000

// Provider reads secrets from a directory. It is safe for concurrent use.
type Provider struct {
	owner task.Scope
	dir   string
}

var _ secrets.Provider = (*Provider)(nil)

// New returns a provider that gives the files in dir to owner. A zero owner means every
// team, but no person. It fails if dir is no directory.
func New(owner task.Scope, dir string) (*Provider, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open secrets directory: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("open secrets directory: %w", err)
	}
	if !info.IsDir() {
		return nil, task.Invalid("dir", "%s is no directory; give one with a file for each secret", dir)
	}
	return &Provider{owner: owner, dir: dir}, nil
}

// Values implements [secrets.Provider]. Empty files are no secrets. It fails if a file
// cannot be read, leads out of the directory, or has a name or content that no secret
// may have.
func (p *Provider) Values(ctx context.Context, owner task.Scope) ([]secrets.Value, error) {
	if !p.serves(owner) {
		return nil, ctx.Err()
	}
	root, err := os.OpenRoot(p.dir)
	if err != nil {
		return nil, fmt.Errorf("read secrets directory: %w", err)
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, fmt.Errorf("read secrets directory: %w", err)
	}
	if len(entries) > maxFiles {
		return nil, task.Invalid("dir", "%s has %d entries, more than the %d a directory of secrets may have", p.dir, len(entries), maxFiles)
	}
	var all []secrets.Value
	for _, entry := range entries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		name := entry.Name()
		if strings.HasPrefix(name, ".") {
			continue
		}
		value, err := read(root, name)
		if err != nil {
			return nil, fmt.Errorf("secret file %s: %w", filepath.Join(p.dir, name), err)
		}
		if value != "" {
			all = append(all, secrets.Value{Name: name, Scope: owner}.With(value))
		}
	}
	return all, nil
}

func (p *Provider) serves(owner task.Scope) bool {
	if p.owner.IsZero() {
		return owner.Type == task.ScopeTeam
	}
	return owner == p.owner
}

// read returns the secret in a file; nothing for a directory or an empty file.
func read(root *os.Root, name string) (string, error) {
	info, err := root.Stat(name)
	if err != nil {
		return "", err
	}
	if info.IsDir() {
		return "", nil
	}
	if !info.Mode().IsRegular() { // reading a pipe could take forever
		return "", task.Invalid("file", "it is of type %s; secrets are in regular files", info.Mode().Type())
	}
	f, err := root.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	// Two bytes more than allowed: a line ending does not count.
	text, err := io.ReadAll(io.LimitReader(f, secrets.MaxVariableBytes+2))
	if err != nil {
		return "", err
	}
	value := strings.TrimSuffix(string(text), "\n")
	if len(value) < len(text) {
		value = strings.TrimSuffix(value, "\r")
	}
	if value == "" {
		return "", nil
	}
	return value, secrets.CheckVariable(name, value)
}
