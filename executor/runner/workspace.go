package runner

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/environment/git"
	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/internal/crashpoint"
	"github.com/oz-platform/cloudagents/task"
)

// workedFile lists the executions that have used a workspace, so that a later
// one can tell it from one that was made anew, and from one that the run has
// left behind at an earlier worker.
const workedFile = ".oz/worked"

// stateBelow, in the workspace, is where the agent keeps its own session files,
// so that they stay and go with the files that it worked on.
const stateBelow = ".oz/agent"

// stateDir is that place, or one among the user's own files for what works in
// a person's clone.
func (x *execution) stateDir() string {
	if !x.opts.InPlace {
		return filepath.Join(x.opts.Root, filepath.FromSlash(stateBelow))
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "" // the agent's session lasts as long as its process
	}
	return filepath.Join(cache, "oz", "agents", string(x.bundle.Task.ID))
}

// workspace is where the agent works, ready.
type workspace struct {
	dir     string
	repos   []harness.Repo
	env     []string
	git     *git.Git
	rebuilt bool
	// attachments is where the files given with the prompt are; "" without any.
	attachments string
	// refill makes the next run's preparation quick; nil without a cache.
	refill func(context.Context) error
}

func (w *workspace) close() { _ = w.git.Close() } // its temporary files go with the sandbox anyway

// prepare makes the workspace ready and tells steps, whose context may outlive
// ctx, so that the log shows what was under way when a limit ended it.
func (x *execution) prepare(ctx context.Context, steps *steps) (*workspace, error) {
	config, err := x.environment()
	if err != nil {
		return nil, err
	}
	if err := x.discard(); err != nil {
		return nil, err
	}
	g, err := x.openGit(ctx)
	if err != nil {
		return nil, err
	}
	ws := &workspace{dir: x.opts.Root, git: g, env: x.environ()}
	if !x.opts.InPlace || len(config.Repos)+len(config.SetupCommands) > 0 {
		err = x.fill(ctx, ws, config, steps)
	} else {
		ws.repos, err = x.found(ctx, g)
	}
	if err == nil {
		err = errors.Join(x.restoreFiles(ctx), x.restoreAgent(ctx))
	}
	if err == nil {
		err = x.mark(ws)
	}
	if err != nil {
		ws.close()
		return nil, err
	}
	return ws, nil
}

// environment decodes the environment as of the run's creation.
func (x *execution) environment() (environment.Config, error) {
	var c environment.Config
	if len(x.bundle.Task.Environment) == 0 {
		return c, nil
	}
	if err := json.Unmarshal(x.bundle.Task.Environment, &c); err != nil {
		return c, fmt.Errorf("decode the run's environment: %w", err)
	}
	return c, nil
}

func (x *execution) openGit(ctx context.Context) (*git.Git, error) {
	g, err := git.Open(ctx, &git.Options{Name: x.bundle.GitIdentity.Name, Email: x.bundle.GitIdentity.Email, CredentialsFor: x.credential})
	if err != nil {
		return nil, task.Errorf(task.CodeEnvironmentSetupFailed, "open git: %w", err)
	}
	return g, nil
}

// credential gives git what it is lent for a host, else what the bundle has.
func (x *execution) credential(ctx context.Context, host, path string) (git.Credential, error) {
	if slices.Contains(x.bundle.GitHosts, host) {
		c, err := x.lent(ctx, host, path)
		if err != nil || c != (git.Credential{}) {
			return c, err
		}
	}
	for _, c := range x.bundle.GitCredentials {
		if c.Host == host {
			return git.Credential{Username: c.Username, Password: c.Password.Reveal()}, nil
		}
	}
	return git.Credential{}, nil
}

// lent asks the platform for a credential each time that git needs one: it is
// good for a while only. From then on it is one of the run's secrets.
func (x *execution) lent(ctx context.Context, host, path string) (git.Credential, error) {
	lender, ok := x.link.(executor.GitLender)
	if !ok {
		return git.Credential{}, nil
	}
	c, err := lender.GitCredential(ctx, host, path)
	if err != nil || c.Password == "" {
		return git.Credential{}, err
	}
	if err := x.redactor.Add(label("git-password-"+host), c.Password.Reveal()); err != nil {
		return git.Credential{}, err
	}
	return git.Credential{Username: c.Username, Password: c.Password.Reveal()}, nil
}

