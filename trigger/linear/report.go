package linear

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/integration"
	"github.com/oz-platform/cloudagents/trigger/internal/tracker"
)

// kindAnswer are the messages that Send understands.
const kindAnswer = "linear"

// Kinds implements trigger.Reporter.
func (*Origin) Kinds() []string { return []string{kindAnswer} }

// message is the body of one.
type message struct {
	Address address        `json:"address"`
	Answer  tracker.Answer `json:"answer"`
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
	if !ok {
		return nil, nil
	}
	if n.Type == trigger.NewsContinued && sameThread(n.Task, to) {
		answer = tracker.Answer{Kind: tracker.Working, Text: "Noted."}
	}
	if n.Type == trigger.NewsStopped && n.Task.State == task.StateCancelled && sameThread(n.Task, to) {
		return nil, nil // that it was cancelled is told there
	}
	body, err := jsonOf(message{Address: to, Answer: answer})
	if err != nil {
		return nil, err
	}
	return []task.Outgoing{{Key: kindAnswer + " " + n.Key, Lane: n.Origin.Source + " " + to.Issue, Kind: kindAnswer, Body: body}}, nil
}

// sameThread reports whether a run answers at an address anyway.
func sameThread(t task.Task, to address) bool {
	var own address
	if t.Origin == nil {
		return false
	}
	ok, err := trigger.AddressOf(*t.Origin, &own)
	return ok && err == nil && own.Session == to.Session && own.Thread == to.Thread
}

// Send implements trigger.Reporter. Each message has an ID of its own at
// Linear, which takes no two of one ID.
func (o *Origin) Send(ctx context.Context, out task.Outgoing) ([]byte, error) {
	var m message
	if err := json.Unmarshal(out.Body, &m); err != nil {
		return nil, &trigger.GiveUp{Err: fmt.Errorf("read the message: %w", err)}
	}
	i, _, err := o.load(ctx, out.Source)
	if errors.Is(err, task.ErrNotFound) {
		return nil, &trigger.GiveUp{Err: errors.New("the integration was deleted")}
	}
	if err != nil {
		return nil, err
	}
	token, err := o.store.Secret(ctx, i, SecretToken)
	if err != nil {
		return nil, err
	}
	c := client{caller: o.caller, url: o.url, token: string(token)}
	id := idOf(out.Key)
	if m.Answer.Kind == tracker.Progress {
		if m.Address.Session == "" {
			id = idOf("progress " + string(out.TaskID))
		}
		if err := o.progress(ctx, c, m, id); err != nil {
			return nil, tracker.ForSend(err)
		}
		return jsonOf(map[string]string{"id": id})
	}
	if err := o.say(ctx, c, i, m, id, out.Attempts > 1); err != nil {
		return nil, tracker.ForSend(err)
	}
	return jsonOf(map[string]string{"id": id})
}

// say puts an answer where it belongs, unless it is there.
func (o *Origin) say(ctx context.Context, c client, i integration.Integration, m message, id string, again bool) error {
	query := queryComment
	if m.Address.Session != "" {
		query = queryActivity
	}
	if again {
		if there, err := c.there(ctx, query, id); err != nil || there {
			return err
		}
	}
	if m.Address.Session == "" {
		return c.act(ctx, createComment, map[string]any{"input": m.comment(i, id)})
	}
	if m.Answer.Page != "" && m.Answer.Kind != tracker.Working {
		urls := []map[string]string{{"label": "Open the run", "url": m.Answer.Page}}
		for n, p := range m.Answer.Pulls {
			urls = append(urls, map[string]string{"label": fmt.Sprintf("Pull request %d", n+1), "url": p})
		}
		if err := c.act(ctx, updateSession, map[string]any{"id": m.Address.Session, "input": map[string]any{"addedExternalUrls": urls}}); err != nil {
			return err
		}
	}
	input, err := o.activity(ctx, m)
	if err != nil {
		return err
	}
	input["id"], input["agentSessionId"] = id, m.Address.Session
	return c.act(ctx, createActivity, map[string]any{"input": input})
}

