package wire_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gotest.tools/v3/assert"
	"pgregory.net/rapid"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

func text() *rapid.Generator[string] {
	return rapid.OneOf(rapid.Just(""), rapid.StringN(1, 12, -1), rapid.SampledFrom([]string{"<b>&\u2028", "\x00\x01", "\"\\", "日本"}))
}

func moments() *rapid.Generator[time.Time] {
	return rapid.Custom(func(t *rapid.T) time.Time {
		at := time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns"))
		return at.In(time.FixedZone("", rapid.IntRange(-12, 14).Draw(t, "zone")*3600))
	})
}

// optional gives the zero value now and then.
func optional[T any](g *rapid.Generator[T]) *rapid.Generator[T] {
	var zero T
	return rapid.OneOf(rapid.Just(zero), g)
}

func texts() *rapid.Generator[map[string]string] {
	return rapid.Custom(func(t *rapid.T) map[string]string {
		m := rapid.MapOfN(rapid.StringMatching(`[a-z._-]{1,5}`), text(), 0, 3).Draw(t, "map")
		if len(m) == 0 {
			return nil
		}
		return m
	})
}

func objects() *rapid.Generator[json.RawMessage] {
	return rapid.SampledFrom([]json.RawMessage{nil, json.RawMessage(`{}`), json.RawMessage(`{"a":[1,null,"x"]}`)})
}

func configs() *rapid.Generator[task.Config] {
	return rapid.Custom(func(t *rapid.T) task.Config {
		draw := func(name string) string { return text().Draw(t, name) }
		c := task.Config{
			Name: draw("name"), ModelID: draw("model"), BasePrompt: draw("base"), EnvironmentID: draw("env"), SkillSpec: draw("skill"),
			ComputerUseModelID: draw("cu"), CredentialStrategy: draw("cred"), WorkerHost: draw("host"), RunnerID: draw("runner"),
			HarnessAuthSecrets: texts().Draw(t, "auth"), InferenceProviders: objects().Draw(t, "inference"),
			MemoryStores: objects().Draw(t, "memory"), SessionSharing: objects().Draw(t, "sharing"),
			ComputerUseEnabled: optional(rapid.Ptr(rapid.Bool(), false)).Draw(t, "use"),
			IdleTimeoutMinutes: optional(rapid.Ptr(rapid.IntRange(0, 60), false)).Draw(t, "idle"),
			Skills:             rapid.SampledFrom([][]string{nil, {"a:b"}, {"a:b", "c"}}).Draw(t, "skills"),
			Secrets:            rapid.SampledFrom([]*[]string{nil, {}, {"A", "B"}}).Draw(t, "secrets"),
		}
		if rapid.Bool().Draw(t, "harness?") {
			c.Harness = &task.HarnessConfig{Type: draw("type"), ModelID: draw("hm"), ReasoningLevel: draw("level")}
		}
		if rapid.Bool().Draw(t, "limits?") {
			c.Limits = &task.Limits{MaxTurns: 3, MaxTokens: rapid.Int64Min(0).Draw(t, "tokens"), MaxCostUSD: rapid.Float64Range(0, 1e6).Draw(t, "cost"), MaxMinutes: 5}
		}
		if rapid.Bool().Draw(t, "mcp?") {
			c.MCPServers = map[string]json.RawMessage{"a": json.RawMessage(`{"command":"x","env":{"K":"v"}}`), "b": json.RawMessage(`{"url":"https://example.com"}`)}
		}
		return c
	})
}

