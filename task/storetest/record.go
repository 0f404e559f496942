package storetest

import (
	"bytes"
	"strings"
	"sync"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
)

var recordCases = []testCase{
	{name: "Revisions", run: recordRevisions},
	{name: "Missing", run: recordMissing},
	{name: "ListAndOwners", run: recordList},
	{name: "Limits", run: recordLimits},
	{name: "OddKeysAndData", run: recordOdd},
	{name: "OneWinner", run: recordRace},
	{name: "SharesNoMemory", run: recordSharesNothing},
}

func (f *fixture) put(r task.Record) int64 {
	f.Helper()
	rev, err := f.s.PutRecord(f.ctx(), r)
	assert.NilError(f, err)
	return rev
}

func (f *fixture) record(kind, key string) task.Record {
	f.Helper()
	r, err := f.s.Record(f.ctx(), kind, key)
	assert.NilError(f, err)
	return r
}

func recordRevisions(f *fixture) {
	r := task.Record{Kind: "environment", Key: "k", Owner: task.Scope{Type: task.ScopeTeam, UID: "t"}, Data: []byte("one"), UpdatedAt: start}
	assert.Equal(f, f.put(r), int64(1))
	_, err := f.s.PutRecord(f.ctx(), r)
	assert.ErrorIs(f, err, task.ErrConflict, "it exists")
	want := r
	want.Revision = 1
	assert.DeepEqual(f, f.record("environment", "k"), want)

	r.Revision, r.Data, r.Owner, r.UpdatedAt = 1, []byte("two"), task.Scope{Type: task.ScopeUser, UID: "u"}, start.Add(1)
	assert.Equal(f, f.put(r), int64(2))
	for _, stale := range []int64{0, 1, 3} {
		r.Revision = stale
		_, err := f.s.PutRecord(f.ctx(), r)
		assert.ErrorIs(f, err, task.ErrConflict, "revision %d", stale)
	}
	r.Revision = 2
	assert.DeepEqual(f, f.record("environment", "k"), r)

	assert.NilError(f, f.s.DeleteRecord(f.ctx(), "environment", "k"))
	_, err = f.s.PutRecord(f.ctx(), r)
	assert.ErrorIs(f, err, task.ErrConflict, "it is gone")
	r.Revision = 0
	assert.Equal(f, f.put(r), int64(1))
}

func recordMissing(f *fixture) {
	f.put(task.Record{Kind: "a", Key: "k"})
	for _, at := range [][2]string{{"a", "other"}, {"b", "k"}, {"", ""}} {
		_, err := f.s.Record(f.ctx(), at[0], at[1])
		assert.ErrorIs(f, err, task.ErrNotFound)
		assert.ErrorIs(f, f.s.DeleteRecord(f.ctx(), at[0], at[1]), task.ErrNotFound)
	}
	list, err := f.s.Records(f.ctx(), "none", nil)
	assert.NilError(f, err)
	assert.Equal(f, len(list), 0)
}

func recordList(f *fixture) {
	team, user := task.Scope{Type: task.ScopeTeam, UID: "x"}, task.Scope{Type: task.ScopeUser, UID: "x"}
	f.put(task.Record{Kind: "a", Key: "3", Owner: team})
	f.put(task.Record{Kind: "a", Key: "1", Owner: user})
	f.put(task.Record{Kind: "a", Key: "2", Owner: team})
	f.put(task.Record{Kind: "a", Key: "10"})
	f.put(task.Record{Kind: "b", Key: "1", Owner: team})
	keys := func(kind string, owner *task.Scope) string {
		f.Helper()
		list, err := f.s.Records(f.ctx(), kind, owner)
		assert.NilError(f, err)
		var out []string
		for _, r := range list {
			assert.Equal(f, r.Kind, kind)
			assert.Equal(f, r.Revision, int64(1))
			assert.Assert(f, owner == nil || r.Owner == *owner)
			out = append(out, r.Key)
		}
		return strings.Join(out, " ")
	}
	assert.Equal(f, keys("a", nil), "1 10 2 3")
	assert.Equal(f, keys("a", &team), "2 3")
	assert.Equal(f, keys("a", &user), "1")
	assert.Equal(f, keys("a", &task.Scope{}), "10")
	assert.Equal(f, keys("b", &user), "")
}

func recordLimits(f *fixture) {
	big := bytes.Repeat([]byte{0xff, 0}, task.MaxRecordBytes/2)
	f.put(task.Record{Kind: strings.Repeat("k", 64), Key: strings.Repeat("k", 512), Data: big})
	assert.Assert(f, bytes.Equal(f.record(strings.Repeat("k", 64), strings.Repeat("k", 512)).Data, big))
	for _, r := range []task.Record{{Key: "k"}, {Kind: "a"}, {Kind: strings.Repeat("k", 65), Key: "k"}, {Kind: "a", Key: strings.Repeat("k", 513)},
		{Kind: "a", Key: "k", Data: append(big, 1)}, {Kind: "a", Key: "k", Revision: -1}} {
		_, err := f.s.PutRecord(f.ctx(), r)
		assert.ErrorIs(f, err, task.ErrInvalid)
	}
	list, err := f.s.Records(f.ctx(), "a", nil)
	assert.NilError(f, err)
	assert.Equal(f, len(list), 0)
}

func recordOdd(f *fixture) {
	for _, s := range odd {
		if s == "" || len(s) > 64 {
			continue
		}
		r := task.Record{Kind: s, Key: s, Owner: task.Scope{Type: task.ScopeUser, UID: s}, Data: []byte(s), UpdatedAt: start}
		r.Revision = f.put(r)
		assert.DeepEqual(f, f.record(s, s), r)
		list, err := f.s.Records(f.ctx(), s, &r.Owner)
		assert.NilError(f, err)
		assert.DeepEqual(f, list, []task.Record{r})
	}
	f.put(task.Record{Kind: "a", Key: "empty", UpdatedAt: start})
	assert.Equal(f, len(f.record("a", "empty").Data), 0)
}

// recordRace has many writers read, change and write one record: each success
// builds on the one before.
func recordRace(f *fixture) {
	const writers, each = 8, 10
	f.put(task.Record{Kind: "a", Key: "k", UpdatedAt: time.Unix(0, 0)})
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for done := 0; done < each; {
				r, err := f.s.Record(f.ctx(), "a", "k")
				if !assert.Check(f, err) {
					return
				}
				r.Data = append(r.Data, 'x')
				if _, err = f.s.PutRecord(f.ctx(), r); err == nil {
					done++
					continue
				}
				if !assert.Check(f, task.CodeOf(err) == task.CodeConflict, "%v", err) {
					return
				}
			}
		})
	}
	all.Wait()
	r := f.record("a", "k")
	assert.Equal(f, len(r.Data), writers*each)
	assert.Equal(f, r.Revision, int64(1+writers*each))
}

func recordSharesNothing(f *fixture) {
	data := []byte("data")
	f.put(task.Record{Kind: "a", Key: "k", Data: data})
	data[0] = 'X'
	got := f.record("a", "k")
	assert.Equal(f, string(got.Data), "data")
	got.Data[0] = 'X'
	assert.Equal(f, string(f.record("a", "k").Data), "data")
}
