package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oz-platform/cloudagents/environment/git"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
)

// conversationFile is where a fork keeps what was said, for people.
const conversationFile = "CONVERSATION.md"

func (a *app) runForkCommand() *cobra.Command {
	var dir string
	var force bool
	cmd := &cobra.Command{Use: "fork <RUN_ID>", Short: "Bring a run's work here, to go on with it", Args: oneArg("run id"),
		Long: `Bring what a run has left behind into a new directory: its conversation, and
each repository that it changed, with its branch, its commits and its
uncommitted changes. The repositories are cloned from where the run had them,
with git's own sign-in. The run stays as it is.`,
		Example: "  oz run fork RUN_ID --dir ../flaky-test",
		RunE: func(cmd *cobra.Command, args []string) error {
			id := task.ID(args[0])
			dir := cmp.Or(dir, "oz-run-"+args[0])
			if err := vacant(dir, force); err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			return a.fork(cmd.Context(), c, id, dir)
		}}
	cmd.Flags().StringVarP(&dir, "dir", "o", "", "`directory` to make (default oz-run-RUN_ID)")
	cmd.Flags().BoolVar(&force, "force", false, "use the directory although there is something in it")
	return a.filterFlag(cmd)
}

// vacant refuses to put things among others.
func vacant(dir string, force bool) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, os.ErrNotExist), err == nil && (len(entries) == 0 || force):
		return nil
	case err != nil:
		return usageError{fmt.Errorf("--dir: %w", err)}
	}
	return usageError{fmt.Errorf("--dir: %s is not empty; name another directory, or say --force", dir)}
}

// forked is what a fork made, as programs read it.
type forked struct {
	RunID          task.ID      `json:"run_id"`
	ConversationID string       `json:"conversation_id"`
	Directory      string       `json:"directory"`
	Repositories   []forkedRepo `json:"repositories"`
	Skipped        []string     `json:"skipped"` // what the run itself could not keep
}

type forkedRepo struct {
	Directory string `json:"directory"`
	Remote    string `json:"remote"`
	Branch    string `json:"branch"`
}

func (a *app) fork(ctx context.Context, c *client.Client, id task.ID, dir string) error {
	t, err := c.Get(ctx, id)
	if err != nil {
		return err
	}
	if t.State.Active() {
		return task.Errorf(task.CodeConflict, "run %s is %s: fork it when it has ended, or stop it with 'oz run cancel %s'", id, t.State, id)
	}
	taken, err := lastSnapshot(ctx, c, id)
	if err != nil {
		return err
	}
	files, err := c.HandoffFiles(ctx, id)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := saveConversation(ctx, c, id, filepath.Join(dir, conversationFile)); err != nil {
		return err
	}
	out := forked{RunID: id, ConversationID: cmp.Or(t.ConversationID, string(id)), Directory: dir, Repositories: []forkedRepo{}, Skipped: taken.Skipped}
	if out.Repositories, err = a.restoreRepos(ctx, c, dir, taken.Files, files); err != nil {
		return err
	}
	return a.showFork(out)
}

// lastSnapshot looks into the run's log for what its newest execution kept.
func lastSnapshot(ctx context.Context, c *client.Client, id task.ID) (task.SnapshotTaken, error) {
	var taken task.SnapshotTaken
	for e, err := range c.Watch(ctx, id, 0) {
		if err != nil {
			return taken, err
		}
		if s, ok := e.Payload.(*task.SnapshotTaken); ok {
			taken = *s
		}
	}
	return taken, nil
}

func saveConversation(ctx context.Context, c *client.Client, id task.ID, path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(c.Transcript(ctx, id, f, "markdown"), f.Close())
}

func (a *app) restoreRepos(ctx context.Context, c *client.Client, dir string, taken []task.SnapshotFile, files []client.HandoffFile) ([]forkedRepo, error) {
	repos := []forkedRepo{}
	g, err := git.Open(ctx, &git.Options{Credentials: ownCredentials})
	if err != nil {
		return repos, err
	}
	defer func() { _ = g.Close() }()
	for _, f := range taken {
		if f.Kind != task.SnapshotBundle {
			continue
		}
		i := slices.IndexFunc(files, func(h client.HandoffFile) bool { return h.ID == f.UID })
		if i < 0 {
			return repos, fmt.Errorf("repository %s: the server has its file no more", f.Repo)
		}
		r, err := a.restoreRepo(ctx, c, g, dir, f, files[i])
		if err != nil {
			return repos, fmt.Errorf("repository %s: %w", f.Repo, err)
		}
		repos = append(repos, r)
	}
	return repos, nil
}

