package sqlitestore

import (
	"strings"

	"github.com/oz-platform/cloudagents/task"
)

// plan is a change of a run, encoded, so that nothing but the database can
// fail any more once the first row is written.
type plan struct {
	id        task.ID
	old, next entry
	head      []byte
	execs     []encodedExecution
	events    []encodedEvent
	artifacts []encodedArtifact
	signals   []task.Signal
}

type encodedExecution struct {
	task.Execution
	data []byte
}

// add encodes what a decision changed, after what was planned before. data is
// that of encodeEvents.
func (p *plan) add(c task.Change, data [][]byte) error {
	p.next.head = c.Head
	if x := c.Execution; x != nil {
		encoded, err := encodeExecution(*x)
		if err != nil {
			return err
		}
		p.execs = append(p.execs, encodedExecution{*x, encoded})
		if x.ID == c.Head.Execution {
			p.next.exec = *x
		}
	}
	if c.Head.Execution == "" {
		p.next.exec = task.Execution{}
	}
	events, err := encodeEvents(c.Events, data)
	if err != nil {
		return err
	}
	artifacts, err := encodeArtifacts(c.Artifacts)
	if err != nil {
		return err
	}
	p.events = append(p.events, events...)
	p.artifacts = append(p.artifacts, artifacts...)
	p.signals = append(p.signals, c.Signals...)
	p.head, err = encodeHead(c.Head)
	return err
}

// fresh reports that the plan makes execution x.
func (p *plan) fresh(x encodedExecution) bool { return x.Number > p.old.head.Executions }

// lastWorker is the worker of the newest execution that the plan makes, nil
// when it makes none.
func (p *plan) lastWorker() (worker any) {
	for _, x := range p.execs {
		if p.fresh(x) {
			worker = x.Worker
		}
	}
	return worker
}

// checkNewExecutions refuses a plan that uses an ID twice. One that another
// run has used is refused by the database.
func (p *plan) checkNewExecutions() error {
	made := map[task.ExecutionID]int{}
	for _, x := range p.execs {
		if !p.fresh(x) {
			continue
		}
		if made[x.ID] != 0 && made[x.ID] != x.Number {
			return task.Errorf(task.CodeConflict, "execution %q exists already; every offer needs an ID of its own", string(x.ID))
		}
		made[x.ID] = x.Number
	}
	return nil
}

// write stores a plan for a run that exists and remembers its outcome.
func (w *writer) write(p plan) error {
	if len(p.execs) == 0 && len(p.events) == 0 {
		return nil // nothing has changed
	}
	if err := w.writeHead(&p); err != nil {
		return err
	}
	if err := w.writeSharing(p); err != nil {
		return err
	}
	return w.writeRest(p)
}

// writeHead updates the run's row, and names no column that stays the same:
// SQLite looks at every index of the columns it is given. What lists depend on
// takes the run out of their indexes.
func (w *writer) writeHead(p *plan) error {
	h, old := p.next.head, p.old.head
	if h.PrunedTo != old.PrunedTo {
		_, err := w.exec(`UPDATE runs SET head = ?, pruned_to = ?, leftover = 1 WHERE n = ?`, p.head, h.PrunedTo, p.next.n)
		return err
	}
	sameReady := h.ReadyAt.Equal(old.ReadyAt)
	same := sameReady && h.State == old.State && h.Execution == old.Execution
	switch {
	case same && p.old.indexed && h.UpdatedAt.Equal(old.UpdatedAt):
		_, err := w.exec(`UPDATE runs SET head = ? WHERE n = ?`, p.head, p.next.n)
		return err
	case same && !p.old.indexed:
		_, err := w.exec(`UPDATE runs SET head = ?, updated_at = ? WHERE n = ?`, p.head, nanos(h.UpdatedAt), p.next.n)
		return err
	case p.old.indexed:
		p.next.indexed = false
		if err := w.unindex(p.next.n); err != nil {
			return err
		}
	}
	w.indexer.changed(p.next.n, p.id, h)
	worker := p.lastWorker()
	if sameReady && worker == nil {
		_, err := w.exec(`UPDATE runs SET head = ?, updated_at = ?, state = ? WHERE n = ?`, p.head, nanos(h.UpdatedAt), string(h.State), p.next.n)
		return err
	}
	_, err := w.exec(`UPDATE runs SET head = ?, updated_at = ?, state = ?, ready_at = ?, last_worker = coalesce(?, last_worker) WHERE n = ?`,
		p.head, nanos(h.UpdatedAt), string(h.State), nanosOrNull(h.ReadyAt), worker, p.next.n)
	return err
}

