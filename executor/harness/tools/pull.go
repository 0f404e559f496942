package tools

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/environment/git"
	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/task"
)

// effectPull is the kind of a pull request in the log.
const effectPull = "pull_request"

// PullRequests makes the tool of a run whose platform can open pull requests
// where one of its repositories is: at one of these hosts. Any other has none.
func PullRequests(r executor.PullRequester, hosts []string) harness.ToolSet {
	return func(s *harness.Session) []harness.Tool {
		at := func(repo harness.Repo) bool {
			return slices.ContainsFunc(hosts, func(h string) bool { return isAt(repo.Remote, h) })
		}
		if r == nil || !slices.ContainsFunc(s.Repos, at) {
			return nil
		}
		return []harness.Tool{openPull(s, r, newReporter(s))}
	}
}

// isAt reports whether a remote is at a host, or at its ssh server.
func isAt(remote, host string) bool {
	u, err := url.Parse(remote)
	if err != nil || host == "" {
		return false
	}
	name := (&url.URL{Host: host}).Hostname()
	return strings.EqualFold(u.Host, host) || u.Scheme == "ssh" && strings.EqualFold(u.Hostname(), name)
}

type pullInput struct {
	Repo   string `json:"repo"`
	Branch string `json:"branch"`
	Base   string `json:"base"`
	Title  string `json:"title"`
	Body   string `json:"body"`
	Draft  bool   `json:"draft"`

	Reviewers []string `json:"reviewers"`
	Labels    []string `json:"labels"`
}

// opened is what the log keeps of a pull request.
type opened struct {
	URL      string `json:"url"`
	Number   int64  `json:"number"`
	Branch   string `json:"branch"`
	Base     string `json:"base"`
	Existing bool   `json:"existing,omitempty"`

	Notes []string `json:"notes,omitempty"`
}

func openPull(s *harness.Session, r executor.PullRequester, out *reporter) harness.Tool {
	return harness.DefineTool(harness.Tool{
		Name: NameOpenPull, Category: task.CategoryCommand, Repeatable: true, When: func(m task.Mode) bool { return !whilePlanning(m) },
		Description: "Open a pull request (on GitLab a merge request) of a branch that was pushed, when the task asks for one, and report it as a result of the run. One that is open of the same branch to the same base is given instead, and left as it is.",
		Schema: `{"type":"object","properties":{
			"title":{"type":"string","description":"one line of at most 240 bytes"},
			"body":{"type":"string","description":"what it changes and why, and how that was checked; Markdown"},
			"branch":{"type":"string","description":"default: the current one"},
			"base":{"type":"string","description":"default: the branch that the run began on"},
			"draft":{"type":"boolean","description":"it is not to be merged yet"},
			"reviewers":{"type":"array","items":{"type":"string"},"description":"logins of who is to review it, without @, on GitHub also teams as organisation/team; only when the task names them"},
			"labels":{"type":"array","items":{"type":"string"},"description":"labels of the repository to put on it"},
			"repo":{"type":"string","description":"name of the repository; needed when there are several"}},"required":["title"]}`,
	}, func(ctx context.Context, _ harness.ToolCall, in pullInput) (harness.ToolAnswer, error) {
		repo, err := repoOf(s, in.Repo)
		if err != nil {
			return harness.ToolAnswer{}, err
		}
		want, err := wanted(ctx, s, repo, in)
		if err != nil {
			return harness.ToolAnswer{}, err
		}
		note, err := arrivedBranch(ctx, s, repo, want.Branch)
		if err != nil {
			return harness.ToolAnswer{}, err
		}
		if wait, err := s.Consent(ctx, harness.OutwardPull(repo, want)); err != nil || wait != nil {
			return valueOf(wait), err
		}
		made, err := openOnce(ctx, s, r, repo, want)
		if err != nil {
			return harness.ToolAnswer{}, err
		}
		return reportPull(ctx, s, out, want, made, note)
	})
}

