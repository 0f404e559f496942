package git

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// localCommands are what Run accepts: git's own commands that work on this
// machine alone. Others could be aliases that the repository defines.
var localCommands = []string{
	"add", "apply", "blame", "branch", "cat-file", "checkout", "cherry-pick", "commit", "describe", "diff", "diff-tree",
	"for-each-ref", "grep", "log", "ls-files", "ls-tree", "merge", "merge-base", "mv", "rebase", "reset", "restore",
	"rev-list", "rev-parse", "revert", "rm", "shortlog", "show", "show-ref", "stash", "status", "switch", "symbolic-ref",
	"tag", "update-ref",
}

// showsPatches are the commands that would run the repository's diff programs.
var showsPatches = []string{"diff", "diff-tree", "log", "show"}

// Run runs one local git command in the work tree whose top is dir, without
// credentials. args begin with the command's name, one of git's everyday local
// commands; nothing talks to a remote, but for what a treeless clone lacks.
func (g *Git) Run(ctx context.Context, dir string, args ...string) (Result, error) {
	if len(args) == 0 || !slices.Contains(localCommands, args[0]) {
		return Result{}, fmt.Errorf("git.Run takes one of: %s", strings.Join(localCommands, ", "))
	}
	if slices.Equal(args, []string{"add", "--all"}) {
		return Result{}, g.stage(ctx, dir)
	}
	return g.local(ctx, dir, "", args...)
}

// local runs a command in a repository whose configuration may be hostile.
func (g *Git) local(ctx context.Context, dir, stdin string, args ...string) (Result, error) {
	return g.localEnv(ctx, dir, stdin, nil, args...)
}

// localEnv is local with further variables.
func (g *Git) localEnv(ctx context.Context, dir, stdin string, extra []string, args ...string) (Result, error) {
	env, err := workTreeEnv(dir)
	if err != nil {
		return Result{}, err
	}
	env = append(env, extra...)
	settings, offline, err := g.disarm(ctx, dir, env)
	if err != nil {
		return Result{}, err
	}
	if offline {
		env = append(env, "GIT_ALLOW_PROTOCOL=none")
	}
	if slices.Contains(showsPatches, args[0]) {
		args = slices.Insert(slices.Clone(args), 1, "--no-ext-diff", "--no-textconv")
	}
	return g.exec(ctx, command{op: args[0], dir: dir, args: args, stdin: stdin, env: env, settings: settings,
		timeout: g.opts.LocalTimeout})
}

// workTreeEnv names repository and work tree, so that git neither searches for
// another one nor believes core.worktree.
func workTreeEnv(dir string) ([]string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	gitDir := filepath.Join(abs, ".git")
	if _, err := os.Stat(gitDir); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, ErrNotRepository)
	}
	return []string{"GIT_DIR=" + gitDir, "GIT_WORK_TREE=" + abs, "GIT_OPTIONAL_LOCKS=0"}, nil
}

// programKeys match the settings by which a repository names programs under a
// key of its own choice, so that hardened cannot list them.
const programKeys = `^(filter\..*\.(clean|smudge|process|required)|merge\..*\.driver|diff\..*\.(command|textconv)|` +
	`hook\..*\.(command|event)|submodule\..*\.ignore|remote\..*\.(uploadpack|receivepack))$`

// disarm gives settings that switch off every program which the repository's
// own configuration names. offline says that no setting can: a treeless clone
// fetches what a command misses, and of several programs that are named for
// the other end git takes the first.
func (g *Git) disarm(ctx context.Context, dir string, env []string) (off []setting, offline bool, err error) {
	key, plain := configKey(dir)
	if plain && g.harmless.has(key) {
		return nil, false, nil
	}
	off, offline, err = g.programs(ctx, dir, env)
	if plain && err == nil && len(off) == 0 && !offline {
		g.harmless.add(key)
	}
	return off, offline, err
}