// artifacts gives each kind with the members that it has on the wire.
func artifacts() *rapid.Generator[task.Artifact] {
	return rapid.Custom(func(t *rapid.T) task.Artifact {
		a := task.Artifact{UID: text().Draw(t, "uid"), CreatedAt: moments().Draw(t, "at"), Title: text().Draw(t, "title"), Description: text().Draw(t, "description")}
		url, branch := text().Draw(t, "url"), text().Draw(t, "branch")
		path, media, size := text().Draw(t, "path"), text().Draw(t, "media"), rapid.Int64Min(0).Draw(t, "size")
		switch a.Type = rapid.SampledFrom([]task.ArtifactType{task.ArtifactPlan, task.ArtifactPullRequest, task.ArtifactScreenshot, task.ArtifactFile, task.ArtifactReference}).Draw(t, "type"); a.Type {
		case task.ArtifactPlan:
			a.URL, a.Path, a.MIMEType, a.SizeBytes = url, path, media, size
		case task.ArtifactPullRequest:
			a.URL, a.Branch = url, branch
		case task.ArtifactReference:
			a.URL, a.Branch, a.ReferenceType, a.Metadata = url, branch, "git_branch", objects().Draw(t, "metadata")
		default:
			a.Path, a.MIMEType, a.SizeBytes = path, media, size
		}
		return a
	})
}

func principals() *rapid.Generator[task.Principal] {
	return rapid.Custom(func(t *rapid.T) task.Principal {
		return task.Principal{Type: task.PrincipalUser, UID: text().Draw(t, "uid"), DisplayName: text().Draw(t, "name"), Email: text().Draw(t, "email")}
	})
}

func tasks() *rapid.Generator[task.Task] {
	return rapid.Custom(func(t *rapid.T) task.Task {
		r := task.Task{ID: task.ID(rapid.StringN(1, 36, -1).Draw(t, "id"))}
		r.Spec = task.Spec{
			Title: text().Draw(t, "title"), Prompt: text().Draw(t, "prompt"), Mode: task.ModePlan, Interactive: rapid.Bool().Draw(t, "interactive"),
			Owner:   optional(rapid.Just(task.Scope{Type: task.ScopeTeam, UID: "t"})).Draw(t, "owner"),
			Creator: optional(principals()).Draw(t, "creator"), Executor: optional(principals()).Draw(t, "executor"),
			Config: configs().Draw(t, "config"), Origins: texts().Draw(t, "origins"),
			Environment:    optional(rapid.Just([]byte(`{"name":"demo"}`))).Draw(t, "environment"),
			ConversationID: text().Draw(t, "conversation"), ParentID: task.ID(text().Draw(t, "parent")), Metadata: texts().Draw(t, "metadata"),
			TriggerURL: text().Draw(t, "trigger"), Attachments: optional(rapid.Just([]task.Attachment{{FileName: "a", MIMEType: "image/png", SizeBytes: 7}})).Draw(t, "attachments"),
		}
		r.Head = task.Head{
			State: rapid.SampledFrom([]task.State{task.StateQueued, task.StateInProgress, task.StateFailed}).Draw(t, "state"),
			Where: task.LocationRemote, Source: task.SourceAPI, Execution: task.ExecutionID(text().Draw(t, "execution")),
			Status:     optional(rapid.Just(task.Status{Message: "m", ErrorCode: task.CodeInternal, Retryable: true})).Draw(t, "status"),
			Executions: 3, Attempts: 2, LastSeq: rapid.Int64Min(0).Draw(t, "seq"), LastInput: 4, PrunedTo: rapid.Int64Min(0).Draw(t, "pruned"), SandboxRunning: rapid.Bool().Draw(t, "sandbox"),
			CreatedAt: moments().Draw(t, "created"), UpdatedAt: moments().Draw(t, "updated"),
			ReadyAt: optional(moments()).Draw(t, "ready"), StartedAt: optional(moments()).Draw(t, "started"), BegunAt: optional(moments()).Draw(t, "begun"), EndedAt: optional(moments()).Draw(t, "ended"),
			RunTime: time.Duration(rapid.Int64Range(0, 1e12).Draw(t, "ms")) * time.Millisecond,
			Usage: task.Usage{Models: optional(rapid.Just([]task.ModelUsage{
				{Category: "agent", Model: "m", Calls: 2, Tokens: task.TokenCount{Input: 1, CacheRead: 2, CacheWrite: 3, Output: 4}, Cost: task.CostUSD{Input: .1, CacheRead: .2, CacheWrite: .3, Output: .4}},
				{Category: "agent", Model: "n", Calls: 1, Unpriced: true}})).Draw(t, "models")},
		}
		r.Artifacts = rapid.SliceOfN(artifacts(), 0, 3).Draw(t, "artifacts")
		if len(r.Artifacts) == 0 {
			r.Artifacts = nil
		}
		return r
	})
}

