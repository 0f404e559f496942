package pgstore

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/oz-platform/cloudagents/task"
)

var _ task.Mailbox = (*Store)(nil)

// The statements of reads.
const (
	mailColumns = `SELECT m.id, l.sender, r.id, l.subject, m.sent_at, m.delivered_at, m.read_at`
	selectMail  = mailColumns + `, l.body FROM mail m JOIN letters l ON l.k = m.letter JOIN runs r ON r.n = m.n WHERE m.id = $1`
	selectMails = mailColumns + `, '' FROM mail m JOIN letters l ON l.k = m.letter JOIN runs r ON r.n = m.n
		WHERE m.n = (SELECT n FROM runs WHERE id = $1) AND m.sent_at > $2 ORDER BY m.sent_at, m.k LIMIT $3`
	selectUnread = mailColumns + `, '' FROM mail m JOIN letters l ON l.k = m.letter JOIN runs r ON r.n = m.n
		WHERE m.n = (SELECT n FROM runs WHERE id = $1) AND m.read_at IS NULL AND m.sent_at > $2 ORDER BY m.sent_at, m.k LIMIT $3`
	selectSignals = `SELECT s.seq, s.type, r.id, s.execution, s.ref, s.time FROM runs r CROSS JOIN LATERAL
			(SELECT * FROM signals WHERE n = r.n AND seq > $2 AND seq IS NOT NULL ORDER BY seq LIMIT $3) s
		WHERE r.id = ANY($1) ORDER BY s.seq LIMIT $3`
	selectSignal = `SELECT s.seq, s.type, r.id, s.execution, s.ref, s.time FROM runs r JOIN signals s ON s.n = r.n AND s.seq IS NOT NULL
		WHERE r.id = $1 AND s.execution = $2 AND s.type = $3 ORDER BY s.seq LIMIT 1`
	anyFresh = `SELECT true FROM signals WHERE seq IS NULL LIMIT 1`
	// The newest is left out: it keeps the sequence.
	selectOldest = `SELECT time FROM signals WHERE seq < (SELECT max(seq) FROM signals) ORDER BY seq LIMIT 1`
)

// The statements of writes.
const (
	countUnread = `SELECT r.id, (SELECT count(*) FROM (SELECT 1 FROM mail m WHERE m.n = r.n AND m.read_at IS NULL LIMIT $2) u)
		FROM runs r WHERE r.id = ANY($1)`
	insertMail = `WITH l AS (INSERT INTO letters (sender, subject, body) VALUES ($1, $2, $3) RETURNING k)
		INSERT INTO mail (id, n, letter, sent_at, delivered_at)
		SELECT u.id, u.n, l.k, $4, u.delivered_at FROM l, unnest($5::text[], $6::bigint[], $7::bigint[]) WITH ORDINALITY AS u (id, n, delivered_at, place)
		ORDER BY u.place`
	insertSignals = `INSERT INTO signals (n, type, execution, ref, time)
		SELECT n, type, execution, ref, time FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::bigint[])
			WITH ORDINALITY AS u (n, type, execution, ref, time, place) ORDER BY u.place`
	markRead    = `UPDATE mail SET read_at = coalesce(read_at, $2) WHERE id = $1`
	markDeliver = `UPDATE mail SET delivered_at = coalesce(delivered_at, $2) WHERE id = $1`
	lockNumbers = `SELECT pg_advisory_xact_lock($1)`
	numberFresh = `WITH fresh AS (SELECT id, row_number() OVER (ORDER BY id) AS place FROM signals WHERE seq IS NULL ORDER BY id LIMIT $1)
		UPDATE signals s SET seq = (SELECT coalesce(max(seq), 0) FROM signals) + f.place FROM fresh f WHERE s.id = f.id AND s.seq IS NULL`
	deleteOldest = `DELETE FROM signals WHERE seq IN (SELECT seq FROM
		(SELECT seq, time FROM signals WHERE seq < (SELECT max(seq) FROM signals) ORDER BY seq LIMIT $2) o WHERE time < $1)`
	dropMail = `WITH gone AS (DELETE FROM mail WHERE n = (SELECT n FROM runs WHERE id = $1) RETURNING letter, k)
		DELETE FROM letters WHERE k IN (SELECT letter FROM gone) AND NOT EXISTS
			(SELECT 1 FROM mail m WHERE m.letter = letters.k AND m.n <> (SELECT n FROM runs WHERE id = $1))`
)

// maxNumbered bounds the signals that one transaction numbers.
const maxNumbered = 10_000

