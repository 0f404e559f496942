package slack

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/integration"
)

// kindNote are the outgoing messages of this package.
const kindNote = "slack"

// deed is what a note does.
type deed string

const (
	deedStatus deed = "status" // writes the run's status message, or changes it
	deedPost   deed = "post"   // posts in the thread
	deedReact  deed = "react"  // puts an emoji on somebody's message
	deedClose  deed = "close"  // takes the buttons from a question
	deedLink   deed = "link"   // sends somebody the address to link their account with
)

// note is the body of an outgoing message.
type note struct {
	address
	Deed deed    `json:"deed"`
	Run  task.ID `json:"run,omitempty"`
	// Text is in Slack's own writing.
	Text    string   `json:"text,omitempty"`
	Buttons []button `json:"buttons,omitempty"`
	// TS is the message that a reaction or a close is about.
	TS    string `json:"ts,omitempty"`
	Emoji string `json:"emoji,omitempty"`
	// First is the first of the run's status.
	First bool `json:"first,omitempty"`
	// User gets a link, as Account.
	User    string `json:"user,omitempty"`
	Account string `json:"account,omitempty"`
	Name    string `json:"name,omitempty"`
}

// button answers a question.
type button struct {
	Label string `json:"label"`
	Style string `json:"style,omitempty"`
	Value answer `json:"value"`
}

// Report implements trigger.Reporter.
func (o *Origin) Report(_ context.Context, n trigger.News) ([]task.Outgoing, error) {
	var at address
	there, err := trigger.AddressOf(n.Origin, &at)
	if err != nil {
		return nil, err
	}
	var e event
	if n.Delivery.ID != "" { // else it comes from the run
		if err := json.Unmarshal(n.Delivery.Body, &e); err != nil {
			return nil, nil // it was refused because it is none
		}
		if !there {
			if at, there = e.address(n.Delivery); !there {
				return nil, nil
			}
		}
	}
	if !there {
		return nil, nil
	}
	r := report{store: o.store, now: o.opts.Clock.Now, at: at, e: e, n: n}
	switch n.Type {
	case trigger.NewsStarted:
		r.started()
	case trigger.NewsContinued:
		r.continued()
	case trigger.NewsStopped:
		r.stopped()
	case trigger.NewsRefused:
		r.refused()
	case trigger.NewsSignal:
		r.signal()
	case trigger.NewsProgress:
		if n.Task.State == task.StateInProgress { // else the status says what has happened since
			r.status(working, false)
		}
	case trigger.NewsNote:
		r.add("note", note{Deed: deedPost, Text: mrkdwn(n.Note)})
	}
	return r.out, r.err
}

// address is where to answer an event that no plan was made for.
func (e event) address(d task.Delivery) (address, bool) {
	if e.Kind == kindOther || e.Kind == kindRemoved || e.Channel == "" {
		return address{}, false
	}
	uid := strings.TrimPrefix(d.Source, string(integration.Slack)+"/")
	at := address{Integration: uid, Channel: e.Channel, Thread: e.root(), Entity: d.Source + " " + e.Channel + "/" + e.root(), Since: e.TS, Bot: e.Bot}
	if e.Kind == kindCommand {
		at.Thread, at.Entity, at.Since = "", d.Source+" command "+e.ID, stamp(d.ReceivedAt.Add(-clockSkew))
	}
	return at, true
}

// report collects what is to be told of one piece of news.
type report struct {
	store *integration.Store
	now   func() time.Time
	at    address
	e     event
	n     trigger.News
	out   []task.Outgoing
	err   error
}

// add writes a note down. part tells the notes of one piece of news apart.
func (r *report) add(part string, m note) { r.addAs("slack "+r.n.Key+" "+part, m) }

func (r *report) addAs(key string, m note) {
	m.address, m.Run = r.at, r.n.Task.ID
	body, err := json.Marshal(m)
	if err != nil {
		r.err = fmt.Errorf("encode what is to be told: %w", err)
		return
	}
	lane := task.CutReason("slack "+r.at.Entity, task.MaxOutgoingLane)
	r.out = append(r.out, task.Outgoing{Key: key, Lane: lane, Kind: kindNote, Body: body,
		Source: string(integration.Slack) + "/" + r.at.Integration})
}

