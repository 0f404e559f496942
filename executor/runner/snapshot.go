package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/environment/git"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/task"
)

// snapshotTimeout bounds keeping the workspace at the end (Oz platform, SNP-2).
const snapshotTimeout = 2 * time.Minute

// keep stores what the workspace has and no remote does, so that a later
// execution goes on from there. It is done as well as can be: nothing of it
// changes the outcome of the run. It fails when the execution is over.
func (x *execution) keep(ctx context.Context, h harness.Harness, s *harness.Session, ws *workspace) error {
	if x.opts.InPlace || x.opts.NoSnapshot {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, x.snapshotTimeout())
	defer cancel()
	var taken task.SnapshotTaken
	for i, repo := range ws.repos {
		files, skipped, err := x.keepRepo(limited, ws, i, repo)
		switch {
		case ctx.Err() != nil, errors.Is(err, task.ErrFenced):
			return err
		case limited.Err() != nil:
			skipped = append(skipped, fmt.Sprintf("%s: it took longer than %s", repo.Name, x.snapshotTimeout()))
		case err != nil:
			skipped = append(skipped, fmt.Sprintf("%s: %v", repo.Name, err))
		}
		taken.Files = append(taken.Files, files...)
		taken.Skipped = append(taken.Skipped, skipped...)
	}
	if err := x.keepDeclared(limited, ws, &taken); err != nil {
		if limited.Err() == nil || ctx.Err() != nil {
			return err
		}
		taken.Skipped = append(taken.Skipped, fmt.Sprintf("declared files: it took longer than %s", x.snapshotTimeout()))
	}
	if err := x.keepAgent(limited, h, s, len(ws.repos), &taken); err != nil && (limited.Err() == nil || ctx.Err() != nil) {
		return err
	}
	if len(taken.Files)+len(taken.Skipped) == 0 && x.bundle.Snapshot == nil {
		return nil
	}
	if room := task.MaxSnapshotFiles; len(taken.Skipped) > room {
		taken.Skipped = append(taken.Skipped[:room-1], fmt.Sprintf("and %d more", len(taken.Skipped)-room+1))
	}
	return x.journal.Post(ctx, &taken)
}

func (x *execution) snapshotTimeout() time.Duration {
	if x.opts.SnapshotTimeout > 0 {
		return x.opts.SnapshotTimeout
	}
	return snapshotTimeout
}

// keepRepo stores one repository's state: a bundle to restore it, and a patch
// for people and other programs.
func (x *execution) keepRepo(ctx context.Context, ws *workspace, n int, repo harness.Repo) (files []task.SnapshotFile, skipped []string, err error) {
	state, skipped, err := x.saveState(ctx, ws, repo)
	if errors.Is(err, git.ErrNothingToKeep) {
		return nil, skipped, nil
	}
	if err != nil {
		return nil, skipped, err
	}
	file, err := os.CreateTemp("", "oz-snapshot-")
	if err != nil {
		return nil, skipped, err
	}
	defer func() { _ = os.Remove(file.Name()); _ = file.Close() }()
	if err := ws.git.Bundle(ctx, repo.Dir, state, file.Name()); err != nil {
		return nil, skipped, err
	}
	about := task.SnapshotFile{Repo: x.below(repo.Dir), Remote: repo.Remote, Base: state.Base, Head: state.Head, Branch: state.Branch, Commit: state.Changes}
	bundle := about
	bundle.Kind, bundle.Name, bundle.MIMEType = task.SnapshotBundle, repo.Name+".bundle", "application/x-git-bundle"
	if err := x.store(ctx, &bundle, n, file.Name()); err != nil {
		return nil, skipped, err
	}
	files = append(files, bundle)
	patch := about
	patch.Kind, patch.Name, patch.MIMEType = task.SnapshotPatch, repo.Name+".patch", "text/x-patch"
	res, err := ws.git.Patch(ctx, repo.Dir, state)
	if err != nil || res.Truncated {
		return files, append(skipped, repo.Name+": the changes are too large for a patch"), err
	}
	if err := os.WriteFile(file.Name(), res.Stdout, 0o600); err != nil {
		return files, skipped, err
	}
	if err := x.store(ctx, &patch, n, file.Name()); err != nil {
		return files, skipped, err
	}
	return append(files, patch), skipped, nil
}

// below gives a path relative to the workspace.
func (x *execution) below(dir string) string {
	rel, err := filepath.Rel(x.opts.Root, dir)
	if err != nil {
		return filepath.Base(dir)
	}
	return filepath.ToSlash(rel)
}

// saveState makes commits of a repository's state, without files that hold a
// secret. Commits that hold one are kept as one change.
func (x *execution) saveState(ctx context.Context, ws *workspace, repo harness.Repo) (git.WorkState, []string, error) {
	squash, err := x.commitsHoldSecret(ctx, ws, repo)
	if err != nil {
		return git.WorkState{}, nil, err
	}
	state, err := ws.git.SaveState(ctx, repo.Dir, repo.Base, &git.StateOptions{Squash: squash, LeaveOut: x.holdsSecret, MaxFileBytes: task.MaxSnapshotFileBytes})
	var skipped []string
	if squash {
		skipped = append(skipped, repo.Name+": its new commits hold a secret, or are too large to be searched for one, and are kept as one change")
	}
	for _, path := range state.LeftOut {
		skipped = append(skipped, fmt.Sprintf("%s: %s is not kept: it holds a secret, is too large or is a repository of its own", repo.Name, x.redactor.String(path)))
	}
	return state, skipped, err
}

// holdsSecret judges one changed file.
func (x *execution) holdsSecret(path string, content []byte, truncated bool) bool {
	return truncated || len(x.redactor.Contains(content)) > 0 || len(x.redactor.Contains([]byte(path))) > 0
}

