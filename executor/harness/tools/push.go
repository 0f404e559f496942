package tools

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/environment/git"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/internal/crashpoint"
	"github.com/oz-platform/cloudagents/task"
)

// NamePushBranch is the tool of Foreign.
const NamePushBranch = "push_branch"

// effectPush is the kind of a push in the log.
const effectPush = "git_push"

// Foreign are the tools for agents that have none of the platform's own for
// git: their git has no credentials, so the platform pushes for them.
func Foreign(s *harness.Session) []harness.Tool {
	if len(s.Repos) == 0 {
		return nil
	}
	return []harness.Tool{pushBranch(s, newReporter(s))}
}

type pushInput struct {
	Repo      string `json:"repo"`
	AllowBase bool   `json:"allow_base_branch"`
}

// pushed is what the log keeps of a push.
type pushed struct {
	Repo   string `json:"repo"`
	Branch string `json:"branch"`
	Commit string `json:"commit"`
	Base   string `json:"base"`
}

func pushBranch(s *harness.Session, r *reporter) harness.Tool {
	return harness.DefineTool(harness.Tool{
		Name: NamePushBranch, Category: task.CategoryCommand, Repeatable: true,
		Description: "Push the current branch of a repository to its remote with the platform's credentials, which git itself does not have here; never by force. It checks that the push arrived and reports the branch as a result of the run. Commit to a branch of its own first.",
		Schema: `{"type":"object","properties":{
			"repo":{"type":"string","description":"name of the repository; needed when there are several"},
			"allow_base_branch":{"type":"boolean","description":"push the branch that was checked out; only when the user asked for it"}}}`,
		When: func(m task.Mode) bool { return !whilePlanning(m) },
	}, func(ctx context.Context, _ harness.ToolCall, in pushInput) (harness.ToolAnswer, error) {
		repo, err := repoOf(s, in.Repo)
		if err != nil {
			return harness.ToolAnswer{}, err
		}
		p, err := prepared(ctx, s, repo, in.AllowBase)
		if err != nil {
			return harness.ToolAnswer{}, err
		}
		if wait, err := s.Consent(ctx, harness.OutwardPush(repo, p.Branch, p.Commit)); err != nil || wait != nil {
			return valueOf(wait), err
		}
		if err := push(ctx, s, repo, p); err != nil {
			return harness.ToolAnswer{}, err
		}
		if err := r.report(ctx, harness.BranchArtifact(s.Task.ID, repo, p.Branch, p.Commit)); err != nil {
			return harness.ToolAnswer{}, err
		}
		return harness.ToolAnswer{Text: "Branch " + p.Branch + " is at " + p.Commit + " on the remote of " + repo.Name + ", and reported.", Output: p}, nil
	})
}

// valueOf is an answer that may be missing.
func valueOf(a *harness.ToolAnswer) harness.ToolAnswer {
	if a == nil {
		return harness.ToolAnswer{}
	}
	return *a
}

// repoOf finds a repository by name.
func repoOf(s *harness.Session, name string) (harness.Repo, error) {
	var names []string
	for _, r := range s.Repos {
		if r.Name == name || name == "" && len(s.Repos) == 1 {
			return r, nil
		}
		names = append(names, r.Name)
	}
	return harness.Repo{}, harness.BadInput("repo must be one of %s", strings.Join(names, ", "))
}

// prepared decides what is pushed where, and refuses what must not leave.
func prepared(ctx context.Context, s *harness.Session, repo harness.Repo, allowBase bool) (p pushed, err error) {
	if repo.Remote == "" {
		return p, harness.Refuse("Repository %s has no remote.", repo.Name)
	}
	branch, err := s.Git.CurrentBranch(ctx, repo.Dir)
	if err != nil {
		return p, refusedByGit(ctx, err)
	}
	head, err := s.Git.Head(ctx, repo.Dir)
	if err != nil {
		return p, refusedByGit(ctx, err)
	}
	switch {
	case branch == "" || branch == repo.Branch && repo.Base != "" && !allowBase:
		return p, harness.Deny("The work tree is on the base branch (or on none). Commit to a branch of its own first; allow_base_branch is for when the user asked for exactly this.")
	case head == "" || head == repo.Base:
		return p, harness.Refuse("Repository %s has no new commit to push.", repo.Name)
	}
	span := head
	if repo.Base != "" {
		span = repo.Base + ".." + head
	}
	res, err := s.Git.Run(ctx, repo.Dir, "log", "--text", "--no-color", "--unified=0", "--no-renames", "--patch",
		"--diff-merges=first-parent", "--format=%an%n%ae%n%cn%n%ce%n%B", span, "--")
	if err != nil {
		return p, refusedByGit(ctx, err)
	}
	if res.Truncated {
		return p, harness.Refuse("The new commits are too large to be checked for secrets. Nothing was pushed. Squash them, or leave large files out.")
	}
	if names := s.Redactor.Contains(slices.Concat(res.Stdout, []byte("\n"+branch))); len(names) > 0 {
		return p, harness.Deny("The new commits, or the branch's name, contain the value of the secret %s. Nothing was pushed. Rewrite the commits without it: a later commit does not take it back.", strings.Join(names, ", "))
	}
	return pushed{Repo: repo.Name, Branch: branch, Commit: head, Base: repo.Base}, nil
}

// push pushes once, whatever restarts in between.
func push(ctx context.Context, s *harness.Session, repo harness.Repo, p pushed) error {
	_, err := s.Effects.Do(ctx, harness.Act{
		Key: "push:" + p.Repo + ":" + p.Branch + ":" + p.Commit, Kind: effectPush, Intent: p,
		Arrived: func(ctx context.Context) (any, bool, error) {
			tip, err := s.Git.RemoteHead(ctx, repo.Remote, p.Branch)
			return p, tip == p.Commit, asPushError(err)
		},
		Do: func(ctx context.Context) (any, error) {
			crashpoint.Hit(crashpoint.AgentPushIntended)
			_, err := s.Git.Push(ctx, repo.Dir, repo.Remote, p.Commit, p.Branch)
			return p, asPushError(err)
		},
	})
	var failed *pushError
	if !errors.As(err, &failed) {
		if err == nil {
			crashpoint.Hit(crashpoint.AgentPushed)
		}
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	switch git.ReasonOf(failed.err) {
	case git.ReasonRejected:
		return harness.Refuse("The remote refused the push: %v\nIts branch has other commits or is protected. Commit to another branch.", failed.err)
	case git.ReasonAccess, git.ReasonNotFound:
		return harness.Refuse("The remote refused access: %v\nThe run has no right to push there; say so.", failed.err)
	}
	return harness.Refuse("The push did not arrive: %v", failed.err)
}

// pushError is a failure of the push, to tell it from one of the journal.
type pushError struct{ err error }

func (e *pushError) Error() string { return e.err.Error() }
func (e *pushError) Unwrap() error { return e.err }

func asPushError(err error) error {
	if err == nil {
		return nil
	}
	return &pushError{err}
}

func refusedByGit(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return harness.Refuse("%v", err)
}
