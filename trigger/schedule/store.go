package schedule

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/oz-platform/cloudagents/task"
)

// Kinds of the store's records.
const (
	kindSchedule = "schedule"
	kindLedger   = "schedule.ledger" // keys: the schedule's ID / the chunk's number
	kindFeed     = "schedule.feed"   // one record: which schedules people changed last
	feedKey      = "feed"
)

// maxRewrites bounds how often a change is tried against others of the same
// schedule.
const maxRewrites = 50

// Store keeps schedules and their ledgers among a platform's records. It
// checks what it stores, but not who may. Safe for concurrent use.
type Store struct {
	records task.Records
	clock   task.Clock
	changed chan struct{} // wakes this process's Scheduler

	mu    sync.Mutex
	dirty map[string]bool // changed here since the Scheduler looked
}

// NewStore returns a Store on records. A nil clock is the machine's.
func NewStore(records task.Records, clock task.Clock) *Store {
	if clock == nil {
		clock = task.SystemClock()
	}
	return &Store{records: records, clock: clock, changed: make(chan struct{}, 1), dirty: map[string]bool{}}
}

// document is a schedule as it is stored, with how far its ticks are decided.
// One record holds both, so that a decision, its line of the ledger and the
// step to the next tick are one write.
type document struct {
	Schedule
	// Decided is up to when every tick has its line, is in Pending or is
	// Waiting. While the schedule is paused the ticks after it have no line
	// yet: they are told from the clock, and written when it goes on.
	Decided time.Time `json:"decided"`
	// Pending are ticks that were due when somebody changed the schedule, and
	// not decided yet.
	Pending []time.Time `json:"pending,omitempty"`
	// Waiting is the queued tick; zero when there is none.
	Waiting time.Time `json:"waiting,omitzero"`
	// WaitingSince is when it was queued.
	WaitingSince time.Time `json:"waiting_since,omitzero"`
	// Tail is the end of the ledger, in the order of the decisions. Older lines
	// are in chunks FirstChunk to NextChunk-1.
	Tail       []Tick `json:"tail,omitempty"`
	FirstChunk int    `json:"first_chunk,omitempty"`
	NextChunk  int    `json:"next_chunk,omitempty"`
	// Deleted hides the schedule while its ledger is being deleted.
	Deleted bool `json:"deleted,omitempty"`

	revision int64
	works    *works
}

// works is a document's clockwork, for the settings that it was made of: to
// read a time zone takes longer than to tell the next tick.
type works struct {
	cron, zone string
	Cron
	loc *time.Location
}

// clockwork is that of the schedule, made once.
func (d *document) clockwork() (Cron, *time.Location, error) {
	if w := d.works; w != nil && w.cron == d.Cron && w.zone == d.Timing.TimeZone {
		return w.Cron, w.loc, nil
	}
	c, loc, err := d.Schedule.clockwork()
	if err == nil {
		d.works = &works{cron: d.Cron, zone: d.Timing.TimeZone, Cron: c, loc: loc}
	}
	return c, loc, err
}

// Create stores a new schedule of owner. Its first tick comes after now. It
// fails with task.CodeInvalidRequest.
func (s *Store) Create(ctx context.Context, owner task.Scope, by task.Principal, spec Spec) (Schedule, error) {
	if (owner.Type != task.ScopeUser && owner.Type != task.ScopeTeam) || owner.UID == "" {
		return Schedule{}, task.Invalid("scope", "must name a User or a Team by its uid")
	}
	now := s.now()
	d := document{Decided: now, Schedule: Schedule{ID: uuid.NewString(), Owner: owner, Spec: spec, Creator: by, LastEditor: by,
		CreatedAt: now, UpdatedAt: now}}
	if err := d.check(); err != nil {
		return Schedule{}, err
	}
	if _, err := s.put(ctx, d); err != nil {
		return Schedule{}, err
	}
	s.announce(ctx, d.ID)
	return d.Schedule, nil
}

// Get returns one schedule. It fails with task.CodeNotFound.
func (s *Store) Get(ctx context.Context, id string) (Schedule, error) {
	d, err := s.load(ctx, id)
	return d.Schedule, err
}

// List returns the schedules of the given owners, by name. Without owners it
// returns none.
func (s *Store) List(ctx context.Context, owners ...task.Scope) ([]Schedule, error) {
	seen := map[task.Scope]bool{}
	list := []Schedule{}
	for _, owner := range owners {
		if seen[owner] {
			continue
		}
		seen[owner] = true
		docs, err := s.documents(ctx, &owner)
		if err != nil {
			return nil, err
		}
		for _, d := range docs {
			if !d.Deleted {
				list = append(list, d.Schedule)
			}
		}
	}
	slices.SortFunc(list, func(a, b Schedule) int { return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.ID, b.ID)) })
	return list, nil
}

// Update changes what people set. Ticks that were due before are decided by
// what was set then, though they do not start when the schedule is paused.
// change may be called several times; its error is returned. Update fails with
// task.CodeNotFound and task.CodeInvalidRequest.
func (s *Store) Update(ctx context.Context, id string, by task.Principal, change func(*Spec) error) (Schedule, error) {
	d, err := s.rewrite(ctx, id, func(d *document) error {
		now := s.now()
		d.advance(now)
		if err := change(&d.Spec); err != nil {
			return err
		}
		d.LastEditor, d.UpdatedAt = by, now
		return d.check()
	})
	if err != nil {
		return Schedule{}, err
	}
	s.announce(ctx, id)
	return d.Schedule, nil
}