// fill clones and sets up. A workspace that an earlier execution has prepared
// is taken as it is.
func (x *execution) fill(ctx context.Context, ws *workspace, config environment.Config, steps *steps) error {
	opts := &environment.PreparerOptions{Forge: x.bundle.RepositoryBase, CommandTimeout: x.opts.SetupTimeout}
	if x.opts.CacheDir != "" {
		cache, err := environment.OpenCache(x.opts.CacheDir, nil)
		if err != nil {
			return fmt.Errorf("open the repository cache: %w", err)
		}
		opts.Cache = cache
	}
	preparer := environment.NewPreparer(ws.git, opts)
	wanted := environment.Options{Dir: x.opts.Root, Config: config, Owner: x.bundle.Task.Owner,
		Env: ws.env, Secrets: x.variables(), Report: steps.report}
	if x.bundle.Snapshot != nil {
		wanted.Restore = func(ctx context.Context, c environment.Checkout) error { return x.restore(ctx, ws.git, c) }
	}
	prepared, err := preparer.Prepare(ctx, wanted)
	steps.finish(err)
	if err != nil {
		return err
	}
	crashpoint.Hit(crashpoint.RunnerSetup)
	if opts.Cache != nil {
		ws.refill = func(ctx context.Context) error { return preparer.Refill(ctx, wanted) }
	}
	ws.dir = prepared.WorkingDir
	for _, c := range prepared.Checkouts {
		ws.repos = append(ws.repos, harness.Repo{Name: filepath.Base(c.Dir), Dir: c.Dir, Remote: c.URL, Base: c.Commit, Branch: c.Branch})
	}
	return nil
}

// found describes the repository that an in-place run starts in, if any.
func (x *execution) found(ctx context.Context, g *git.Git) ([]harness.Repo, error) {
	if _, err := os.Stat(filepath.Join(x.opts.Root, ".git")); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	head, err := g.Head(ctx, x.opts.Root)
	if err != nil {
		return nil, task.Errorf(task.CodeEnvironmentSetupFailed, "read the repository in %s: %w", x.opts.Root, err)
	}
	branch, err := g.CurrentBranch(ctx, x.opts.Root)
	if err != nil {
		return nil, task.Errorf(task.CodeEnvironmentSetupFailed, "read the repository in %s: %w", x.opts.Root, err)
	}
	remote, err := g.RemoteURL(ctx, x.opts.Root, "origin")
	if err != nil {
		return nil, task.Errorf(task.CodeEnvironmentSetupFailed, "read the repository in %s: %w", x.opts.Root, err)
	}
	return []harness.Repo{{Name: filepath.Base(x.opts.Root), Dir: x.opts.Root, Remote: remoteURL(remote, x.opts.Root), Base: head, Branch: branch}}, nil
}

// remoteURL spells the remote of a user's own clone as package git wants it:
// people have paths, the short form of ssh, and tokens in their addresses.
func remoteURL(raw, dir string) string {
	u, err := url.Parse(raw)
	host, path, short := strings.Cut(raw, ":")
	switch {
	case raw == "":
		return ""
	case err == nil && (u.Scheme == "http" || u.Scheme == "https"):
		u.User = nil
		return u.String()
	case strings.Contains(raw, "://"):
		return raw
	case short && !strings.Contains(host, "/"): // git@host:owner/name, see git-clone(1)
		return "ssh://" + host + "/" + strings.TrimPrefix(path, "/")
	case !filepath.IsAbs(raw):
		raw = filepath.Join(dir, raw)
	}
	return (&url.URL{Scheme: "file", Path: raw}).String()
}

