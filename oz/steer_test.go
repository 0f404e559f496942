package oz_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// is is assert.ErrorIs for other goroutines.
func is(err, target error) cmp.Comparison {
	return func() cmp.Result {
		if errors.Is(err, target) {
			return cmp.ResultSuccess
		}
		return cmp.ResultFailure("error is not " + target.Error())
	}
}

func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fenced := make(chan error, 1)
		w := newWorker("w", 1, func(ctx context.Context, a oz.Assignment, l executor.Link) {
			assert.Check(t, l.Begin(ctx))
			for {
				if _, err := l.Heartbeat(ctx); err != nil {
					fenced <- err
					return
				}
				time.Sleep(time.Second)
			}
		})
		p, _ := with(t, &oz.Options{}, w)
		run := submit(t, p, oz.Request{Prompt: "work"})
		defer start(t, p)()
		until(t, p, run.ID, becomes(task.StateInProgress))
		assert.NilError(t, p.Cancel(t.Context(), run.ID))
		assert.ErrorIs(t, <-fenced, task.ErrFenced)
		got, err := p.Get(t.Context(), run.ID)
		assert.NilError(t, err)
		assert.Equal(t, got.State, task.StateCancelled)
		assert.Equal(t, task.CodeOf(p.Cancel(t.Context(), run.ID)), task.CodeInvalidRequest, "it has ended")
		assert.ErrorIs(t, p.Cancel(t.Context(), "nothing"), task.ErrNotFound)
	})
}

func TestFollowUpResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorker("w", 1, succeed)
		p, _ := with(t, &oz.Options{}, w)
		run := submit(t, p, oz.Request{Prompt: "work"})
		defer start(t, p)()
		first := follow(t, p, run.ID)
		assert.NilError(t, p.FollowUp(t.Context(), run.ID, oz.Message{Text: "and now the tests"}))
		all := follow(t, p, run.ID)
		assertGapless(t, all, 0)
		assert.Assert(t, len(all) > len(first))
		got, err := p.Get(t.Context(), run.ID)
		assert.NilError(t, err)
		assert.Equal(t, got.State, task.StateSucceeded)
		assert.Equal(t, got.Executions, 2)

		// Without a message it only resumes.
		assert.NilError(t, p.FollowUp(t.Context(), run.ID, oz.Message{}))
		follow(t, p, run.ID)
		got, err = p.Get(t.Context(), run.ID)
		assert.NilError(t, err)
		assert.Equal(t, got.Executions, 3)
		assert.ErrorIs(t, p.FollowUp(t.Context(), run.ID, oz.Message{Mode: "loud"}), task.ErrInvalid)
	})
}

func TestSteeringReachesTheRunner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		heard := make(chan string, 1)
		w := newWorker("w", 1, func(ctx context.Context, a oz.Assignment, l executor.Link) {
			assert.Check(t, l.Begin(ctx))
			beat, err := l.Heartbeat(ctx)
			assert.Check(t, err)
			seen := beat.LastInput
			for beat.LastInput == seen {
				time.Sleep(time.Second)
				beat, err = l.Heartbeat(ctx)
				assert.Check(t, err)
			}
			// An agent that has not heard it cannot succeed.
			assert.Check(t, is(l.End(ctx, task.End{State: task.StateSucceeded, SeenInput: seen}), task.ErrUnseenInput))
			events, err := l.Events(ctx, seen, 100)
			assert.Check(t, err)
			for _, e := range events {
				if in, ok := e.Payload.(*task.Input); ok {
					heard <- in.Text
				}
			}
			end(ctx, l, beat.LastInput, task.StateSucceeded)
		})
		p, _ := with(t, &oz.Options{}, w)
		run := submit(t, p, oz.Request{Prompt: "work"})
		defer start(t, p)()
		until(t, p, run.ID, becomes(task.StateInProgress))
		assert.NilError(t, p.FollowUp(t.Context(), run.ID, oz.Message{Text: "use tabs"}))
		assert.Equal(t, <-heard, "use tabs")
		follow(t, p, run.ID)
	})
}

