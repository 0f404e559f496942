package task

import (
	"encoding/base64"
	"encoding/json"
	"time"
)

// Limits of a page (Oz API, list runs).
const (
	DefaultPageSize = 20
	MaxPageSize     = 500
	// MaxMetadataFilters bounds Query.Metadata.
	MaxMetadataFilters = 5
)

// EmptyEnvironment is the value of Query.EnvironmentID that finds runs
// without an environment (Oz API, list runs).
const EmptyEnvironment = "empty-environment"

// SortKey orders a list.
type SortKey string

// Sort keys on the wire. SortAgent sorts by skill; runs without one come last
// in either direction.
const (
	SortUpdatedAt SortKey = "updated_at"
	SortCreatedAt SortKey = "created_at"
	SortTitle     SortKey = "title"
	SortAgent     SortKey = "agent"
)

// Query says which runs to list. Zero fields do not filter; different fields
// combine with AND.
type Query struct {
	// Owners limits the list to the runs of any of them. nil means every owner.
	Owners []Scope
	// Viewer limits the list to what somebody may see; nil is no limit. What
	// it says of owners comes on top of Owners.
	Viewer *Viewer

	States        []State           // any of
	Name          string            // Config.Name, exact
	ModelID       string            // Config.ModelID, exact
	CreatorUID    string            // Creator.UID
	ExecutorUID   string            // Executor.UID
	Source        Source            // exact
	Where         Location          // exact
	CreatedAfter  time.Time         // strict comparisons
	CreatedBefore time.Time         // strict, too
	UpdatedAfter  time.Time         // strict, too
	EnvironmentID string            // or EmptyEnvironment
	Skill         string            // Config.SkillSpec, exact
	ScheduleID    string            // metadata "schedule_id"
	AncestorID    ID                // all descendants
	ArtifactType  ArtifactType      // has at least one such
	Metadata      map[string]string // all of, at most MaxMetadataFilters
	Text          string            // words found in title, prompt or skill, in any order and case

	Sort  SortKey // default SortUpdatedAt
	Asc   bool    // default descending
	Limit int     // default DefaultPageSize, at most MaxPageSize
	// After continues behind the last row of a page, see Page.Next.
	After *Cursor
}

// Page is one page of a list.
type Page struct {
	Tasks []Task // in order, without their logs
	// Next continues the list; nil on the last page.
	Next *Cursor
}

// Cursor is a position in a list: the sort key and ID of a row. Runs that
// change between two pages are neither repeated endlessly nor lost.
type Cursor struct {
	Sort SortKey `json:"s"`           // the list's
	Asc  bool    `json:"a,omitempty"` // the list's direction
	// Key is the row's value of the sort key, RFC 3339 with nanoseconds for
	// times. Stores may leave it empty for keys that never change, since ID
	// names the row.
	Key string `json:"k"`
	ID  ID     `json:"i"` // the row's run
}

// String encodes the cursor for the wire; clients treat it as opaque.
func (c Cursor) String() string {
	b, _ := json.Marshal(c) // strings and a bool cannot fail
	return base64.RawURLEncoding.EncodeToString(b)
}

// ParseCursor decodes what String encoded. It fails with ErrInvalid when it
// is malformed or was made for another sort.
func ParseCursor(s string, sort SortKey, asc bool) (*Cursor, error) {
	const advice = "is not a cursor of this list; start again without it"
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) > 4096 {
		return nil, Invalid("cursor", advice)
	}
	var c Cursor
	if err := json.Unmarshal(b, &c); err != nil || c.ID == "" {
		return nil, Invalid("cursor", advice)
	}
	if c.Sort != sort || c.Asc != asc {
		return nil, Invalid("cursor", "was made for another sort; resend the query it came from")
	}
	return &c, nil
}

// Validate checks the query and fills in its defaults.
func (q *Query) Validate() error {
	if q.Limit == 0 {
		q.Limit = DefaultPageSize
	}
	if q.Limit < 1 || q.Limit > MaxPageSize {
		return Invalid("limit", "must be 1 to %d", MaxPageSize)
	}
	switch q.Sort {
	case "":
		q.Sort = SortUpdatedAt
	case SortUpdatedAt, SortCreatedAt, SortTitle, SortAgent:
	default:
		return Invalid("sort_by", "%q is none of updated_at, created_at, title, agent", string(q.Sort))
	}
	for _, s := range q.States {
		if !s.Known() {
			return Invalid("state", "%q is no state of a run", string(s))
		}
	}
	if q.Source != "" && !q.Source.Known() {
		return Invalid("source", "%q is no source of a run", string(q.Source))
	}
	if q.Where != "" && q.Where != LocationLocal && q.Where != LocationRemote {
		return Invalid("execution_location", "%q is neither LOCAL nor REMOTE", string(q.Where))
	}
	if q.ArtifactType != "" && !q.ArtifactType.Known() {
		return Invalid("artifact_type", "%q is no type of artifact", string(q.ArtifactType))
	}
	if len(q.Metadata) > MaxMetadataFilters {
		return Invalid("metadata", "at most %d pairs can be asked for", MaxMetadataFilters)
	}
	return nil
}
