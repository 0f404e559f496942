package rest

import (
	"context"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
)

// OpenPullRequest implements POST /oz/executions/current/pull-request.
func (o operations) OpenPullRequest(ctx context.Context, r api.OpenPullRequestRequestObject) (api.OpenPullRequestResponseObject, error) {
	link, err := o.link(ctx)
	if err != nil {
		return nil, err
	}
	opener, ok := link.(executor.PullRequester)
	if !ok {
		return nil, task.Errorf(task.CodeFeatureNotAvailable, "this server opens no pull requests")
	}
	answer, err := opener.OpenPullRequest(ctx, *r.Body)
	if err != nil {
		return nil, err
	}
	return api.OpenPullRequest200JSONResponse(answer), nil
}