// discard empties a workspace that is older than the run's work: another
// execution has worked since, in a workspace elsewhere. What the log says of
// files and commits is not true of this one.
func (x *execution) discard() error {
	users, err := os.ReadFile(filepath.Join(x.opts.Root, workedFile))
	if errors.Is(err, os.ErrNotExist) || x.opts.InPlace {
		return nil // new, or a person's own
	}
	if err != nil {
		return fmt.Errorf("read the workspace's mark: %w", err)
	}
	if x.history.worker == "" || slices.Contains(strings.Fields(string(users)), string(x.history.worker)) {
		return nil
	}
	entries, err := os.ReadDir(x.opts.Root)
	if err != nil {
		return fmt.Errorf("discard an old workspace: %w", err)
	}
	slices.SortFunc(entries, func(a, b os.DirEntry) int { return cmp.Compare(markLast(a), markLast(b)) })
	for _, e := range entries {
		if err := removeAll(filepath.Join(x.opts.Root, e.Name())); err != nil {
			return fmt.Errorf("discard an old workspace: %w", err)
		}
	}
	return nil
}

// markLast orders the directory of the mark behind all others: while there is
// anything of an old workspace left, it can be told.
func markLast(e os.DirEntry) int {
	if e.Name() == filepath.Dir(workedFile) {
		return 1
	}
	return 0
}

// removeAll is os.RemoveAll also for directories that are read-only, as module
// caches are. It follows no link.
func removeAll(path string) error {
	err := filepath.WalkDir(path, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return err
	})
	return errors.Join(err, os.RemoveAll(path))
}

// mark finds out whether the workspace was made anew under a run that has
// worked before, and writes down that this execution uses it.
func (x *execution) mark(ws *workspace) error {
	if x.opts.InPlace {
		return nil
	}
	path := filepath.Join(x.opts.Root, workedFile)
	users, err := os.ReadFile(path)
	ws.rebuilt = x.history.worker != "" && errors.Is(err, os.ErrNotExist) && x.lost()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("mark the workspace: %w", err)
	}
	// Written aside and renamed: a mark cut short would say that the workspace
	// is old.
	users = fmt.Appendf(users, "%s\n", x.bundle.Execution.ID)
	if err := os.WriteFile(path+".new", users, 0o600); err != nil {
		return fmt.Errorf("mark the workspace: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("mark the workspace: %w", err)
	}
	return nil
}

// hiddenVariable reports one of the caller's own credentials. An agent that
// runs in place must not inherit them.
func hiddenVariable(name string) bool {
	switch name {
	case executor.EnvIdentityURL, executor.EnvIdentityToken, // of a run around this one
		"WARP_API_KEY", "OZ_API_KEY", "OZ_BOOTSTRAP_API_KEY", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "OPENAI_API_KEY", "GEMINI_API_KEY":
		return true
	}
	return false
}

// environ is the environment of the agent's processes.
func (x *execution) environ() []string {
	secret := x.variables()
	var env []string
	for _, v := range x.opts.Environ {
		name, _, _ := strings.Cut(v, "=")
		if _, replaced := secret[name]; !replaced && !hiddenVariable(name) {
			env = append(env, v)
		}
	}
	t := x.bundle.Task
	env = append(env, "GIT_TERMINAL_PROMPT=0", "GH_PROMPT_DISABLED=1",
		"OZ_RUN_ID="+string(t.ID), "WARP_RUN_ID="+string(t.ID), "OZ_HARNESS="+t.Config.HarnessType(), "WARP_HARNESS="+t.Config.HarnessType())
	if t.ParentID != "" {
		env = append(env, "OZ_PARENT_RUN_ID="+string(t.ParentID), "WARP_PARENT_RUN_ID="+string(t.ParentID))
	}
	if id := x.bundle.GitIdentity; !x.opts.InPlace && id.Name != "" { // a person's own clone has their own name
		env = append(env, "GIT_AUTHOR_NAME="+id.Name, "GIT_AUTHOR_EMAIL="+id.Email, "GIT_COMMITTER_NAME="+id.Name, "GIT_COMMITTER_EMAIL="+id.Email)
	}
	env = append(env, x.identity.environ()...) // before the secrets, which say more
	for name, value := range secret {
		env = append(env, name+"="+value)
	}
	return env
}

func (x *execution) variables() map[string]string {
	out := make(map[string]string, len(x.bundle.Secrets))
	for _, s := range x.bundle.Secrets {
		out[s.Name] = s.Value.Reveal()
	}
	return out
}