// progress shows a run's task list: as the plan of its agent session, or in a
// comment of its own, which changes.
func (o *Origin) progress(ctx context.Context, c client, m message, id string) error {
	if m.Address.Session != "" {
		return c.act(ctx, updateSession, map[string]any{"id": m.Address.Session, "input": map[string]any{"plan": plan(m.Answer.Steps)}})
	}
	there, err := c.there(ctx, queryComment, id)
	switch {
	case err != nil:
		return err
	case there:
		return c.act(ctx, updateComment, map[string]any{"id": id, "input": map[string]any{"body": m.Answer.Markdown()}})
	}
	return c.act(ctx, createComment, map[string]any{"input": m.comment(integration.Integration{}, id)})
}

// plan is a task list as Linear shows it: what comes next is under way.
func plan(p trigger.Progress) []map[string]string {
	steps := make([]map[string]string, 0, len(p.Items)+1)
	add := func(content, status string) {
		steps = append(steps, map[string]string{"content": content, "status": status})
	}
	working := false
	for _, t := range p.Items {
		switch {
		case t.Done:
			add(t.Title, "completed")
		case !working:
			working = true
			add(t.Title, "inProgress")
		default:
			add(t.Title, "pending")
		}
	}
	if more := p.All - len(p.Items); more > 0 {
		add(fmt.Sprintf("and %d more", more), "pending")
	}
	return steps
}

// comment is what stands below an issue.
func (m message) comment(i integration.Integration, id string) map[string]any {
	text := m.Answer.Markdown()
	if m.Answer.Kind == tracker.Unlinked {
		text = tracker.Connect(m.Address.Name, "")
		text += fmt.Sprintf(" They can make an address for it with `oz integration link` (integration %s, account %s).", i.UID, m.Address.Account)
	}
	input := map[string]any{"id": id, "issueId": m.Address.Issue, "body": text}
	if m.Address.Thread != "" {
		input["parentId"] = m.Address.Thread
	}
	return input
}

// activity is what stands in an agent session.
func (o *Origin) activity(ctx context.Context, m message) (map[string]any, error) {
	content := func(kind, body string) map[string]any {
		return map[string]any{"content": map[string]any{"type": kind, "body": body}}
	}
	a := m.Answer
	switch a.Kind {
	case tracker.Started, tracker.Working, tracker.Noted:
		return content("thought", a.Text), nil
	case tracker.Asking:
		input := content("elicitation", a.Text)
		if len(a.Choices) > 0 {
			options := make([]map[string]string, 0, len(a.Choices))
			for _, c := range a.Choices {
				options = append(options, map[string]string{"label": c, "value": c})
			}
			input["signal"], input["signalMetadata"] = "select", map[string]any{"options": options}
		}
		return input, nil
	case tracker.Unlinked:
		link, err := o.store.LinkURL(ctx, integration.Linear, m.Address.Account, m.Address.Name)
		if err != nil && task.CodeOf(err) != task.CodeFeatureNotAvailable {
			return nil, err
		}
		if link == "" {
			return content("error", tracker.Connect(m.Address.Name, "")), nil
		}
		// The address stands beside the text, where Linear shows it to nobody else.
		input := content("elicitation", tracker.Connect(m.Address.Name, "with the button below"))
		input["signal"] = "auth"
		input["signalMetadata"] = map[string]any{"url": link, "userId": m.Address.Account, "providerName": "Oz"}
		return input, nil
	case tracker.Failed, tracker.Refused:
		return content("error", a.Markdown()), nil
	}
	return content("response", a.Markdown()), nil
}

// idOf names a message at Linear: a UUID that follows from its key.
func idOf(key string) string {
	sum := sha256.Sum256([]byte("linear answer\x00" + key))
	id := uuid.UUID(sum[:16])
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id.String()
}

func jsonOf(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return data, nil
}
