package wire_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gotest.tools/v3/assert"
	"pgregory.net/rapid"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

func parse(query string) (wire.List, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return wire.List{}, err
	}
	return wire.ParseList(values)
}

// TestQueryEncoding is the table of Oz API, query encoding, with what official
// and other clients send.
func TestQueryEncoding(t *testing.T) {
	defaults := func(q task.Query) task.Query {
		q.Limit, q.Sort = max(q.Limit, 1), task.SortUpdatedAt
		if q.Limit == 1 {
			q.Limit = task.DefaultPageSize
		}
		return q
	}
	both := task.Query{States: []task.State{task.StateQueued, task.StateFailed}}
	at := time.Date(2019, 12, 27, 18, 11, 19, 117_000_000, time.UTC)
	for query, want := range map[string]task.Query{
		"":                                              {},
		"state=QUEUED&state=FAILED":                     both,
		"state[]=QUEUED&state[]=FAILED":                 both,
		"state%5B%5D=QUEUED,FAILED":                     both,
		"state=QUEUED,FAILED":                           both,
		"state=QUEUED%2CFAILED":                         both,
		"state=&state=QUEUED":                           {States: []task.State{task.StateQueued}},
		"metadata%5Bticket_id%5D=VIS-238":               {Metadata: map[string]string{"ticket_id": "VIS-238"}},
		"metadata%5Ba.b%5D=x%20y":                       {Metadata: map[string]string{"a.b": "x y"}},
		"metadata%5Ba.b%5D=x+y":                         {Metadata: map[string]string{"a.b": "x y"}},
		"metadata[k]=":                                  {Metadata: map[string]string{"k": ""}},
		"metadata[a]b]=c":                               {Metadata: map[string]string{"a]b": "c"}},
		"metadata=x&metadata[=y&metadat[a]=z":           {},
		"automation_id=a-1":                             {Metadata: map[string]string{"automation_id": "a-1"}},
		"automation_id=a-1&metadata[automation_id]=a-1": {Metadata: map[string]string{"automation_id": "a-1"}},
		"q=x%20y":                                       {Text: "x y"},
		"q=x+y":                                         {Text: "x y"},
		"name=&model_id=&limit=&cursor=&sort_by=&sort_order=&created_after=":          {},
		"created_after=2019-12-27T18%3A11%3A19.117000%2B00%3A00":                      {CreatedAfter: at},
		"created_before=2019-12-27T19:11:19.117%2B01:00":                              {CreatedBefore: at},
		"updated_after=2019-12-27T18:11:19.117":                                       {UpdatedAfter: at},
		"skill=a/b:c":                                                                 {Skill: "a/b:c"},
		"skill_spec=a/b:c":                                                            {Skill: "a/b:c"},
		"skill=a&skill_spec=a":                                                        {Skill: "a"},
		"environment_id=empty-environment":                                            {EnvironmentID: task.EmptyEnvironment},
		"executor=u&creator=v&schedule_id=s&ancestor_run_id=r":                        {ExecutorUID: "u", CreatorUID: "v", ScheduleID: "s", AncestorID: "r"},
		"source=SLACK&execution_location=LOCAL&artifact_type=PLAN&name=n&model_id=m":  {Source: task.SourceSlack, Where: task.LocationLocal, ArtifactType: task.ArtifactPlan, Name: "n", ModelID: "m"},
		"brand_new=1&sort_order=desc&limit=500&sort_by=updated_at&refresh=true&null=": {Limit: 500},
	} {
		got, err := parse(query)
		assert.NilError(t, err, query)
		assert.Assert(t, !got.Nothing, query)
		if diff := cmp.Diff(defaults(want), got.Query); diff != "" {
			t.Errorf("%s: -want +got\n%s", query, diff)
		}
	}
	for _, query := range []string{"factory_uid=f", "skill=a&skill_spec=b", "automation_id=a&metadata[automation_id]=b"} {
		got, err := parse(query)
		assert.NilError(t, err)
		assert.Assert(t, got.Nothing, query)
	}
	cursor := task.Cursor{Sort: task.SortTitle, Asc: true, Key: "k", ID: "i"}
	got, err := parse("sort_by=title&sort_order=asc&cursor=" + cursor.String())
	assert.NilError(t, err)
	assert.DeepEqual(t, *got.After, cursor)
	for query, field := range map[string]string{
		"limit=0": "limit", "limit=501": "limit", "limit=x": "limit", "limit=1e2": "limit", "limit=+5": "limit", "limit=5&limit=6": "limit", "state=queued": "state", "source=x": "source",
		"execution_location=local": "execution_location", "artifact_type=x": "artifact_type", "sort_by=x": "sort_by", "sort_order=ASC": "sort_order",
		"created_after=2019": "created_after", "created_before=1577470279": "created_before", "updated_after=yesterday": "updated_after",
		"metadata[]=x": "metadata", "metadata[a]=1&metadata[a]=2": "metadata", "name=a&name=b": "name", "cursor=x": "cursor",
		"sort_by=title&cursor=" + cursor.String(): "cursor", "metadata[a]=&metadata[b]=&metadata[c]=&metadata[d]=&metadata[e]=&automation_id=f": "metadata",
		"state=" + strings.Repeat("QUEUED,", 33): "state",
	} {
		_, err := parse(query)
		assert.ErrorIs(t, err, task.ErrInvalid, query)
		assert.ErrorContains(t, err, field+": ")
	}
}

