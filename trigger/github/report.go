package github

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/integration"
)

// Kinds of outgoing messages.
const (
	kindStatus  = "github.status"  // the one comment about a run, which changes
	kindComment = "github.comment" // one that stays
	kindLink    = "github.link"    // how to link an account
	kindReact   = "github.reaction"
)

// Kinds implements trigger.Reporter.
func (o *Origin) Kinds() []string { return []string{kindStatus, kindComment, kindLink, kindReact} }

// letter is the body of an outgoing message.
type letter struct {
	To   address `json:"to"`
	Mark string  `json:"mark"`
	Text string  `json:"text,omitempty"`
	// Since is from when on an earlier try may have arrived.
	Since time.Time `json:"since"`
	// Account and Name are who is to link an account; Private says that no
	// stranger reads it.
	Account string `json:"account,omitempty"`
	Name    string `json:"name,omitempty"`
	Private bool   `json:"private,omitempty"`
}

// markStart begins every comment of ours. People do not see it.
const markStart = "<!-- oz:"

// mark is how a comment is found again.
func mark(key string) string {
	sum := sha256.Sum256([]byte(key))
	return markStart + hex.EncodeToString(sum[:16]) + " -->"
}

// maxComment bounds a comment; GitHub takes 65,536 characters.
const maxComment = 60 << 10 // bytes

// Report implements trigger.Reporter.
func (o *Origin) Report(ctx context.Context, n trigger.News) ([]task.Outgoing, error) {
	if n.Type == trigger.NewsRefused {
		return o.reportRefused(ctx, n)
	}
	var to address
	if ok, err := trigger.AddressOf(n.Origin, &to); !ok || err != nil {
		return nil, err
	}
	r := report{n: n, to: to, page: o.store.Page(n.Task.ID)}
	switch n.Type {
	case trigger.NewsStarted:
		r.react()
		r.status("**Started.** The agent begins as soon as there is room for it.")
	case trigger.NewsContinued:
		r.react()
		r.status("**Working on it.** The agent was told what was written last.")
	case trigger.NewsSignal:
		r.signal()
	}
	return r.out, r.err
}

// report collects what is to be told of some news.
type report struct {
	n    trigger.News
	to   address
	page string
	out  []task.Outgoing
	err  error
}

func (r *report) add(kind, what, lane string, l letter) {
	body, err := json.Marshal(l)
	if err != nil {
		r.err = fmt.Errorf("encode what GitHub is told: %w", err)
		return
	}
	r.out = append(r.out, task.Outgoing{Key: "github " + what + " " + r.n.Key, Lane: lane, Kind: kind, Body: body, Source: r.n.Origin.Source})
}

func (r *report) react() { r.add(kindReact, "react", "", letter{To: r.to}) }

// status changes the one comment about the run.
func (r *report) status(text string) {
	if r.page != "" {
		text += fmt.Sprintf(" [Follow the run](%s).", r.page)
	}
	r.add(kindStatus, "status", r.to.lane(), letter{To: r.to, Mark: mark("run " + string(r.n.Task.ID)), Text: text, Since: r.n.Task.CreatedAt})
}

// comment says something that stays.
func (r *report) comment(text string) {
	r.add(kindComment, "comment", r.to.lane(), letter{To: r.to, Mark: mark(r.n.Key), Text: text, Since: r.n.Task.CreatedAt})
}

// signal tells how a run goes on.
func (r *report) signal() {
	t := r.n.Task
	state, ok := r.n.Signal.Type.State()
	if !ok {
		return
	}
	var st task.Status
	if t.State == state { // else the run is elsewhere by now, and what it says is of that
		st = t.Status
	}
	switch state {
	case task.StateInProgress:
		r.status("**Working on it.**")
	case task.StateSucceeded:
		r.status("**Done.**")
		r.comment(joined(orElse(st.Message, "The run succeeded."), results(t), r.link()))
	case task.StateBlocked:
		r.status("**Waiting for an answer.**")
		r.comment(joined("The agent needs an answer before it goes on. Write it here, and mention me.", question(st), results(t), r.link()))
	case task.StateFailed, task.StateError:
		code := ""
		if st.ErrorCode != "" {
			code = fmt.Sprintf(" (`%s`)", st.ErrorCode)
		}
		r.status("**Failed**" + code + ".")
		advice := ""
		if st.Retryable {
			advice = "The same may work later: mention me again."
		}
		r.comment(joined("The run failed"+code+".", quoted(st.Message), advice, results(t), r.link()))
	case task.StateCancelled:
		r.status("**Cancelled.**")
	}
}

func (r *report) link() string {
	if r.page == "" {
		return ""
	}
	return fmt.Sprintf("[The run](%s)", r.page)
}

// results lists the pull requests and branches that a run has made.
func results(t task.Task) string {
	var b strings.Builder
	for _, a := range t.Artifacts {
		switch {
		case a.Type == task.ArtifactPullRequest:
			fmt.Fprintf(&b, "- Pull request: %s\n", a.URL)
		case a.Type == task.ArtifactReference && a.ReferenceType == "git_branch":
			fmt.Fprintf(&b, "- Branch: %s\n", orElse(a.URL, a.Branch))
		}
	}
	return b.String()
}

