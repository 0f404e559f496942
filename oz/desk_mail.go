package oz

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// kindLetter are records of letters that runs have sent by their desk, by run
// and key: what was begun is looked for before it is sent again.
const kindLetter = "oz.letter"

// maxLetterKey bounds Mailing.Key, in bytes.
const maxLetterKey = 128

// sentLetter is the record of one letter.
type sentLetter struct {
	Begun time.Time `json:"begun"`
	Sent  bool      `json:"sent,omitempty"`
}

// SendMail implements executor.Desk. To a child that has ended the letter is
// its next message, which takes it up again (Oz platform, MAO-5); all others
// get it into their mailbox.
func (l *link) SendMail(ctx context.Context, m executor.Mailing) error {
	own, err := l.self(ctx)
	if err != nil {
		return err
	}
	letter := task.Letter{From: own.ID, To: m.To, Subject: m.Subject, Body: m.Body}
	if err := letter.Validate(); err != nil {
		return err
	}
	if m.Key == "" || len(m.Key) > maxLetterKey {
		return task.Invalid("key", "must have 1 to %d bytes", maxLetterKey)
	}
	defer l.p.spawns.lock(own.ID)()
	record, begun, err := l.letter(ctx, m.Key)
	if err != nil || begun.Sent {
		return err
	}
	repeated := record.Revision > 1
	wake, post, err := l.sort(ctx, own, m.To)
	if err != nil {
		return err
	}
	if err := l.p.cleanLetter(ctx, own, &letter); err != nil {
		return err
	}
	if repeated {
		if wake, post, err = l.unsent(ctx, letter, begun.Begun, wake, post); err != nil {
			return err
		}
	}
	if len(post) > 0 {
		rest := letter
		rest.To = post
		if _, err := l.p.As(access.Caller{Execution: l.exec, TaskID: own.ID}).SendMail(ctx, rest); err != nil {
			return err
		}
	}
	for _, id := range wake {
		if _, err := l.p.store.Do(ctx, id, letter.Wake()); err != nil {
			return fmt.Errorf("wake run %s: %w", id, err)
		}
	}
	begun.Sent = true
	return l.putLetter(ctx, record, begun)
}

// letter finds the record of a letter, or makes one. The revision of a fresh
// one is 1, that of one which was begun before at least 2.
func (l *link) letter(ctx context.Context, key string) (task.Record, sentLetter, error) {
	name := string(l.id) + "/" + key
	rec, err := l.p.store.Record(ctx, kindLetter, name)
	s := sentLetter{Begun: l.p.opts.Clock.Now()}
	switch {
	case errors.Is(err, task.ErrNotFound):
		rec = task.Record{Kind: kindLetter, Key: name}
	case err != nil:
		return rec, s, fmt.Errorf("read letter: %w", err)
	default:
		if err := json.Unmarshal(rec.Data, &s); err != nil {
			return rec, s, fmt.Errorf("decode letter: %w", err)
		}
		if s.Sent {
			return rec, s, nil
		}
	}
	data, err := json.Marshal(s)
	if err != nil {
		return rec, s, fmt.Errorf("encode letter: %w", err)
	}
	rec.Data, rec.UpdatedAt = data, l.p.opts.Clock.Now()
	rec.Revision, err = l.p.store.PutRecord(ctx, rec)
	return rec, s, err
}

func (l *link) putLetter(ctx context.Context, rec task.Record, s sentLetter) error {
	data, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode letter: %w", err)
	}
	rec.Data, rec.UpdatedAt = data, l.p.opts.Clock.Now()
	_, err = l.p.store.PutRecord(ctx, rec)
	return err
}

// sort says who is woken by a letter and who finds it in the mailbox.
func (l *link) sort(ctx context.Context, own task.Task, to []task.ID) (wake, post []task.ID, err error) {
	for _, id := range to {
		t, err := l.kin(ctx, own, id)
		if err != nil {
			return nil, nil, err
		}
		if t.ParentID == own.ID && t.State.Ended() && t.State != task.StateBlocked && t.Cancellable() {
			wake = append(wake, id)
			continue
		}
		post = append(post, id)
	}
	return wake, post, nil
}

// unsent leaves out whom a letter has reached already, before its sender
// learned of it. What it took up again shows by its newest message.
func (l *link) unsent(ctx context.Context, letter task.Letter, since time.Time, wake, post []task.ID) (w, p []task.ID, err error) {
	for _, id := range slices.Concat(wake, post) {
		arrived, err := l.arrived(ctx, letter, id, since)
		if err != nil {
			return nil, nil, err
		}
		if arrived {
			continue
		}
		if slices.Contains(wake, id) {
			w = append(w, id)
		} else {
			p = append(p, id)
		}
	}
	return w, p, nil
}

// arrived looks for the letter in a run's mailbox and among its messages.
func (l *link) arrived(ctx context.Context, letter task.Letter, to task.ID, since time.Time) (bool, error) {
	box, err := l.p.mailbox()
	if err != nil {
		return false, err
	}
	mails, err := box.Mails(ctx, task.MailQuery{To: to, Since: since.Add(-time.Second), Limit: MaxMails})
	if err != nil {
		return false, err
	}
	for _, m := range mails {
		if m.From != letter.From || m.Subject != letter.Subject {
			continue
		}
		whole, err := box.Mail(ctx, m.ID)
		if err != nil {
			return false, err
		}
		if whole.Body == letter.Body {
			return true, nil
		}
	}
	t, err := l.p.store.Get(ctx, to)
	if err != nil || t.LastInput <= firstInput {
		return false, err
	}
	events, err := l.p.store.Events(ctx, to, t.LastInput-1, 1)
	if err != nil || len(events) == 0 {
		return false, err
	}
	in, ok := events[0].Payload.(*task.Input)
	return ok && in.Text == letter.Wake().Input.Text && events[0].Time.After(since.Add(-time.Second)), nil
}
