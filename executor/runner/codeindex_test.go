package runner_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/catalog"
	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/executor/runner"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// TestSearchCodebase: the agent finds code by words, what it has just written
// too, and the index is kept for the next run. Without an index there is no
// such tool.
func TestSearchCodebase(t *testing.T) {
	due := func(s scripted.Step, match func(*scripted.Request) bool) scripted.Step {
		s.Match = match
		return s
	}
	always := func(*scripted.Request) bool { return true }
	script := play(
		due(finish("Found."), did("search_codebase", "Fresh")),
		due(call("search_codebase", object{"query": "fresh"}), did("run_command", "")),
		due(command(`printf 'package a\n\nfunc Fresh() {}\n' > fresh.go`), did("search_codebase", "Total")),
		due(call("search_codebase", object{"query": "where is the total computed", "limit": 3}), always),
	)
	cache := t.TempDir()
	r := newRig(t, setup{script: script, files: map[string]string{"cart.go": "package a\n\nfunc Total() int { return 1 }\n"},
		runner: func(o *runner.Options) { o.CacheDir = cache }})
	run, events := r.finish(r.submit(oz.Request{Prompt: "Find it.", Config: task.Config{EnvironmentID: r.environment(nil)}}))
	assert.Equal(t, run.State, task.StateSucceeded, describe(events))
	var said []string
	for _, res := range payloads[*task.ToolResult](events) {
		if res.Name == "search_codebase" {
			said = append(said, res.Content)
		}
	}
	assert.Equal(t, len(said), 2)
	assert.Assert(t, is.Contains(said[0], "== cart.go:3\n"))
	assert.Assert(t, is.Contains(said[1], "== fresh.go:3\n"))
	kept, err := os.ReadDir(filepath.Join(cache, "codeindex"))
	assert.NilError(t, err)
	assert.Equal(t, len(kept), 1)

	off := newRig(t, setup{script: play(due(finish("None."), always)), runner: func(o *runner.Options) { o.NoCodeIndex = true }})
	run, events = off.finish(off.submit(oz.Request{Prompt: "Find it.", Config: task.Config{EnvironmentID: off.environment(nil)}}))
	assert.Equal(t, run.State, task.StateSucceeded, describe(events))
	for _, tool := range off.model.Requests()[0].Tools {
		assert.Assert(t, tool.Name != "search_codebase")
	}
}

// embedder is a scripted endpoint for embeddings: texts about refunds are near
// to each other. served is closed when it has answered for the pieces.
type embedder struct {
	status int
	served chan struct{}

	mu     sync.Mutex
	texts  []string
	keys   []string
	bodies int
}

func (e *embedder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var req struct{ Input []string }
	if r.URL.Path != "/v1/embeddings" || json.Unmarshal(body, &req) != nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	e.mu.Lock()
	e.texts, e.keys = append(e.texts, req.Input...), append(e.keys, r.Header.Get("Authorization"))
	e.bodies++
	first := e.bodies == 1
	e.mu.Unlock()
	if first {
		defer close(e.served)
	}
	if e.status != 0 {
		w.WriteHeader(e.status)
		return
	}
	var data []object
	for i, text := range req.Input {
		v := []float64{0, 1}
		if strings.Contains(text, "Reimburse") || strings.Contains(text, "refund") {
			v = []float64{1, 0}
		}
		data = append(data, object{"object": "embedding", "index": i, "embedding": v})
	}
	_ = json.NewEncoder(w).Encode(object{"object": "list", "model": "embed-1", "data": data, "usage": object{"prompt_tokens": 30, "total_tokens": 30}})
}

// TestSearchByMeaning: through the run's own gateway, which has the key and
// books the tokens, the agent finds what has none of the words; a secret of the
// run is not sent, and an endpoint that fails costs the meaning alone.
func TestSearchByMeaning(t *testing.T) {
	price := 20.0
	free := 0.0
	run := func(t *testing.T, e *embedder, limits task.Limits) (string, task.Task, []task.Event) {
		e.served = make(chan struct{})
		srv := httptest.NewServer(e)
		defer srv.Close()
		search := call("search_codebase", object{"query": "refund"})
		cache := t.TempDir()
		search.Match = func(*scripted.Request) bool {
			<-e.served
			for began := time.Now(); e.status == 0 && time.Since(began) < patience; time.Sleep(5 * time.Millisecond) {
				if kept, _ := filepath.Glob(filepath.Join(cache, "codeindex", "vectors-*")); len(kept) == 1 && !strings.HasSuffix(kept[0], ".tmp") {
					break // the runner knows the vectors before it keeps them
				}
			}
			return true
		}
		last := finish("Found.")
		last.Match = did("search_codebase", "")
		r := newRig(t, setup{script: play(last, search), limits: limits, runner: func(o *runner.Options) { o.CacheDir = cache },
			files: map[string]string{"settle.go": "package a\n\nfunc Reimburse() int { return 1 }\n", "key.txt": "our key is " + modelKey + " here\n"},
			models: func(m *executor.Models) {
				m.Embeddings = "embed-1"
				m.Providers = append(m.Providers, executor.ModelProvider{Name: "vectors", Wire: "openai", BaseURL: srv.URL + "/v1", APIKey: "sk-of-the-vectors", Models: []string{"embed-1"},
					Prices: []catalog.Price{{Models: []string{"embed-1"}, AsOf: "2026-01-01", Rates: catalog.Rates{Input: &price, Output: &free}}}})
			}})
		got, events := r.finish(r.submit(oz.Request{Prompt: "Find it.", Config: task.Config{EnvironmentID: r.environment(nil)}}))
		assert.Equal(t, got.State, task.StateSucceeded, describe(events))
		for _, res := range payloads[*task.ToolResult](events) {
			if res.Name == "search_codebase" {
				return res.Content, got, events
			}
		}
		t.Fatal("no search was made")
		return "", got, nil
	}
	t.Run("found", func(t *testing.T) {
		e := &embedder{}
		said, _, events := run(t, e, task.Limits{MaxTokens: 1_000_000, MaxCostUSD: 5})
		assert.Assert(t, is.Contains(said, "== settle.go:1\n"))
		assert.Assert(t, !strings.Contains(said, "by words"), said)
		assert.Equal(t, e.texts[0], "settle.go\npackage a\n\nfunc Reimburse() int { return 1 }\n")
		for i, text := range e.texts {
			assert.Assert(t, !strings.Contains(text, modelKey), text)
			assert.Equal(t, e.keys[min(i, len(e.keys)-1)], "Bearer sk-of-the-vectors")
		}
		booked := 0
		for _, u := range payloads[*task.UsageReport](events) {
			if u.Category == "codebase_index" {
				booked++
				assert.Equal(t, u.Tokens.Input, int64(30))
				assert.Equal(t, u.Cost.Input, 30*price/1e6)
			}
		}
		assert.Equal(t, booked, e.bodies)
	})
	t.Run("away", func(t *testing.T) {
		said, _, events := run(t, &embedder{status: http.StatusUnauthorized}, task.Limits{})
		assert.Assert(t, is.Contains(said, "found by words alone: "))
		assert.Equal(t, len(payloads[*task.ErrorReported](events)), 0, describe(events))
	})
}
