package wire

import (
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
)

// Letter reads what a run sends.
func Letter(r api.SendMessagesRequest) task.Letter {
	l := task.Letter{From: task.ID(r.SenderRunId), Subject: r.Subject, Body: r.Body}
	for _, to := range r.To {
		l.To = append(l.To, task.ID(to))
	}
	return l
}

// LetterRequest asks to send a letter.
func LetterRequest(l task.Letter) api.SendMessagesRequest {
	r := api.SendMessagesRequest{SenderRunId: string(l.From), Subject: l.Subject, Body: l.Body, To: []string{}}
	for _, to := range l.To {
		r.To = append(r.To, string(to))
	}
	return r
}

// MailHeader shows a message without its body (Oz API, MessageHeader).
func MailHeader(m task.Mail) api.MessageHeader {
	return api.MessageHeader{MessageId: string(m.ID), SenderRunId: string(m.From), Subject: m.Subject, SentAt: m.SentAt.UTC(),
		DeliveredAt: optionalTime(m.DeliveredAt), ReadAt: optionalTime(m.ReadAt)}
}

// MailHeaderOf reads a message to a run.
func MailHeaderOf(to task.ID, h api.MessageHeader) task.Mail {
	return task.Mail{ID: task.MailID(h.MessageId), From: task.ID(h.SenderRunId), To: to, Subject: h.Subject, SentAt: h.SentAt,
		DeliveredAt: timeOf(h.DeliveredAt), ReadAt: timeOf(h.ReadAt)}
}

// Mail shows a message (Oz API, Message).
func Mail(m task.Mail) api.AgentMessage {
	return api.AgentMessage{MessageId: string(m.ID), SenderRunId: string(m.From), Subject: m.Subject, SentAt: m.SentAt.UTC(),
		DeliveredAt: optionalTime(m.DeliveredAt), ReadAt: optionalTime(m.ReadAt), Body: m.Body}
}

// MailOf reads a message. The wire does not say whose copy it is.
func MailOf(m api.AgentMessage) task.Mail {
	return task.Mail{ID: task.MailID(m.MessageId), From: task.ID(m.SenderRunId), Subject: m.Subject, SentAt: m.SentAt,
		DeliveredAt: timeOf(m.DeliveredAt), ReadAt: timeOf(m.ReadAt), Body: m.Body}
}

// Signal shows what happened to a run (Oz API, Event).
func Signal(s task.Signal) api.AgentEvent {
	return api.AgentEvent{EventType: string(s.Type), RunId: string(s.TaskID), Sequence: s.Seq, OccurredAt: s.Time.UTC(),
		ExecutionId: optionalText(string(s.Execution)), RefId: optionalText(s.Ref)}
}

// SignalOf reads what happened to a run.
func SignalOf(e api.AgentEvent) task.Signal {
	s := task.Signal{Type: task.SignalType(e.EventType), TaskID: task.ID(e.RunId), Seq: e.Sequence, Time: e.OccurredAt}
	if e.ExecutionId != nil {
		s.Execution = task.ExecutionID(*e.ExecutionId)
	}
	if e.RefId != nil {
		s.Ref = *e.RefId
	}
	return s
}

func optionalText(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// SignalReport reads what an execution reports.
func SignalReport(r api.ReportEventRequest) oz.SignalReport {
	return oz.SignalReport{Type: task.SignalType(r.EventType), Execution: task.ExecutionID(r.ExecutionId), Ref: r.RefId}
}
