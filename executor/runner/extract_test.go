package runner_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// asksForNotes reports that a call asks what a conversation teaches.
func asksForNotes(q *scripted.Request) bool { return strings.Contains(q.System, "You keep the notes") }

// learningStore makes a memory store, and the configuration of a run that has it.
func (r *rig) learningStore(more string) (string, task.Config) {
	r.t.Helper()
	store, err := r.CreateMemoryStore(r.t.Context(), oz.MemoryStoreInput{Name: "facts"})
	assert.NilError(r.t, err)
	return store.UID, task.Config{EnvironmentID: r.environment(nil),
		MemoryStores: []byte(`[{"uid":"` + store.UID + `","access":"read_write","instructions":"Facts of the house"` + more + `}]`)}
}

// noteTaker is a model that answers what it is asked for notes with what answer
// makes of the question; the rest is the scripted model's.
func noteTaker(t *testing.T, to string, answer func(question string) string) string {
	t.Helper()
	target, err := url.Parse(to)
	assert.NilError(t, err)
	rest := httputil.NewSingleHostReverseProxy(target)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		assert.Check(t, err)
		if !bytes.Contains(body, []byte("You keep the notes")) {
			r.Body = io.NopCloser(bytes.NewReader(body))
			rest.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		assert.Check(t, json.NewEncoder(w).Encode(object{"id": "msg_1", "type": "message", "role": "assistant", "model": modelID,
			"content": []object{{"type": "text", "text": answer(string(body))}}, "stop_reason": "end_turn", "usage": object{"input_tokens": 700, "output_tokens": 50}}))
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// TestMemoryIsExtracted: after a conversation the run's model says what to
// remember, on the run's account; what is out of date is superseded, secrets
// are not kept, tools' results are not shown, each memory says which run it is
// from, and it is asked once for the same conversation.
func TestMemoryIsExtracted(t *testing.T) {
	const secret = "Jd4-Wq8_zT2nVb6Rk9Ls"
	first := regexp.MustCompile(`\[([0-9a-f-]{36}), `)
	asked := make(chan string, 10)
	due := func(s scripted.Step, match func(*scripted.Request) bool) scripted.Step {
		s.Match = match
		return s
	}
	r := newRig(t, setup{script: play(
		due(finish("Noted, says the AGENT."), did("run_command", "")),
		due(command("echo TOOL-$((40+2))"), func(*scripted.Request) bool { return true }),
	), models: func(m *executor.Models) {
		m.Providers[0].BaseURL = noteTaker(t, m.Providers[0].BaseURL, func(question string) string {
			asked <- question
			notes, err := json.Marshal([]object{
				{"content": "Releases are cut on Tuesdays.", "reason": "They moved.", "replaces": first.FindStringSubmatch(question)[1]},
				{"content": "The door opens with " + secret + ", they say.", "reason": "said"},
				{"content": "Replaces what is not there.", "replaces": "nobody"},
				{"content": strings.Repeat("too long ", 1000)},
			})
			assert.Check(t, err)
			return "Here it is:\n```json\n" + string(notes) + "\n```"
		})
	}})
	_, err := r.CreateSecret(t.Context(), oz.SecretInput{Name: "DOOR", Value: secret})
	assert.NilError(t, err)
	uid, config := r.learningStore(`,"extract":true`)
	old, err := r.CreateMemory(t.Context(), uid, oz.MemoryInput{Content: "Releases are cut on Mondays.", Reason: "said"})
	assert.NilError(t, err)
	run, events := r.finish(r.submit(oz.Request{Prompt: "Releases move to Tuesdays, says the PERSON.", Config: config}))
	assert.Equal(t, run.State, task.StateSucceeded, describe(events))

	assert.Equal(t, len(asked), 1)
	question := <-asked
	for _, part := range []string{"says the PERSON", "says the AGENT", "Facts of the house", "Releases are cut on Mondays."} {
		assert.Assert(t, is.Contains(question, part))
	}
	assert.Assert(t, !strings.Contains(question, "TOOL-42"), "what tools say is not learned")
	list, err := r.Memories(t.Context(), uid)
	assert.NilError(t, err)
	assert.Equal(t, len(list), 3, "%v", list)
	for _, m := range list {
		assert.Equal(t, m.RunID, run.ID)
		assert.Assert(t, !strings.Contains(m.Content, secret))
		assert.Assert(t, strings.HasPrefix(m.Reason, "Learned from a conversation."), m.Reason)
		if m.UID == old.UID {
			assert.Equal(t, m.Version, 2)
			assert.Equal(t, m.Content, "Releases are cut on Tuesdays.")
		}
	}
	versions, err := r.MemoryVersions(t.Context(), uid, old.UID)
	assert.NilError(t, err)
	assert.Equal(t, len(versions), 2)
	assert.Assert(t, is.Contains(strings.Join(notices(events), "\n"), "Kept in the memory store facts: Releases are cut on Tuesdays."))
	booked := 0
	for _, u := range payloads[*task.UsageReport](events) {
		if u.Category == "memory_extraction" {
			booked++
			assert.Equal(t, u.Tokens.Input, int64(700))
		}
	}
	assert.Equal(t, booked, 1)
}

// TestMemoryExtractionFails: whatever goes wrong is said, and the run's outcome
// and what it had kept stay. Without the switch, or without a turn, nobody is asked.
func TestMemoryExtractionFails(t *testing.T) {
	for name, tt := range map[string]struct {
		more   string
		step   scripted.Step
		limits task.Limits
		notice string
	}{
		"provider down": {`,"extract":true`, scripted.Step{Text: "never said", Faults: []scripted.Fault{{Status: 400, Message: "not today", Times: -1}}}, task.Limits{}, "not today"},
		"no list":       {`,"extract":true`, scripted.Step{Text: "I know nothing."}, task.Limits{}, "no list of notes"},
		"no JSON":       {`,"extract":true`, scripted.Step{Text: `[{"content": "cut o]`}, task.Limits{}, "no list of notes"},
		"budget":        {`,"extract":true`, scripted.Step{Text: `[]`}, task.Limits{MaxTokens: 100_100}, "budget"},
		"nothing":       {`,"extract":true`, scripted.Step{Text: `[]`}, task.Limits{}, ""},
		"switched off":  {``, scripted.Step{Text: `[{"content":"never"}]`}, task.Limits{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			tt.step.Match = asksForNotes
			last := finish("Done.")
			last.Usage = &scripted.Usage{Input: 99_000, Output: 1000}
			r := newRig(t, setup{script: play(tt.step, last), limits: tt.limits})
			uid, config := r.learningStore(tt.more)
			run, events := r.finish(r.submit(oz.Request{Prompt: "Do it.", Config: config}))
			assert.Equal(t, run.State, task.StateSucceeded, describe(events))
			list, err := r.Memories(t.Context(), uid)
			assert.NilError(t, err)
			assert.Equal(t, len(list), 0)
			said := strings.Join(notices(events), "\n")
			if tt.notice == "" {
				assert.Assert(t, !strings.Contains(said, "memory store"), said)
			} else {
				assert.Assert(t, is.Contains(said, "Not all that the conversation teaches is in the memory store facts: "))
				assert.Assert(t, is.Contains(said, tt.notice))
			}
			assert.Equal(t, len(payloads[*task.ErrorReported](events)), 0, "no error of the agent's")
			if tt.more == "" {
				for _, q := range r.model.Requests() {
					assert.Assert(t, !asksForNotes(&q))
				}
			}
		})
	}
}
