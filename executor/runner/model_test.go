package runner_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/executor/runner"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// quickClock lets pauses of up to a minute pass at a hundredth of their
// length. Longer ones are limits, which it leaves as they are.
type quickClock struct{}

func (quickClock) Now() time.Time { return time.Now() }

func (quickClock) After(d time.Duration) <-chan time.Time {
	if d <= time.Minute {
		d /= 100
	}
	return time.After(d)
}

func quick(o *runner.Options) { o.Clock = quickClock{} }

// always plays one step at every turn.
func always(s scripted.Step) scripted.Script {
	s.Match = func(*scripted.Request) bool { return true }
	return play(s)
}

// TestModelAnswersNonsense: whatever a model says, the run ends with a reason.
func TestModelAnswersNonsense(t *testing.T) {
	raw := func(input string) scripted.Step {
		return scripted.Step{ToolCalls: []scripted.ToolCall{{Name: "run_command", RawInput: input}}}
	}
	tests := []struct {
		name   string
		script scripted.Script
		state  task.State
		code   task.Code
		says   string
	}{
		{"a tool that is not there", always(call("launch_rocket", object{"where": "moon"})), task.StateFailed, task.CodeInvalidRequest, "nothing could be done with"},
		{"input that is no JSON", always(raw(`{"command": "echo`)), task.StateFailed, task.CodeInvalidRequest, "Try another model"},
		{"input that is no object", always(raw(`[1, 2]`)), task.StateFailed, task.CodeInvalidRequest, "unusable calls of run_command"},
		{"input of the wrong kind", always(call("run_command", object{"command": 7})), task.StateFailed, task.CodeInvalidRequest, "unusable calls"},
		{"nothing", always(scripted.Step{}), task.StateFailed, task.CodeInvalidRequest, "empty"},
		{"cut at the output limit", always(scripted.Step{Text: "I will", StopReason: "max_tokens"}), task.StateFailed, task.CodeInvalidRequest, "cut off at the output limit"},
		{"a refusal", always(scripted.Step{Text: "I must not.", StopReason: "refusal"}), task.StateFailed, task.CodeContentPolicyViolation, "refused"},
		{"the same call for ever", always(command("echo hello")), task.StateBlocked, "", "stuck"},
		{"a name that no wire takes back", always(call("läunch rocket!", object{})), task.StateFailed, task.CodeInvalidRequest, "nothing could be done with"},
		{"success that is not proven", always(call("finish", object{"outcome": "success", "summary": "All done.", "verification": []string{"make test"}})),
			task.StateFailed, task.CodeInvalidRequest, "does not bear out"},
		// One that only talks has answered a question.
		{"text", always(scripted.Step{Text: "The answer is 42."}), task.StateSucceeded, "", "The answer is 42."},
		// One that has worked is reminded once.
		{"text after work", play(command("echo hello"), scripted.Step{Text: "I am done."}, scripted.Step{Text: "I said so."}), task.StateSucceeded, "", "I said so."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, setup{script: tt.script})
			run, events := r.do(prompt, r.environment(nil))
			assert.Equal(t, run.State, tt.state, "%+v\n%s", run.Head.Status, describe(events))
			assert.Equal(t, run.Head.Status.ErrorCode, tt.code)
			assert.Assert(t, is.Contains(run.Head.Status.Message, tt.says))
			assert.Assert(t, len(r.model.Requests()) < 12, "%d requests", len(r.model.Requests()))
			checkLog(t, events)
			r.checkRequests()
		})
	}
}

// TestNonsenseIsOvercome: one bad answer is told to the model, which goes on.
func TestNonsenseIsOvercome(t *testing.T) {
	t.Parallel()
	r := newRig(t, setup{script: play(
		call("launch_rocket", object{}),
		scripted.Step{},
		call("read_files", object{"paths": "greeting.txt"}),
		finish("Looked."),
	)})
	run, events := r.do(prompt, r.environment(nil))
	assert.Equal(t, run.State, task.StateFailed, "three in a row are enough: %s", describe(events))

	r = newRig(t, setup{script: play(
		call("launch_rocket", object{}),
		scripted.Step{},
		command("echo fine"),
		call("launch_rocket", object{}),
		finish("Looked."),
	)})
	run, events = r.do(prompt, r.environment(nil))
	assert.Equal(t, run.State, task.StateSucceeded, "%s\n%s", run.Head.Status.Message, describe(events))
	assert.Assert(t, is.Contains(lastRequest(r), "there is no tool"))
}

// TestOverlongCall: a call that no event can hold is refused, and told to the
// model; the log and the run go on.
func TestOverlongCall(t *testing.T) {
	t.Parallel()
	input := `{"path": "page.html", "content": "` + strings.Repeat("<", 350<<10) + `"}` // each < becomes six bytes of the event
	r := newRig(t, setup{script: play(
		scripted.Step{ToolCalls: []scripted.ToolCall{{Name: "write_file", RawInput: input}}},
		finish("Gave up."),
	)})
	run, events := r.do(prompt, r.environment(nil))
	assert.Equal(t, run.State, task.StateSucceeded, "%+v", run.Head.Status)
	results := payloads[*task.ToolResult](events)
	assert.Equal(t, results[0].State, task.ToolFailed)
	assert.Assert(t, is.Contains(results[0].Content, "more than one call can take"))
	r.checkRequests()
}

