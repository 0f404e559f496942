package ozagent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/oz-platform/cloudagents/environment/git"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/internal/crashpoint"
	"github.com/oz-platform/cloudagents/task"
)

// effectPush is the kind of a push in the log.
const effectPush = "git_push"

// maxMessageBytes bounds a commit message.
const maxMessageBytes = 16 << 10

// pushRecord is what the log has of a push.
type pushRecord struct {
	Repo   string `json:"repo"`
	Branch string `json:"branch"`
	Commit string `json:"commit"`
	Base   string `json:"base,omitempty"`
}

type gitCommitInput struct {
	Message   string `json:"message"`
	Repo      string `json:"repo"`
	Branch    string `json:"branch"`
	AllowBase bool   `json:"allow_base_branch"`
}

func gitCommitTool() tool {
	return define(tool{
		name: toolGitCommit, category: task.CategoryCommand, repeatable: true, when: inNormalMode,
		description: "Commit everything that changed in a repository (ignored files not). On the base branch it first makes a new branch: branch, or a name of its own. It refuses a change that contains the value of a secret.",
		schema: `{"type":"object","properties":{
			"message":{"type":"string"},
			"repo":{"type":"string","description":"name of the repository; needed when there are several"},
			"branch":{"type":"string","description":"branch to commit to"},
			"allow_base_branch":{"type":"boolean","description":"commit to the base branch itself; only when the user asked for it"}},
			"required":["message"]}`,
	}, gitCommit)
}

// repo finds the repository a call is about.
func (a *agent) repo(name string) (harness.Repo, error) {
	var names []string
	for _, r := range a.s.Repos {
		if r.Name == name || (name == "" && len(a.s.Repos) == 1) {
			return r, nil
		}
		names = append(names, r.Name)
	}
	if len(names) == 0 {
		return harness.Repo{}, refuse("The run has no repository.")
	}
	return harness.Repo{}, badInput("repo must be one of: %s", strings.Join(names, ", "))
}

func gitCommit(ctx context.Context, a *agent, k *toolCall, in gitCommitInput) (result, error) {
	message := strings.TrimSpace(in.Message)
	if message == "" || len(message) > maxMessageBytes {
		return result{}, badInput("message must have 1 to %d bytes", maxMessageBytes)
	}
	repo, err := a.repo(in.Repo)
	if err != nil {
		return result{}, err
	}
	branch, err := a.toBranch(ctx, repo, in)
	if err != nil {
		return result{}, err
	}
	if names := a.s.Redactor.Contains([]byte(message)); len(names) > 0 {
		return result{}, deny("The message contains the value of the secret %s. Nothing was committed.", strings.Join(names, ", "))
	}
	if err := a.scanStaged(ctx, repo); err != nil {
		return result{}, err
	}
	sha, err := a.s.Git.Commit(ctx, repo.Dir, message)
	if errors.Is(err, git.ErrNothingToCommit) {
		if sha, err = a.s.Git.Head(ctx, repo.Dir); err == nil && (!k.again || sha == repo.Base) {
			return result{}, refuse("There is nothing to commit in %s: no file differs from the last commit.", repo.Name)
		}
	}
	if err != nil {
		return result{}, gitRefused(ctx, err)
	}
	stat, _ := a.s.Git.Run(ctx, repo.Dir, "show", "--stat", "--format=", sha) // only for the eye
	return resultOK(fmt.Sprintf("Committed %s on branch %s.\n%s", sha, branch, bounded(string(stat.Stdout), 4000)),
		map[string]any{"commit": sha, "branch": branch, "repo": repo.Name}), nil
}

// gitRefused makes of a git failure what the model is told.
func gitRefused(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return refuse("%v", err)
}