var sameTime = cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) })

// TestRunItemRoundTrip asks that a run is the same on both sides of the wire.
func TestRunItemRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		want := tasks().Draw(rt, "task")
		item, err := wire.RunItem(want, wire.RunView{Now: time.Unix(1<<33, 0), PublicURL: "https://oz.example.com/"})
		if err != nil {
			rt.Fatal(err)
		}
		data, err := json.Marshal(item)
		if err != nil {
			rt.Fatal(err)
		}
		var far api.RunItem
		if err := json.Unmarshal(data, &far); err != nil {
			rt.Fatal(err)
		}
		got, err := wire.Task(far)
		if err != nil {
			rt.Fatal(err)
		}
		if diff := cmp.Diff(want, got, sameTime); diff != "" {
			rt.Fatalf("-want +got\n%s", diff)
		}
		checkUTC(rt, data)
	})
}

// checkUTC asks that every time of an answer is given in UTC.
func checkUTC(t *rapid.T, data []byte) {
	var v map[string]any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	for key, value := range v {
		if s, ok := value.(string); ok && strings.HasSuffix(key, "_at") && !strings.HasSuffix(s, "Z") {
			t.Fatalf("%s is %s", key, s)
		}
	}
}

// TestRunItemOfficial checks the members that official clients read.
func TestRunItemOfficial(t *testing.T) {
	start := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	run := task.Task{ID: "r-1"}
	run.Metadata = map[string]string{"schedule_id": "s-1", "schedule_name": "nightly", "cron_schedule": "0 3 * * *"}
	run.Where, run.Source, run.State = task.LocationLocal, task.SourceGitHubAction, task.StateInProgress
	run.CreatedAt, run.UpdatedAt, run.StartedAt, run.BegunAt = start, start, start, start
	run.Config.MCPServers = map[string]json.RawMessage{
		"a": json.RawMessage(`{"command":"x","env":{"TOKEN":"hunter2"},"headers":{"Authorization":"hunter2"}}`),
		"b": json.RawMessage(`"hunter2"`), "c": json.RawMessage(`{"env":"hunter2"}`), "d": json.RawMessage(`null`),
	}
	item, err := wire.RunItem(run, wire.RunView{Now: start.Add(150500 * time.Millisecond), PublicURL: "https://oz.example.com/app/", MaskMCP: true})
	assert.NilError(t, err)
	data, err := json.Marshal(item)
	assert.NilError(t, err)
	assert.Assert(t, !strings.Contains(string(data), "hunter2"), "%s", data)
	var got map[string]any
	assert.NilError(t, json.Unmarshal(data, &got))
	assert.Equal(t, got["run_id"], "r-1")
	assert.Equal(t, got["task_id"], "r-1")
	assert.Equal(t, got["run_time"], "PT2M30.5S")
	assert.Equal(t, got["session_link"], "https://oz.example.com/app/runs/r-1")
	assert.Equal(t, got["is_run_type_cancellable"], false)
	assert.DeepEqual(t, got["schedule"], map[string]any{"schedule_id": "s-1", "schedule_name": "nightly", "cron_schedule": "0 3 * * *"})
	servers := got["agent_config"].(map[string]any)["mcp_servers"].(map[string]any)
	assert.DeepEqual(t, servers["a"], map[string]any{"command": "x", "env": map[string]any{"TOKEN": "***"}, "headers": map[string]any{"Authorization": "***"}})
	assert.Assert(t, strings.Contains(string(run.Config.MCPServers["a"]), "hunter2"), "the run itself is not changed")

	item, err = wire.RunItem(task.Task{ID: "r-2"}, wire.RunView{})
	assert.NilError(t, err)
	data, err = json.Marshal(item)
	assert.NilError(t, err)
	got = nil
	assert.NilError(t, json.Unmarshal(data, &got))
	assert.Equal(t, got["started_at"], nil)
	_, link := got["session_link"]
	assert.Assert(t, !link)
	_, err = wire.RunItem(task.Task{Artifacts: []task.Artifact{{UID: "x", Type: "ROCK"}}}, wire.RunView{})
	assert.ErrorContains(t, err, "ROCK")
}

