package gitlab

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/integration"
	"github.com/oz-platform/cloudagents/trigger/internal/forge"
	"github.com/oz-platform/cloudagents/trigger/internal/tracker"
)

// Compile-time proof that it opens merge requests.
var _ trigger.PullRequester = (*Origin)(nil)

// draftPrefix is how a title says that a merge request is a draft.
const draftPrefix = "Draft: "

// merge is a merge request as far as it is looked at.
type merge struct {
	IID         int64  `json:"iid"`
	URL         string `json:"web_url"`
	State       string `json:"state"`
	Description string `json:"description"`
	// From is the project of the branch.
	From    int64 `json:"source_project_id"`
	Project int64 `json:"project_id"`
	// Reviewers are who was asked; GitLab leaves out whom it does not ask.
	Reviewers []account `json:"reviewers"`
}

// OpenPullRequest implements trigger.PullRequester.
func (o *Origin) OpenPullRequest(ctx context.Context, source string, r trigger.PullRequest) (trigger.Pull, error) {
	i, s, ok, err := o.lending(ctx, source)
	if err != nil {
		return trigger.Pull{}, err
	}
	if !ok {
		return trigger.Pull{}, forge.NoPulls(i)
	}
	if project, ok := s.project(r.Path); ok {
		r.Path = project
	}
	if !strings.Contains(strings.Trim(r.Path, "/"), "/") {
		return trigger.Pull{}, task.Errorf(task.CodeOperationNotSupported, "%q is no project of GitLab's, which is group/name", r.Path)
	}
	c, err := o.client(ctx, i, s)
	if err != nil {
		return trigger.Pull{}, err
	}
	made, ok, err := c.findMerge(ctx, r)
	if err != nil || ok {
		return made, mergeError(ctx, i, err)
	}
	reviewers, notes, err := c.reviewers(ctx, r.Reviewers)
	if err != nil {
		return trigger.Pull{}, mergeError(ctx, i, err)
	}
	made, err = c.openMerge(ctx, r, reviewers, o.store.Page(r.Run))
	made.Notes = slices.Concat(notes, made.Notes)
	var no *tracker.StatusError
	if errors.As(err, &no) && no.Status == http.StatusConflict { // somebody else may have been faster
		if found, ok, again := c.findMerge(ctx, r); ok && again == nil {
			return found, nil
		}
	}
	return made, mergeError(ctx, i, err)
}

// mergesPath is where the merge requests of a project are.
func mergesPath(project string) string {
	return "/projects/" + url.PathEscape(strings.Trim(project, "/")) + "/merge_requests"
}

// findMerge looks for the merge request that is open, or that the run has
// opened. One of a fork's branch of the same name is another.
func (c *client) findMerge(ctx context.Context, r trigger.PullRequest) (trigger.Pull, bool, error) {
	q := url.Values{"source_branch": {r.Branch}, "target_branch": {r.Base}, "scope": {"all"}, "state": {"all"}, "order_by": {"created_at"},
		"sort": {"desc"}, "per_page": {fmt.Sprint(pageSize)}}
	var list []merge
	if err := c.call(ctx, http.MethodGet, mergesPath(r.Path)+"?"+q.Encode(), nil, &list); err != nil {
		return trigger.Pull{}, false, err
	}
	mark := forge.PullMark(r)
	var ours *merge
	for i, m := range list {
		switch {
		case m.From != m.Project:
		case m.State == "opened":
			return trigger.Pull{URL: m.URL, Number: m.IID, Existing: true}, true, nil
		case ours == nil && strings.HasSuffix(strings.TrimSpace(m.Description), mark):
			ours = &list[i]
		}
	}
	if ours == nil {
		return trigger.Pull{}, false, nil
	}
	return trigger.Pull{URL: ours.URL, Number: ours.IID, Existing: true}, true, nil
}

// reviewers finds whom to ask; notes tell of those that are not there.
func (c *client) reviewers(ctx context.Context, names []string) (list []account, notes []string, err error) {
	for _, name := range names {
		var found []account
		if err := c.call(ctx, http.MethodGet, "/users?"+url.Values{"username": {name}}.Encode(), nil, &found); err != nil {
			return nil, nil, err
		}
		if i := slices.IndexFunc(found, func(a account) bool { return strings.EqualFold(a.Username, name) }); i >= 0 {
			list = append(list, found[i])
			continue
		}
		notes = append(notes, "no review was asked of "+name+": GitLab knows nobody of this username")
	}
	return list, notes, nil
}

func (c *client) openMerge(ctx context.Context, r trigger.PullRequest, reviewers []account, page string) (trigger.Pull, error) {
	title := r.Title
	if r.Draft {
		title = draftPrefix + title
	}
	var made merge
	in := map[string]any{"title": title, "source_branch": r.Branch, "target_branch": r.Base, "description": forge.PullBody(r, page)}
	if len(r.Labels) > 0 {
		in["labels"] = strings.Join(r.Labels, ",")
	}
	var ids []int64
	for _, a := range reviewers {
		ids = append(ids, a.ID)
	}
	if len(ids) > 0 {
		in["reviewer_ids"] = ids
	}
	err := c.call(ctx, http.MethodPost, mergesPath(r.Path), in, &made)
	p := trigger.Pull{URL: made.URL, Number: made.IID}
	for _, a := range reviewers {
		if err == nil && !slices.ContainsFunc(made.Reviewers, func(b account) bool { return b.ID == a.ID }) {
			p.Notes = append(p.Notes, "no review was asked of "+a.Username+": GitLab has left them out, as it does with who has no access, and with more than one where its edition allows one")
		}
	}
	return p, err
}

// mergeError gives a failure its code.
func mergeError(ctx context.Context, i integration.Integration, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	var no *tracker.StatusError
	if !errors.As(err, &no) {
		return forge.PullError(i, forge.Refusal{}, fmt.Errorf("GitLab is away: %w", err))
	}
	return forge.PullError(i, forge.Refusal{Status: no.Status, After: no.RetryAfter}, fmt.Errorf("GitLab: %w", err))
}
