package oz

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/secrets"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
)

var _ executor.Outreach = (*link)(nil)

// ReportArtifact implements executor.Outreach.
func (l *link) ReportArtifact(ctx context.Context, r executor.Report) (string, error) {
	e, t, err := l.working(ctx)
	if err != nil {
		return "", err
	}
	a, err := r.Artifact(t.ID)
	if err != nil {
		return "", err
	}
	if slices.ContainsFunc(t.Artifacts, func(known task.Artifact) bool { return known.UID == a.UID }) {
		return a.UID, nil
	}
	if len(t.Artifacts) >= task.MaxArtifacts {
		return "", task.Errorf(task.CodeOperationNotSupported, "the run has %d artifacts, and can have no more", task.MaxArtifacts)
	}
	redactor, err := l.p.redactor(ctx, e)
	if err != nil {
		return "", err
	}
	if names := redactor.Contains([]byte(a.URL + "\n" + a.Branch + "\n" + a.ReferenceType)); len(names) > 0 {
		return "", task.Invalid("data.url", "it, or the branch or type beside it, contains the value of the secret %s; nothing was reported", strings.Join(names, ", "))
	}
	return a.UID, l.tell(ctx, redactor, &task.ArtifactReported{Artifact: a})
}

// working reads the link's execution, which is live, and its run.
func (l *link) working(ctx context.Context) (task.Execution, task.Task, error) {
	e, err := l.execution(ctx)
	if err != nil {
		return e, task.Task{}, err
	}
	t, err := l.p.store.Get(ctx, l.id)
	return e, t, err
}

// tell redacts a payload and writes it into the run's log.
func (l *link) tell(ctx context.Context, r *secrets.Redactor, p task.Payload) error {
	event, err := l.admit(ctx, r, task.Event{Payload: p})
	if err != nil {
		return err
	}
	_, err = l.p.store.Do(ctx, l.id, task.Tell{Execution: l.exec, Payload: event.Payload})
	return err
}

// noteLead begins every note in the log: it tells a program's word from the
// platform's own.
const noteLead = "Note from the run: "

// NotifyUser implements executor.Outreach. The log has the note first. What
// goes out has a key, so that asking again after any of the steps does the rest.
func (l *link) NotifyUser(ctx context.Context, n executor.Note) error {
	if err := n.Validate(); err != nil {
		return err
	}
	e, t, err := l.working(ctx)
	if err != nil {
		return err
	}
	redactor, err := l.p.redactor(ctx, e)
	if err != nil {
		return err
	}
	if n.Key == "" {
		n.Key = uuid.NewString()
	}
	if names := redactor.Contains([]byte(n.Key)); len(names) > 0 {
		return task.Invalid("key", "contains the value of the secret %s", strings.Join(names, ", "))
	}
	defer l.p.spawns.lock(t.ID)()
	since, repeated, err := l.p.begunNote(ctx, t, n.Key)
	if err != nil {
		return err
	}
	text := redactor.String(n.Message)
	logged := false
	if repeated {
		if text, logged, err = l.loggedNote(ctx, since, n.Key, text); err != nil {
			return err
		}
	}
	if !logged {
		if err := l.tell(ctx, redactor, &task.Notice{Text: noteLead + text, Key: n.Key}); err != nil {
			return err
		}
	}
	if l.p.triggers == nil {
		return nil
	}
	return l.p.triggers.Tell(ctx, trigger.News{Type: trigger.NewsNote, Task: t, Owner: t.Owner, Key: fmt.Sprintf("note %s %s", t.ID, n.Key), Note: text})
}

// kindNotes are the records of a run's notes: by their keys, as of which event
// of the log each was begun.
const kindNotes = "oz.notes"

// begunNote writes down that a note is about to be made. repeated says that it
// was before, when the run's log had the event since.
func (p *Platform) begunNote(ctx context.Context, t task.Task, key string) (since int64, repeated bool, err error) {
	for {
		rec, err := p.store.Record(ctx, kindNotes, string(t.ID))
		if errors.Is(err, task.ErrNotFound) {
			rec = task.Record{Kind: kindNotes, Key: string(t.ID), Owner: t.Owner, Data: []byte("{}")}
		} else if err != nil {
			return 0, false, fmt.Errorf("read the notes of a run: %w", err)
		}
		begun := map[string]int64{}
		if err := json.Unmarshal(rec.Data, &begun); err != nil {
			return 0, false, fmt.Errorf("decode the notes of a run: %w", err)
		}
		if since, repeated = begun[key]; repeated {
			return since, true, nil
		}
		if len(begun) >= executor.MaxNotes {
			return 0, false, task.Errorf(task.CodeOperationNotSupported, "the run has made %d notes, and can make no more; say the rest in its result", executor.MaxNotes)
		}
		begun[key] = t.LastSeq
		if rec.Data, err = json.Marshal(begun); err != nil {
			return 0, false, fmt.Errorf("encode the notes of a run: %w", err)
		}
		rec.UpdatedAt = p.opts.Clock.Now()
		if _, err = p.store.PutRecord(ctx, rec); !errors.Is(err, task.ErrConflict) { // else another replica made one meanwhile
			return t.LastSeq, false, err
		}
	}
}

// loggedNote looks in the log for a note. It gives the text as it was made.
func (l *link) loggedNote(ctx context.Context, since int64, key, text string) (was string, found bool, err error) {
	for {
		events, err := l.p.store.Events(ctx, l.id, since, MaxEvents)
		if err != nil || len(events) == 0 {
			return text, false, err
		}
		for _, e := range events {
			if n, ok := e.Payload.(*task.Notice); ok && n.Key == key {
				return strings.TrimPrefix(n.Text, noteLead), true, nil
			}
			since = e.Seq
		}
	}
}
