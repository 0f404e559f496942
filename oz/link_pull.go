package oz

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
)

// otherwise is what an agent does whose pull request the platform cannot open.
const otherwise = "; report_artifact reports one that was opened in another way"

var _ executor.PullRequester = (*link)(nil)

// OpenPullRequest implements executor.PullRequester.
func (l *link) OpenPullRequest(ctx context.Context, r executor.PullRequest) (executor.PullRequestAnswer, error) {
	var none executor.PullRequestAnswer
	if err := r.Validate(); err != nil {
		return none, err
	}
	e, err := l.execution(ctx)
	if err != nil {
		return none, err
	}
	t, err := l.p.store.Get(ctx, l.id)
	if err != nil {
		return none, err
	}
	if barred(t) {
		return none, task.Errorf(task.CodeNotAuthorized, "nobody vouches for what started this run: a person must approve first what others see")
	}
	redactor, err := l.p.redactor(ctx, e)
	if err != nil {
		return none, err
	}
	if names := redactor.Contains([]byte(r.Branch + "\n" + r.Base)); len(names) > 0 {
		return none, task.Invalid("branch", "contains the value of the secret %s", strings.Join(names, ", "))
	}
	if names := redactor.Contains([]byte(strings.Join(slices.Concat(r.Reviewers, r.Labels), "\n"))); len(names) > 0 {
		return none, task.Invalid("labels", "or reviewers contain the value of the secret %s", strings.Join(names, ", "))
	}
	opener, source, path, err := l.p.pullRequester(ctx, t, r.Remote)
	if err != nil {
		return none, err
	}
	made, err := opener.OpenPullRequest(ctx, source, trigger.PullRequest{Run: t.ID, Path: path, Branch: r.Branch, Base: r.Base,
		Title: redactor.String(r.Title), Body: redactor.String(r.Body), Draft: r.Draft,
		Reviewers: r.Reviewers, Labels: r.Labels})
	if err != nil {
		return waitFor(err)
	}
	return executor.PullRequestAnswer{URL: made.URL, Number: made.Number, Existing: made.Existing, Notes: made.Notes}, nil
}

// waitFor makes an answer of what passes by itself. As an error, the runner
// would ask again until it has passed, and the agent hear nothing for hours.
func waitFor(err error) (executor.PullRequestAnswer, error) {
	var e *task.Error
	if errors.As(err, &e) && e.Code == task.CodeResourceUnavailable && e.RetryAfterMS > 0 {
		return executor.PullRequestAnswer{WaitMS: e.RetryAfterMS, Reason: e.Message}, nil
	}
	return executor.PullRequestAnswer{}, err
}

// pullRequester finds who opens the pull requests of a run's repository, and
// what the repository is called there: the first of the run's lenders that does.
func (p *Platform) pullRequester(ctx context.Context, t task.Task, remote string) (o trigger.PullRequester, source, path string, err error) {
	list, err := p.lenders(ctx, t)
	if err != nil {
		return nil, "", "", err
	}
	var no error // of the first that opens any
	for _, l := range list {
		o, ok := l.Lender.(trigger.PullRequester)
		if !ok {
			continue
		}
		path, err := repositoryAt(remote, l.host)
		if err == nil && l.lends(path) {
			return o, l.source, path, nil
		}
		if err == nil {
			err = &task.Error{Code: task.CodeOperationNotSupported, Field: "remote",
				Message: "the integration that lends to all runs is not for this repository" + otherwise}
		}
		no = cmp.Or(no, err)
	}
	if no == nil {
		no = task.Errorf(task.CodeOperationNotSupported, "the run came from no integration that opens pull requests, and none lends to all runs%s", otherwise)
	}
	return nil, "", "", no
}

// repositoryAt gives the path of a repository at a host. Over ssh the port is
// another one than the host's own.
func repositoryAt(remote, host string) (string, error) {
	u, err := url.Parse(remote)
	if err != nil {
		return "", task.Invalid("remote", "is no address of a repository") // err would repeat it
	}
	at := u.Host
	if u.Scheme == "ssh" {
		at, host = u.Hostname(), (&url.URL{Host: host}).Hostname()
	}
	path := strings.TrimSuffix(strings.Trim(u.Path, "/"), ".git")
	switch {
	case u.Scheme != "https" && u.Scheme != "http" && u.Scheme != "ssh", !strings.EqualFold(at, host), path == "":
		return "", &task.Error{Code: task.CodeOperationNotSupported, Field: "remote",
			Message: fmt.Sprintf("the repository is not at %s, where the run's integration opens pull requests%s", host, otherwise)}
	}
	return path, nil
}