// commitsHoldSecret looks through the commits since the base.
func (x *execution) commitsHoldSecret(ctx context.Context, ws *workspace, repo harness.Repo) (bool, error) {
	head, err := ws.git.Head(ctx, repo.Dir)
	if err != nil || head == repo.Base || head == "" {
		return false, err
	}
	span := head
	if repo.Base != "" {
		span = repo.Base + ".." + head
	}
	res, err := ws.git.Run(ctx, repo.Dir, "log", "--text", "--no-color", "--unified=0", "--no-renames", "--patch",
		"--diff-merges=first-parent", "--format=%an%n%ae%n%cn%n%ce%n%B", span, "--")
	return res.Truncated || len(x.redactor.Contains(res.Stdout)) > 0, err
}

// store uploads a file and fills in where it is.
func (x *execution) store(ctx context.Context, f *task.SnapshotFile, n int, path string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if info.Size() > task.MaxSnapshotFileBytes {
		return fmt.Errorf("%s has %d bytes, at most %d are kept", f.Name, info.Size(), task.MaxSnapshotFileBytes)
	}
	f.UID = fmt.Sprintf("snap-%s-%d-%s", x.bundle.Execution.ID, n, f.Kind)
	f.Blob, f.SizeBytes, err = x.link.Upload(ctx, f.UID, in)
	return err
}

// restore brings back what the newest snapshot has of a repository. That it
// cannot be is told to people, and the run begins from the repository alone.
func (x *execution) restore(ctx context.Context, g *git.Git, c environment.Checkout) error {
	f, ok := x.kept(c)
	if !ok {
		return nil
	}
	done := filepath.Join(x.opts.Root, restoredDir, filepath.Base(c.Dir))
	if err := os.Remove(done); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	err := x.restoreFrom(ctx, g, c, f)
	if err == nil {
		if err := note(done); err != nil {
			return err
		}
		return x.journal.Post(ctx, &task.Notice{Text: fmt.Sprintf("%s is as the run left it: %s.", f.Repo, where(f))})
	}
	if ctx.Err() != nil || errors.Is(err, task.ErrFenced) {
		return err
	}
	if err := clean(ctx, g, c); err != nil {
		return err
	}
	return x.journal.Post(ctx, &task.Notice{Text: fmt.Sprintf("What the run had left in %s could not be brought back: %v", f.Repo, err)})
}

// restoredDir, below the workspace, has a file for each repository that was
// brought back: the execution that did it may not have come as far as the
// agent.
const restoredDir = ".oz/restored"

// note makes an empty file.
func note(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, nil, 0o600)
}

func where(f task.SnapshotFile) string {
	if f.Branch == "" {
		return "commit " + f.Head
	}
	return "branch " + f.Branch
}

// kept finds the bundle of a checkout.
func (x *execution) kept(c environment.Checkout) (task.SnapshotFile, bool) {
	if x.bundle.Snapshot == nil {
		return task.SnapshotFile{}, false
	}
	for _, f := range x.bundle.Snapshot.Files {
		if f.Kind == task.SnapshotBundle && f.Repo == x.below(c.Dir) && f.Remote == c.URL {
			return f, true
		}
	}
	return task.SnapshotFile{}, false
}

func (x *execution) restoreFrom(ctx context.Context, g *git.Git, c environment.Checkout, f task.SnapshotFile) error {
	path, remove, err := x.fetch(ctx, f)
	if err != nil {
		return err
	}
	defer remove()
	return g.Restore(ctx, c.Dir, c.URL, git.WorkState{Base: f.Base, Branch: f.Branch, Head: f.Head, Changes: f.Commit}, path)
}

// fetch downloads a file of a snapshot.
func (x *execution) fetch(ctx context.Context, f task.SnapshotFile) (path string, remove func(), err error) {
	in, err := x.link.OpenBlob(ctx, f.Blob)
	if err != nil {
		return "", nil, err
	}
	defer func() { _ = in.Close() }()
	out, err := os.CreateTemp("", "oz-snapshot-")
	if err != nil {
		return "", nil, err
	}
	remove = func() { _ = os.Remove(out.Name()) }
	n, err := io.Copy(out, io.LimitReader(in, task.MaxSnapshotFileBytes+1))
	if err = errors.Join(err, out.Close()); err == nil && n != f.SizeBytes {
		err = fmt.Errorf("%s has %d bytes, not %d", f.Name, n, f.SizeBytes)
	}
	if err != nil {
		remove()
		return "", nil, err
	}
	return out.Name(), remove, nil
}

// clean takes a checkout back to what was cloned.
func clean(ctx context.Context, g *git.Git, c environment.Checkout) error {
	if c.Branch != "" {
		return g.CheckoutBranch(ctx, c.Dir, c.URL, c.Branch)
	}
	if c.Commit == "" {
		return nil
	}
	return g.CheckoutCommit(ctx, c.Dir, c.URL, c.Commit)
}

// lost reports whether the agent must be told that its files are gone: the
// workspace is new, and what the last execution that worked had in it was not
// brought back.
func (x *execution) lost() bool {
	s := x.bundle.Snapshot
	if s == nil || s.TaskID != x.bundle.Task.ID || s.Execution != x.history.worker || len(s.Skipped) > 0 {
		return true
	}
	restored, err := os.ReadDir(filepath.Join(x.opts.Root, restoredDir))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return true
	}
	return len(restored) < bundles(s.SnapshotTaken)
}

func bundles(s task.SnapshotTaken) (n int) {
	for _, f := range s.Files {
		if f.Kind == task.SnapshotBundle {
			n++
		}
	}
	return n
}
