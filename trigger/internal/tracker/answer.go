// Package tracker is what the issue trackers have in common: what is said there
// of a run, an issue as a file for the agent, and calls of their APIs.
package tracker

import (
	"fmt"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
)

// Kind says what an Answer tells.
type Kind string

// The kinds of answer.
const (
	Started   Kind = "started"   // a run was made
	Continued Kind = "continued" // a run that is there was told
	Working   Kind = "working"   // the agent has begun
	Noted     Kind = "noted"     // it has something to say before its end
	Progress  Kind = "progress"  // its task list has changed
	Asking    Kind = "asking"    // the run waits for somebody
	Done      Kind = "done"      // it ended well
	Failed    Kind = "failed"    // it did not
	Cancelled Kind = "cancelled" // somebody ended it
	Refused   Kind = "refused"   // no run can be made
	Unlinked  Kind = "unlinked"  // nobody knows who asks
)

// Answer is what is told at the tracker.
type Answer struct {
	Kind Kind `json:"kind"`
	// Text is Markdown, without links to the run.
	Text string `json:"text"`
	// Page is the run's; empty when there is none.
	Page string `json:"page,omitempty"`
	// Pulls are the addresses of its pull requests.
	Pulls []string `json:"pulls,omitempty"`
	// Choices are the answers that a question allows.
	Choices []string `json:"choices,omitempty"`
	// Steps are the run's task list, of Progress alone.
	Steps trigger.Progress `json:"steps,omitzero"`
	// NeverBegan says of a failure that no agent had worked before it.
	NeverBegan bool `json:"never_began,omitempty"`
}

// maxText bounds what a run or its agent has to say, in bytes.
const maxText = 16 << 10

// maxPulls and maxChoices bound lists in an answer.
const (
	maxPulls   = 20
	maxChoices = 20
)

// Tell says what there is to tell of n; ok is false when there is nothing.
// page is the run's.
func Tell(n trigger.News, page string) (a Answer, ok bool) {
	switch n.Type {
	case trigger.NewsStarted:
		if n.Task.State.Ended() { // who made it died before this could be told, and the result was since
			return Answer{}, false
		}
		return Answer{Kind: Started, Text: "I am on it.", Page: page}, true
	case trigger.NewsContinued:
		return Answer{Kind: Continued, Text: "I have passed this on to the run that is about this issue; it answers where it was started.", Page: page}, true
	case trigger.NewsStopped:
		if n.Task.State == task.StateCancelled {
			return Answer{Kind: Cancelled, Text: "I have stopped.", Page: page}, true
		}
		return Answer{Kind: Cancelled, Text: "Nothing runs any more that I could stop.", Page: page}, true
	case trigger.NewsRefused:
		return refused(n.Err), true
	case trigger.NewsSignal:
		return ofSignal(n, page)
	case trigger.NewsNote:
		return Answer{Kind: Noted, Text: cut(n.Note)}, true
	case trigger.NewsProgress:
		return Answer{Kind: Progress, Text: "I am at work.", Page: page, Steps: n.Progress}, true
	}
	return Answer{}, false
}

func refused(err error) Answer {
	if task.CodeOf(err) == task.CodeExternalAuthRequired {
		return Answer{Kind: Unlinked}
	}
	return Answer{Kind: Refused, Text: "I cannot start: " + cut(err.Error())}
}

func ofSignal(n trigger.News, page string) (Answer, bool) {
	t := n.Task
	a := Answer{Page: page, Pulls: pulls(t)}
	message := cut(t.Status.Message)
	switch n.Signal.Type {
	case task.SignalInProgress:
		return Answer{Kind: Working, Text: "The agent has begun.", Page: page}, true
	case task.SignalBlocked:
		a.Kind, a.Text = Asking, orElse(message, "I need your answer to go on.")
		if q := t.Status.Question; q != nil {
			a.Text = orElse(cut(q.Text), a.Text)
			a.Choices = q.Choices[:min(len(q.Choices), maxChoices)]
		}
	case task.SignalSucceeded:
		a.Kind, a.Text = Done, orElse(message, "Done.")
	case task.SignalFailed, task.SignalErrored:
		a.Kind, a.Text = Failed, orElse(message, "It did not work.")
		if code := t.Status.ErrorCode; code != "" {
			a.Text += fmt.Sprintf(" (`%s`)", code)
		}
		a.NeverBegan = t.StartedAt.IsZero()
	case task.SignalCancelled:
		a.Kind, a.Text = Cancelled, orElse(message, "The run was cancelled.")
	default:
		return Answer{}, false
	}
	if took := t.RunTime.Round(time.Second); took > 0 && a.Kind != Asking {
		a.Text += fmt.Sprintf("\n\nTook %s.", took)
	}
	return a, true
}

func pulls(t task.Task) (list []string) {
	for _, a := range t.Artifacts {
		if a.Type == task.ArtifactPullRequest && a.URL != "" && len(list) < maxPulls {
			list = append(list, a.URL)
		}
	}
	return list
}

// Checklist is the task list of an answer as lines of a list; nil when it has
// none.
func (a Answer) Checklist() (head string, lines []string) {
	if a.Steps.All == 0 {
		return "", nil
	}
	for _, t := range a.Steps.Items {
		box := "☐ "
		if t.Done {
			box = "☑ "
		}
		lines = append(lines, box+t.Title)
	}
	if more := a.Steps.All - len(a.Steps.Items); more > 0 {
		lines = append(lines, fmt.Sprintf("… and %d more", more))
	}
	return fmt.Sprintf("%d of %d done:", a.Steps.Done, a.Steps.All), lines
}

// Markdown is all of the answer in one text.
func (a Answer) Markdown() string {
	var b strings.Builder
	b.WriteString(a.Text)
	for i, c := range a.Choices {
		if i == 0 {
			b.WriteString("\n")
		}
		b.WriteString("\n- " + c)
	}
	if head, lines := a.Checklist(); len(lines) > 0 {
		b.WriteString("\n\n" + head + "\n\n- " + strings.Join(lines, "\n- "))
	}
	for _, p := range a.Pulls {
		b.WriteString("\n\nPull request: " + p)
	}
	if a.Page != "" {
		b.WriteString("\n\n[Open the run](" + a.Page + ")")
	}
	return b.String()
}

// Connect is what somebody is told whom nobody knows.
func Connect(name, link string) string {
	if name = line(name); name == "" {
		name = "You"
	}
	if link == "" {
		return name + ", your account here is not linked to one of this server's. Nothing was started. Ask an administrator."
	}
	return name + ", your account here is not linked yet, so nothing was started. Link it, and ask again: " + link
}

func orElse(s, other string) string {
	if strings.TrimSpace(s) == "" {
		return other
	}
	return s
}

func cut(s string) string {
	if len(s) <= maxText {
		return strings.ToValidUTF8(s, "")
	}
	return strings.ToValidUTF8(task.CutReason(s, maxText), "") + " …"
}