// SendMail implements task.Mailbox.
func (s *Store) SendMail(ctx context.Context, l task.Letter) ([]task.MailID, error) {
	if err := l.Validate(); err != nil {
		return nil, err
	}
	op := &sendMail{letter: l}
	if err := s.do(ctx, "send the message of run "+string(l.From), string(l.From), len(l.Subject)+len(l.Body), op); err != nil {
		return nil, err
	}
	return op.ids, nil
}

// sendMail is the operation of SendMail.
type sendMail struct {
	letter    task.Letter
	ids       []task.MailID
	ns        []int64
	now       int64
	delivered []pgtype.Int8
}

func (o *sendMail) need(n *needs) {
	for _, id := range o.letter.To {
		name := text(string(id))
		n.runs, n.present, n.mail = append(n.runs, name), append(n.present, name), append(n.mail, name)
	}
}

// decide judges all recipients before it changes any.
func (o *sendMail) decide(tx *transaction) error {
	to := make([]*run, len(o.letter.To))
	wake := make([]bool, len(to))
	for i, id := range o.letter.To {
		r := tx.runs[id]
		if r == nil {
			return noRun(id)
		}
		var err error
		if wake[i], err = o.letter.Admit(id, r.head, tx.unread[id]); err != nil {
			return err
		}
		to[i] = r
	}
	now := tx.s.opts.Clock.Now()
	o.ids, o.ns, o.delivered, o.now = nil, nil, nil, nanos(now)
	for i, r := range to {
		id := task.NewMailID()
		o.ids, o.ns = append(o.ids, id), append(o.ns, r.n)
		o.delivered = append(o.delivered, pgtype.Int8{Int64: o.now, Valid: wake[i]})
		tx.unread[r.id]++
		tx.signal(r, task.Signal{Type: task.SignalNewMessage, Ref: string(id), Time: now})
		if !wake[i] {
			continue
		}
		if _, err := tx.command(r.id, o.letter.Wake(), nil); err != nil {
			return err
		}
	}
	tx.mail = append(tx.mail, o)
	return nil
}

// queueMail writes letters and their copies.
func (tx *transaction) queueMail(b *pgx.Batch) {
	for _, o := range tx.mail {
		ids := make([]string, len(o.ids))
		for i, id := range o.ids {
			ids[i] = string(id)
		}
		b.Queue(insertMail, text(string(o.letter.From)), text(o.letter.Subject), text(o.letter.Body), o.now, ids, o.ns, o.delivered)
	}
}

// signal notes what happened to a run.
func (tx *transaction) signal(r *run, signals ...task.Signal) {
	for _, s := range signals {
		tx.signals = append(tx.signals, signal{r.n, s})
	}
}

// signal is one that is to be written.
type signal struct {
	n int64
	task.Signal
}

// queueSignals writes them in the order of the decisions, without numbers.
func (tx *transaction) queueSignals(b *pgx.Batch) {
	if len(tx.signals) == 0 {
		return
	}
	var ns, times []int64
	var types, execs, refs []string
	for _, s := range tx.signals {
		ns, times = append(ns, s.n), append(times, nanos(s.Time))
		types, execs, refs = append(types, string(s.Type)), append(execs, text(string(s.Execution))), append(refs, text(s.Ref))
	}
	b.Queue(insertSignals, ns, types, execs, refs, times)
}

func (tx *transaction) readUnread(rows pgx.Rows) error {
	var id string
	var n int
	_, err := pgx.ForEachRow(rows, []any{&id, &n}, func() error {
		tx.unread[task.ID(untext(id))] = n
		return nil
	})
	return err
}

// Mail implements task.Mailbox.
func (s *Store) Mail(ctx context.Context, id task.MailID) (task.Mail, error) {
	m, err := one(ctx, s, scanMail, selectMail, text(string(id)))
	if errors.Is(err, pgx.ErrNoRows) {
		return task.Mail{}, noMail(id)
	}
	return m, s.explainCall(ctx, "read message "+string(id), err)
}

// Mails implements task.Mailbox.
func (s *Store) Mails(ctx context.Context, q task.MailQuery) ([]task.Mail, error) {
	if err := q.Validate(); err != nil {
		return nil, err
	}
	statement := selectMails
	if q.Unread {
		statement = selectUnread
	}
	out, err := collect(ctx, s, scanMail, statement, text(string(q.To)), nanos(q.Since), q.Limit)
	return out, s.explainCall(ctx, "list messages of run "+string(q.To), err)
}

