package executor

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/oz-platform/cloudagents/task"
)

// PullRequester is a Link whose platform opens pull requests in the name of the
// integration that the run came from, or of one that lends to all runs of its
// owner. Like all of a Link, its method fails with task.ErrFenced once the
// execution has ended.
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
	MaxPullNames  = 10       // of PullRequest.Reviewers, and of its Labels
	maxReviewer   = 100      // bytes of a reviewer's name
	maxLabel      = 50       // characters of a label, as GitHub has it
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
	// Reviewers are asked to review it: logins, on GitHub also teams as
	// "organisation/team". Labels are put on it. At most MaxPullNames of each.
	Reviewers []string `json:"reviewers,omitempty"`
	Labels    []string `json:"labels,omitempty"`
}

// PullRequestAnswer is what became of a PullRequest.
type PullRequestAnswer struct {
	URL    string `json:"url,omitempty"`    // its page
	Number int64  `json:"number,omitempty"` // in its repository
	// Existing says that it was there before; its title and body are as they were.
	Existing bool `json:"existing,omitempty"`
	// Notes say what the service has not taken of reviewers and labels, and why.
	Notes []string `json:"notes,omitempty"`
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
	if err := task.ValidateText("body", r.Body); err != nil {
		return err
	}
	return r.validateNames()
}

var reviewerForm = regexp.MustCompile(`^[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)?$`)

func (r PullRequest) validateNames() error {
	for _, list := range []struct {
		field string
		names []string
		fits  func(string) bool
		rule  string
	}{
		{"reviewers", r.Reviewers, func(s string) bool { return len(s) <= maxReviewer && reviewerForm.MatchString(s) },
			"is no login, nor a team as organisation/team; write it without an @"},
		{"labels", r.Labels, func(s string) bool {
			return s != "" && s == strings.TrimSpace(s) && utf8.ValidString(s) && utf8.RuneCountInString(s) <= maxLabel && !strings.ContainsFunc(s, unlabelled)
		}, "is no label: it has 1 to 50 characters, on one line, without commas"},
	} {
		if len(list.names) > MaxPullNames {
			return task.Invalid(list.field, "are %d, at most %d are allowed", len(list.names), MaxPullNames)
		}
		for i, name := range list.names {
			if !list.fits(name) {
				return task.Invalid(fmt.Sprintf("%s[%d]", list.field, i), "%.80q %s", name, list.rule)
			}
		}
	}
	return nil
}

func unlabelled(c rune) bool { return unicode.IsControl(c) || c == ',' }
