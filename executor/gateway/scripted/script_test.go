package scripted_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
)

const script = `
steps:
  - text: Let me look.
    tool_calls:
      - name: run_command
        input: {command: ls, deep: {n: 1}}
    faults:
      - status: 529
        retry_after: 20ms
      - cut_after: 0
  - when: {last_tool_result_contains: FAIL, turn: 1}
    text: It fails.
  - text: Done.
    usage: {input: 120, cache_read: 1000, output: 9}
    stop_reason: max_tokens
    event_delay: 1ms
`

func TestLoad(t *testing.T) {
	s, err := scripted.Load(strings.NewReader(script))
	assert.NilError(t, err)
	assert.Equal(t, len(s.Steps), 3)
	assert.Equal(t, s.Steps[0].Faults[0].RetryAfter, 20*time.Millisecond)
	assert.Equal(t, *s.Steps[0].Faults[1].CutAfter, 0)
	assert.Equal(t, s.Steps[2].Usage.CacheRead, int64(1000))
	_, at := start(t, s, nil)
	post(t, at.URL+"/v1/messages", userSays("hi"), nil) // the fault
	_, err = scripted.Load(strings.NewReader(`{"steps":[{"text":"from JSON"}]}`))
	assert.NilError(t, err)
}

func TestLoadRefuses(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"unknown field", "steps:\n  - txet: x\n", "txet"},
		{"no YAML", "steps: [", "script"},
		{"order", "order: random\nsteps: []", "order"},
		{"call without name", "steps: [{tool_calls: [{input: {}}]}]", "name: required"},
		{"input no object", "steps: [{tool_calls: [{name: a, input: [1]}]}]", "JSON object"},
		{"both inputs", "steps: [{tool_calls: [{name: a, input: {}, raw_input: x}]}]", "exclude"},
		{"stop reason", "steps: [{stop_reason: tired}]", "stop_reason"},
		{"fault of two kinds", "steps: [{faults: [{status: 500, empty: true}]}]", "exactly one"},
		{"fault of no kind", "steps: [{faults: [{times: 2}]}]", "exactly one"},
		{"status", "steps: [{faults: [{status: 200}]}]", "between 400 and 599"},
		{"negative cut", "steps: [{faults: [{cut_after: -1}]}]", "negative"},
		{"negative delay", "steps: [{event_delay: -1s}]", "negative"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := scripted.Load(strings.NewReader(tt.text))
			assert.ErrorContains(t, err, tt.want)
		})
	}
}

func userSays(text string) string {
	return fmt.Sprintf(`{"model":"m","max_tokens":9,"messages":[{"role":"user","content":%q}]}`, text)
}

// afterTool is a conversation of n turns, each a call of a tool with result.
func afterTool(n int, result string) string {
	messages := `{"role":"user","content":"go"}`
	for i := range n {
		messages += fmt.Sprintf(`,{"role":"assistant","content":[{"type":"tool_use","id":"t%d","name":"ls","input":{}}]}`, i)
		messages += fmt.Sprintf(`,{"role":"user","content":[{"type":"tool_result","tool_use_id":"t%d","content":%q}]}`, i, result)
	}
	return `{"model":"m","max_tokens":9,"messages":[` + messages + `]}`
}

// The step follows from the conversation alone: asked in any order, by any
// server, twice, a conversation gets the same answer, ids included.
func TestStepFollowsTheConversation(t *testing.T) {
	s := scripted.Script{Steps: []scripted.Step{
		{Text: "zero", ToolCalls: []scripted.ToolCall{{Name: "ls"}}}, {Text: "one"}, {Text: "two"},
	}}
	_, first := start(t, s, nil)
	_, restarted := start(t, s, nil)
	for _, n := range []int{2, 0, 1, 0} {
		a := post(t, first.URL+"/v1/messages", afterTool(n, "ok"), nil)
		b := post(t, restarted.URL+"/v1/messages", afterTool(n, "ok"), nil)
		assert.Equal(t, a.body, b.body)
		assert.Assert(t, contains(a.body, []string{"zero", "one", "two"}[n]), a.body)
	}
	over := post(t, first.URL+"/v1/messages", afterTool(3, "ok"), nil)
	assert.Equal(t, over.status, 400)
	assert.Assert(t, contains(over.body, "no step for turn 3"), over.body)
}

func TestConditionsWin(t *testing.T) {
	turn := 1
	s := scripted.Script{Steps: []scripted.Step{
		{Text: "numbered zero"},
		{When: &scripted.When{LastToolResultContains: "FAIL"}, Text: "it fails"},
		{When: &scripted.When{LastUserContains: "stop", Model: "m"}, Text: "stopping"},
		{When: &scripted.When{Model: "other"}, Text: "other model"},
		{When: &scripted.When{Turn: &turn, Tool: "ls"}, Text: "never: no tool is offered"},
		{Match: func(r *scripted.Request) bool { return r.MaxTokens == 77 }, Text: "matched"},
		{Text: "numbered one"},
	}}
	_, at := start(t, s, nil)
	tests := []struct{ name, body, want string }{
		{"number", userSays("hi"), "numbered zero"},
		{"second number", afterTool(1, "ok"), "numbered one"},
		{"tool result", afterTool(1, "--- FAIL: TestX"), "it fails"},
		{"user text", userSays("please stop"), "stopping"},
		{"function", strings.Replace(userSays("hi"), `"max_tokens":9`, `"max_tokens":77`, 1), "matched"},
		{"model", strings.Replace(userSays("hi"), `"m"`, `"other"`, 1), "other model"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := post(t, at.URL+"/v1/messages", tt.body, nil)
			assert.Assert(t, contains(got.body, tt.want), got.body)
		})
	}
}

