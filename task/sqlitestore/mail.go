package sqlitestore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

var _ task.Mailbox = (*Store)(nil)

// The statements of reads.
const (
	mailColumns = `SELECT m.id, l.sender, r.id, l.subject, m.sent_at, m.delivered_at, m.read_at`
	selectMail  = mailColumns + `, l.body FROM mail m JOIN letters l ON l.k = m.letter JOIN runs r ON r.n = m.n WHERE m.id = ?`
	selectMails = mailColumns + `, '' FROM runs r CROSS JOIN mail m INDEXED BY mail_recipient ON m.n = r.n CROSS JOIN letters l ON l.k = m.letter
		WHERE r.id = ? AND m.sent_at > ? ORDER BY m.sent_at, m.k LIMIT +?`
	selectUnread = mailColumns + `, '' FROM runs r CROSS JOIN mail m INDEXED BY mail_unread ON m.n = r.n CROSS JOIN letters l ON l.k = m.letter
		WHERE r.id = ? AND m.read_at IS NULL AND m.sent_at > ? ORDER BY m.sent_at, m.k LIMIT +?`
	signalColumns = `SELECT s.seq, s.type, r.id, s.execution, s.ref, s.time FROM runs r CROSS JOIN signals s INDEXED BY signals_run ON s.n = r.n`
	selectSignals = signalColumns + ` AND s.seq > ? WHERE r.id IN (SELECT value FROM json_each(?)) ORDER BY s.seq LIMIT +?`
	selectSignal  = signalColumns + ` AND s.execution = ? AND s.type = ? WHERE r.id = ? ORDER BY s.seq LIMIT 1`
	// The newest is left out: it keeps the sequence.
	selectOldest = `SELECT time FROM signals WHERE seq < (SELECT max(seq) FROM signals) ORDER BY seq LIMIT 1`
	deleteOldest = `DELETE FROM signals WHERE seq IN (SELECT seq FROM
		(SELECT seq, time FROM signals WHERE seq < (SELECT max(seq) FROM signals) ORDER BY seq LIMIT +?2) WHERE time < ?1)`
)

// The statements of the writer.
const (
	countUnread  = `SELECT count(*) FROM (SELECT 1 FROM mail INDEXED BY mail_unread WHERE n = ? AND read_at IS NULL LIMIT +?)`
	insertLetter = `INSERT INTO letters (sender, subject, body) VALUES (?, ?, ?)`
	insertMail   = `INSERT INTO mail (id, n, letter, sent_at, delivered_at) VALUES (?, ?, ?, ?, ?)`
	insertSignal = `INSERT INTO signals (n, type, execution, ref, time) VALUES (?, ?, ?, ?, ?)`
	markRead     = `UPDATE mail SET read_at = ? WHERE id = ? AND read_at IS NULL`
	markDeliver  = `UPDATE mail SET delivered_at = ? WHERE id = ? AND delivered_at IS NULL`
	deleteMail   = `DELETE FROM mail WHERE n = ?`
	// Letters whose last copy is about to go.
	deleteLetters = `DELETE FROM letters WHERE k IN (SELECT letter FROM mail WHERE n = ?1) AND NOT EXISTS (SELECT 1 FROM mail WHERE letter = letters.k AND n <> ?1)`
)

// recipient is a run that is about to get a letter.
type recipient struct {
	n    int64
	wake bool
}

// SendMail implements task.Mailbox.
func (s *Store) SendMail(ctx context.Context, l task.Letter) (ids []task.MailID, err error) {
	if err := l.Validate(); err != nil {
		return nil, err
	}
	err = s.w.do(ctx, "send the message of run "+string(l.From), len(l.Subject)+len(l.Body), func(w *writer) (err error) {
		ids, err = w.sendMail(l)
		return err
	})
	if err != nil {
		return nil, err
	}
	return ids, nil
}

func (w *writer) sendMail(l task.Letter) ([]task.MailID, error) {
	to, err := w.admitMail(l)
	if err != nil {
		return nil, err
	}
	now := w.clock.Now()
	letter, err := w.exec(insertLetter, string(l.From), l.Subject, l.Body)
	if err != nil {
		return nil, err
	}
	ids := make([]task.MailID, len(to))
	for i, r := range to {
		ids[i] = task.NewMailID()
		var delivered any
		if r.wake {
			delivered = nanos(now)
		}
		if _, err := w.exec(insertMail, string(ids[i]), r.n, letter, nanos(now), delivered); err != nil {
			return nil, err
		}
		if err := w.writeSignals(r.n, []task.Signal{{Type: task.SignalNewMessage, Ref: string(ids[i]), Time: now}}); err != nil {
			return nil, err
		}
		if !r.wake {
			continue
		}
		if _, err := w.command(l.To[i], l.Wake(), nil); err != nil {
			return nil, errors.Join(err, w.spoil(err)) // after the first write a refusal must undo it all
		}
	}
	return ids, nil
}

// admitMail judges all recipients before the first write.
func (w *writer) admitMail(l task.Letter) ([]recipient, error) {
	to := make([]recipient, len(l.To))
	for i, id := range l.To {
		e, err := w.head(id)
		if err != nil {
			return nil, err
		}
		vals, err := w.row(countUnread, e.n, int64(task.MaxUnread))
		if err != nil {
			return nil, err
		}
		if to[i].wake, err = l.Admit(id, e.head, int(vals[0].(int64))); err != nil {
			return nil, err
		}
		to[i].n = e.n
	}
	return to, nil
}

