package git

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Oldest git that honours GIT_CONFIG_GLOBAL and GIT_CONFIG_COUNT, on which the
// hardening rests.
const oldestMajor, oldestMinor = 2, 32

// Credential logs in to one git host over HTTP.
type Credential struct {
	// Username is what the host expects beside a token, such as "x-access-token".
	Username string
	// Password is the password or token.
	Password string
}

// Options holds what a Git can do without. The zero value is ready to use.
type Options struct {
	// Path is the git program. Default: "git", looked up in PATH.
	Path string
	// Name and Email are author and committer of commits. Default
	// "Oz Agent" and "oz-agent@users.noreply.localhost".
	Name, Email string
	// Credentials is asked for each remote operation over https, or over http
	// to a loopback address, with the host (and port, if the URL has one). A
	// zero Credential means none. It may be called from several goroutines and
	// should refresh what expires. Default: no credentials.
	Credentials func(ctx context.Context, host string) (Credential, error)
	// CredentialsFor is asked in place of Credentials, if it is set, where what
	// is given depends on the repository, too: path is that of its address,
	// without .git, such as "owner/name".
	CredentialsFor func(ctx context.Context, host, path string) (Credential, error)
	// LocalTimeout bounds a command that stays on this machine. Default 2 min.
	LocalTimeout time.Duration
	// RemoteTimeout bounds a command that talks to a remote. Default 30 min.
	RemoteTimeout time.Duration
	// MaxOutputBytes bounds what a command may print before the rest is
	// dropped. Default 8 MiB.
	MaxOutputBytes int
}

func (o *Options) withDefaults() Options {
	if o == nil {
		o = &Options{}
	}
	c := *o
	c.Path = cmp.Or(c.Path, "git")
	c.Name = cmp.Or(c.Name, "Oz Agent")
	c.Email = cmp.Or(c.Email, "oz-agent@users.noreply.localhost")
	c.LocalTimeout = cmp.Or(c.LocalTimeout, 2*time.Minute)
	c.RemoteTimeout = cmp.Or(c.RemoteTimeout, 30*time.Minute)
	c.MaxOutputBytes = cmp.Or(c.MaxOutputBytes, 8<<20)
	if c.Credentials == nil {
		c.Credentials = func(context.Context, string) (Credential, error) { return Credential{}, nil }
	}
	if c.CredentialsFor == nil {
		c.CredentialsFor = func(ctx context.Context, host, _ string) (Credential, error) { return c.Credentials(ctx, host) }
	}
	return c
}

// Git runs git commands. Make one with Open. Safe for concurrent use.
type Git struct {
	opts  Options
	path  string   // absolute path of the program
	state string   // private directory: home and global configuration of every command
	env   []string // the environment every command starts from

	harmless harmless
}

// Open finds git, checks its version and makes a small private directory that
// serves git as home; Close removes it. opts may be nil.
func Open(ctx context.Context, opts *Options) (*Git, error) {
	o := opts.withDefaults()
	path, err := exec.LookPath(o.Path)
	if err != nil {
		return nil, fmt.Errorf("find git (install it where agents work: in the image, or on the worker's host): %w", err)
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	state, err := os.MkdirTemp("", "oz-git-")
	if err != nil {
		return nil, err
	}
	g := &Git{opts: o, path: path, state: state}
	if err := g.prepare(ctx); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return g, nil
}

// Close removes what Open made. No method may be running or called later.
func (g *Git) Close() error { return os.RemoveAll(g.state) }

func (g *Git) prepare(ctx context.Context) error {
	// upload-pack on the far side of a file URL drops command-scope settings,
	// so the ownership check must be lifted here. It protects people who walk
	// into a stranger's directory; we are always told the directory.
	if err := os.WriteFile(g.globalConfig(), []byte("[safe]\n\tdirectory = *\n"), 0o600); err != nil {
		return err
	}
	g.env = g.environment(os.Environ())
	res, err := g.exec(ctx, command{op: "version", args: []string{"version"}, dir: g.state, timeout: g.opts.LocalTimeout})
	if err != nil {
		return err
	}
	return checkVersion(string(res.Stdout))
}

func (g *Git) globalConfig() string { return filepath.Join(g.state, "gitconfig") }

// checkVersion reads the answer of "git version".
func checkVersion(answer string) error {
	var major, minor int
	if _, err := fmt.Sscanf(answer, "git version %d.%d", &major, &minor); err != nil {
		return fmt.Errorf("read the version of git from %q: %w", strings.TrimSpace(answer), err)
	}
	if major < oldestMajor || (major == oldestMajor && minor < oldestMinor) {
		return fmt.Errorf("git %d.%d is too old: install %d.%d or newer", major, minor, oldestMajor, oldestMinor)
	}
	return nil
}
