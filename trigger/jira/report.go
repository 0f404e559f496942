package jira

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/integration"
	"github.com/oz-platform/cloudagents/trigger/internal/tracker"
)

// The messages that Send understands.
const (
	kindComment = "jira.comment"
	kindMail    = "jira.mail"
)

// Kinds implements trigger.Reporter.
func (*Origin) Kinds() []string { return []string{kindComment, kindMail} }

// message is the body of one.
type message struct {
	Address address        `json:"address"`
	Answer  tracker.Answer `json:"answer,omitzero"`
}

// Report implements trigger.Reporter.
func (o *Origin) Report(_ context.Context, n trigger.News) ([]task.Outgoing, error) {
	var to address
	ok, err := trigger.AddressOf(n.Origin, &to)
	if err != nil {
		return nil, err
	}
	if !ok && n.Type == trigger.NewsRefused { // no run was planned, so that nobody has said where to answer
		e, reason, err := parse(n.Delivery.Body)
		if err != nil || reason != "" {
			return nil, err
		}
		to, ok = e.address(), true
	}
	if !ok || to.Issue == "" {
		return nil, nil
	}
	page := ""
	if n.Task.ID != "" {
		page = o.store.Page(n.Task.ID)
	}
	answer, ok := tracker.Tell(n, page)
	switch {
	case !ok:
		return nil, nil
	case n.Type == trigger.NewsContinued:
		answer.Text = "Noted. The run about this issue goes on with it."
	}
	body, err := json.Marshal(message{Address: to, Answer: answer})
	if err != nil {
		return nil, fmt.Errorf("encode message: %w", err)
	}
	out := []task.Outgoing{{Key: "jira " + n.Key, Lane: n.Origin.Source + " " + to.Issue, Kind: kindComment, Body: body}}
	if answer.Kind == tracker.Unlinked {
		out = append(out, task.Outgoing{Key: "jira mail " + n.Key, Lane: n.Origin.Source + " " + to.Issue, Kind: kindMail, Body: body})
	}
	return out, nil
}

// Send implements trigger.Reporter. Each comment carries its message's key as a
// property, by which it is found again. An e-mail cannot be looked for: when the
// connection breaks just then, somebody may get two.
func (o *Origin) Send(ctx context.Context, out task.Outgoing) ([]byte, error) {
	var m message
	if err := json.Unmarshal(out.Body, &m); err != nil {
		return nil, &trigger.GiveUp{Err: fmt.Errorf("read the message: %w", err)}
	}
	i, settings, err := o.load(ctx, out.Source)
	if errors.Is(err, task.ErrNotFound) {
		return nil, &trigger.GiveUp{Err: errors.New("the integration was deleted")}
	}
	if err != nil {
		return nil, err
	}
	c, _, err := o.client(ctx, i, settings)
	if err != nil {
		return nil, err
	}
	id := ""
	if out.Kind == kindMail {
		err = o.mail(ctx, c, m.Address)
	} else {
		id, err = o.say(ctx, c, out, m)
	}
	if err != nil {
		return nil, tracker.ForSend(fmt.Errorf("tell it in Jira: %w", err))
	}
	result, err := json.Marshal(map[string]string{"id": id})
	if err != nil {
		return nil, fmt.Errorf("encode result: %w", err)
	}
	return result, nil
}

// say writes a comment, unless it is there. That a run could not even begin
// takes the place of what was said when it was made (Oz platform, JIR-3).
func (o *Origin) say(ctx context.Context, c client, out task.Outgoing, m message) (string, error) {
	sum := sha256.Sum256([]byte(out.Key))
	own := mark{Key: hex.EncodeToString(sum[:]), Run: out.TaskID, Kind: m.Answer.Kind}
	if out.Attempts > 1 {
		id, err := c.find(ctx, m.Address.Issue, func(k mark) bool { return k.Key == own.Key })
		if err != nil || id != "" {
			return id, err
		}
	}
	if m.Answer.Kind == tracker.Unlinked {
		text, err := o.connect(ctx, m.Address)
		if err != nil {
			return "", err
		}
		m.Answer.Text = text
	}
	body := document(m.Answer)
	if m.Answer.Kind == tracker.Progress { // it changes what says that the agent has begun
		own.Kind = tracker.Working
		id, err := c.find(ctx, m.Address.Issue, func(k mark) bool { return k.Run == out.TaskID && k.Kind == tracker.Working })
		if err != nil {
			return "", err
		}
		if id != "" {
			return id, c.edit(ctx, m.Address.Issue, id, body)
		}
	}
	if m.Answer.Kind == tracker.Failed && m.Answer.NeverBegan {
		id, err := c.find(ctx, m.Address.Issue, func(k mark) bool { return k.Run == out.TaskID && k.Kind != tracker.Failed && k.Run != "" })
		if err != nil {
			return "", err
		}
		if id != "" {
			return id, c.edit(ctx, m.Address.Issue, id, body)
		}
	}
	return c.add(ctx, m.Address.Issue, body, own)
}

// connect is what everybody may read of how somebody links their account.
func (o *Origin) connect(ctx context.Context, to address) (string, error) {
	link, err := o.link(ctx, to)
	if err != nil || link == "" {
		return tracker.Connect(to.Name, ""), err
	}
	return tracker.Connect(to.Name, "with the address that Jira has sent you by e-mail"), nil
}

// link is empty when this server has none to give.
func (o *Origin) link(ctx context.Context, to address) (string, error) {
	link, err := o.store.LinkURL(ctx, integration.Jira, to.Account, to.Name)
	if task.CodeOf(err) == task.CodeFeatureNotAvailable {
		return "", nil
	}
	return link, err
}

func (o *Origin) mail(ctx context.Context, c client, to address) error {
	link, err := o.link(ctx, to)
	if err != nil || link == "" {
		return err
	}
	text := "You asked an agent for work in Jira. So that it knows who you are, open this address and sign in; it is good for a day and for you alone:\n\n" +
		link + "\n\nThen add the label again."
	return c.mail(ctx, to.Issue, to.Account, "Link your account", text)
}
