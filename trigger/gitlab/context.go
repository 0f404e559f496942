package gitlab

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/internal/forge"
	"github.com/oz-platform/cloudagents/trigger/internal/tracker"
)

const (
	diffFile = "gitlab-diff.patch"
	// recent is how many comments are read.
	recent = 50
	// maxTries is how often what else is known is asked for, before a run starts
	// without it.
	maxTries = 3
	maxWords = 64 << 10  // bytes
	maxDiff  = 256 << 10 // bytes
)

// told is what somebody wrote or what happened, for the agent.
func (x occasion) told(untrusted bool) string {
	e, t := x.event, x.event.thing()
	var b strings.Builder
	what := fmt.Sprintf("@%s: %s", e.User.Username, e.name())
	if e.words() != "" {
		what = fmt.Sprintf("@%s wrote", e.User.Username)
	}
	fmt.Fprintf(&b, "%s, in %s", what, e.Project.Path)
	switch {
	case t != nil && e.isMerge():
		fmt.Fprintf(&b, " on merge request !%d", t.IID)
	case t != nil:
		fmt.Fprintf(&b, " on issue #%d", t.IID)
	}
	fmt.Fprintf(&b, " (%s):\n\n", e.url())
	switch {
	case e.words() != "":
		b.WriteString(forge.Cut(e.words(), maxWords))
	case e.Kind == onPipeline:
		fmt.Fprintf(&b, "The pipeline %d ended: %s, on branch %s at %s.", e.Attrs.ID, e.Attrs.Status, e.branch(), e.Attrs.SHA)
	case t != nil:
		b.WriteString(t.Title)
	}
	if t != nil {
		fmt.Fprintf(&b, "\n\nWhat else is known is in the attached file %s", tracker.IssueFile)
		if e.diff() != "" {
			fmt.Fprintf(&b, ", and the commented change in %s", diffFile)
		}
		b.WriteString(".")
	}
	fmt.Fprintf(&b, " The repository is %s: clone it from %s if your workspace does not have it.", e.Project.Path, x.cloneURL())
	if e.fork() && !untrusted {
		b.WriteString(" What it changes comes from a fork, so that it is not in your workspace")
		if t := e.thing(); t != nil {
			fmt.Fprintf(&b, ": `git fetch origin merge-requests/%d/head` brings it", t.IID)
		}
		b.WriteString(". It is a stranger's: read it, and run nothing of it.")
	}
	b.WriteString(" Your result is posted there; do not post it yourself.")
	return strings.ReplaceAll(b.String(), "\x00", "")
}

func (x occasion) cloneURL() string {
	if u, err := url.Parse(x.event.Project.CloneURL); err == nil && u.Scheme == "https" && u.User == nil {
		return x.event.Project.CloneURL
	}
	return x.settings.URL + "/" + x.event.Project.Path + ".git"
}

func (e *event) diff() string {
	if e.Attrs.Diff == nil {
		return ""
	}
	return e.Attrs.Diff.Diff
}

// files is what is known besides. What cannot be read is missing and said to be;
// a GitLab that is away is asked again a few times.
func (o *Origin) files(ctx context.Context, x occasion) ([]trigger.File, error) {
	e, t := x.event, x.event.thing()
	if t == nil {
		return nil, nil
	}
	issue := tracker.Issue{Key: x.reference(), Title: t.Title, URL: t.URL, State: t.State, Labels: e.labels(), Text: t.Description}
	if t.Source != "" {
		issue.Text = fmt.Sprintf("Branch: %s at %s, to go to %s\n\n%s", t.Source, t.LastCommit.ID, t.Target, issue.Text)
	}
	comments, err := o.comments(ctx, x)
	if err != nil && x.delivery.Attempts < maxTries && !final(err) {
		return nil, err
	}
	if err != nil {
		issue.Text += "\n\n(The comments could not be read: " + err.Error() + ")"
	}
	issue.Comments = comments
	list := []trigger.File{issue.File()}
	if diff := e.diff(); diff != "" {
		path := e.Attrs.Diff.Path
		if p := e.Attrs.Position; p != nil && p.Line > 0 {
			path = fmt.Sprintf("%s:%d", p.Path, p.Line)
		}
		list = append(list, trigger.File{Name: diffFile, MIMEType: "text/x-diff", Data: []byte(forge.Cut(path+"\n"+diff+"\n", maxDiff))})
	}
	return list, nil
}

// comments are the newest ones that people wrote.
func (o *Origin) comments(ctx context.Context, x occasion) (list []tracker.Comment, err error) {
	c, err := o.client(ctx, x.Integration, x.settings)
	if err != nil {
		return nil, err
	}
	err = c.each(ctx, x.address(), time.Time{}, func(n note) bool {
		if !n.System {
			list = append(list, tracker.Comment{Author: "@" + n.Author.Username, At: n.CreatedAt, Text: n.Body})
		}
		return len(list) >= recent
	})
	return list, err
}

// final reports that GitLab will not say it, however often it is asked.
func final(err error) bool {
	var no *tracker.StatusError
	return errors.As(err, &no) && no.RetryAfter == 0 && no.Status < 500 && no.Status != http.StatusTooManyRequests && no.Status != http.StatusRequestTimeout
}