func (r *report) status(text string, first bool) {
	m := note{Deed: deedStatus, Text: text + r.page() + checklist(r.n.Progress) + r.results(), First: first}
	if t := r.n.Task; !t.State.Ended() {
		m.Buttons = []button{{Label: "Stop", Style: "danger", Value: answer{Run: t.ID, Entity: r.at.Entity, Stop: true}}}
	}
	r.add("status", m)
}

// working is the status of a run whose agent works.
const working = ":gear: *Working on it.*"

// checklist is the task list of a run; empty when it has none.
func checklist(p trigger.Progress) string {
	if p.All == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n%d of %d done:", p.Done, p.All)
	shown := 0
	for _, t := range p.Items {
		mark := "☐"
		if t.Done {
			mark = "☑"
		}
		line := "\n" + mark + " " + escape.Replace(t.Title)
		if b.Len()+len(line) > maxSection {
			break
		}
		b.WriteString(line)
		shown++
	}
	if more := p.All - shown; more > 0 {
		fmt.Fprintf(&b, "\n… and %d more", more)
	}
	return b.String()
}

// page links to the run's.
func (r *report) page() string {
	if address := r.store.Page(r.n.Task.ID); address != "" {
		return " · " + anchor(escape.Replace(address), "View the agent")
	}
	return ""
}

// results lists what the run has made so far, for people.
func (r *report) results() string {
	var b strings.Builder
	seen := map[string]bool{}
	for _, a := range r.n.Task.Artifacts {
		if a.URL == "" || seen[a.URL] || a.Type != task.ArtifactPullRequest && a.Type != task.ArtifactReference || b.Len() > maxSection/2 {
			continue
		}
		seen[a.URL] = true
		what := "Pull request"
		if a.Type == task.ArtifactReference {
			what = "Link"
			if a.ReferenceType == task.ReferenceBranch {
				what = "Branch"
			}
		}
		label := a.Title
		if label == "" {
			label = a.Branch
		}
		if label == "" {
			label = a.URL
		}
		fmt.Fprintf(&b, "\n• %s: %s", what, anchor(escape.Replace(a.URL), escape.Replace(firstLine(label))))
	}
	return b.String()
}

func (r *report) started() {
	if r.e.Kind != kindCommand {
		r.add("seen", note{Deed: deedReact, TS: r.e.TS, Emoji: "eyes"})
		r.status(":hourglass_flowing_sand: *On it.*", true)
		return
	}
	r.status(fmt.Sprintf(":hourglass_flowing_sand: *On it*, for <@%s>: %s", r.e.User, escape.Replace(firstLine(plainNames(r.e.Text)))), true)
}

// plainNames is for titles, in which nobody is looked up.
func plainNames(s string) string { return plain(s, func(user string) string { return user }) }

func (r *report) continued() {
	if r.e.Kind == kindAction {
		r.add("answered", note{Deed: deedClose, TS: r.e.TS, Text: fmt.Sprintf("%s\n:white_check_mark: <@%s> chose *%s*.", r.e.Text, r.e.User, escape.Replace(r.e.Answer.Choice))})
		return
	}
	r.add("seen", note{Deed: deedReact, TS: r.e.TS, Emoji: "eyes"})
}

// stopped says who has stopped a run, once; its status says that it was.
func (r *report) stopped() {
	if t := r.n.Task; t.State == task.StateCancelled {
		r.addAs(fmt.Sprintf("slack stopped %s %d", t.ID, t.LastInput), note{Deed: deedPost, Text: fmt.Sprintf(":octagonal_sign: <@%s> has stopped this.", r.e.User)})
	}
}

