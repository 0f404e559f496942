package gitlab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/integration"
	"github.com/oz-platform/cloudagents/trigger/internal/forge"
	"github.com/oz-platform/cloudagents/trigger/internal/tracker"
)

// Kinds of outgoing messages.
const (
	kindStatus  = "gitlab.status"  // the one comment about a run, which changes
	kindComment = "gitlab.comment" // one that stays
	kindLink    = "gitlab.link"    // how to link an account
	kindNod     = "gitlab.nod"
	kindCommit  = "gitlab.commit" // the status of a commit
)

// Kinds implements trigger.Reporter.
func (*Origin) Kinds() []string {
	return []string{kindStatus, kindComment, kindLink, kindNod, kindCommit}
}

// letter is the body of an outgoing message.
type letter struct {
	To   address `json:"to"`
	Mark string  `json:"mark,omitempty"`
	Text string  `json:"text,omitempty"`
	// Event is the number of the run's newest one, for a status.
	Event int64 `json:"event,omitempty"`
	// Since is from when on an earlier try may have arrived.
	Since time.Time `json:"since,omitzero"`
	// Account and Name are who is to link an account; Private says that no
	// stranger reads it.
	Account string `json:"account,omitempty"`
	Name    string `json:"name,omitempty"`
	Private bool   `json:"private,omitempty"`
	// Status is the commit's.
	Status *commitStatus `json:"status,omitempty"`
}

// maxComment bounds a comment; GitLab takes a million characters.
const maxComment = 120 << 10 // bytes

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
	w := forge.Tell(n, page, "Merge request")
	since := n.Task.CreatedAt
	if to.IID > 0 {
		if w.Nod {
			r.add(kindNod, "nod", "", letter{})
		}
		if w.Status != "" {
			r.add(kindStatus, "status", to.lane(), letter{Mark: forge.Mark("run " + string(n.Task.ID)), Text: w.Status, Event: n.Task.LastSeq, Since: since})
		}
		if w.Comment != "" {
			r.add(kindComment, "comment", to.lane(), letter{Mark: forge.Mark(n.Key), Text: w.Comment, Since: since})
		}
	}
	if s := stateOf(w.State); s != "" && to.Commit != "" {
		r.add(kindCommit, "commit", fmt.Sprintf("gitlab %s %d %s", to.Integration, to.Project, to.Commit),
			letter{Status: &commitStatus{State: s, Name: to.Status, URL: page, Description: "run " + string(n.Task.ID) + ": " + strings.ToLower(string(w.State))}})
	}
	return r.out, r.err
}

// stateOf is how a commit's status says what a run does; empty for nothing.
func stateOf(s task.State) string {
	switch s {
	case task.StateQueued:
		return "pending"
	case task.StateInProgress, task.StateBlocked:
		return "running"
	case task.StateSucceeded:
		return "success"
	case task.StateFailed, task.StateError:
		return "failed"
	case task.StateCancelled:
		return "canceled"
	}
	return ""
}

// report collects what is to be told of some news.
type report struct {
	n   trigger.News
	to  address
	out []task.Outgoing
	err error
}

func (r *report) add(kind, what, lane string, l letter) {
	l.To = r.to
	body, err := json.Marshal(l)
	if err != nil {
		r.err = fmt.Errorf("encode what GitLab is told: %w", err)
		return
	}
	r.out = append(r.out, task.Outgoing{Key: "gitlab " + what + " " + r.n.Key, Lane: lane, Kind: kind, Body: body, Source: r.n.Origin.Source})
}

// reportRefused answers who is to do what before a run can be made.
func (o *Origin) reportRefused(ctx context.Context, n trigger.News) ([]task.Outgoing, error) {
	x, reason, err := o.occasion(ctx, n.Delivery)
	if err != nil || reason != "" { // then nobody can be told, either
		return nil, nil
	}
	e := x.event
	if e.thing() == nil || !x.matches().spoken && len(n.Origin.Address) == 0 {
		return nil, nil // nobody asked
	}
	r := report{n: n, to: x.address()}
	l := letter{Mark: forge.Mark(n.Key), Since: n.Delivery.ReceivedAt, Name: e.User.Username}
	if task.CodeOf(n.Err) != task.CodeExternalAuthRequired {
		l.Text = fmt.Sprintf("@%s, no run could be started (`%s`).\n\n%s", l.Name, task.CodeOf(n.Err), forge.Harmless(forge.Quoted(n.Err.Error())))
		r.add(kindComment, "refused", r.to.lane(), l)
		return r.out, r.err
	}
	// Once in a thread is enough: a stranger makes us talk no more than that.
	l.Account, l.Private = AccountKey(x.settings.URL, e.User.ID), e.private()
	r.n.Key = fmt.Sprintf("%s %d %t %d %s %s", n.Delivery.Source, r.to.Project, r.to.Merge, r.to.IID, r.to.Discussion, strconv.FormatInt(e.User.ID, 10))
	l.Mark = forge.Mark(r.n.Key)
	r.add(kindLink, "link", r.to.lane(), l)
	return r.out, r.err
}

// Send implements trigger.Reporter.
func (o *Origin) Send(ctx context.Context, out task.Outgoing) ([]byte, error) {
	var l letter
	if err := json.Unmarshal(out.Body, &l); err != nil {
		return nil, &trigger.GiveUp{Err: fmt.Errorf("read what GitLab is to be told: %w", err)}
	}
	i, err := o.store.Load(ctx, integration.GitLab, l.To.Integration)
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
	c, err := o.client(ctx, i, s)
	if err != nil {
		return nil, err
	}
	id, err := o.send(ctx, c, out, l)
	if err != nil {
		return nil, sendError(out.Kind, err)
	}
	return []byte(fmt.Sprint(id)), nil
}

// sendError says how a failed try is taken. A nod that may not be given is not
// worth more tries.
func sendError(kind string, err error) error {
	var no *tracker.StatusError
	if kind == kindNod && errors.As(err, &no) && no.Status == http.StatusForbidden {
		return &trigger.GiveUp{Err: err}
	}
	return tracker.ForSend(fmt.Errorf("tell GitLab: %w", err))
}

func (o *Origin) send(ctx context.Context, c *client, out task.Outgoing, l letter) (int64, error) {
	switch {
	case out.Kind == kindNod:
		return 0, c.nod(ctx, l.To)
	case out.Kind == kindCommit && l.Status != nil:
		return 0, c.status(ctx, l.To, *l.Status)
	}
	text, err := o.textOf(ctx, out.Kind, l)
	if err != nil {
		return 0, err
	}
	if out.Kind == kindStatus || out.Attempts > 1 {
		// GitLab's clock may be behind ours.
		there, err := c.find(ctx, l.To, l.Mark, l.Since.Add(-5*time.Minute))
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
			if link, err = o.store.LinkURL(ctx, integration.GitLab, l.Account, l.Name); err != nil {
				return "", err
			}
		}
		text = forge.Unlinked("GitLab", l.Name, link)
	}
	first := l.Mark
	if kind == kindStatus {
		first = forge.Stamp(l.Mark, l.Event)
	}
	return first + "\n" + forge.Cut(text, maxComment), nil
}