// TestModelFails: what passes is tried again, what does not ends the run with
// advice.
func TestModelFails(t *testing.T) {
	faults := func(f ...scripted.Fault) scripted.Script {
		s := mender()
		s.Steps[3].Faults = f // the turn after the edit
		return s
	}
	for name, f := range map[string][]scripted.Fault{
		"rate limit":    {{Status: 429}, {Status: 429, RetryAfter: 2 * time.Second}},
		"server errors": {{Status: 500}, {Status: 529}, {Status: 503}},
		"cut streams":   {scripted.Cut(0), scripted.Cut(2), scripted.Cut(4)},
		"empty answer":  {{Empty: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, setup{script: faults(f...), runner: quick})
			run, events := r.do(prompt, r.environment(nil))
			r.checkMended(run, events, r.remote)
		})
	}
	forever := func(f scripted.Fault) []scripted.Fault { f.Times = -1; return []scripted.Fault{f} }
	tests := []struct {
		name   string
		faults []scripted.Fault
		state  task.State
		code   task.Code
		says   string
	}{
		{"no key", forever(scripted.Fault{Status: 401}), task.StateFailed, task.CodeExternalAuthRequired, "Check the provider's key"},
		{"no credit", forever(scripted.Fault{Status: 429, Type: "insufficient_quota", Message: "pay first"}), task.StateFailed, task.CodeExternalAuthRequired, "account"},
		{"no such model", forever(scripted.Fault{Status: 404}), task.StateFailed, task.CodeInvalidRequest, "Choose another model_id"},
		{"a bad request", forever(scripted.Fault{Status: 400, Message: "no"}), task.StateFailed, task.CodeInvalidRequest, "refused the request"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, setup{script: faults(tt.faults...), runner: quick})
			run, events := r.do(prompt, r.environment(nil))
			assert.Equal(t, run.State, tt.state, "%s", describe(events))
			assert.Equal(t, run.Head.Status.ErrorCode, tt.code)
			assert.Assert(t, is.Contains(run.Head.Status.Message, tt.says))
			checkLog(t, events)
			text, err := readFile(r, run, "greeting.txt")
			assert.NilError(t, err)
			assert.Equal(t, text, "hello world\n", "the work is kept")
		})
	}
}

// TestProviderIsDown: a platform fault is tried by another execution before
// the run ends by it.
func TestProviderIsDown(t *testing.T) {
	t.Parallel()
	s := mender()
	s.Steps[3].Faults = []scripted.Fault{{Status: 503, Times: 6}} // one execution's five attempts, and one more
	r := newRig(t, setup{script: s, runner: quick})
	run, events := r.do(prompt, r.environment(nil))
	r.checkMended(run, events, r.remote)
	assert.Equal(t, run.Executions, 2)
}

// TestSlowModel: an answer that comes byte by byte is no failure.
func TestSlowModel(t *testing.T) {
	t.Parallel()
	s := mender()
	s.Steps[3].Text, s.Steps[3].EventDelay = "I check it.", 20*time.Millisecond
	r := newRig(t, setup{script: s})
	run, events := r.do(prompt, r.environment(nil))
	r.checkMended(run, events, r.remote)
}

// TestWrongModelKey: the key the platform has is refused by the provider.
func TestWrongModelKey(t *testing.T) {
	t.Parallel()
	const wrong = "sk-provider-wrong-5Tb8Kc3"
	r := newRig(t, setup{script: mender(), models: func(m *executor.Models) { m.Providers[0].APIKey = wrong }})
	run, events := r.do(prompt, r.environment(nil))
	assert.Equal(t, run.State, task.StateFailed)
	assert.Equal(t, run.Head.Status.ErrorCode, task.CodeExternalAuthRequired)
	assert.Assert(t, is.Contains(run.Head.Status.Message, "Check the provider's key"))
	assert.Assert(t, !strings.Contains(describe(events), wrong))
}

// TestFallbackIsSaid: another provider answers for one that is away, and the
// run's log says so.
func TestFallbackIsSaid(t *testing.T) {
	t.Parallel()
	down := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Should-Retry", "false")
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer down.Close()
	r := newRig(t, setup{script: mender(), models: func(m *executor.Models) {
		m.Providers = append([]executor.ModelProvider{{Name: "first", Wire: "anthropic", BaseURL: down.URL, APIKey: modelKey,
			Models: []string{modelID}, Fallback: []executor.ModelTarget{{Provider: "script"}}}}, m.Providers...)
	}})
	run, events := r.do(prompt, r.environment(nil))
	r.checkMended(run, events, r.remote)
	assert.Assert(t, is.Contains(describe(events), "script answered with "+modelID+" instead"))
}

// TestTeamsEndpoint: a run whose model is a team's own endpoint is carried out
// with it, if the operator lets it be where it is; else it says why not.
func TestTeamsEndpoint(t *testing.T) {
	t.Parallel()
	allTeam := true
	for _, allowed := range []bool{true, false} {
		var at string
		r := newRig(t, setup{script: mender(), private: allowed, models: func(m *executor.Models) {
			at = m.Providers[0].BaseURL
			m.Providers[0] = executor.ModelProvider{Name: "other", Wire: "anthropic", BaseURL: "http://127.0.0.1:1", Models: []string{"another"}}
			m.Default = "another"
		}})
		_, err := r.CreateSecret(t.Context(), oz.SecretInput{Name: "HOUSE_KEY", Value: modelKey, Team: &allTeam})
		assert.NilError(t, err)
		_, err = r.CreateModelEndpoint(t.Context(), oz.ModelEndpointInput{Name: "house", Wire: "anthropic", BaseURL: at, Secret: "HOUSE_KEY", Models: []string{modelID}})
		assert.NilError(t, err)
		run, events := r.finish(r.submit(oz.Request{Prompt: prompt, Config: task.Config{EnvironmentID: r.environment(nil), ModelID: modelID}}))
		if allowed {
			r.checkMended(run, events, r.remote)
			continue
		}
		assert.Assert(t, run.State != task.StateSucceeded)
		assert.Assert(t, is.Contains(run.Head.Status.Message, "not on the internet"))
		assert.Equal(t, len(r.model.Requests()), 0)
	}
}