// TestQueryRoundTrip asks that a query is the same on both sides of the wire.
func TestQueryRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		q := task.Query{
			States: rapid.SampledFrom([][]task.State{nil, {task.StateBlocked}, {task.StateError, task.StateCancelled}}).Draw(rt, "states"),
			Name:   text().Draw(rt, "name"), ModelID: text().Draw(rt, "model"), CreatorUID: text().Draw(rt, "creator"), ExecutorUID: text().Draw(rt, "executor"),
			Source: optional(rapid.Just(task.SourceJira)).Draw(rt, "source"), Where: optional(rapid.Just(task.LocationLocal)).Draw(rt, "where"),
			CreatedAfter: optional(moments()).Draw(rt, "after"), CreatedBefore: optional(moments()).Draw(rt, "before"), UpdatedAfter: optional(moments()).Draw(rt, "updated"),
			EnvironmentID: text().Draw(rt, "environment"), Skill: text().Draw(rt, "skill"), ScheduleID: text().Draw(rt, "schedule"),
			AncestorID: task.ID(text().Draw(rt, "ancestor")), ArtifactType: optional(rapid.Just(task.ArtifactPlan)).Draw(rt, "artifact"),
			Metadata: texts().Draw(rt, "metadata"), Text: text().Draw(rt, "text"), Asc: rapid.Bool().Draw(rt, "asc"),
			Limit: rapid.IntRange(1, task.MaxPageSize).Draw(rt, "limit"),
			Sort:  rapid.SampledFrom([]task.SortKey{task.SortUpdatedAt, task.SortCreatedAt, task.SortTitle, task.SortAgent}).Draw(rt, "sort"),
		}
		if rapid.Bool().Draw(rt, "cursor?") {
			q.After = &task.Cursor{Sort: q.Sort, Asc: q.Asc, Key: text().Draw(rt, "key"), ID: "i"}
		}
		got, err := parse(wire.EncodeList(q).Encode())
		if err != nil {
			rt.Fatal(err)
		}
		if diff := cmp.Diff(q, got.Query, sameTime); diff != "" || got.Nothing {
			rt.Fatalf("-want +got\n%s", diff)
		}
	})
}

func TestTimes(t *testing.T) {
	want := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for _, s := range []string{"2026-01-31T12:00:00Z", "2026-01-31T13:00:00+01:00", "2026-01-31T12:00:00", "2026-01-31T12:00:00.000000", "2026-01-31T06:30:00-05:30"} {
		got, err := wire.ParseTime(s)
		assert.NilError(t, err)
		assert.Equal(t, got, want)
	}
	for _, s := range []string{"", "2026-01-31", "12:00:00", "2026-02-30T12:00:00Z", "2026-01-31T25:00:00Z", "2026-01-31T12:00:00Zx", "1769860800",
		"9999-12-31T23:59:59-14:00", "0000-01-01T00:00:00+14:00"} {
		_, err := wire.ParseTime(s)
		assert.Assert(t, err != nil, s)
	}
}

// FuzzList reads any query string: it is refused as the caller's fault, or
// means the same when it is written again.
func FuzzList(f *testing.F) {
	for _, seed := range []string{
		"", "state=QUEUED&state=FAILED", "metadata%5Ba.b%5D=x%20y&q=a+b", "limit=7&sort_by=title&sort_order=asc", "created_after=2019-12-27T18:11:19.117000%2B00:00",
		"cursor=" + task.Cursor{Sort: task.SortUpdatedAt, Key: "k", ID: "i"}.String(), "metadata[]=", "skill=a&skill_spec=b", "created_after=9999-12-31T23:59:59-14:00",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		values, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		first, err := wire.ParseList(values)
		if err != nil {
			assert.ErrorIs(t, err, task.ErrInvalid)
			return
		}
		again, err := wire.ParseList(wire.EncodeList(first.Query))
		assert.NilError(t, err)
		assert.DeepEqual(t, again.Query, first.Query, sameTime)
	})
}