// programs asks git for what disarm gives.
func (g *Git) programs(ctx context.Context, dir string, env []string) (off []setting, offline bool, err error) {
	res, err := g.exec(ctx, command{op: "config", dir: dir, env: env, timeout: g.opts.LocalTimeout,
		args: []string{"config", "--includes", "--null", "--name-only", "--get-regexp", programKeys}})
	var failed *Error
	if errors.As(err, &failed) && failed.ExitCode == 1 { // none
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	if res.Truncated {
		return nil, false, fmt.Errorf("%s: the repository's configuration names too many programs", dir)
	}
	for key := range strings.SplitSeq(strings.TrimRight(string(res.Stdout), "\x00"), "\x00") {
		if strings.HasPrefix(key, "remote.") {
			offline = true
			continue
		}
		off = append(off, disarmed(key))
	}
	return off, offline, nil
}

// disarmed gives the setting that makes one of programKeys harmless.
func disarmed(key string) setting {
	section, _, _ := strings.Cut(key, ".")
	name := key[strings.LastIndexByte(key, '.')+1:]
	switch {
	case section == "hook": // since git 2.54, beside those in core.hooksPath
		return setting{strings.TrimSuffix(key, name) + "enabled", "false"}
	case section == "submodule":
		return setting{key, "dirty"} // as in hardened
	case section == "merge":
		return setting{key, "false"} // the program of that name: the merge conflicts
	case name == "required":
		return setting{key, "false"}
	case name == "textconv":
		return setting{key, "cat"} // shows the file as it is
	}
	return setting{key, ""}
}

// Head gives the commit of HEAD; "" on a branch without commits.
func (g *Git) Head(ctx context.Context, dir string) (string, error) {
	return g.optional(ctx, dir, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
}

// CurrentBranch gives the branch HEAD names, whether or not it has commits; ""
// if HEAD is detached.
func (g *Git) CurrentBranch(ctx context.Context, dir string) (string, error) {
	return g.optional(ctx, dir, "symbolic-ref", "--quiet", "--short", "HEAD")
}

// DefaultBranch gives the default branch of origin as of the clone; "" if it
// is not known.
func (g *Git) DefaultBranch(ctx context.Context, dir string) (string, error) {
	ref, err := g.optional(ctx, dir, "symbolic-ref", "--quiet", "refs/remotes/origin/HEAD")
	return strings.TrimPrefix(ref, "refs/remotes/origin/"), err
}

// optional runs a command that exits with 1 and says nothing when the answer is none.
func (g *Git) optional(ctx context.Context, dir string, args ...string) (string, error) {
	res, err := g.local(ctx, dir, "", args...)
	var failed *Error
	if errors.As(err, &failed) && failed.ExitCode == 1 && failed.Stderr == "" {
		return "", nil
	}
	return strings.TrimSpace(string(res.Stdout)), err
}

// Change is one path that differs from the last commit.
type Change struct {
	// Code is git's two letters: the state in the index and in the work tree.
	Code string
	// Path is relative to the top, with slashes; the new one of a rename.
	Path string
}

// Status lists what differs from the last commit, untracked files included,
// ignored ones not. It fails if there is more than MaxOutputBytes to list.
func (g *Git) Status(ctx context.Context, dir string) ([]Change, error) {
	res, err := g.local(ctx, dir, "", "status", "--porcelain=v1", "-z", "--untracked-files=all", "--ignore-submodules=dirty")
	if err != nil {
		return nil, err
	}
	if res.Truncated {
		return nil, fmt.Errorf("git status: more than %d bytes of changes: add build output to .gitignore", g.opts.MaxOutputBytes)
	}
	return parseStatus(string(res.Stdout)), nil
}

// StatusAt is Status and Head at once, in one look. A rename is a file that is
// gone and one that is new.
func (g *Git) StatusAt(ctx context.Context, dir string) (head string, changes []Change, err error) {
	res, err := g.local(ctx, dir, "", "status", "--porcelain=v2", "-z", "--branch", "--no-ahead-behind", "--no-renames", "--untracked-files=all", "--ignore-submodules=dirty")
	if err != nil {
		return "", nil, err
	}
	if res.Truncated {
		return "", nil, fmt.Errorf("git status: more than %d bytes of changes: add build output to .gitignore", g.opts.MaxOutputBytes)
	}
	head, changes = parseStatusAt(string(res.Stdout))
	return head, changes, nil
}

// beforePath is how many words come before the path, by the kind of an entry.
var beforePath = map[byte]int{'?': 1, '1': 8, 'u': 10}

// parseStatusAt reads the second format of git status, without renames.
func parseStatusAt(out string) (head string, changes []Change) {
	for entry := range strings.SplitSeq(out, "\x00") {
		if oid, ok := strings.CutPrefix(entry, "# branch.oid "); ok && oid != "(initial)" {
			head = oid
		}
		if len(entry) == 0 || beforePath[entry[0]] == 0 {
			continue
		}
		words := strings.SplitN(entry, " ", beforePath[entry[0]]+1)
		switch path := words[len(words)-1]; {
		case len(words) <= beforePath[entry[0]] || path == "":
		case entry[0] == '?':
			changes = append(changes, Change{Code: "??", Path: path})
		default:
			changes = append(changes, Change{Code: strings.ReplaceAll(words[1], ".", " "), Path: path})
		}
	}
	return head, changes
}

// parseStatus reads "XY path NUL", where a rename or copy is followed by its old path.
func parseStatus(out string) []Change {
	var changes []Change
	fields := strings.Split(out, "\x00")
	for i := 0; i < len(fields); i++ {
		f := fields[i]
		if len(f) < 4 {
			continue
		}
		changes = append(changes, Change{Code: f[:2], Path: f[3:]})
		if strings.ContainsAny(f[:2], "RC") {
			i++
		}
	}
	return changes
}

// Diff gives the patch from commit base to the work tree, untracked files not
// included (Commit first, or Run "add" with "--intent-to-add"). Base "" is the
// last commit, and the empty tree before the first.
func (g *Git) Diff(ctx context.Context, dir, base string) (Result, error) {
	if base == "" {
		head, err := g.Head(ctx, dir)
		if err != nil {
			return Result{}, err
		}
		base = head
	}
	if base == "" {
		empty, err := g.emptyTree(ctx, dir)
		if err != nil {
			return Result{}, err
		}
		base = empty
	}
	if err := CheckRef(base); err != nil {
		return Result{}, fmt.Errorf("base %q %w", base, err)
	}
	return g.local(ctx, dir, "", "diff", "--ignore-submodules=dirty", base, "--")
}

// emptyTree names the tree without entries, which depends on the repository's hash.
func (g *Git) emptyTree(ctx context.Context, dir string) (string, error) {
	res, err := g.local(ctx, dir, "", "hash-object", "-t", "tree", "--stdin")
	return strings.TrimSpace(string(res.Stdout)), err
}

// stage does what "git add --all" does. That command would look for changes
// within submodules, by a git that obeys the submodule's own configuration and
// the programs it names; this one takes the paths that have changed as they are.
func (g *Git) stage(ctx context.Context, dir string) error {
	changes, err := g.Status(ctx, dir)
	if err != nil {
		return err
	}
	var paths strings.Builder
	for _, c := range changes {
		if c.Code[1] != ' ' { // else the index has it already
			paths.WriteString(strings.TrimSuffix(c.Path, "/") + "\x00") // the slash is after a repository
		}
	}
	if paths.Len() == 0 {
		return nil
	}
	_, err = g.local(ctx, dir, paths.String(), "update-index", "--add", "--remove", "--replace", "-z", "--stdin")
	return err
}

// Commit records everything in the work tree, untracked files included and
// ignored ones not, and gives the new commit. It fails with ErrNothingToCommit.
func (g *Git) Commit(ctx context.Context, dir, message string) (string, error) {
	if strings.TrimSpace(message) == "" {
		return "", errors.New("commit message is empty")
	}
	if err := g.stage(ctx, dir); err != nil {
		return "", err
	}
	staged, err := g.local(ctx, dir, "", "status", "--porcelain=v1", "-z", "--untracked-files=no", "--ignore-submodules=dirty")
	if err != nil {
		return "", err
	}
	if len(staged.Stdout) == 0 {
		return "", ErrNothingToCommit
	}
	if _, err := g.local(ctx, dir, message, "commit", "--quiet", "--no-verify", "--no-gpg-sign",
		"--cleanup=whitespace", "--file=-"); err != nil {
		return "", err
	}
	return g.Head(ctx, dir)
}
