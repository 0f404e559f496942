package cliagent

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/task"
)

// branchesFile, in the program's home, has the remotes' branches as they were
// before the program began, by repository.
const branchesFile = "oz-branches.json"

// branches finds what the program has pushed: git writes down, in the clone,
// where each branch of the remote is after a push.
type branches struct {
	file   string
	before map[string]map[string]string // commits by repository and branch
	shown  map[string]bool              // artifacts that the log has, by UID
}

// openBranches reads what was before, or writes it down.
func openBranches(ctx context.Context, s *harness.Session, state string) (*branches, error) {
	b := &branches{file: filepath.Join(state, branchesFile), before: map[string]map[string]string{}, shown: map[string]bool{}}
	data, err := os.ReadFile(b.file)
	if err == nil && json.Unmarshal(data, &b.before) == nil {
		return b, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, repo := range s.Repos {
		refs, err := remoteBranches(ctx, s, repo)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			continue // no clone with a remote
		}
		b.before[repo.Name] = refs
	}
	if data, err = json.Marshal(b.before); err != nil {
		return nil, err
	}
	return b, errors.Join(os.WriteFile(b.file+".new", data, 0o600), os.Rename(b.file+".new", b.file))
}

// report puts what was pushed since into the log. A clone that cannot be read
// any more is left alone: the run's own end matters more.
func (b *branches) report(ctx context.Context, s *harness.Session) error {
	for _, repo := range s.Repos {
		refs, err := remoteBranches(ctx, s, repo)
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(refs)) {
			commit := refs[name]
			if commit == b.before[repo.Name][name] || !b.arrived(ctx, s, repo, name, commit) {
				continue
			}
			a := harness.BranchArtifact(s.Task.ID, repo, name, commit)
			if err := b.catchUp(ctx, s); err != nil {
				return err
			}
			if b.shown[a.UID] || a.Validate() != nil || len(s.Redactor.Contains([]byte(a.URL))) > 0 {
				continue
			}
			b.shown[a.UID] = true
			if err := s.Journal.Post(ctx, &task.ArtifactReported{Artifact: a}); err != nil {
				return err
			}
		}
	}
	return nil
}

// catchUp takes in what others have reported meanwhile: a tool of the platform
// may have pushed.
func (b *branches) catchUp(ctx context.Context, s *harness.Session) error {
	for e, err := range s.Journal.History(ctx, 0) {
		if err != nil {
			return err
		}
		if p, ok := e.Payload.(*task.ArtifactReported); ok {
			b.shown[p.Artifact.UID] = true
		}
	}
	return nil
}

// remoteBranches reads where the clone says that the remote's branches are.
func remoteBranches(ctx context.Context, s *harness.Session, repo harness.Repo) (map[string]string, error) {
	const prefix = "refs/remotes/origin/"
	res, err := s.Git.Run(ctx, repo.Dir, "for-each-ref", "--format=%(objectname) %(refname)", prefix)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for line := range strings.Lines(string(res.Stdout)) {
		commit, ref, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name, ok := strings.CutPrefix(ref, prefix); ok && name != "HEAD" {
			out[name] = commit
		}
	}
	return out, nil
}

// arrived asks the remote. What it does not say for certain is not shown.
func (b *branches) arrived(ctx context.Context, s *harness.Session, repo harness.Repo, branch, commit string) bool {
	if repo.Remote == "" {
		return false
	}
	tip, err := s.Git.RemoteHead(ctx, repo.Remote, branch)
	return err == nil && tip == commit
}