func TestOrderOfArrival(t *testing.T) {
	_, at := start(t, scripted.Script{Order: scripted.ByArrival, Steps: []scripted.Step{
		{Text: "zero", Faults: []scripted.Fault{{Status: 500}}}, {Text: "one"},
	}}, nil)
	assert.Equal(t, post(t, at.URL+"/v1/messages", userSays("hi"), nil).status, 500)
	for _, want := range []string{"zero", "one", "no step"} {
		got := post(t, at.URL+"/v1/messages", userSays("hi"), nil)
		assert.Assert(t, contains(got.body, want), got.body)
	}
}

func TestFaults(t *testing.T) {
	streamed := strings.Replace(userSays("hi"), `"model"`, `"stream":true,"model"`, 1)
	s := scripted.Script{Steps: []scripted.Step{{Text: "fine at last", Faults: []scripted.Fault{
		{Status: 529, RetryAfter: 1500 * time.Millisecond},
		{Status: 400, Type: "billing_error", Message: "Your credit balance is too low"},
		{Garbage: true},
		{Empty: true},
		scripted.Cut(2),
		{Status: 500, Times: 2},
	}}}}
	check := func(t *testing.T, body string) {
		_, at := start(t, s, nil)
		ask := func() reply { return post(t, at.URL+"/v1/messages", body, nil) }
		overloaded := ask()
		assert.Equal(t, overloaded.status, 529)
		assert.Equal(t, overloaded.header.Get("Retry-After"), "2")
		assert.Equal(t, overloaded.header.Get("Retry-After-Ms"), "1500")
		kind, _, _ := errorOf(t, overloaded.body)
		assert.Equal(t, kind, "overloaded_error")
		kind, _, message := errorOf(t, ask().body)
		assert.Equal(t, kind, "billing_error")
		assert.Equal(t, message, "Your credit balance is too low")
		assert.Assert(t, !contains(ask().body, "end_turn"))
		assert.Equal(t, ask().body, "")
		cut := ask()
		assert.Assert(t, cut.err != nil && cut.body != "", "%+v", cut)
		assert.Equal(t, ask().status, 500)
		assert.Equal(t, ask().status, 500)
		fine := ask()
		assert.NilError(t, fine.err)
		assert.Assert(t, contains(fine.body, "end_turn"), fine.body)
	}
	t.Run("whole", func(t *testing.T) { check(t, userSays("hi")) })
	t.Run("streaming", func(t *testing.T) { check(t, streamed) })
	t.Run("cut counts events", func(t *testing.T) {
		_, at := start(t, scripted.Script{Steps: []scripted.Step{{Text: "x", Faults: []scripted.Fault{scripted.Cut(3)}}}}, nil)
		got := post(t, at.URL+"/v1/messages", streamed, nil)
		assert.Equal(t, strings.Count(got.body, "\n\n"), 3)
		assert.Assert(t, got.err != nil)
	})
}

func TestNonsensicalToolInput(t *testing.T) {
	_, at := start(t, scripted.Script{Steps: []scripted.Step{{ToolCalls: []scripted.ToolCall{{Name: "ls", RawInput: `{"path": `}}}}}, nil)
	got := post(t, at.OpenAIURL+"/chat/completions", `{"model":"m","messages":[{"role":"user","content":"x"}]}`, nil)
	assert.Assert(t, contains(got.body, `"arguments":"{\"path\": "`), got.body)
}

// stepClock tells what it is asked to wait for, and waits for nothing.
type stepClock struct {
	mu    sync.Mutex
	waits []time.Duration
}

func (c *stepClock) Now() time.Time { return time.Unix(1, 0) }

func (c *stepClock) After(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waits = append(c.waits, d)
	now := make(chan time.Time, 1)
	now <- c.Now()
	return now
}

func TestDelayBetweenEvents(t *testing.T) {
	clock := &stepClock{}
	_, at := start(t, scripted.Script{Steps: []scripted.Step{{Text: "x", EventDelay: time.Hour}}}, &scripted.Options{Clock: clock})
	got := post(t, at.URL+"/v1/messages", strings.Replace(userSays("hi"), `"model"`, `"stream":true,"model"`, 1), nil)
	assert.Equal(t, len(clock.waits), strings.Count(got.body, "\n\n"))
	assert.Equal(t, clock.waits[0], time.Hour)
}

func TestUnknownPathsAndModels(t *testing.T) {
	_, at := start(t, scripted.Script{}, &scripted.Options{Models: []string{"a", "b"}})
	assert.Equal(t, post(t, at.URL+"/v1/nothing", `{}`, nil).status, 404)
	res, err := client(t).Get(at.URL + "/v1/models")
	assert.NilError(t, err)
	defer res.Body.Close()
	assert.Equal(t, res.StatusCode, 200)
	assert.NilError(t, at.Close())
	assert.NilError(t, at.Close())
}

func TestConcurrentRequests(t *testing.T) {
	server, at := start(t, scripted.Script{Steps: []scripted.Step{{Text: "x", Faults: []scripted.Fault{{Status: 500, Times: 7}}}}}, nil)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { post(t, at.URL+"/v1/messages", userSays("hi"), nil) })
	}
	all.Wait()
	failed := 0
	numbers := map[int]bool{}
	for _, r := range server.Requests() {
		numbers[r.N] = true
		if r.Status == 500 {
			failed++
		}
	}
	assert.Equal(t, failed, 7)
	assert.Equal(t, len(numbers), 20)
}