func question(st task.Status) string {
	if st.Question == nil {
		return quoted(st.Message)
	}
	text := quoted(st.Question.Text)
	for _, c := range st.Question.Choices {
		text += "\n- " + harmless(c)
	}
	return text
}

func quoted(text string) string {
	if text == "" {
		return ""
	}
	return "> " + strings.ReplaceAll(text, "\n", "\n> ")
}

func orElse(text, other string) string {
	if strings.TrimSpace(text) == "" {
		return other
	}
	return text
}

// joined makes paragraphs of what there is.
func joined(parts ...string) string {
	var kept []string
	for _, p := range parts {
		if p = strings.TrimSpace(p); p != "" {
			kept = append(kept, p)
		}
	}
	return strings.Join(kept, "\n\n")
}

// harmless keeps what an agent says from calling people: it may have read their
// names anywhere. It also takes its comments away, among which ours would hide.
func harmless(text string) string {
	text = strings.ReplaceAll(text, "<!--", "&lt;!--")
	return strings.ReplaceAll(text, "@", "@\u2060")
}

// reportRefused answers who is to do what before a run can be made.
func (o *Origin) reportRefused(ctx context.Context, n trigger.News) ([]task.Outgoing, error) {
	x, reason, err := o.occasion(ctx, n.Delivery)
	if err != nil || reason != "" { // then nobody can be told, either
		return nil, nil
	}
	e := x.event
	if e.number() == 0 || !x.matches().spoken && len(n.Origin.Address) == 0 {
		return nil, nil // nobody asked
	}
	to := x.address()
	l := letter{To: to, Mark: mark(n.Key), Since: n.Delivery.ReceivedAt, Name: e.author().Login}
	r := report{n: n, to: to}
	if task.CodeOf(n.Err) != task.CodeExternalAuthRequired {
		l.Text = fmt.Sprintf("@%s, no run could be started (`%s`).\n\n%s", l.Name, task.CodeOf(n.Err), harmless(quoted(n.Err.Error())))
		r.add(kindComment, "refused", to.lane(), l)
		return r.out, r.err
	}
	// Once in a thread is enough: a stranger makes us talk no more than that.
	r.n.Key = fmt.Sprintf("%s %s %s", n.Delivery.Source, to.lane(), e.author().key())
	l.Account, l.Private, l.Mark = e.author().key(), e.Repo.Private, mark(r.n.Key)
	r.add(kindLink, "link", to.lane(), l)
	return r.out, r.err
}

// Send implements trigger.Reporter.
func (o *Origin) Send(ctx context.Context, out task.Outgoing) ([]byte, error) {
	var l letter
	if err := json.Unmarshal(out.Body, &l); err != nil {
		return nil, &trigger.GiveUp{Err: fmt.Errorf("read what GitHub is to be told: %w", err)}
	}
	i, err := o.store.Load(ctx, integration.GitHub, l.To.Integration)
	if errors.Is(err, task.ErrNotFound) || err == nil && !i.Enabled {
		return nil, &trigger.GiveUp{Err: errors.New("the integration was deleted or turned off")}
	}
	if err != nil {
		return nil, err
	}
	s, err := Parse(i.Settings)
	if err != nil {
		return nil, notConfigured(i, err)
	}
	id, err := o.send(ctx, i, s, out, l)
	if err != nil {
		return nil, sendError(err)
	}
	return []byte(fmt.Sprint(id)), nil
}

func (o *Origin) send(ctx context.Context, i integration.Integration, s Settings, out task.Outgoing, l letter) (int64, error) {
	c := o.client(i, s)
	if out.Kind == kindReact {
		err := c.react(ctx, l.To)
		if status(err) == http.StatusForbidden && gone(err) {
			err = &trigger.GiveUp{Err: err} // a nod is not worth more tries
		}
		return 0, err
	}
	text, err := o.textOf(ctx, out.Kind, l)
	if err != nil {
		return 0, err
	}
	if out.Kind == kindStatus || out.Attempts > 1 {
		us, err := o.us(ctx, i, s)
		if err != nil {
			return 0, err
		}
		// GitHub's clock may be behind ours.
		id, err := c.find(ctx, l.To, l.Mark, l.Since.Add(-5*time.Minute), us)
		switch {
		case err != nil:
			return 0, err
		case id > 0 && out.Kind == kindStatus:
			return id, c.edit(ctx, l.To, id, text)
		case id > 0:
			return id, nil
		}
	}
	return c.post(ctx, l.To, text)
}

// textOf is the comment, with its mark.
func (o *Origin) textOf(ctx context.Context, kind string, l letter) (string, error) {
	text := l.Text
	if kind == kindLink {
		text = fmt.Sprintf("@%s, your GitHub account is not linked to a member of the team that I work for, so I may start nothing for you.", l.Name)
		link := ""
		if l.Private {
			var err error
			if link, err = o.store.LinkURL(ctx, integration.GitHub, l.Account, l.Name); err != nil {
				return "", err
			}
		}
		if link != "" {
			text += fmt.Sprintf(" [Link it here](%s) within a day, and ask again. The link is for @%s alone: nobody else should open it.", link, l.Name)
		} else {
			text += " Ask an administrator of the team for a link, and then ask again."
		}
	}
	return l.Mark + "\n" + cut(text, maxComment), nil
}
