package rest

import (
	"context"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
)

// LendGitCredential implements POST /oz/executions/current/git-credential.
func (o operations) LendGitCredential(ctx context.Context, r api.LendGitCredentialRequestObject) (api.LendGitCredentialResponseObject, error) {
	link, err := o.link(ctx)
	if err != nil {
		return nil, err
	}
	lender, ok := link.(executor.GitLender)
	if !ok {
		return nil, task.Errorf(task.CodeFeatureNotAvailable, "this server lends no credentials")
	}
	c, err := lender.GitCredential(ctx, r.Body.Host, r.Body.Path)
	if err != nil {
		return nil, err
	}
	return api.LendGitCredential200JSONResponse(c), nil
}
