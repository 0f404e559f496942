package wire

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

// List is what a query string asks the list of runs for.
type List struct {
	task.Query
	// Nothing says that no run can match: the server knows no factories, and
	// "skill" and "skill_spec" may contradict each other.
	Nothing bool
}

// maxStates bounds the values of "state"; there are nine.
const maxStates = 32

// ParseList reads the query of the list of runs (Oz API, list runs). Unknown
// parameters are ignored; an empty value counts as not given, except within
// metadata. It fails with task.ErrInvalid.
func ParseList(values url.Values) (List, error) {
	p := listParser{values: values}
	var l List
	q := &l.Query
	for _, s := range p.list("state") {
		q.States = append(q.States, task.State(s))
	}
	if len(q.States) > maxStates {
		return List{}, task.Invalid("state", "at most %d values can be asked for", maxStates)
	}
	q.Name, q.ModelID, q.CreatorUID, q.ExecutorUID = p.text("name"), p.text("model_id"), p.text("creator"), p.text("executor")
	q.Source, q.Where = task.Source(p.text("source")), task.Location(p.text("execution_location"))
	q.CreatedAfter, q.CreatedBefore, q.UpdatedAfter = p.time("created_after"), p.time("created_before"), p.time("updated_after")
	q.EnvironmentID, q.ScheduleID = p.text("environment_id"), p.text("schedule_id")
	q.AncestorID, q.ArtifactType = task.ID(p.text("ancestor_run_id")), task.ArtifactType(p.text("artifact_type"))
	q.Text, q.Limit = p.text("q"), p.number("limit")
	q.Metadata = p.metadata()
	q.Sort, q.Asc = task.SortKey(p.text("sort_by")), p.ascending()
	q.Skill, l.Nothing = p.skill()
	l.Nothing = l.Nothing || p.text("factory_uid") != ""
	if p.err != nil {
		return List{}, p.err
	}
	if err := l.automation(p.text("automation_id")); err != nil {
		return List{}, err
	}
	if err := q.Validate(); err != nil {
		return List{}, err
	}
	if c := p.text("cursor"); c != "" {
		after, err := task.ParseCursor(c, q.Sort, q.Asc)
		if err != nil {
			return List{}, err
		}
		q.After = after
	}
	return l, p.err
}

// automation makes automation_id the metadata of that name.
func (l *List) automation(id string) error {
	if id == "" {
		return nil
	}
	if had, ok := l.Metadata["automation_id"]; ok && had != id {
		l.Nothing = true
		return nil
	}
	if l.Metadata == nil {
		l.Metadata = map[string]string{}
	}
	l.Metadata["automation_id"] = id
	return nil
}

// listParser reads parameters and keeps the first error.
type listParser struct {
	values url.Values
	err    error
}

func (p *listParser) fail(field, format string, args ...any) {
	if p.err == nil {
		p.err = task.Invalid(field, format, args...)
	}
}

// text gives a parameter that may be there once.
func (p *listParser) text(key string) string {
	all := slices.DeleteFunc(slices.Clone(p.values[key]), func(s string) bool { return s == "" })
	if len(all) == 0 {
		return ""
	}
	if len(all) > 1 {
		p.fail(key, "may be given once only")
	}
	return all[0]
}

// list gives an array.
func (p *listParser) list(key string) []string { return Array(p.values, key) }

// Array gives an array of a query: its key repeated, with brackets, or with
// commas.
func Array(values url.Values, key string) []string {
	var out []string
	for _, k := range []string{key, key + "[]"} {
		for _, v := range values[k] {
			for item := range strings.SplitSeq(v, ",") {
				if item != "" {
					out = append(out, item)
				}
			}
		}
	}
	return out
}

func (p *listParser) number(key string) int {
	s := p.text(key)
	if s == "" {
		return 0
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > task.MaxPageSize {
		p.fail(key, "must be 1 to %d", task.MaxPageSize)
	}
	return n
}

func (p *listParser) time(key string) time.Time {
	s := p.text(key)
	if s == "" {
		return time.Time{}
	}
	t, err := ParseTime(s)
	if err != nil {
		p.fail(key, "must be a time like 2026-01-31T12:00:00Z")
	}
	return t
}

func (p *listParser) ascending() bool {
	switch order := p.text("sort_order"); order {
	case "", "desc":
		return false
	case "asc":
		return true
	default:
		p.fail("sort_order", "%q is neither asc nor desc", order)
		return false
	}
}

// skill gives the skill asked for by either name; contradictory is true when
// both are given and differ.
func (p *listParser) skill() (skill string, contradictory bool) {
	skill, spec := p.text("skill"), p.text("skill_spec")
	if skill == "" {
		return spec, false
	}
	return skill, spec != "" && spec != skill
}

// metadata reads metadata[key]=value. A key may hold dots, and brackets too:
// it ends at the last one.
func (p *listParser) metadata() map[string]string {
	var out map[string]string
	for name, values := range p.values {
		key, ok := strings.CutPrefix(name, "metadata[")
		if !ok || !strings.HasSuffix(key, "]") {
			continue
		}
		key = strings.TrimSuffix(key, "]")
		if key == "" || len(values) > 1 {
			p.fail("metadata", "give each key once, as metadata[key]=value")
			continue
		}
		if out == nil {
			out = map[string]string{}
		}
		out[key] = values[0]
	}
	return out
}

// ParseTime reads an RFC 3339 time with any offset; without one it is UTC (Oz
// API, timestamps).
func ParseTime(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t, err = time.Parse("2006-01-02T15:04:05", s) // also takes a fraction
	}
	t = t.UTC() // its offset may move it into a year that has no RFC 3339 form
	if err != nil || t.Year() < 0 || t.Year() > 9999 {
		return time.Time{}, fmt.Errorf("%q is no RFC 3339 time", s)
	}
	return t, nil
}

// EncodeList writes a query as ParseList reads it. Owners are left out: the
// server decides what a caller sees.
func EncodeList(q task.Query) url.Values {
	v := url.Values{}
	set := func(key, value string) {
		if value != "" {
			v.Set(key, value)
		}
	}
	for _, s := range q.States {
		v.Add("state", string(s))
	}
	set("name", q.Name)
	set("model_id", q.ModelID)
	set("creator", q.CreatorUID)
	set("executor", q.ExecutorUID)
	set("source", string(q.Source))
	set("execution_location", string(q.Where))
	set("created_after", encodeTime(q.CreatedAfter))
	set("created_before", encodeTime(q.CreatedBefore))
	set("updated_after", encodeTime(q.UpdatedAfter))
	set("environment_id", q.EnvironmentID)
	set("skill_spec", q.Skill)
	set("schedule_id", q.ScheduleID)
	set("ancestor_run_id", string(q.AncestorID))
	set("artifact_type", string(q.ArtifactType))
	set("q", q.Text)
	set("sort_by", string(q.Sort))
	if q.Asc {
		v.Set("sort_order", "asc")
	}
	if q.Limit != 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	if q.After != nil {
		v.Set("cursor", q.After.String())
	}
	for key, value := range q.Metadata {
		v.Set("metadata["+key+"]", value)
	}
	return v
}

func encodeTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}