// toBranch makes the work tree stand on the branch to commit to, and names it.
func (a *agent) toBranch(ctx context.Context, repo harness.Repo, in gitCommitInput) (string, error) {
	current, err := a.s.Git.CurrentBranch(ctx, repo.Dir)
	if err != nil {
		return "", gitRefused(ctx, err)
	}
	want := in.Branch
	if want == "" {
		want = current
	}
	if a.isBase(repo, want) && !in.AllowBase {
		if in.Branch != "" {
			return "", deny("%s is the base branch. Commit to another branch; allow_base_branch is for when the user asked for exactly this.", in.Branch)
		}
		want = a.branchName(in.Message)
	}
	if err := git.CheckRef(want); err != nil {
		return "", badInput("branch %q %v", bounded(want, 100), err)
	}
	if names := a.s.Redactor.Contains([]byte(want)); len(names) > 0 {
		return "", deny("The branch name contains the value of the secret %s.", strings.Join(names, ", "))
	}
	if want == current {
		return want, nil
	}
	args := []string{"switch", "--quiet", "--create", want}
	if head, err := a.s.Git.Head(ctx, repo.Dir); err == nil && head == "" { // no commit yet: HEAD is only renamed
		args = []string{"symbolic-ref", "HEAD", "refs/heads/" + want}
	} else if res, err := a.s.Git.Run(ctx, repo.Dir, "branch", "--list", "--", want); err == nil && len(res.Stdout) > 0 {
		args = []string{"switch", "--quiet", want}
	}
	if _, err := a.s.Git.Run(ctx, repo.Dir, args...); err != nil {
		return "", gitRefused(ctx, err)
	}
	return want, nil
}

// isBase reports a branch that others build on: the one that was checked out.
// A detached work tree, "", has none of its own. An empty repository's first
// branch has nothing to protect.
func (a *agent) isBase(repo harness.Repo, branch string) bool {
	return branch == "" || branch == repo.Branch && repo.Base != ""
}

// unwanted is what a branch name of ours has none of.
var unwanted = regexp.MustCompile(`[^a-z0-9]+`)

// branchName makes oz/<words of the message>-<short run id>. A restart makes
// the same.
func (a *agent) branchName(message string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(message), "\n")
	slug := unwanted.ReplaceAllString(strings.ToLower(line), "-")
	if len(slug) > 40 {
		slug = slug[:40]
	}
	slug = strings.Trim(slug, "-")
	if slug == "" {
		slug = "change"
	}
	id := unwanted.ReplaceAllString(strings.ToLower(string(a.s.Task.ID)), "")
	if len(id) > 8 {
		id = id[len(id)-8:] // of a version 7 UUID the end is random, the beginning is time
	}
	return "oz/" + slug + "-" + id
}

type gitPushInput struct {
	Repo      string `json:"repo"`
	AllowBase bool   `json:"allow_base_branch"`
}

func gitPushTool() tool {
	return define(tool{
		name: toolGitPush, category: task.CategoryCommand, repeatable: true, when: inNormalMode,
		description: "Push the current branch of a repository to its remote, never by force, check that it arrived, and report the branch as a result of the run. Commit first.",
		schema: `{"type":"object","properties":{
			"repo":{"type":"string","description":"name of the repository; needed when there are several"},
			"allow_base_branch":{"type":"boolean","description":"push the base branch itself; only when the user asked for it"}}}`,
	}, gitPush)
}

func gitPush(ctx context.Context, a *agent, _ *toolCall, in gitPushInput) (result, error) {
	repo, err := a.repo(in.Repo)
	if err != nil {
		return result{}, err
	}
	p, err := a.preparePush(ctx, repo, in)
	if err != nil {
		return result{}, err
	}
	if wait, err := a.s.Consent(ctx, harness.OutwardPush(repo, p.Branch, p.Commit)); err != nil {
		return result{}, err
	} else if wait != nil {
		return resultOK(wait.Text, finishedBy(*wait.End)), nil
	}
	detail, err := a.s.Effects.Do(ctx, a.pushAct(repo, p))
	if err != nil {
		var failed *pushError
		if errors.As(err, &failed) {
			return result{}, pushRefused(ctx, failed.err)
		}
		return result{}, err
	}
	if err := json.Unmarshal(detail, &p); err != nil {
		return result{}, fmt.Errorf("read the effect's record: %w", err)
	}
	crashpoint.Hit(crashpoint.AgentPushed)
	if err := a.conv.catchUp(ctx); err != nil {
		return result{}, err
	}
	if err := a.reportOnce(ctx, a.branchArtifact(repo, p)); err != nil {
		return result{}, err
	}
	return resultOK(fmt.Sprintf("Branch %s is at %s on the remote of %s, and reported.%s", p.Branch, p.Commit, repo.Name, a.leftBehind(ctx, repo)), p), nil
}