// Delete removes a schedule and its ledger; its runs stay. It fails with
// task.CodeNotFound, also when it was deleted before.
func (s *Store) Delete(ctx context.Context, id string) error {
	d, err := s.rewrite(ctx, id, func(d *document) error { d.Deleted = true; return nil })
	if err != nil {
		return err
	}
	s.announce(ctx, id)
	return s.remove(ctx, d)
}

// remove deletes what Delete has hidden. Whoever finds it half done may call it.
func (s *Store) remove(ctx context.Context, d document) error {
	for n := d.FirstChunk; n <= d.NextChunk; n++ { // one more: a writer may have died behind it
		if err := s.deleteRecord(ctx, kindLedger, chunkKey(d.ID, n)); err != nil {
			return err
		}
	}
	return s.deleteRecord(ctx, kindSchedule, d.ID)
}

func (s *Store) deleteRecord(ctx context.Context, kind, key string) error {
	if err := s.records.DeleteRecord(ctx, kind, key); err != nil && !errors.Is(err, task.ErrNotFound) {
		return fmt.Errorf("delete %s %s: %w", kind, key, err)
	}
	return nil
}

// check judges a document before it is stored.
func (d document) check() error {
	if err := d.Validate(); err != nil {
		return err
	}
	data, err := encode(d.Spec)
	if err != nil {
		return task.Invalid("agent_config", "cannot be stored: %w", err)
	}
	if len(data) > maxStored {
		return task.Invalid("prompt", "has with agent_config and metadata %d bytes as stored, at most %d are allowed", len(data), maxStored)
	}
	return nil
}

// advance closes the books up to now under the settings that held until now.
func (d *document) advance(now time.Time) {
	due, err := d.ticks(now)
	switch {
	case err != nil: // the zone is not known any more: nobody can tell what was due
	case d.Enabled:
		d.Pending = append(d.Pending, due...)
		d.Pending = d.Pending[max(0, len(d.Pending)-keptLines):]
	default:
		d.Tail = append(d.Tail, pausedLines(due)...)
	}
	d.Decided = later(d.Decided, now)
}

// ticks are those after Decided and up to a moment: the newest keptLines.
func (d *document) ticks(until time.Time) ([]time.Time, error) {
	c, loc, err := d.clockwork()
	if err != nil || !until.After(d.Decided) {
		return nil, err
	}
	return c.newest(d.Decided, until, loc, keptLines), nil
}

func pausedLines(due []time.Time) []Tick {
	lines := make([]Tick, 0, len(due))
	for _, t := range due {
		lines = append(lines, Tick{Due: t, Outcome: Paused, At: t})
	}
	return lines
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// rewrite changes a document, again when somebody else did meanwhile.
func (s *Store) rewrite(ctx context.Context, id string, change func(*document) error) (document, error) {
	for range maxRewrites {
		d, err := s.load(ctx, id)
		if err != nil {
			return document{}, err
		}
		if err := change(&d); err != nil {
			return document{}, err
		}
		d, err = s.put(ctx, d)
		if err == nil || !errors.Is(err, task.ErrConflict) {
			return d, err
		}
	}
	return document{}, task.Errorf(task.CodeConflict, "schedule %s is being changed by many at once: try again", id)
}

// load reads a document. It fails with task.CodeNotFound.
func (s *Store) load(ctx context.Context, id string) (document, error) {
	if len(id) != 36 || uuid.Validate(id) != nil {
		return document{}, notFound(id)
	}
	rec, err := s.records.Record(ctx, kindSchedule, id)
	if errors.Is(err, task.ErrNotFound) {
		return document{}, notFound(id)
	}
	if err != nil {
		return document{}, fmt.Errorf("read schedule %s: %w", id, err)
	}
	d, err := decode(rec)
	if err == nil && d.Deleted {
		return document{}, notFound(id)
	}
	return d, err
}

func notFound(id string) error {
	return task.Errorf(task.CodeNotFound, "schedule %.50q does not exist, or you may not see it", id)
}

// documents reads those of an owner, or all, hidden ones too.
func (s *Store) documents(ctx context.Context, owner *task.Scope) ([]document, error) {
	recs, err := s.records.Records(ctx, kindSchedule, owner)
	if err != nil {
		return nil, fmt.Errorf("list schedules: %w", err)
	}
	docs := make([]document, 0, len(recs))
	for _, rec := range recs {
		d, err := decode(rec)
		if err != nil {
			return nil, err
		}
		docs = append(docs, d)
	}
	return docs, nil
}

// put writes d over the revision it was read with; the old lines of its ledger
// go into chunks before.
func (s *Store) put(ctx context.Context, d document) (document, error) {
	if err := s.archive(ctx, &d); err != nil {
		return d, err
	}
	data, err := encode(d)
	if err != nil {
		return d, fmt.Errorf("encode schedule %s: %w", d.ID, err)
	}
	d.revision, err = s.records.PutRecord(ctx, task.Record{Kind: kindSchedule, Key: d.ID, Owner: d.Owner, Revision: d.revision,
		Data: data, UpdatedAt: s.now()})
	if err != nil {
		return d, fmt.Errorf("write schedule %s: %w", d.ID, err)
	}
	return d, nil
}

// encode leaves <, > and & as they are, so that a long prompt does not grow.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return b.Bytes(), err
}

func decode(rec task.Record) (document, error) {
	var d document
	if err := json.Unmarshal(rec.Data, &d); err != nil {
		return d, fmt.Errorf("decode schedule %s: %w", rec.Key, err)
	}
	d.revision = rec.Revision
	return d, nil
}

func (s *Store) now() time.Time { return s.clock.Now().UTC().Truncate(time.Microsecond) }
