package schedule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/task"
)

// The ledger is bounded: at least the newest keptLines lines of a schedule are
// kept. They move from the document to chunks of chunkLines once it has more
// than tailLines, so that the record that every tick rewrites stays small.
const (
	keptLines  = 1000
	chunkLines = 20
	tailLines  = 28
)

func chunkKey(id string, n int) string { return fmt.Sprintf("%s/%08d", id, n) }

// archive moves the oldest lines of the tail to chunks and drops those that
// are too old. Lines lie in both places until the document is written, and it
// says which chunks count.
func (s *Store) archive(ctx context.Context, d *document) error {
	for len(d.Tail) > tailLines {
		if err := s.putChunk(ctx, *d, d.Tail[:chunkLines]); err != nil {
			return err
		}
		d.Tail = slices.Clone(d.Tail[chunkLines:])
		d.NextChunk++
	}
	for ; (d.NextChunk-d.FirstChunk)*chunkLines >= keptLines+chunkLines; d.FirstChunk++ {
		if err := s.deleteRecord(ctx, kindLedger, chunkKey(d.ID, d.FirstChunk)); err != nil {
			return err
		}
	}
	return nil
}

// putChunk writes the document's next chunk, over what somebody wrote there
// whose document was not written.
func (s *Store) putChunk(ctx context.Context, d document, lines []Tick) error {
	data, err := encode(lines)
	if err != nil {
		return fmt.Errorf("encode ledger of schedule %s: %w", d.ID, err)
	}
	rec := task.Record{Kind: kindLedger, Key: chunkKey(d.ID, d.NextChunk), Owner: d.Owner, Data: data, UpdatedAt: s.now()}
	for range maxRewrites {
		_, err = s.records.PutRecord(ctx, rec)
		if !errors.Is(err, task.ErrConflict) {
			break
		}
		old, readErr := s.records.Record(ctx, kindLedger, rec.Key)
		if readErr != nil && !errors.Is(readErr, task.ErrNotFound) {
			return fmt.Errorf("read ledger of schedule %s: %w", d.ID, readErr)
		}
		rec.Revision = old.Revision
	}
	if err != nil {
		return fmt.Errorf("write ledger of schedule %s: %w", d.ID, err)
	}
	return nil
}

func (s *Store) chunk(ctx context.Context, id string, n int) ([]Tick, error) {
	rec, err := s.records.Record(ctx, kindLedger, chunkKey(id, n))
	if errors.Is(err, task.ErrNotFound) { // dropped meanwhile
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read ledger of schedule %s: %w", id, err)
	}
	var lines []Tick
	if err := json.Unmarshal(rec.Data, &lines); err != nil {
		return nil, fmt.Errorf("decode ledger of schedule %s: %w", id, err)
	}
	return lines, nil
}

// MaxTicks bounds one call of Store.Ticks.
const MaxTicks = 500

// Ticks tells what became of the newest ticks that were due, newest first: one
// line for each. limit is 1 to MaxTicks. A tick that is being decided has no
// line yet. It fails with task.CodeNotFound and task.CodeInvalidRequest.
func (s *Store) Ticks(ctx context.Context, id string, limit int) ([]Tick, error) {
	if limit < 1 || limit > MaxTicks {
		return nil, task.Invalid("limit", "must be 1 to %d", MaxTicks)
	}
	d, err := s.load(ctx, id)
	if err != nil {
		return nil, err
	}
	lines := slices.Clone(d.Tail)
	if !d.Waiting.IsZero() {
		lines = append(lines, Tick{Due: d.Waiting, Outcome: Queued, Reason: reasonQueued, At: d.WaitingSince})
	}
	if !d.Enabled {
		due, err := d.ticks(s.now())
		if err != nil {
			return nil, err
		}
		lines = append(lines, pausedLines(due)...)
	}
	// A queued tick gets its line late: a chunk may hold some that are newer
	// than those behind it.
	for n := d.NextChunk - 1; n >= d.FirstChunk && len(lines) < limit+chunkLines; n-- {
		older, err := s.chunk(ctx, id, n)
		if err != nil {
			return nil, err
		}
		lines = append(lines, older...)
	}
	slices.SortFunc(lines, func(a, b Tick) int { return b.Due.Compare(a.Due) })
	return lines[:min(limit, len(lines))], nil
}

// settle adds a line for a tick that has none. A run that was made counts,
// whatever else was written meanwhile. ok is false when nothing is to be
// changed.
func (d *document) settle(t Tick) (ok bool) {
	if i := slices.IndexFunc(d.Tail, func(l Tick) bool { return l.Due.Equal(t.Due) }); i >= 0 {
		if !t.Outcome.ran() || d.Tail[i].Outcome.ran() {
			return false
		}
		d.Tail[i] = t
		d.note(t)
		return true
	}
	open := t.Due.After(d.Decided) || d.Waiting.Equal(t.Due)
	if t.Due.After(d.Decided) {
		d.Decided = t.Due
	}
	if d.Waiting.Equal(t.Due) {
		d.Waiting, d.WaitingSince = Tick{}.Due, Tick{}.At
	}
	if i := slices.IndexFunc(d.Pending, t.Due.Equal); i >= 0 {
		d.Pending, open = slices.Delete(d.Pending, i, i+1), true
	}
	switch {
	case !open:
		return false
	case t.Outcome == Queued:
		d.Waiting, d.WaitingSince = t.Due, t.At
	default:
		d.Tail = append(d.Tail, t)
		d.note(t)
	}
	return true
}

// note keeps what the schedule itself tells of its last tick.
func (d *document) note(t Tick) {
	switch {
	case t.Outcome.ran():
		d.LastRanAt, d.LastRunID, d.LastError = t.At, t.RunID, ""
	case t.Outcome == Failed:
		d.LastError = strings.ToValidUTF8(t.Reason, "")
	}
}
