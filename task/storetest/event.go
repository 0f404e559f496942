package storetest

import (
	"fmt"
	"sync"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
)

var eventCases = []testCase{
	{name: "MissingRun", run: eventsMissing},
	{name: "Pages", run: eventPages},
	{name: "KeepsEverything", run: eventsKeep},
	{name: "GaplessUnderLoad", run: gapless},
	{name: "RunsApart", run: runsApart},
	{name: "LargePayloads", run: largePayloads},
}

func eventsMissing(f *fixture) {
	_, err := f.s.Events(f.ctx(), newID(), 0, 10)
	assert.ErrorIs(f, err, task.ErrNotFound)
}

func eventPages(f *fixture) {
	t, x := f.working(nil)
	f.do(t.ID, task.Append{Execution: x, Events: messages("a", "b", "c", "d", "e")})
	all := f.events(t.ID)
	last := int64(len(all))
	for after := int64(-1); after <= last+1; after++ {
		for _, limit := range []int{1, 2, 3, 1000} {
			got, err := f.s.Events(f.ctx(), t.ID, after, limit)
			assert.NilError(f, err)
			from := min(max(after, 0), last)
			want := all[from:min(from+int64(limit), last)]
			assert.Equal(f, len(got), len(want), "after %d limit %d", after, limit)
			for i := range want {
				assert.DeepEqual(f, got[i], want[i])
			}
		}
	}
	got, err := f.s.Events(f.ctx(), t.ID, 1<<60, 10)
	assert.NilError(f, err)
	assert.Equal(f, len(got), 0)
}

func eventsKeep(f *fixture) {
	t, x := f.working(nil)
	before := t.LastSeq
	at := start.Add(time.Hour + time.Nanosecond).In(time.FixedZone("west", -3600))
	payloads := []task.Payload{
		&task.Phase{Name: "setup", Status: task.PhaseDone, Detail: "1/2", DurationMS: 5},
		&task.Delivered{Inputs: []int64{2, 9}},
		&task.TurnStarted{Turn: 1},
		&task.Message{ID: "m", Text: "日本 <&> \x00 \u2028", More: true},
		&task.Reasoning{ID: "r", Text: "hm", Opaque: []byte(`{"sig":"a/b+c="}`)},
		&task.ToolCall{ID: "c", Name: "run_command", Category: task.CategoryCommand, Input: []byte(`{"command":"ls"}`)},
		&task.ToolOutput{CallID: "c", Text: "out\r\n\x1b[0m"},
		&task.ToolResult{CallID: "c", Name: "run_command", Category: task.CategoryCommand, State: task.ToolFailed, Content: "no", Output: []byte(`{"exit_code":2}`), DurationMS: 7},
		&task.Todos{Items: []task.Todo{{Title: "t", Done: true}}},
		&task.UsageReport{Category: "c", Model: "m", Tokens: task.TokenCount{Input: 1}, Calls: 1},
		&task.Effect{Key: "k", Kind: "git_push", State: task.EffectIntended, Detail: []byte(`{}`)},
		&task.Compaction{UpTo: 3, Summary: "s"},
		&task.Notice{Text: "n"},
		&task.ErrorReported{Code: task.CodeInternal, Message: "m", Fatal: true},
		&task.TurnEnded{Turn: 1, Model: "m", StopReason: "end", RequestID: "q", DurationMS: 9},
	}
	var events []task.Event
	for i, p := range payloads {
		e := task.Event{Seq: 77, TaskID: "another", ExecutionID: "another", Payload: p} // assigned by the store
		if i%2 == 0 {
			e.Time = at
		}
		events = append(events, e)
	}
	f.do(t.ID, task.Append{Execution: x, Events: events})
	got, err := f.s.Events(f.ctx(), t.ID, before, 100)
	assert.NilError(f, err)
	assert.Equal(f, len(got), len(payloads))
	for i, e := range got {
		assert.DeepEqual(f, e.Payload, payloads[i])
		assert.Equal(f, e.Seq, before+1+int64(i))
		assert.Equal(f, e.ExecutionID, x)
		assert.Equal(f, e.Time.Location(), time.UTC)
		assert.Assert(f, i%2 == 1 || e.Time.Equal(at), "%s became %s", at, e.Time)
		assert.Assert(f, !e.Time.IsZero())
	}
}

// gapless lets many goroutines write to many runs: the worker appends, people
// write, the platform logs.
func gapless(f *fixture) {
	const runs, rounds = 8, 25
	var all sync.WaitGroup
	var ids []task.ID
	for range runs {
		t, x := f.working(nil)
		ids = append(ids, t.ID)
		all.Go(func() {
			for i := range rounds {
				_, err := f.s.Do(f.ctx(), t.ID, task.Append{Execution: x, Offset: int64(2 * i), Events: messages(fmt.Sprint(2*i), fmt.Sprint(2*i+1))})
				assert.Check(f, err)
			}
		})
		all.Go(func() {
			for range rounds {
				_, err := f.s.Do(f.ctx(), t.ID, task.AddInput{Input: task.Input{Text: "steer"}})
				assert.Check(f, err)
			}
		})
		all.Go(func() {
			for range rounds {
				_, err := f.s.Do(f.ctx(), t.ID, task.Log{Payloads: []task.Payload{&task.Notice{Text: "note"}}})
				assert.Check(f, err)
			}
		})
	}
	all.Wait()
	for _, id := range ids {
		events := f.events(id) // checks the numbers
		assert.Equal(f, f.get(id).LastSeq, int64(len(events)))
		got := texts(events)
		assert.Equal(f, len(got), 2*rounds)
		for i, text := range got {
			assert.Equal(f, text, fmt.Sprint(i))
		}
	}
}

func runsApart(f *fixture) {
	var ids []task.ID
	for i := range 5 {
		t, x := f.working(nil)
		f.do(t.ID, task.Append{Execution: x, Events: messages(fmt.Sprint(i))})
		ids = append(ids, t.ID)
	}
	for i, id := range ids {
		assert.DeepEqual(f, texts(f.events(id)), []string{fmt.Sprint(i)})
	}
}

func largePayloads(f *fixture) {
	t, x := f.working(nil)
	big := make([]byte, task.MaxEventBytes-100)
	for i := range big {
		big[i] = 'a' + byte(i%26)
	}
	for i := range 20 { // 40 MiB in all: more than a store should give at once
		f.do(t.ID, task.Append{Execution: x, Offset: int64(i), Events: messages(string(big))})
	}
	seen := 0
	for after := t.LastSeq; ; {
		page, err := f.s.Events(f.ctx(), t.ID, after, 100)
		assert.NilError(f, err)
		if len(page) == 0 {
			break
		}
		for _, e := range page {
			after++
			assert.Equal(f, e.Seq, after)
			assert.Assert(f, e.Payload.(*task.Message).Text == string(big))
			seen++
		}
	}
	assert.Equal(f, seen, 20)
}
