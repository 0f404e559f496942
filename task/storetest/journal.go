package storetest

import (
	"bytes"
	"fmt"
	"strings"
	"sync"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
)

// journalCases run for stores that implement task.Journal.
var journalCases = []testCase{
	{name: "Chains", run: journalChains},
	{name: "Limits", run: journalLimits},
	{name: "Pages", run: journalPages},
	{name: "NeverForks", run: journalRace},
	{name: "Reopen", reopens: true, run: journalReopens},
}

// journal skips the case for stores without one.
func (f *fixture) journal() task.Journal {
	f.Helper()
	j, ok := f.s.(task.Journal)
	if !ok {
		f.Skip("the store is no task.Journal")
	}
	return j
}

func (f *fixture) note(bodies ...string) []task.JournalEntry {
	f.Helper()
	var data [][]byte
	for _, b := range bodies {
		data = append(data, []byte(b))
	}
	out, err := f.journal().AppendJournal(f.ctx(), data...)
	assert.NilError(f, err)
	return out
}

// entries reads the whole journal and checks its chain.
func (f *fixture) entries() (all []task.JournalEntry) {
	f.Helper()
	var last task.JournalEntry
	for {
		page, err := f.journal().Journal(f.ctx(), last.Seq, 7)
		assert.NilError(f, err)
		if len(page) == 0 {
			break
		}
		for _, e := range page {
			want := task.Chain(last, e.Body)[0]
			assert.Assert(f, e.Seq == want.Seq && e.Hash == want.Hash && e.BodyHash == want.BodyHash, "entry %d", e.Seq)
			all, last = append(all, e), e
		}
	}
	head, err := f.journal().JournalHead(f.ctx())
	assert.NilError(f, err)
	last.Body = nil
	assert.DeepEqual(f, head, last)
	return all
}

func journalChains(f *fixture) {
	f.journal()
	assert.Equal(f, len(f.entries()), 0)
	body := []byte("one")
	first, err := f.journal().AppendJournal(f.ctx(), body)
	assert.NilError(f, err)
	body[0] = 'X'
	rest := f.note("two", "\x00\xff")
	assert.DeepEqual(f, f.entries(), append(first, rest...))
	assert.Equal(f, string(f.entries()[0].Body), "one")
}

func journalLimits(f *fixture) {
	j := f.journal()
	f.note(strings.Repeat("x", task.MaxJournalBytes))
	_, err := j.AppendJournal(f.ctx())
	assert.ErrorIs(f, err, task.ErrInvalid)
	_, err = j.AppendJournal(f.ctx(), []byte("small"), nil)
	assert.ErrorIs(f, err, task.ErrInvalid)
	_, err = j.AppendJournal(f.ctx(), []byte("small"), bytes.Repeat([]byte("x"), task.MaxJournalBytes+1))
	assert.ErrorIs(f, err, task.ErrInvalid)
	assert.Equal(f, len(f.entries()), 1)
}

func journalPages(f *fixture) {
	j := f.journal()
	big := strings.Repeat("x", task.MaxJournalBytes)
	fits := task.MaxJournalPage / task.MaxJournalBytes
	for range fits + 10 {
		f.note(big)
	}
	page, err := j.Journal(f.ctx(), 0, 10*fits)
	assert.NilError(f, err)
	assert.Equal(f, len(page), fits)
	page, err = j.Journal(f.ctx(), 3, 2)
	assert.NilError(f, err)
	assert.Equal(f, len(page), 2)
	assert.Equal(f, page[0].Seq, int64(4))
	assert.Equal(f, len(f.entries()), fits+10)
}

// journalRace has many append at once.
func journalRace(f *fixture) {
	j := f.journal()
	const writers, each = 16, 10
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range each {
				body := fmt.Sprint(w, " ", i)
				out, err := j.AppendJournal(f.ctx(), []byte(body))
				assert.Check(f, err)
				assert.Check(f, len(out) == 1 && string(out[0].Body) == body)
			}
		})
	}
	all.Wait()
	seen := map[string]bool{}
	for _, e := range f.entries() {
		seen[string(e.Body)] = true
	}
	assert.Equal(f, len(seen), writers*each)
}

func journalReopens(f *fixture) {
	f.journal()
	f.note("one", "two")
	f.reopen()
	f.note("three")
	assert.Equal(f, len(f.entries()), 3)
}