// TestNewerArtifacts passes over kinds that a newer server may have.
func TestNewerArtifacts(t *testing.T) {
	var item api.RunItem
	assert.NilError(t, json.Unmarshal([]byte(`{"run_id":"r","artifacts":[{"artifact_type":"HOLOGRAM","created_at":"2026-01-01T00:00:00Z","data":{"z":1}},
		{"artifact_type":"PULL_REQUEST","created_at":"2026-01-01T00:00:00Z","data":{"url":"https://example.com/1","branch":"b"}}]}`), &item))
	run, err := wire.Task(item)
	assert.NilError(t, err)
	assert.Equal(t, len(run.Artifacts), 1)
	assert.Equal(t, run.Artifacts[0].Branch, "b")
	assert.NilError(t, json.Unmarshal([]byte(`{"run_id":"r","artifacts":[{"artifact_type":"FILE","data":7}]}`), &item))
	_, err = wire.Task(item)
	assert.ErrorContains(t, err, "artifact 0")
}

func TestDurations(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "PT0S", time.Millisecond: "PT0.001S", time.Microsecond: "PT0S", 90 * time.Second: "PT1M30S", time.Minute: "PT1M", time.Hour: "PT1H",
		25*time.Hour + time.Second: "PT25H1S", -time.Hour: "PT0S", 150500 * time.Millisecond: "PT2M30.5S",
	} {
		assert.Equal(t, wire.Duration(d), want)
	}
}

// requestUsage is a run's usage on the wire.
func requestUsage(t *testing.T, models ...task.ModelUsage) *api.RequestUsage {
	t.Helper()
	item, err := wire.RunItem(task.Task{Head: task.Head{Usage: task.Usage{Models: models}}}, wire.RunView{})
	assert.NilError(t, err)
	return item.RequestUsage
}