func TestWatchIsGapless(t *testing.T) {
	const batches, perBatch, watchers = 60, 25, 8
	w := newWorker("w", 1, func(ctx context.Context, a oz.Assignment, l executor.Link) {
		assert.Check(t, l.Begin(ctx))
		for b := range batches {
			var events []task.Event
			for range perBatch {
				events = append(events, task.Event{Payload: &task.ToolOutput{CallID: "c", Text: "x"}})
			}
			offset := int64(b * perBatch)
			assert.Check(t, l.Append(ctx, offset, events))
			assert.Check(t, l.Append(ctx, offset, events), "a repeat after a lost answer changes nothing")
		}
		beat, err := l.Heartbeat(ctx)
		assert.Check(t, err)
		end(ctx, l, beat.LastInput, task.StateSucceeded)
	})
	p, store := with(t, &oz.Options{}, w)
	run := submit(t, p, oz.Request{Prompt: "talk a lot"})
	results := make(chan []task.Event, watchers)
	for i := range watchers {
		go func() {
			var got []task.Event
			// Each follower breaks off now and then, and goes on from where it was.
			for after, rounds := int64(i), 0; ; rounds++ {
				n, ended := 0, true
				for e, err := range p.Watch(context.Background(), run.ID, after) {
					assert.Check(t, err)
					got = append(got, e)
					after = e.Seq
					if n++; n == 100+i {
						ended = false
						break
					}
				}
				if ended {
					break
				}
			}
			results <- got
		}()
	}
	start(t, p)
	for range watchers {
		got := <-results
		assert.Assert(t, len(got) > 0)
		assertGapless(t, got, got[0].Seq-1)
		assert.Assert(t, got[0].Seq <= watchers)
		last := got[len(got)-1]
		assert.Assert(t, becomes(task.StateSucceeded)(last), "ends with the run: %v", last.Payload)
	}
	all, err := store.Events(t.Context(), run.ID, 0, 10_000)
	assert.NilError(t, err)
	spoken := 0
	for _, e := range all {
		if _, ok := e.Payload.(*task.ToolOutput); ok {
			spoken++
		}
	}
	assert.Equal(t, spoken, batches*perBatch)
}

func TestWatchEnds(t *testing.T) {
	p, _ := newPlatform(t, nil)
	run := submit(t, p, oz.Request{Prompt: "wait"})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	for _, err := range p.Watch(ctx, run.ID, 0) {
		if n++; n == 2 {
			cancel() // while it waits for more
		}
		if err != nil {
			assert.ErrorIs(t, err, context.Canceled)
		}
	}
	assert.Equal(t, n, 3, "two events and the context's error")

	assert.NilError(t, p.Cancel(t.Context(), run.ID))
	events := follow(t, p, run.ID)
	assert.Assert(t, becomes(task.StateCancelled)(events[len(events)-1]))
	for e := range p.Watch(t.Context(), run.ID, events[len(events)-1].Seq) {
		t.Errorf("an ended run that is known to its end yields %v", e)
	}
	for _, err := range p.Watch(t.Context(), "nothing", 0) {
		assert.ErrorIs(t, err, task.ErrNotFound)
	}
}

// TestLargeLogsAreReadWhole follows a log whose pages are cut for their size:
// a short page is not the end.
func TestLargeLogsAreReadWhole(t *testing.T) {
	s := newStage(t, nil)
	ctx := t.Context()
	run, l, _ := s.act(t, s.clients["bob"], oz.Request{Prompt: "print a lot"})
	assert.NilError(t, l.Begin(ctx))
	const n = 20
	text := strings.Repeat("0123456789abcdef", 1<<16)
	for i := range n {
		assert.NilError(t, l.Append(ctx, int64(i), []task.Event{{Payload: &task.ToolOutput{CallID: "c", Text: text}}}))
	}
	first, err := s.clients["bob"].Events(ctx, run.ID, 0, oz.MaxEvents)
	assert.NilError(t, err)
	beat, err := l.Heartbeat(ctx)
	assert.NilError(t, err)
	assert.NilError(t, l.End(ctx, task.End{State: task.StateSucceeded, SeenInput: beat.LastInput}))

	watched := follow(t, s.Platform, run.ID)
	assertGapless(t, watched, 0)
	assert.Assert(t, len(first) < len(watched), "the log is too small to be cut")
	var transcript strings.Builder
	assert.NilError(t, s.clients["bob"].Transcript(ctx, run.ID, &transcript, oz.TranscriptJSONLines))
	assert.Equal(t, strings.Count(transcript.String(), "\n"), len(watched))
}
