package rest

import (
	"context"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// SendMessages implements POST /agent/messages.
func (o operations) SendMessages(ctx context.Context, r api.SendMessagesRequestObject) (api.SendMessagesResponseObject, error) {
	ids, err := callOf(ctx).client.SendMail(ctx, wire.Letter(*r.Body))
	if err != nil {
		return nil, err
	}
	answer := api.SendMessages200JSONResponse{MessageIds: []string{}}
	for _, id := range ids {
		answer.MessageIds = append(answer.MessageIds, string(id))
	}
	return answer, nil
}

// ListMessages implements GET /agent/messages/{runId}.
func (o operations) ListMessages(ctx context.Context, r api.ListMessagesRequestObject) (api.ListMessagesResponseObject, error) {
	c := callOf(ctx)
	if err := c.checkLimit(r.Params.Limit); err != nil {
		return nil, err
	}
	list, err := c.client.Mails(ctx, task.MailQuery{To: task.ID(r.RunId), Unread: r.Params.Unread, Since: r.Params.Since, Limit: r.Params.Limit})
	if err != nil {
		return nil, err
	}
	answer := api.ListMessages200JSONResponse{}
	for _, m := range list {
		answer = append(answer, wire.MailHeader(m))
	}
	return answer, nil
}

// checkLimit refuses a page of 0 that was asked for: the platform takes 0 for
// not given.
func (c *call) checkLimit(n int) error {
	if n == 0 && c.request.URL.Query().Get("limit") != "" {
		return task.Invalid("limit", "must be at least 1")
	}
	return nil
}

// ReadMessage implements POST /agent/messages/{messageId}/read.
func (o operations) ReadMessage(ctx context.Context, r api.ReadMessageRequestObject) (api.ReadMessageResponseObject, error) {
	m, err := callOf(ctx).client.ReadMail(ctx, task.MailID(r.MessageId))
	if err != nil {
		return nil, err
	}
	return api.ReadMessage200JSONResponse(wire.Mail(m)), nil
}

// MarkMessageDelivered implements POST /agent/messages/{messageId}/delivered.
func (o operations) MarkMessageDelivered(ctx context.Context, r api.MarkMessageDeliveredRequestObject) (api.MarkMessageDeliveredResponseObject, error) {
	if err := callOf(ctx).client.MailDelivered(ctx, task.MailID(r.MessageId)); err != nil {
		return nil, err
	}
	return api.MarkMessageDelivered204Response{}, nil
}

// ListSignals implements GET /agent/events.
func (o operations) ListSignals(ctx context.Context, r api.ListSignalsRequestObject) (api.ListSignalsResponseObject, error) {
	c := callOf(ctx)
	if err := c.checkLimit(r.Params.Limit); err != nil {
		return nil, err
	}
	q := task.SignalQuery{After: r.Params.Since, Limit: r.Params.Limit}
	for _, id := range r.Params.RunIds {
		q.Tasks = append(q.Tasks, task.ID(id))
	}
	list, err := c.client.Signals(ctx, q)
	if err != nil {
		return nil, err
	}
	answer := api.ListSignals200JSONResponse{}
	for _, s := range list {
		answer = append(answer, wire.Signal(s))
	}
	return answer, nil
}

// ReportSignal implements POST /agent/events/{runId}.
func (o operations) ReportSignal(ctx context.Context, r api.ReportSignalRequestObject) (api.ReportSignalResponseObject, error) {
	seq, err := callOf(ctx).client.ReportSignal(ctx, task.ID(r.RunId), wire.SignalReport(*r.Body))
	if err != nil {
		return nil, err
	}
	return api.ReportSignal200JSONResponse{Sequence: seq}, nil
}
