package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/integration"
	"github.com/oz-platform/cloudagents/trigger/internal/forge"
)

// Compile-time proof that it opens pull requests.
var _ trigger.PullRequester = (*Origin)(nil)

// pulled is a pull request as far as it is looked at.
type pulled struct {
	Number int64  `json:"number"`
	URL    string `json:"html_url"`
	State  string `json:"state"`
	Body   string `json:"body"`
}

// OpenPullRequest implements trigger.PullRequester.
func (o *Origin) OpenPullRequest(ctx context.Context, source string, r trigger.PullRequest) (trigger.Pull, error) {
	owner, name, ok := strings.Cut(r.Path, "/")
	if !ok || owner == "" || name == "" || strings.Contains(name, "/") {
		return trigger.Pull{}, task.Errorf(task.CodeOperationNotSupported, "%q is no repository of GitHub's, which is owner/name", r.Path)
	}
	i, s, ok, err := o.lending(ctx, source)
	if err != nil {
		return trigger.Pull{}, err
	}
	if !ok {
		return trigger.Pull{}, forge.NoPulls(i)
	}
	c, repo := o.client(i, s), "/repos/"+url.PathEscape(owner)+"/"+url.PathEscape(name)
	made, ok, err := c.findPull(ctx, repo, owner, r)
	if err != nil || ok {
		return made, pullError(ctx, i, err)
	}
	made, err = c.openPull(ctx, repo, r, o.store.Page(r.Run))
	if status(err) == http.StatusUnprocessableEntity { // somebody else may have been faster
		if found, ok, again := c.findPull(ctx, repo, owner, r); ok && again == nil {
			return found, nil
		}
	}
	return made, pullError(ctx, i, err)
}

// findPull looks for the pull request that is open, or that the run has opened.
func (c *client) findPull(ctx context.Context, repo, owner string, r trigger.PullRequest) (trigger.Pull, bool, error) {
	q := url.Values{"state": {"all"}, "head": {owner + ":" + r.Branch}, "base": {r.Base}, "sort": {"created"}, "direction": {"desc"}, "per_page": {fmt.Sprint(pageSize)}}
	var list []pulled
	if err := c.call(ctx, http.MethodGet, repo+"/pulls?"+q.Encode(), nil, &list); err != nil {
		return trigger.Pull{}, false, err
	}
	mark := forge.PullMark(r)
	var ours *pulled
	for i, p := range list {
		if p.State == "open" {
			return trigger.Pull{URL: p.URL, Number: p.Number, Existing: true}, true, nil
		}
		if ours == nil && strings.HasSuffix(strings.TrimSpace(p.Body), mark) {
			ours = &list[i]
		}
	}
	if ours == nil {
		return trigger.Pull{}, false, nil
	}
	return trigger.Pull{URL: ours.URL, Number: ours.Number, Existing: true}, true, nil
}

func (c *client) openPull(ctx context.Context, repo string, r trigger.PullRequest, page string) (trigger.Pull, error) {
	var made pulled
	err := c.call(ctx, http.MethodPost, repo+"/pulls", map[string]any{"title": r.Title, "head": r.Branch, "base": r.Base,
		"body": forge.PullBody(r, page), "draft": r.Draft}, &made)
	return trigger.Pull{URL: made.URL, Number: made.Number}, err
}

// pullError gives a failure its code.
func pullError(ctx context.Context, i integration.Integration, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	var p *problem
	if !errors.As(err, &p) {
		return forge.PullError(i, forge.Refusal{}, err)
	}
	return forge.PullError(i, forge.Refusal{Status: p.status, After: p.after}, err)
}