// TestUsage counts the models of vendors and those of other endpoints apart,
// by category, and leaves the cost out when it is not known whole (Oz API,
// RequestUsage).
func TestUsage(t *testing.T) {
	agent := task.ModelUsage{Category: "primary_agent", Model: "m", Calls: 2, Tokens: task.TokenCount{Input: 10, CacheRead: 3, CacheWrite: 4, Output: 5},
		Cost: task.CostUSD{Input: 0.25, CacheRead: 0.0625, CacheWrite: 0.125, Output: 0.5}, WebSearches: 2, WebSearchUSD: 0.03125}
	compaction := task.ModelUsage{Category: "conversation_compaction", Model: "m", Calls: 1, Tokens: task.TokenCount{Input: 100, Output: 7}, Cost: task.CostUSD{Input: 1, Output: 2}}
	house := task.ModelUsage{Category: "primary_agent", Model: "m", Calls: 1, Tokens: task.TokenCount{Input: 1}, Custom: true, Cost: task.CostUSD{Input: 0.5}}
	assert.Assert(t, requestUsage(t) == nil)

	u := requestUsage(t, agent, compaction, house)
	assert.Assert(t, u.InferenceCost == nil && u.ComputeCost == nil && u.PlatformCost == nil && u.ComputeCostUsd == nil && u.PlatformCostUsd == nil, "there are no credits")
	assert.DeepEqual(t, u.UsageByCategory, map[string]api.UsageByCategory{
		"primary_agent": {
			ByokInferenceUsage: map[string]api.InferenceUsage{"m": {WebSearchCount: 2, WebSearchCostUsd: 0.03125,
				TokenCount: api.TokenCount{Input: 10, InputCacheRead: 3, InputCacheWrite: 4, Output: 5},
				CostUsd:    api.CostUsd{InputCostUsd: 0.25, InputCacheReadCostUsd: 0.0625, InputCacheWriteCostUsd: 0.125, OutputCostUsd: 0.5}}},
			CustomEndpointInferenceUsage: map[string]api.InferenceUsage{"m": {TokenCount: api.TokenCount{Input: 1}, CostUsd: api.CostUsd{InputCostUsd: 0.5}}},
		},
		"conversation_compaction": {ByokInferenceUsage: map[string]api.InferenceUsage{"m": {TokenCount: api.TokenCount{Input: 100, Output: 7},
			CostUsd: api.CostUsd{InputCostUsd: 1, OutputCostUsd: 2}}}},
	})
	checkSums(t, *u)
	unpriced := house
	unpriced.Model, unpriced.Cost, unpriced.Unpriced = "local", task.CostUSD{}, true
	u = requestUsage(t, agent, unpriced)
	assert.Assert(t, u.InferenceCostUsd == nil && u.InferenceCostBreakdownUsd == nil, "not known whole")
	assert.Equal(t, *u.TotalTokens, int64(23))
}

// checkSums holds the totals against what they are the sums of.
func checkSums(t *testing.T, u api.RequestUsage) {
	t.Helper()
	var tokens int64
	var sum, searches float64
	var parts api.CostUsd
	for _, c := range u.UsageByCategory {
		for _, models := range []map[string]api.InferenceUsage{c.ByokInferenceUsage, c.CustomEndpointInferenceUsage, c.DirectApiInferenceUsage} {
			for _, m := range models {
				tokens += m.TokenCount.Input + m.TokenCount.InputCacheRead + m.TokenCount.InputCacheWrite + m.TokenCount.Output
				searches += m.WebSearchCostUsd
				parts.InputCostUsd += m.CostUsd.InputCostUsd
				parts.InputCacheReadCostUsd += m.CostUsd.InputCacheReadCostUsd
				parts.InputCacheWriteCostUsd += m.CostUsd.InputCacheWriteCostUsd
				parts.OutputCostUsd += m.CostUsd.OutputCostUsd
			}
		}
	}
	sum = searches + parts.InputCostUsd + parts.InputCacheReadCostUsd + parts.InputCacheWriteCostUsd + parts.OutputCostUsd
	assert.Equal(t, *u.TotalTokens, tokens)
	assert.Equal(t, *u.InferenceCostUsd, sum)
	assert.Equal(t, *u.InferenceCostBreakdownUsd, parts)
}

// FuzzTask reads what any server may send for a run.
func FuzzTask(f *testing.F) {
	f.Add([]byte(`{"run_id":"r","state":"QUEUED","artifacts":[{"artifact_type":"PLAN","data":{"document_uid":"d"}}]}`))
	f.Add([]byte(`{"oz":{"usage":[{"category":"a","model":"m"}],"run_time_ms":9223372036854775807},"agent_config":{"mcp_servers":{"a":null}}}`))
	f.Add([]byte(`{"status_message":{"message":"m","error_code":"internal_error","retryable":null},"creator":{"type":"user"},"scope":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var item api.RunItem
		if json.Unmarshal(data, &item) != nil {
			return
		}
		run, err := wire.Task(item)
		if err != nil {
			return
		}
		again, err := wire.RunItem(run, wire.RunView{})
		assert.NilError(t, err)
		_, err = json.Marshal(again)
		assert.NilError(t, err)
		assert.Equal(t, again.RunId, item.RunId)
	})
}