// leftBehind reminds of changes that the push has not taken along.
func (a *agent) leftBehind(ctx context.Context, repo harness.Repo) string {
	changes, err := a.s.Git.Status(ctx, repo.Dir)
	if err != nil || len(changes) == 0 {
		return ""
	}
	return fmt.Sprintf(" %d changed files are not committed.", len(changes))
}

// pushRefused says what to do about a push that did not arrive.
func pushRefused(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	switch git.ReasonOf(err) {
	case git.ReasonRejected:
		return refuse("The remote refused the push: %v\nIts branch has other commits or is protected. Commit to another branch.", err)
	case git.ReasonAccess, git.ReasonNotFound:
		return refuse("The remote refused access: %v\nThe run has no right to push there; say so in finish.", err)
	}
	return refuse("The push did not arrive: %v", err)
}

// preparePush decides what is pushed where.
func (a *agent) preparePush(ctx context.Context, repo harness.Repo, in gitPushInput) (pushRecord, error) {
	if repo.Remote == "" {
		return pushRecord{}, refuse("Repository %s has no remote.", repo.Name)
	}
	branch, err := a.s.Git.CurrentBranch(ctx, repo.Dir)
	if err != nil {
		return pushRecord{}, gitRefused(ctx, err)
	}
	// A command may have made the branch; git_commit checks only its own.
	if names := a.s.Redactor.Contains([]byte(branch)); len(names) > 0 {
		return pushRecord{}, deny("The branch name contains the value of the secret %s. Nothing was pushed. Rename the branch.", strings.Join(names, ", "))
	}
	if a.isBase(repo, branch) && !in.AllowBase {
		return pushRecord{}, deny("The work tree is on the base branch (or on none). Commit with git_commit first, which makes a branch; allow_base_branch is for when the user asked for exactly this.")
	}
	head, err := a.s.Git.Head(ctx, repo.Dir)
	if err != nil {
		return pushRecord{}, gitRefused(ctx, err)
	}
	if head == "" || head == repo.Base {
		return pushRecord{}, refuse("Repository %s has no new commit to push.", repo.Name)
	}
	if err := a.scanCommits(ctx, repo, head); err != nil {
		return pushRecord{}, err
	}
	return pushRecord{Repo: repo.Name, Branch: branch, Commit: head, Base: repo.Base}, nil
}

func (a *agent) pushAct(repo harness.Repo, p pushRecord) harness.Act {
	return harness.Act{
		Key:    "push:" + p.Repo + ":" + p.Branch + ":" + p.Commit,
		Kind:   effectPush,
		Intent: p,
		Arrived: func(ctx context.Context) (any, bool, error) {
			tip, err := a.s.Git.RemoteHead(ctx, repo.Remote, p.Branch)
			return p, tip == p.Commit, asPushError(err)
		},
		Do: func(ctx context.Context) (any, error) {
			crashpoint.Hit(crashpoint.AgentPushIntended)
			_, err := a.s.Git.Push(ctx, repo.Dir, repo.Remote, p.Commit, p.Branch)
			return p, asPushError(err)
		},
	}
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

func (a *agent) branchArtifact(repo harness.Repo, p pushRecord) task.Artifact {
	return harness.BranchArtifact(a.s.Task.ID, repo, p.Branch, p.Commit)
}