// restoreRepo clones a repository and puts the run's state of it over that.
func (a *app) restoreRepo(ctx context.Context, c *client.Client, g *git.Git, dir string, f task.SnapshotFile, from client.HandoffFile) (forkedRepo, error) {
	if !filepath.IsLocal(filepath.FromSlash(f.Repo)) {
		return forkedRepo{}, fmt.Errorf("%q leads out of the directory", f.Repo)
	}
	if f.Remote == "" {
		return forkedRepo{}, errors.New("the run did not clone it, so that there is no place to clone it from")
	}
	r := forkedRepo{Directory: filepath.Join(dir, filepath.FromSlash(f.Repo)), Remote: f.Remote, Branch: f.Branch}
	if f.Repo == "." {
		r.Directory = filepath.Join(dir, strings.TrimSuffix(filepath.Base(f.Name), ".bundle"))
	}
	work, err := filepath.Abs(r.Directory)
	if err != nil {
		return r, err
	}
	a.progress("Cloning %s ...", f.Remote)
	if err := g.Clone(ctx, f.Remote, work, git.CloneOptions{}); err != nil {
		return r, err
	}
	bundle, err := os.CreateTemp("", "oz-fork-")
	if err != nil {
		return r, err
	}
	defer func() { _ = os.Remove(bundle.Name()) }()
	a.progress("Fetching %s ...", f.Name)
	err = c.DownloadHandoffFile(ctx, from, &limited{w: bundle, left: task.MaxSnapshotFileBytes})
	if err := errors.Join(err, bundle.Close()); err != nil {
		return r, err
	}
	return r, g.Restore(ctx, work, f.Remote, git.WorkState{Base: f.Base, Branch: f.Branch, Head: f.Head, Changes: f.Commit}, bundle.Name())
}

// ownCredentials asks the person's git how it signs in to a host: this command
// runs as the person, and not as an agent.
func ownCredentials(ctx context.Context, host string) (git.Credential, error) {
	cmd := exec.CommandContext(ctx, "git", "credential", "fill")
	cmd.Stdin = strings.NewReader("protocol=https\nhost=" + host + "\n\n")
	cmd.Env = append(os.Environ(), "GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=true")
	out, err := cmd.Output()
	if err != nil {
		return git.Credential{}, nil // it knows none: the repository may be public
	}
	var found git.Credential
	for line := range strings.Lines(string(out)) {
		switch key, value, _ := strings.Cut(strings.TrimRight(line, "\n"), "="); key {
		case "username":
			found.Username = value
		case "password":
			found.Password = value
		}
	}
	return found, nil
}

// limited refuses more than a snapshot's file may have.
type limited struct {
	w    io.Writer
	left int64
}

// Write implements io.Writer.
func (l *limited) Write(p []byte) (int, error) {
	if l.left -= int64(len(p)); l.left < 0 {
		return 0, errors.New("the file is longer than a snapshot's may be")
	}
	return l.w.Write(p)
}

// progress tells people of work that takes a while, apart from the result.
func (a *app) progress(format string, args ...any) {
	if !a.json() {
		fmt.Fprintf(a.err, format+"\n", args...)
	}
}

func (a *app) showFork(f forked) error {
	if a.json() {
		return a.emit(f)
	}
	a.say("Run %s is forked into %s; what was said is in %s.", f.RunID, f.Directory, filepath.Join(f.Directory, conversationFile))
	for _, r := range f.Repositories {
		branch := "at no branch"
		if r.Branch != "" {
			branch = "on branch " + r.Branch
		}
		a.say("%s has the run's work, %s.", r.Directory, oneLine(branch))
	}
	for _, s := range f.Skipped {
		a.say("Not kept by the run: %s", oneLine(s))
	}
	where := f.Directory
	if len(f.Repositories) == 0 {
		a.say("The run left no changes behind that are in no remote.")
	} else {
		where = f.Repositories[0].Directory
	}
	a.say("\nGo on with it: oz agent run -C %s --conversation %s --prompt '...'", where, f.ConversationID)
	return nil
}
