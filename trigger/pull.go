package trigger

import (
	"context"

	"github.com/oz-platform/cloudagents/task"
)

// PullRequester is a Lender whose service takes pull requests: the runs that
// come from it, or that it lends to as an OwnerLender, open theirs in the
// integration's name. Who asks has judged
// whether the run may. Safe for concurrent use.
type PullRequester interface {
	Lender
	// OpenPullRequest opens one of a source's, unless it is there: an open one of
	// the same branch to the same base, or one that was opened for the same run
	// before, whatever became of it. Reviewers and labels go to one that the run
	// has opened, and is open. It fails with
	// task.CodeIntegrationNotConfigured when the integration has no right to do
	// it, with task.CodeOperationNotSupported when the service refuses, and with
	// task.CodeResourceUnavailable and a hint when it is to be asked again later.
	OpenPullRequest(ctx context.Context, source string, r PullRequest) (Pull, error)
}

// PullRequest is one to be opened.
type PullRequest struct {
	// Run is who opens it.
	Run task.ID
	// Path is that of the repository's address, such as "owner/name".
	Path string
	// Branch has the changes, Base is to get them.
	Branch, Base string
	// Title is one line, Body Markdown. Both are without secrets.
	Title, Body string
	// Draft says that it is not to be merged yet.
	Draft bool
	// Reviewers are logins, or teams as "organisation/team", to be asked for a
	// review; Labels are put on it.
	Reviewers, Labels []string
}

// Pull is a pull request that is there.
type Pull struct {
	URL    string // its page
	Number int64  // in its repository
	// Existing says that it was there before it was asked for.
	Existing bool
	// Notes say what the service has not taken of reviewers and labels, and why.
	Notes []string
}
