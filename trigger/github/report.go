package github

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/integration"
	"github.com/oz-platform/cloudagents/trigger/internal/forge"
)

// Kinds of outgoing messages.
const (
	kindStatus  = "github.status"  // the one comment about a run, which changes
	kindComment = "github.comment" // one that stays
	kindLink    = "github.link"    // how to link an account
	kindReact   = "github.reaction"
	kindCheck   = "github.check" // the check run of a commit
)

// Kinds implements trigger.Reporter.
func (o *Origin) Kinds() []string {
	return []string{kindStatus, kindComment, kindLink, kindReact, kindCheck}
}

// letter is the body of an outgoing message.
type letter struct {
	To   address `json:"to"`
	Mark string  `json:"mark"`
	Text string  `json:"text,omitempty"`
	// Event is the number of the run's newest one, for a status.
	Event int64 `json:"event,omitempty"`
	// Since is from when on an earlier try may have arrived.
	Since time.Time `json:"since"`
	// Account and Name are who is to link an account; Private says that no
	// stranger reads it.
	Account string `json:"account,omitempty"`
	Name    string `json:"name,omitempty"`
	Private bool   `json:"private,omitempty"`
	// Check is how a check run is to be.
	Check *checkRun `json:"check,omitempty"`
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
	r, page := report{n: n, to: to}, o.store.Page(n.Task.ID)
	words := forge.Tell(n, page, "Pull request")
	if err := r.check(words, page); err != nil {
		return nil, err
	}
	if to.Number == 0 { // there is no place for words
		return r.out, r.err
	}
	if words.Nod {
		r.add(kindReact, "react", "", letter{To: to})
	}
	if words.Status != "" {
		r.status(words.Status)
	}
	if words.Comment != "" {
		r.comment(words.Comment)
	}
	return r.out, r.err
}

// report collects what is to be told of some news.
type report struct {
	n   trigger.News
	to  address
	out []task.Outgoing
	err error
}

func (r *report) add(kind, what, lane string, l letter) {
	body, err := json.Marshal(l)
	if err != nil {
		r.err = fmt.Errorf("encode what GitHub is told: %w", err)
		return
	}
	r.out = append(r.out, task.Outgoing{Key: "github " + what + " " + r.n.Key, Lane: lane, Kind: kind, Body: body, Source: r.n.Origin.Source})
}

// status changes the one comment about the run.
func (r *report) status(text string) {
	r.add(kindStatus, "status", r.to.lane(), letter{To: r.to, Mark: forge.Mark("run " + string(r.n.Task.ID)), Text: text, Event: r.n.Task.LastSeq,
		Since: r.n.Task.CreatedAt})
}

// comment says something that stays.
func (r *report) comment(text string) {
	r.add(kindComment, "comment", r.to.lane(), letter{To: r.to, Mark: forge.Mark(r.n.Key), Text: text, Since: r.n.Task.CreatedAt})
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
	l := letter{To: to, Mark: forge.Mark(n.Key), Since: n.Delivery.ReceivedAt, Name: e.author().Login}
	r := report{n: n, to: to}
	if task.CodeOf(n.Err) != task.CodeExternalAuthRequired {
		l.Text = fmt.Sprintf("@%s, no run could be started (`%s`).\n\n%s", l.Name, task.CodeOf(n.Err), forge.Harmless(forge.Quoted(n.Err.Error())))
		r.add(kindComment, "refused", to.lane(), l)
		return r.out, r.err
	}
	// Once in a thread is enough: a stranger makes us talk no more than that.
	r.n.Key = fmt.Sprintf("%s %s %s", n.Delivery.Source, to.lane(), e.author().key())
	l.Account, l.Private, l.Mark = e.author().key(), e.Repo.Private, forge.Mark(r.n.Key)
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
		return nil, i.NotConfigured(err)
	}
	id, err := o.send(ctx, i, s, out, l)
	if err != nil {
		return nil, sendError(err)
	}
	return []byte(fmt.Sprint(id)), nil
}

func (o *Origin) send(ctx context.Context, i integration.Integration, s Settings, out task.Outgoing, l letter) (int64, error) {
	c := o.client(i, s)
	if out.Kind == kindCheck && l.Check != nil {
		return c.putCheck(ctx, s, l)
	}
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
		there, err := c.find(ctx, l.To, l.Mark, l.Since.Add(-5*time.Minute), us)
		switch {
		case err != nil:
			return 0, err
		case there.ID > 0 && out.Kind == kindStatus && !forge.Newer(there.Body, l.Mark, l.Event):
			return there.ID, c.edit(ctx, l.To, there.ID, text)
		case there.ID > 0:
			return there.ID, nil
		}
	}
	return c.post(ctx, l.To, text)
}

// textOf is the comment, with its mark.
func (o *Origin) textOf(ctx context.Context, kind string, l letter) (string, error) {
	text := l.Text
	if kind == kindLink {
		link := ""
		if l.Private {
			var err error
			if link, err = o.store.LinkURL(ctx, integration.GitHub, l.Account, l.Name); err != nil {
				return "", err
			}
		}
		text = forge.Unlinked("GitHub", l.Name, link)
	}
	first := l.Mark
	if kind == kindStatus {
		first = forge.Stamp(l.Mark, l.Event)
	}
	return first + "\n" + forge.Cut(text, maxComment), nil
}