// unindex takes a run out of the list indexes. Together with what else changes
// it would be one statement less, but one that looks at every index.
func (w *writer) unindex(n int64) error {
	_, err := w.exec(`UPDATE runs SET idle_at = NULL WHERE n = ?`, n)
	if err == nil {
		_, err = w.exec(`UPDATE tags SET idle_at = NULL WHERE n = ?`, n)
	}
	return err
}

// writeRest stores all of a plan but the run's row, and remembers it.
func (w *writer) writeRest(p plan) error {
	for _, x := range p.execs {
		if err := w.writeExecution(p, x); err != nil {
			return err
		}
	}
	if err := w.writeEvents(p.next.n, p.events); err != nil {
		return err
	}
	if err := w.writeArtifacts(p); err != nil {
		return err
	}
	if err := w.writeUsage(p); err != nil {
		return err
	}
	if err := w.writeStats(p); err != nil {
		return err
	}
	if err := w.writeSignals(p.next.n, p.signals); err != nil {
		return err
	}
	w.heads.put(p.id, p.next)
	w.note(p)
	return nil
}

func (w *writer) writeExecution(p plan, x encodedExecution) (err error) {
	w.live.pending = append(w.live.pending, x.Execution)
	n, number := p.next.n, int64(x.Number)
	switch {
	case p.fresh(x): // twice when a creation offers and accepts
		_, err = w.exec(`INSERT INTO executions (n, number, id, live, data) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (n, number) DO UPDATE SET live = excluded.live, data = excluded.data`, n, number, string(x.ID), x.Live(), x.data)
	case x.Live():
		_, err = w.exec(`UPDATE executions SET data = ? WHERE n = ? AND number = ?`, x.data, n, number)
	default:
		_, err = w.exec(`UPDATE executions SET data = ?, live = 0 WHERE n = ? AND number = ?`, x.data, n, number)
	}
	return err
}

// eventKey is the key of an event's row.
func eventKey(n, seq int64) int64 { return n<<32 | seq }

const eventColumns = 5

// insertsOfEvents are the statements for so many events at once, the largest
// first.
var insertsOfEvents = []struct {
	rows int
	text string
}{{16, insertEvents(16)}, {4, insertEvents(4)}, {2, insertEvents(2)}, {1, insertEvents(1)}}

func insertEvents(rows int) string {
	return `INSERT INTO events (key, execution, time, type, data) VALUES (?, ?, ?, ?, ?)` + strings.Repeat(`, (?, ?, ?, ?, ?)`, rows-1)
}

func (w *writer) writeEvents(n int64, events []encodedEvent) error {
	for _, insert := range insertsOfEvents {
		for len(events) >= insert.rows {
			args := make([]any, 0, insert.rows*eventColumns)
			for _, e := range events[:insert.rows] {
				args = append(args, eventKey(n, e.seq), e.execution, e.time, e.typ, e.data)
			}
			if _, err := w.exec(insert.text, args...); err != nil {
				return err
			}
			events = events[insert.rows:]
		}
	}
	return nil
}

// writeArtifacts adds those that the run does not have yet, up to
// task.MaxArtifacts; more of them stay in the log alone.
func (w *writer) writeArtifacts(p plan) error {
	n := p.next.n
	for _, a := range p.artifacts {
		_, err := w.exec(`INSERT OR IGNORE INTO artifacts (n, uid, number, data)
			SELECT ?1, ?2, count(*), ?3 FROM artifacts WHERE n = ?1 HAVING count(*) < ?4`, n, a.uid, a.data, int64(task.MaxArtifacts))
		if err != nil {
			return err
		}
		if err := w.writeTag(p.next, "a:"+a.typ); err != nil {
			return err
		}
	}
	return nil
}

// writeTag adds a tag to a run, unless it has it.
func (w *writer) writeTag(e entry, tag string) error {
	var idle any
	if e.indexed {
		idle = nanos(e.head.UpdatedAt)
	}
	_, err := w.exec(`INSERT OR IGNORE INTO tags (n, tag, idle_at) VALUES (?, ?, ?)`, e.n, tag, idle)
	return err
}

// note records what the commit will mean to subscribers and to MaxWaiting.
func (w *writer) note(p plan) {
	was, is := !p.old.head.ReadyAt.IsZero(), !p.next.head.ReadyAt.IsZero()
	if was {
		w.waiting--
	}
	if is {
		w.waiting++
	}
	freed := p.old.head.Execution != "" && p.old.head.Execution != p.next.head.Execution
	if freed || (is && !p.old.head.ReadyAt.Equal(p.next.head.ReadyAt)) {
		w.changed[""] = struct{}{}
	}
	w.changed[p.id] = struct{}{}
}