// refused says who must do what, so that it works the next time.
func (r *report) refused() {
	code := task.CodeOf(r.n.Err)
	switch {
	case r.e.Kind == kindAction && !r.e.Answer.Stop && code == task.CodeOperationNotSupported:
		r.add("late", note{Deed: deedClose, TS: r.e.TS, Text: r.e.Text + "\n_This question is not open any more._"})
		return
	case code == task.CodeExternalAuthRequired:
		name := r.e.Name
		if name == "" {
			name = r.e.User
		}
		hour := r.n.Delivery.ReceivedAt.UTC().Truncate(time.Hour).Format("2006-01-02T15") // who asks often gets no more of them
		r.addAs("slack link "+r.n.Delivery.Source+" "+r.e.account()+" "+hour, note{Deed: deedLink, User: r.e.User, Account: r.e.account(), Name: name, TS: r.e.TS,
			Text: "Your Slack account is not linked to an account of this team, so that I may do nothing for you yet."})
		if r.e.Kind == kindMention {
			r.add("locked", note{Deed: deedReact, TS: r.e.TS, Emoji: "lock"})
		}
		return
	case r.e.aside():
		return // they talked to each other
	}
	why := "something here is broken; it was written down"
	if code != "" && code != task.CodeInternal {
		why = r.n.Err.Error()
	}
	what := "start"
	if r.e.Kind == kindAction && r.e.Answer.Stop {
		what = "stop"
	}
	text := fmt.Sprintf(":warning: <@%s>, I cannot %s: %s", r.e.User, what, escape.Replace(task.CutReason(why, maxSection/2)))
	if code != "" {
		text += fmt.Sprintf(" (`%s`)", code)
	}
	if r.at.Thread == "" {
		text = fmt.Sprintf("%s\n> %s %s", text, escape.Replace(r.e.Type), escape.Replace(firstLine(plainNames(r.e.Text))))
	}
	r.add("refused", note{Deed: deedPost, Text: text})
}

// signal tells of a change of the run's state.
func (r *report) signal() {
	t := r.n.Task
	took := ""
	if d := t.WorkTime(r.now()).Round(time.Second); d > 0 {
		took = " after " + d.String()
	}
	status := t.Status
	if !stands(r.n.Signal.Type, t.State) { // the run has gone on since
		status = task.Status{}
	}
	switch r.n.Signal.Type {
	case task.SignalInProgress:
		r.status(working, false)
	case task.SignalBlocked:
		r.blocked(status)
	case task.SignalSucceeded:
		r.status(":white_check_mark: *Done*"+took+".", false)
		r.end(":white_check_mark: *Done.*", status)
	case task.SignalFailed:
		r.status(":x: *Failed*"+took+".", false)
		r.end(":x: *This failed.*"+code(status), status)
	case task.SignalErrored:
		r.status(":x: *Stopped by an error of the platform*"+took+".", false)
		r.end(":x: *The platform could not carry this out.*"+code(status), status)
	case task.SignalCancelled:
		r.status(":octagonal_sign: *Cancelled*"+took+".", false)
	}
}

// stands reports whether a run is still as the signal says.
func stands(s task.SignalType, now task.State) bool {
	switch s {
	case task.SignalBlocked:
		return now == task.StateBlocked
	case task.SignalSucceeded:
		return now == task.StateSucceeded
	case task.SignalFailed:
		return now == task.StateFailed
	case task.SignalErrored:
		return now == task.StateError
	}
	return true
}

func code(s task.Status) string {
	if s.ErrorCode == "" {
		return ""
	}
	return " (`" + string(s.ErrorCode) + "`)"
}

// end posts the result: whoever waits is called by a new message, as they would
// not be by a changed one.
func (r *report) end(head string, s task.Status) {
	text := head
	if s.Message != "" {
		text += "\n" + mrkdwn(s.Message)
	}
	r.add("end", note{Deed: deedPost, Text: text + r.results()})
}

// blocked asks what the run asks, with buttons for its choices.
func (r *report) blocked(s task.Status) {
	q := s.Question
	switch {
	case q == nil && s.Message == "":
		r.status(":speech_balloon: *Waiting.* A reply in this thread takes it on.", false)
		return
	case q != nil && q.Kind == task.QuestionRuns:
		r.status(":hourglass_flowing_sand: *Waiting for other runs.*", false)
		return
	}
	r.status(":speech_balloon: *Waiting for an answer.*", false)
	m := note{Deed: deedPost, Text: ":question: *A question:*\n"}
	if q == nil {
		m.Text += mrkdwn(s.Message) + "\n_Reply in this thread to answer._"
		r.add("question", m)
		return
	}
	m.Text += mrkdwn(q.Text)
	for _, choice := range q.Choices {
		b := button{Label: choice, Value: answer{Run: r.n.Task.ID, Question: q.ID, Choice: choice, Entity: r.at.Entity}}
		if q.Kind == task.QuestionApproval {
			b.Style = map[string]string{task.ChoiceApprove: "primary", task.ChoiceReject: "danger"}[choice]
		}
		m.Buttons = append(m.Buttons, b)
	}
	if q.Kind != task.QuestionApproval {
		m.Text += "\n_Reply in this thread to answer in words._"
	}
	r.add("question", m)
}
