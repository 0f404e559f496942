package schedule

import (
	"crypto/sha256"
	"encoding/binary"
	"hash/fnv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/oz-platform/cloudagents/task"
)

// Limits of a schedule.
const (
	maxName    = 200 // bytes
	maxZone    = 64  // bytes of a zone's name
	maxCatchUp = 7 * 24 * time.Hour
	maxJitter  = time.Hour // as the wire has it
	// maxStored bounds what people set, encoded: the rest of a record is for
	// the ledger.
	maxStored = 512 << 10
)

// Overlap says what a tick does while a run of the schedule is active.
type Overlap string

// The policies. A queued tick waits for the active runs to end; while one
// waits, further ticks are skipped.
const (
	OverlapAllow  Overlap = "allow"
	OverlapSkip   Overlap = "skip"
	OverlapQueue  Overlap = "queue"
	OverlapCancel Overlap = "cancel_other"
)

// Timing says when ticks come and what is done with them. The zero Timing is
// UTC, OverlapAllow, no catching up and no jitter.
type Timing struct {
	// TimeZone is an IANA name; empty means UTC.
	TimeZone string `json:"time_zone,omitempty"`
	// Overlap defaults to OverlapAllow.
	Overlap Overlap `json:"overlap,omitempty"`
	// CatchUp is how late a tick that was missed may still start, at most a
	// week. Of several only the newest does, and none when a newer tick is on
	// time. Zero means never.
	CatchUp time.Duration `json:"catch_up,omitempty"`
	// Jitter delays every start by a part of it that the schedule's ID decides,
	// so that schedules of the same minute do not start together. At most an hour.
	Jitter time.Duration `json:"jitter,omitempty"`
}

// Spec is what people set.
type Spec struct {
	Name     string            `json:"name"`                // for people, one line
	Cron     string            `json:"cron"`                // see ParseCron
	Enabled  bool              `json:"enabled"`             // false: paused
	Prompt   string            `json:"prompt,omitempty"`    // of the runs, as the rest
	Config   task.Config       `json:"config,omitzero"`     // as asked, not resolved
	AgentUID string            `json:"agent_uid,omitempty"` // who carries them out
	Metadata map[string]string `json:"metadata,omitempty"`
	Mode     task.Mode         `json:"mode,omitempty"`
	Timing   Timing            `json:"timing,omitzero"`
}

// Validate judges what concerns time; what concerns the runs is the host's
// business. It fails with task.CodeInvalidRequest and the field's name on the
// wire.
func (s Spec) Validate() error {
	switch {
	case strings.TrimSpace(s.Name) == "" || len(s.Name) > maxName:
		return task.Invalid("name", "must have 1 to %d bytes", maxName)
	case !utf8.ValidString(s.Name) || strings.ContainsFunc(s.Name, unicode.IsControl):
		return task.Invalid("name", "must be one line of valid UTF-8 without control characters")
	}
	if _, err := ParseCron(s.Cron); err != nil {
		return err
	}
	return s.Timing.validate()
}

func (t Timing) validate() error {
	if _, err := t.location(); err != nil {
		return err
	}
	switch t.Overlap {
	case "", OverlapAllow, OverlapSkip, OverlapQueue, OverlapCancel:
	default:
		return task.Invalid("oz.overlap", "%q is none of allow, skip, queue, cancel_other", string(t.Overlap))
	}
	if t.CatchUp < 0 || t.CatchUp > maxCatchUp {
		return task.Invalid("oz.catch_up_minutes", "must be 0 to %d", maxCatchUp/time.Minute)
	}
	if t.Jitter < 0 || t.Jitter > maxJitter {
		return task.Invalid("oz.jitter_seconds", "must be 0 to %d", maxJitter/time.Second)
	}
	return nil
}

// location reads the zone's rules from the machine, or from the program when
// it has them (time/tzdata).
func (t Timing) location() (*time.Location, error) {
	if t.TimeZone == "" || t.TimeZone == "UTC" {
		return time.UTC, nil
	}
	if len(t.TimeZone) <= maxZone && t.TimeZone != "Local" {
		if loc, err := time.LoadLocation(t.TimeZone); err == nil {
			return loc, nil
		}
	}
	return nil, task.Invalid("oz.time_zone", "%.70q is no time zone that is known here; write an IANA name such as Europe/Berlin", t.TimeZone)
}

// Schedule is a Spec, whose it is and how it went.
type Schedule struct {
	// ID is a UUID; Owner never changes.
	ID    string     `json:"id"`
	Owner task.Scope `json:"owner"`
	Spec
	Creator    task.Principal `json:"creator"`
	LastEditor task.Principal `json:"last_editor"`
	// CreatedAt and UpdatedAt are in UTC, to the microsecond.
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	// LastRanAt is when a tick last made a run, LastRunID; zero before.
	LastRanAt time.Time `json:"last_ran_at,omitzero"`
	LastRunID task.ID   `json:"last_run_id,omitempty"`
	// LastError is why the last tick that was to make a run could not; the
	// next success clears it.
	LastError string `json:"last_error,omitempty"`
}

// NextDue is the first tick after now, without its jitter; zero when the
// schedule is paused.
func (s Schedule) NextDue(now time.Time) time.Time {
	c, loc, err := s.clockwork()
	if err != nil || !s.Enabled {
		return time.Time{}
	}
	return c.Next(now, loc)
}

// clockwork is what was checked when it was stored. An error means that this
// machine does not know the zone any more.
func (s Schedule) clockwork() (Cron, *time.Location, error) {
	c, err := ParseCron(s.Cron)
	if err != nil {
		return Cron{}, nil, err
	}
	loc, err := s.Timing.location()
	return c, loc, err
}

// delay is by how much the schedule's runs start after their tick.
func (s Schedule) delay() time.Duration {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s.ID)) // cannot fail
	return time.Duration(h.Sum64()%uint64(s.Timing.Jitter/time.Second+1)) * time.Second
}

// RunID names the run of a tick: a UUID of version 7 whose time is the tick's
// and whose rest follows from both, so that a tick has one run, whoever makes
// it and however often.
func RunID(schedule string, due time.Time) task.ID {
	var id uuid.UUID
	sum := sha256.Sum256([]byte(schedule + due.UTC().Format(time.RFC3339)))
	copy(id[:], sum[:])
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(due.UnixMilli()))
	copy(id[:6], ms[2:])
	id[6], id[8] = id[6]&0x0f|0x70, id[8]&0x3f|0x80
	return task.ID(id.String())
}

// Outcome is what became of a tick.
type Outcome string

// The outcomes. Fired and CaughtUp have a run, on time and late; Missed was
// decided by nobody in time; a Queued one waits still.
const (
	Fired    Outcome = "fired"
	CaughtUp Outcome = "caught_up"
	Skipped  Outcome = "skipped"
	Queued   Outcome = "queued"
	Missed   Outcome = "missed"
	Paused   Outcome = "paused"
	Failed   Outcome = "failed"
)

// Outcomes lists all of them.
func Outcomes() []Outcome {
	return []Outcome{Fired, CaughtUp, Skipped, Queued, Missed, Paused, Failed}
}

func (o Outcome) ran() bool { return o == Fired || o == CaughtUp }

// Tick is a line of the ledger.
type Tick struct {
	Due     time.Time `json:"due"` // the moment that the expression names
	Outcome Outcome   `json:"outcome"`
	Reason  string    `json:"reason,omitempty"` // for people; empty when there is nothing to say
	RunID   task.ID   `json:"run_id,omitempty"` // of Fired and CaughtUp
	At      time.Time `json:"at"`               // when it was decided
}