// wanted is the pull request that the input means.
func wanted(ctx context.Context, s *harness.Session, repo harness.Repo, in pullInput) (executor.PullRequest, error) {
	if repo.Remote == "" {
		return executor.PullRequest{}, harness.Refuse("Repository %s has no remote.", repo.Name)
	}
	r := executor.PullRequest{Remote: repo.Remote, Branch: in.Branch, Base: cmp.Or(in.Base, repo.Branch), Title: strings.TrimSpace(clean(s, in.Title)),
		Body: clean(s, in.Body), Draft: in.Draft, Reviewers: in.Reviewers, Labels: in.Labels}
	if r.Branch == "" {
		var err error
		if r.Branch, err = s.Git.CurrentBranch(ctx, repo.Dir); err != nil {
			return r, refusedByGit(ctx, err)
		}
	}
	given := slices.Concat([]string{r.Branch, r.Base}, r.Reviewers, r.Labels)
	if names := s.Redactor.Contains([]byte(strings.Join(given, "\n"))); len(names) > 0 {
		return r, harness.Deny("The name of a branch, reviewer or label contains the value of the secret %s. Nothing was opened.", strings.Join(names, ", "))
	}
	for field, name := range map[string]string{"branch": r.Branch, "base": r.Base} {
		if name == "" {
			return r, harness.BadInput("%s is needed: the work tree is on no branch", field)
		}
		if err := git.CheckRef(name); err != nil {
			return r, harness.BadInput("%s %v", field, err)
		}
	}
	if err := r.Validate(); err != nil {
		return r, harness.BadInput("%v", err)
	}
	if s.Task.Untrusted && len(r.Body) > harness.MaxShownBody {
		return r, harness.BadInput("body may have %d bytes in this run: a person has to read it first", harness.MaxShownBody)
	}
	return r, nil
}

// arrivedBranch checks that the branch is on the remote. note tells what of the
// work tree's is not.
func arrivedBranch(ctx context.Context, s *harness.Session, repo harness.Repo, branch string) (note string, err error) {
	tip, err := s.Git.RemoteHead(ctx, repo.Remote, "refs/heads/"+branch)
	if err != nil {
		return "", refusedByGit(ctx, err)
	}
	if tip == "" {
		return "", harness.Refuse("The branch %s is not on the remote of %s. Push it first.", branch, repo.Name)
	}
	current, err := s.Git.CurrentBranch(ctx, repo.Dir)
	if err != nil || current != branch {
		return "", nil // of another branch there is nothing to say
	}
	if head, err := s.Git.Head(ctx, repo.Dir); err == nil && head != tip {
		return fmt.Sprintf(" The work tree is at %.12s, the branch on the remote at %.12s: push again if that is not meant.", head, tip), nil
	}
	return "", nil
}

// openOnce opens it once, whatever restarts in between: who is asked again finds
// the one that is there.
func openOnce(ctx context.Context, s *harness.Session, r executor.PullRequester, repo harness.Repo, want executor.PullRequest) (made opened, err error) {
	detail, err := s.Effects.Do(ctx, harness.Act{
		Key: "pull_request:" + repo.Name + ":" + want.Branch + ":" + want.Base, Kind: effectPull,
		Intent:  map[string]string{"repo": repo.Name, "branch": want.Branch, "base": want.Base, "title": want.Title},
		Arrived: func(context.Context) (any, bool, error) { return nil, false, nil },
		Do: func(ctx context.Context) (any, error) {
			answer, err := r.OpenPullRequest(ctx, want)
			switch {
			case err != nil:
				return nil, harness.RefusedBy("open the pull request", err)
			case answer.WaitMS > 0:
				wait := (time.Duration(answer.WaitMS) * time.Millisecond).Round(time.Second)
				return nil, harness.Refuse("It cannot be opened now: %s. Try again in %s, or say so at the end.", answer.Reason, max(wait, time.Second))
			}
			return opened{URL: answer.URL, Number: answer.Number, Branch: want.Branch, Base: want.Base, Existing: answer.Existing, Notes: answer.Notes}, nil
		},
	})
	if err != nil {
		var no *harness.ToolError
		if ctx.Err() != nil && !errors.As(err, &no) {
			err = context.Cause(ctx)
		}
		return made, err
	}
	if err := json.Unmarshal(detail, &made); err != nil {
		return made, fmt.Errorf("read the effect's record: %w", err)
	}
	return made, nil
}

func reportPull(ctx context.Context, s *harness.Session, out *reporter, want executor.PullRequest, made opened, note string) (harness.ToolAnswer, error) {
	meta, err := json.Marshal(map[string]any{"number": made.Number, "base": made.Base})
	if err != nil {
		return harness.ToolAnswer{}, fmt.Errorf("encode the pull request: %w", err)
	}
	art := task.Artifact{UID: uid(s, "pull_request", made.URL), Type: task.ArtifactPullRequest, URL: made.URL, Branch: made.Branch, Title: want.Title, Metadata: meta}
	if err := out.report(ctx, art); err != nil {
		return harness.ToolAnswer{}, err
	}
	text := fmt.Sprintf("Pull request %d is open, and reported: %s", made.Number, made.URL)
	if made.Existing {
		text = fmt.Sprintf("Pull request %d was there already; its title and text are as they were. It is reported: %s", made.Number, made.URL)
	}
	for _, n := range made.Notes {
		text += "\nNote: " + n
	}
	return harness.ToolAnswer{Text: text + note, Output: made}, nil
}
