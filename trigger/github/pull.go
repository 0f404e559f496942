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

	existing bool // it was found
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
	p, err := c.pullFor(ctx, repo, owner, r, o.store.Page(r.Run))
	made := trigger.Pull{URL: p.URL, Number: p.Number, Existing: p.existing}
	if err == nil && p.State == "open" && p.of(r) {
		made.Notes, err = c.dress(ctx, repo, p.Number, r)
	}
	return made, pullError(ctx, i, err)
}

// of reports that a run has opened it.
func (p pulled) of(r trigger.PullRequest) bool {
	return strings.HasSuffix(strings.TrimSpace(p.Body), forge.PullMark(r))
}

// pullFor finds the pull request, or opens it.
func (c *client) pullFor(ctx context.Context, repo, owner string, r trigger.PullRequest, page string) (pulled, error) {
	p, ok, err := c.findPull(ctx, repo, owner, r)
	if err != nil || ok {
		return p, err
	}
	p, err = c.openPull(ctx, repo, r, page)
	if status(err) == http.StatusUnprocessableEntity { // somebody else may have been faster
		if found, ok, again := c.findPull(ctx, repo, owner, r); ok && again == nil {
			return found, nil
		}
	}
	return p, err
}

// dress puts labels on a pull request and asks for reviews, which does no harm
// when it was done before. What GitHub does not take is told in notes.
func (c *client) dress(ctx context.Context, repo string, number int64, r trigger.PullRequest) (notes []string, err error) {
	if len(r.Labels) > 0 {
		err := c.call(ctx, http.MethodPost, fmt.Sprintf("%s/issues/%d/labels", repo, number), map[string]any{"labels": r.Labels}, nil)
		if err != nil && !declines(err) {
			return nil, forge.Dress(err)
		}
		if err != nil {
			notes = append(notes, forge.Declined("it has not the labels", r.Labels, err))
		}
	}
	if len(r.Reviewers) == 0 {
		return notes, nil
	}
	all := r.Reviewers
	err = c.askReviewers(ctx, repo, number, all)
	if err != nil && declines(err) && len(all) > 1 { // one that it does not take keeps it from asking any
		for _, one := range all {
			more, err := c.askOne(ctx, repo, number, one)
			if err != nil {
				return nil, err
			}
			notes = append(notes, more...)
		}
		return notes, nil
	}
	return declined(notes, all, err)
}

func (c *client) askOne(ctx context.Context, repo string, number int64, name string) (notes []string, err error) {
	return declined(nil, []string{name}, c.askReviewers(ctx, repo, number, []string{name}))
}

// declined adds a note about what GitHub does not take; another error is one.
func declined(notes, names []string, err error) ([]string, error) {
	switch {
	case err == nil:
		return notes, nil
	case declines(err):
		return append(notes, forge.Declined("no review was asked of", names, err)), nil
	}
	return nil, forge.Dress(err)
}

func (c *client) askReviewers(ctx context.Context, repo string, number int64, names []string) error {
	in := map[string][]string{}
	for _, name := range names {
		if _, team, ok := strings.Cut(name, "/"); ok {
			in["team_reviewers"] = append(in["team_reviewers"], team)
		} else {
			in["reviewers"] = append(in["reviewers"], name)
		}
	}
	return c.call(ctx, http.MethodPost, fmt.Sprintf("%s/pulls/%d/requested_reviewers", repo, number), in, nil)
}

// declines reports that GitHub would say the same again.
func declines(err error) bool {
	var p *problem
	if !errors.As(err, &p) || p.after > 0 {
		return false
	}
	return p.status == http.StatusForbidden || p.status == http.StatusNotFound || p.status == http.StatusUnprocessableEntity
}

// findPull looks for the pull request that is open, or that the run has opened.
func (c *client) findPull(ctx context.Context, repo, owner string, r trigger.PullRequest) (pulled, bool, error) {
	q := url.Values{"state": {"all"}, "head": {owner + ":" + r.Branch}, "base": {r.Base}, "sort": {"created"}, "direction": {"desc"}, "per_page": {fmt.Sprint(pageSize)}}
	var list []pulled
	if err := c.call(ctx, http.MethodGet, repo+"/pulls?"+q.Encode(), nil, &list); err != nil {
		return pulled{}, false, err
	}
	ours := pulled{}
	for _, p := range list {
		p.existing = true
		if p.State == "open" {
			return p, true, nil
		}
		if ours.Number == 0 && p.of(r) {
			ours = p
		}
	}
	return ours, ours.Number > 0, nil
}

func (c *client) openPull(ctx context.Context, repo string, r trigger.PullRequest, page string) (made pulled, err error) {
	err = c.call(ctx, http.MethodPost, repo+"/pulls", map[string]any{"title": r.Title, "head": r.Branch, "base": r.Base,
		"body": forge.PullBody(r, page), "draft": r.Draft}, &made)
	return made, err
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
