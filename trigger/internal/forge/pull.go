package forge

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/integration"
)

// maxPullBody bounds the description of a pull request without its foot, in
// bytes: below the 65536 characters that GitHub takes.
const maxPullBody = 60_000

// awayFor is when a service is asked again that gives no hint.
const awayFor = 30 * time.Second

// PullMark is how a pull request is found again that a run has opened.
func PullMark(r trigger.PullRequest) string {
	return Mark(strings.Join([]string{"pull", string(r.Run), r.Path, r.Branch, r.Base}, "\x00"))
}

// PullBody is the description of a pull request: what the agent says, and at the
// foot which run it is of, with its page if there is one.
func PullBody(r trigger.PullRequest, page string) string {
	by := "Opened by the run `" + string(r.Run) + "`."
	if page != "" {
		by = fmt.Sprintf("Opened by [the run `%s`](%s).", r.Run, page)
	}
	return joined(Cut(Harmless(strings.TrimSpace(r.Body)), maxPullBody), "---", by+"\n"+PullMark(r))
}

// Dress says what is missing to a pull request that is there, for now.
func Dress(err error) error {
	return fmt.Errorf("it is open, but its reviewers and labels are not all set: %w", err)
}

// Declined is a note that the service does not take something of a pull request,
// with its own words.
func Declined(what string, names []string, err error) string {
	return fmt.Sprintf("%s %s: %s", what, strings.Join(names, ", "), task.CutReason(err.Error(), 300))
}

// NoPulls says that an integration opens nothing any more.
func NoPulls(i integration.Integration) error {
	name := ""
	if i.Name != "" {
		name = fmt.Sprintf(" %q", i.Name)
	}
	return task.Errorf(task.CodeOperationNotSupported, "the integration%s that is to open it was deleted, is turned off, or lends nothing", name)
}

// Refusal is what a failed request for a pull request was answered.
type Refusal struct {
	// Status is that of the answer; 0 when there was none.
	Status int
	// After is how long the service asks us to be quiet; 0 when it does not.
	After time.Duration
}

// PullError tells what a person must mend, and what the service does not take,
// from what passes by itself.
func PullError(i integration.Integration, r Refusal, err error) error {
	var known *task.Error
	if errors.As(err, &known) {
		return err
	}
	said := task.CutReason(err.Error(), 500)
	switch s := r.Status; {
	case r.After > 0 || s == 0 || s == 408 || s == 429 || s >= 500:
		after := r.After
		if after <= 0 {
			after = awayFor
		}
		return &task.Error{Code: task.CodeResourceUnavailable, RetryAfterMS: after.Milliseconds(), Err: err,
			Message: fmt.Sprintf("the integration %q cannot open a pull request now: %s", i.Name, said)}
	case s == 401 || s == 403 || s == 404:
		return &task.Error{Code: task.CodeIntegrationNotConfigured, Help: &task.Help{IntegrationName: i.Name}, Err: err,
			Message: fmt.Sprintf("the integration %q may not open pull requests there: %s", i.Name, said)}
	}
	return &task.Error{Code: task.CodeOperationNotSupported, Err: err, Message: "the pull request is refused: " + said}
}
