package client

import (
	"context"
	"net/url"
	"strconv"
	"time"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// SendMail sends a letter as the run Letter.From, and gives the ID of each
// recipient's copy. It is not repeated after a broken connection: the letter
// might arrive twice.
func (c *Client) SendMail(ctx context.Context, l task.Letter) ([]task.MailID, error) {
	answer, err := decode[api.SendMessagesResponse](c.raw.SendMessages(ctx, wire.LetterRequest(l)))
	if err != nil {
		return nil, err
	}
	ids := make([]task.MailID, 0, len(answer.MessageIds))
	for _, id := range answer.MessageIds {
		ids = append(ids, task.MailID(id))
	}
	return ids, nil
}

// Mails lists the messages to a run, without bodies, oldest first. A limit of
// 0 asks for 50; 100 is the most.
func (c *Client) Mails(ctx context.Context, q task.MailQuery) ([]task.Mail, error) {
	if err := checkID("run id", string(q.To)); err != nil {
		return nil, err
	}
	v := limitQuery(q.Limit)
	if q.Unread {
		v.Set("unread", "true")
	}
	if !q.Since.IsZero() {
		v.Set("since", q.Since.UTC().Format(time.RFC3339Nano))
	}
	answer, err := decode[[]api.MessageHeader](c.raw.ListMessages(ctx, string(q.To), nil, query(v)))
	if err != nil {
		return nil, err
	}
	list := make([]task.Mail, 0, len(answer))
	for _, h := range answer {
		list = append(list, wire.MailHeaderOf(q.To, h))
	}
	return list, nil
}

func limitQuery(n int) url.Values {
	v := url.Values{}
	if n != 0 {
		v.Set("limit", strconv.Itoa(n))
	}
	return v
}

// ReadMail returns a message with its body, and marks it as read. Mail.To is
// empty: the wire does not tell it.
func (c *Client) ReadMail(ctx context.Context, id task.MailID) (task.Mail, error) {
	if err := checkID("message id", string(id)); err != nil {
		return task.Mail{}, err
	}
	m, err := decode[api.AgentMessage](c.raw.ReadMessage(ctx, string(id)))
	return wire.MailOf(m), err
}

// MailDelivered marks a message as delivered. Doing so again changes nothing.
func (c *Client) MailDelivered(ctx context.Context, id task.MailID) error {
	if err := checkID("message id", string(id)); err != nil {
		return err
	}
	return done(c.raw.MarkMessageDelivered(ctx, string(id)))
}

// Signals returns what happened to runs, in the order of one sequence for the
// whole server: whoever asks again with After the highest number seen misses
// none. A limit of 0 asks for 100; 500 is the most.
func (c *Client) Signals(ctx context.Context, q task.SignalQuery) ([]task.Signal, error) {
	v := limitQuery(q.Limit)
	for _, id := range q.Tasks {
		v.Add("run_ids", string(id))
	}
	if q.After != 0 {
		v.Set("since", strconv.FormatInt(q.After, 10))
	}
	answer, err := decode[[]api.AgentEvent](c.raw.ListSignals(ctx, nil, query(v)))
	if err != nil {
		return nil, err
	}
	list := make([]task.Signal, 0, len(answer))
	for _, e := range answer {
		list = append(list, wire.SignalOf(e))
	}
	return list, nil
}

// ReportSignal moves a run to the state that the report tells of, and gives
// the number of the signal. A repeat is answered with the first number.
func (c *Client) ReportSignal(ctx context.Context, id task.ID, r oz.SignalReport) (seq int64, err error) {
	if err := checkID("run id", string(id)); err != nil {
		return 0, err
	}
	answer, err := decode[api.ReportEventResponse](c.raw.ReportSignal(ctx, string(id),
		api.ReportEventRequest{EventType: string(r.Type), ExecutionId: string(r.Execution), RefId: r.Ref}))
	return answer.Sequence, err
}