func scanMail(row pgx.CollectableRow) (m task.Mail, err error) {
	var id, from, to string
	var sent int64
	var delivered, read pgtype.Int8
	err = row.Scan(&id, &from, &to, &m.Subject, &sent, &delivered, &read, &m.Body)
	m.ID, m.From, m.To, m.SentAt = task.MailID(id), task.ID(untext(from)), task.ID(untext(to)), fromNanos(sent)
	m.Subject, m.Body = untext(m.Subject), untext(m.Body)
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
	statement := markRead
	switch m {
	case task.MarkRead:
	case task.MarkDelivered:
		statement = markDeliver
	default:
		return task.Mail{}, task.Invalid("mark", "%q is neither read nor delivered", string(m))
	}
	if err := s.write(ctx, "mark message "+string(id), statement, text(string(id)), nanos(s.opts.Clock.Now())); err != nil {
		return task.Mail{}, err
	}
	return s.Mail(ctx, id)
}

// write runs one statement that may be run again.
func (s *Store) write(ctx context.Context, doing, statement string, args ...any) error {
	if s.closed.Load() {
		return errClosed
	}
	return s.explainCall(ctx, doing, s.again(ctx, func() error {
		_, err := s.writes.Exec(ctx, statement, args...)
		return err
	}))
}

// Signals implements task.Mailbox.
func (s *Store) Signals(ctx context.Context, q task.SignalQuery) ([]task.Signal, error) {
	if err := q.Validate(); err != nil {
		return nil, err
	}
	if err := s.number(ctx); err != nil {
		return nil, s.explainCall(ctx, "number signals", err)
	}
	ids := make([]string, len(q.Tasks))
	for i, id := range q.Tasks {
		ids[i] = text(string(id))
	}
	out, err := collect(ctx, s, scanSignal, selectSignals, ids, q.After, q.Limit)
	return out, s.explainCall(ctx, "read signals", err)
}

// FindSignal implements task.Mailbox.
func (s *Store) FindSignal(ctx context.Context, id task.ID, x task.ExecutionID, t task.SignalType) (task.Signal, error) {
	if err := s.number(ctx); err != nil {
		return task.Signal{}, s.explainCall(ctx, "number signals", err)
	}
	sig, err := one(ctx, s, scanSignal, selectSignal, text(string(id)), text(string(x)), text(string(t)))
	if errors.Is(err, pgx.ErrNoRows) {
		return task.Signal{}, task.Errorf(task.CodeNotFound, "execution %s has no signal %s", string(x), string(t))
	}
	return sig, s.explainCall(ctx, "look for a signal", err)
}

func scanSignal(row pgx.CollectableRow) (sig task.Signal, err error) {
	var id, execution, ref string
	var at int64
	err = row.Scan(&sig.Seq, &sig.Type, &id, &execution, &ref, &at)
	sig.TaskID, sig.Execution, sig.Ref, sig.Time = task.ID(untext(id)), task.ExecutionID(untext(execution)), untext(ref), fromNanos(at)
	return sig, err
}

// number gives numbers to all signals that are committed and have none. It is
// durable before it answers: what a reader has seen must stay.
func (s *Store) number(ctx context.Context) error {
	s.numbering.Lock()
	defer s.numbering.Unlock()
	for {
		fresh, err := collect(ctx, s, pgx.RowTo[bool], anyFresh)
		if err != nil || len(fresh) == 0 {
			return err
		}
		b := &pgx.Batch{}
		b.Queue(lockNumbers, lockKey(s.opts.Schema, "signals"))
		b.Queue(numberFresh, maxNumbered)
		err = pgx.BeginTxFunc(ctx, s.writes, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error { return tx.SendBatch(ctx, b).Close() })
		if err != nil {
			return err
		}
	}
}

// TrimSignals implements task.Mailbox.
func (s *Store) TrimSignals(ctx context.Context, before time.Time, limit int) (done bool, err error) {
	const doing = "remove old signals"
	if limit < 1 {
		return false, task.Invalid("limit", "must be at least 1")
	}
	if err := s.number(ctx); err != nil {
		return false, s.explainCall(ctx, doing, err)
	}
	if err := s.write(ctx, doing, deleteOldest, nanos(before), limit); err != nil {
		return false, err
	}
	oldest, err := collect(ctx, s, pgx.RowTo[int64], selectOldest)
	return err == nil && (len(oldest) == 0 || oldest[0] >= nanos(before)), s.explainCall(ctx, doing, err)
}

// DropMail implements task.Mailbox.
func (s *Store) DropMail(ctx context.Context, id task.ID) error {
	if err := s.mustExist(ctx, id); err != nil {
		return s.explainCall(ctx, "remove messages", err)
	}
	return s.write(ctx, "remove the messages of run "+string(id), dropMail, text(string(id)))
}

func noMail(id task.MailID) error {
	return task.Errorf(task.CodeNotFound, "there is no message %q", string(id))
}
