package executor

import (
	"context"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/oz-platform/cloudagents/task"
)

// PullRequester is a Link whose platform opens pull requests in the name of the
// integration that the run came from. Like all of a Link, its method fails with
// task.ErrFenced once the execution has ended.
type PullRequester interface {
	// OpenPullRequest opens a pull request, or gives the one that is open of the
	// same branch to the same base, or that this run has opened before: asking
	// again makes no second one. It fails with task.ErrInvalid; with
	// task.CodeNotAuthorized in a run that nobody vouches for and of which no
	// person has approved anything that others see; with
	// task.CodeIntegrationNotConfigured when the integration has no right to do
	// it; and with task.CodeOperationNotSupported when the run has no integration
	// where the repository is, or the service refuses the request.
	OpenPullRequest(ctx context.Context, r PullRequest) (PullRequestAnswer, error)
}

// Limits of pull requests; ours, below those of the services.
const (
	MaxPullTitle  = 240      // bytes of PullRequest.Title
	MaxPullBody   = 32 << 10 // bytes of PullRequest.Body
	maxPullBranch = 255      // bytes of a branch's name
	maxPullRemote = 2048     // bytes of a repository's address
)

// PullRequest is one to be opened. What a GitLab calls a merge request is meant,
// too.
type PullRequest struct {
	// Remote is the repository's address, without credentials.
	Remote string `json:"remote"`
	// Branch has the changes, and is in the repository. Base is to get them.
	Branch string `json:"branch"`
	Base   string `json:"base"`
	// Title is one line of 1 to MaxPullTitle bytes. Body is Markdown, at most
	// MaxPullBody, and may be empty.
	Title string `json:"title"`
	Body  string `json:"body,omitempty"`
	// Draft says that it is not to be merged yet.
	Draft bool `json:"draft,omitempty"`
}

// PullRequestAnswer is what became of a PullRequest.
type PullRequestAnswer struct {
	URL    string `json:"url,omitempty"`    // its page
	Number int64  `json:"number,omitempty"` // in its repository
	// Existing says that it was there before; its title and body are as they were.
	Existing bool `json:"existing,omitempty"`
	// WaitMS, if above 0, says that nothing is known to be open: the service is
	// away, or takes no more requests now, as Reason tells. Ask again after that
	// time, in milliseconds.
	WaitMS int64  `json:"wait_ms,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// Validate judges a pull request by itself. It fails with task.ErrInvalid.
func (r PullRequest) Validate() error {
	if r.Remote == "" || len(r.Remote) > maxPullRemote {
		return task.Invalid("remote", "must have 1 to %d bytes", maxPullRemote)
	}
	for _, b := range []struct{ field, name string }{{"branch", r.Branch}, {"base", r.Base}} {
		bad := func(c rune) bool {
			return unicode.IsSpace(c) || unicode.IsControl(c) || strings.ContainsRune(`~^:?*[\`, c)
		}
		switch {
		case b.name == "" || len(b.name) > maxPullBranch:
			return task.Invalid(b.field, "must have 1 to %d bytes", maxPullBranch)
		case !utf8.ValidString(b.name) || strings.ContainsFunc(b.name, bad) || strings.HasPrefix(b.name, "-"):
			return task.Invalid(b.field, "is no name of a branch")
		}
	}
	switch {
	case r.Base == r.Branch:
		return task.Invalid("base", "must be another branch than the one with the changes")
	case strings.TrimSpace(r.Title) == "" || len(r.Title) > MaxPullTitle:
		return task.Invalid("title", "must have 1 to %d bytes", MaxPullTitle)
	case strings.ContainsFunc(r.Title, unicode.IsControl):
		return task.Invalid("title", "must be one line")
	case len(r.Body) > MaxPullBody:
		return task.Invalid("body", "has %d bytes, at most %d are allowed", len(r.Body), MaxPullBody)
	}
	if err := task.ValidateText("title", r.Title); err != nil {
		return err
	}
	return task.ValidateText("body", r.Body)
}