// spoil makes the transaction fail.
func (w *writer) spoil(err error) error {
	if w.broken == nil {
		w.broken = err
	}
	return w.broken
}

// writeSignals numbers signals of a run. There is one writer: the order of the
// rows is that of the commits.
func (w *writer) writeSignals(n int64, signals []task.Signal) error {
	if len(signals) > 0 {
		w.changed[task.NewSignals] = struct{}{}
	}
	for _, s := range signals {
		if _, err := w.exec(insertSignal, n, string(s.Type), string(s.Execution), s.Ref, nanos(s.Time)); err != nil {
			return err
		}
	}
	return nil
}

// Mail implements task.Mailbox.
func (s *Store) Mail(ctx context.Context, id task.MailID) (task.Mail, error) {
	m, err := scanMail(s.fixed.row(ctx, selectMail, string(id)))
	if errors.Is(err, sql.ErrNoRows) {
		return task.Mail{}, noMail(id)
	}
	return m, s.explainRead(ctx, "read message "+string(id), err)
}

// Mails implements task.Mailbox.
func (s *Store) Mails(ctx context.Context, q task.MailQuery) ([]task.Mail, error) {
	if err := q.Validate(); err != nil {
		return nil, err
	}
	text := selectMails
	if q.Unread {
		text = selectUnread
	}
	out, err := collect(ctx, &s.fixed, scanMail, text, string(q.To), nanos(q.Since), q.Limit)
	return out, s.explainRead(ctx, "list messages of run "+string(q.To), err)
}

func scanMail(row scanner) (m task.Mail, err error) {
	var sent int64
	var delivered, read sql.NullInt64
	err = row.Scan(&m.ID, &m.From, &m.To, &m.Subject, &sent, &delivered, &read, &m.Body)
	m.SentAt = fromNanos(sent)
	if delivered.Valid {
		m.DeliveredAt = fromNanos(delivered.Int64)
	}
	if read.Valid {
		m.ReadAt = fromNanos(read.Int64)
	}
	return m, err
}

// MarkMail implements task.Mailbox.
func (s *Store) MarkMail(ctx context.Context, id task.MailID, m task.Mark) (task.Mail, error) {
	text := markRead
	switch m {
	case task.MarkRead:
	case task.MarkDelivered:
		text = markDeliver
	default:
		return task.Mail{}, task.Invalid("mark", "%q is neither read nor delivered", string(m))
	}
	err := s.w.do(ctx, "mark message "+string(id), 0, func(w *writer) error {
		vals, err := w.row(`SELECT 1 FROM mail WHERE id = ?`, string(id))
		if err != nil {
			return err
		}
		if vals == nil {
			return noMail(id)
		}
		_, err = w.exec(text, nanos(w.clock.Now()), string(id))
		return err
	})
	if err != nil {
		return task.Mail{}, err
	}
	return s.Mail(ctx, id)
}

// Signals implements task.Mailbox. The order of the rows is that of the
// commits, so that one statement sees all below the highest number it sees.
func (s *Store) Signals(ctx context.Context, q task.SignalQuery) ([]task.Signal, error) {
	if err := q.Validate(); err != nil {
		return nil, err
	}
	ids, err := json.Marshal(q.Tasks)
	if err != nil {
		return nil, err
	}
	out, err := collect(ctx, &s.fixed, scanSignal, selectSignals, q.After, string(ids), q.Limit)
	return out, s.explainRead(ctx, "read signals", err)
}

// FindSignal implements task.Mailbox.
func (s *Store) FindSignal(ctx context.Context, id task.ID, x task.ExecutionID, t task.SignalType) (task.Signal, error) {
	sig, err := scanSignal(s.fixed.row(ctx, selectSignal, string(x), string(t), string(id)))
	if errors.Is(err, sql.ErrNoRows) {
		return task.Signal{}, task.Errorf(task.CodeNotFound, "execution %s has no signal %s", string(x), string(t))
	}
	return sig, s.explainRead(ctx, "look for a signal", err)
}

func scanSignal(row scanner) (sig task.Signal, err error) {
	var at int64
	err = row.Scan(&sig.Seq, &sig.Type, &sig.TaskID, &sig.Execution, &sig.Ref, &at)
	sig.Time = fromNanos(at)
	return sig, err
}

// TrimSignals implements task.Mailbox.
func (s *Store) TrimSignals(ctx context.Context, before time.Time, limit int) (done bool, err error) {
	if limit < 1 {
		return false, task.Invalid("limit", "must be at least 1")
	}
	err = s.w.do(ctx, "remove old signals", 0, func(w *writer) error {
		if _, err := w.exec(deleteOldest, nanos(before), int64(limit)); err != nil {
			return err
		}
		oldest, err := w.row(selectOldest)
		done = err == nil && (oldest == nil || oldest[0].(int64) >= nanos(before))
		return err
	})
	return done, err
}

// DropMail implements task.Mailbox.
func (s *Store) DropMail(ctx context.Context, id task.ID) error {
	return s.w.do(ctx, "remove the messages of run "+string(id), 0, func(w *writer) error {
		e, err := w.head(id)
		if err != nil {
			return err
		}
		// The copies refer to the letters, so these go last; which ones, is
		// known only while the copies are there.
		if _, err := w.exec(`PRAGMA defer_foreign_keys = ON`); err != nil {
			return err
		}
		if _, err := w.exec(deleteLetters, e.n); err != nil {
			return err
		}
		_, err = w.exec(deleteMail, e.n)
		return err
	})
}

func noMail(id task.MailID) error {
	return task.Errorf(task.CodeNotFound, "there is no message %q", string(id))
}
