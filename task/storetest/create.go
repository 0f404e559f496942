package storetest

import (
	"encoding/json"
	"strings"
	"sync"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
)

var createCases = []testCase{
	{name: "GivesWhatGetGives", run: createAndGet},
	{name: "KeepsEveryField", run: everyField, reopens: false},
	{name: "Defaults", run: createDefaults},
	{name: "OddStrings", run: oddStrings},
	{name: "TimesKeepNanoseconds", run: createTimes},
	{name: "MissingID", run: createWithoutID},
	{name: "DuplicateID", run: createDuplicate},
	{name: "CommandsInside", run: createWithCommands},
	{name: "CommandsRefused", run: createRefusedCommands},
	{name: "KeyReplays", run: keyReplays},
	{name: "KeyOfAnotherBody", run: keyConflicts},
	{name: "KeysOfPrincipalsApart", run: keysApart},
	{name: "KeyRace", run: keyRace},
	{name: "MaxWaiting", run: maxWaiting},
	{name: "MaxWaitingRace", run: maxWaitingRace},
	{name: "SharesNoMemory", run: createSharesNothing},
}

func createAndGet(f *fixture) {
	c := creation(nil)
	want, events := c.Build()
	got, replayed, err := f.s.Create(f.ctx(), c)
	assert.NilError(f, err)
	assert.Assert(f, !replayed)
	assert.DeepEqual(f, got, want)
	assert.DeepEqual(f, f.get(c.ID), want)
	assert.DeepEqual(f, f.events(c.ID), events)

	_, err = f.s.Get(f.ctx(), newID())
	assert.ErrorIs(f, err, task.ErrNotFound)
	_, err = f.s.Get(f.ctx(), "")
	assert.ErrorIs(f, err, task.ErrNotFound)
}

// fullSpec has every field set.
func fullSpec() task.Spec {
	yes, minutes, names := true, 7, []string{}
	return task.Spec{
		Title: "t", Prompt: "p", Mode: task.ModePlan,
		Owner:    task.Scope{Type: task.ScopeUser, UID: "u"},
		Creator:  task.Principal{Type: task.PrincipalUser, UID: "u", DisplayName: "Ada", Email: "ada@example.com"},
		Executor: task.Principal{Type: task.PrincipalServiceAccount, UID: "bot"},
		Config: task.Config{
			Name: "n", ModelID: "m", BasePrompt: "b", EnvironmentID: "e", SkillSpec: "s", Skills: []string{"a", "b"},
			MCPServers:         map[string]json.RawMessage{"x": json.RawMessage(`{"url":"https://example.com/?a=1&b=<2>"}`)},
			ComputerUseEnabled: &yes, ComputerUseModelID: "c", CredentialStrategy: "cs", IdleTimeoutMinutes: &minutes,
			WorkerHost: "h", RunnerID: "r", Harness: &task.HarnessConfig{Type: "oz", ModelID: "hm", ReasoningLevel: "high"},
			HarnessAuthSecrets: map[string]string{"k": "v"}, InferenceProviders: json.RawMessage(`{"a":1}`),
			MemoryStores: json.RawMessage(`[]`), SessionSharing: json.RawMessage(`null`), Secrets: &names,
			Limits: &task.Limits{MaxTurns: 1, MaxTokens: 2, MaxCostUSD: 0.3, MaxMinutes: 4},
		},
		Origins: map[string]string{"model_id": "run"}, Environment: []byte(`{"name":"env"}`), ConversationID: "conv", ParentID: "parent",
		Metadata: map[string]string{"": "empty key", "k": "", "a.b": "c=d"}, TriggerURL: "https://example.com", Interactive: true,
		Attachments: []task.Attachment{{FileName: "f", MIMEType: "text/plain", SizeBytes: 3, Blob: "b"}},
	}
}

func everyField(f *fixture) {
	spec := fullSpec()
	t := f.create(func(c *task.Creation) { c.Spec, c.Where, c.From = spec, task.LocationLocal, task.SourceCLI })
	assert.DeepEqual(f, t.Spec, spec)
	assert.DeepEqual(f, f.get(t.ID), t)
	assert.Equal(f, t.Where, task.LocationLocal)
	assert.Equal(f, t.Source, task.SourceCLI)
	assert.Assert(f, t.ReadyAt.IsZero(), "a local run waits for no worker")
}

func createDefaults(f *fixture) {
	t := f.create(func(c *task.Creation) { c.Spec = task.Spec{} })
	assert.Equal(f, t.Where, task.LocationRemote)
	assert.Equal(f, t.Source, task.SourceAPI)
	assert.Equal(f, t.State, task.StateQueued)
	assert.Equal(f, len(f.events(t.ID)), 1, "no prompt, no message")
	assert.DeepEqual(f, f.get(t.ID), t)
}

// odd are strings that stores tend to get wrong.
var odd = []string{"", " ", "'", `"`, `\`, "%", "_", "a'; DROP TABLE runs; --", "a\x00b", "\n\r\t", "é", "e\u0301", "日本語", "\U0001F600", "\ufeff",
	"\u2028", "<b>&amp;", strings.Repeat("long ", 2000), "null", "NULL", "0", "-1", "1e400", "[]", "{}"}

func oddStrings(f *fixture) {
	for _, s := range odd {
		t := f.create(func(c *task.Creation) {
			c.Spec = task.Spec{Title: s, Prompt: s, Owner: task.Scope{UID: s}, Creator: task.Principal{UID: s}, Executor: task.Principal{UID: s},
				Config: task.Config{Name: s, ModelID: s, SkillSpec: s, EnvironmentID: s}, Metadata: map[string]string{s: s}, ParentID: task.ID(s)}
			c.Key = &task.IdempotencyKey{Principal: s, Key: s, KeepUntil: start.Add(time.Hour)}
		})
		got := f.get(t.ID)
		assert.DeepEqual(f, got, t)
		assert.Equal(f, got.Title, s)
		page, err := f.s.List(f.ctx(), task.Query{Name: s, ModelID: s, Skill: s, CreatorUID: s, ExecutorUID: s, EnvironmentID: s,
			Owners: []task.Scope{{UID: s}}, Metadata: map[string]string{s: s}, Limit: task.MaxPageSize})
		assert.NilError(f, err)
		found := false
		for _, r := range page.Tasks {
			found = found || r.ID == t.ID
		}
		assert.Assert(f, found, "not found by %q", s)
		if s != "" {
			assert.Equal(f, len(page.Tasks), 1, "%q found others", s)
		}
		_, err = f.s.List(f.ctx(), task.Query{Text: s})
		assert.NilError(f, err, "text %q", s)
	}
}

func createTimes(f *fixture) {
	zone := time.FixedZone("east", 5*3600)
	for _, now := range []time.Time{start, start.In(zone), start.Add(time.Nanosecond), time.Date(1999, 1, 1, 0, 0, 0, 1, time.UTC),
		time.Date(2150, 1, 1, 0, 0, 0, 999999999, time.UTC), time.Now()} {
		t := f.create(func(c *task.Creation) { c.Now = now })
		got := f.get(t.ID)
		for _, at := range []time.Time{got.CreatedAt, got.UpdatedAt, got.ReadyAt, t.CreatedAt, f.events(t.ID)[0].Time} {
			assert.Assert(f, at.Equal(now), "%s became %s", now, at)
			assert.Equal(f, at.Location(), time.UTC)
		}
		assert.Assert(f, got.StartedAt.IsZero() && got.BegunAt.IsZero())
	}
}

func createWithoutID(f *fixture) {
	_, _, err := f.s.Create(f.ctx(), creation(func(c *task.Creation) { c.ID = "" }))
	assert.ErrorIs(f, err, task.ErrInvalid)
}

func createDuplicate(f *fixture) {
	t := f.create(nil)
	_, _, err := f.s.Create(f.ctx(), creation(func(c *task.Creation) { c.ID, c.Spec.Title = t.ID, "other" }))
	assert.ErrorIs(f, err, task.ErrConflict)
	assert.DeepEqual(f, f.get(t.ID), t)
}

func createWithCommands(f *fixture) {
	x := task.NewExecutionID()
	t := f.create(func(c *task.Creation) {
		c.Where = task.LocationLocal
		c.Commands = []task.Command{offer(x), task.Accept{Execution: x, LeaseUntil: start.Add(time.Minute)}, task.Begin{Execution: x},
			task.Append{Execution: x, Events: messages("one", "two")}}
	})
	assert.Equal(f, t.State, task.StateInProgress)
	assert.Equal(f, t.Execution, x)
	assert.DeepEqual(f, f.get(t.ID), t)
	assert.DeepEqual(f, texts(f.events(t.ID)), []string{"one", "two"})
	got, err := f.s.Execution(f.ctx(), x)
	assert.NilError(f, err)
	assert.Equal(f, got.State, task.ExecutionWorking)
	assert.Equal(f, got.Appended, int64(2))
	assert.Assert(f, got.LeaseUntil.Equal(start.Add(time.Minute)))
	f.do(t.ID, task.Append{Execution: x, Offset: 1, Events: messages("two", "three")})
	assert.DeepEqual(f, texts(f.events(t.ID)), []string{"one", "two", "three"})

	y := task.NewExecutionID()
	t = f.create(func(c *task.Creation) {
		c.Commands = []task.Command{offer(x + "-1"), task.Release{Execution: x + "-1", Reason: "full", ReadyAt: start}, offer(y)}
	})
	all, err := f.s.Executions(f.ctx(), t.ID)
	assert.NilError(f, err)
	assert.Equal(f, len(all), 2)
	assert.Equal(f, all[0].State, task.ExecutionEnded)
	assert.Equal(f, all[1].ID, y)
	live, err := f.s.Live(f.ctx())
	assert.NilError(f, err)
	assert.Equal(f, len(live), 2)
}

func createRefusedCommands(f *fixture) {
	c := creation(func(c *task.Creation) {
		c.Commands = []task.Command{offer("x"), task.End{Execution: "x", State: task.StateSucceeded}}
		c.Key = &task.IdempotencyKey{Principal: "p", Key: "k", KeepUntil: start.Add(time.Hour)}
	})
	_, _, err := f.s.Create(f.ctx(), c)
	assert.ErrorIs(f, err, task.ErrConflict)
	_, err = f.s.Get(f.ctx(), c.ID)
	assert.ErrorIs(f, err, task.ErrNotFound)
	_, err = f.s.Execution(f.ctx(), "x")
	assert.ErrorIs(f, err, task.ErrNotFound)
	c.Commands = nil // neither ID nor key were used up
	_, replayed, err := f.s.Create(f.ctx(), c)
	assert.NilError(f, err)
	assert.Assert(f, !replayed)
}

func keyed(principal, key, body string) *task.IdempotencyKey {
	return &task.IdempotencyKey{Principal: principal, Key: key, Fingerprint: []byte(body), KeepUntil: start.Add(time.Hour)}
}

func keyReplays(f *fixture) {
	first := f.create(func(c *task.Creation) { c.Key = keyed("p", "k", "body") })
	f.do(first.ID, task.AddInput{Input: task.Input{Text: "more"}})
	again := creation(func(c *task.Creation) {
		c.Key = keyed("p", "k", "body")
		c.Now = start.Add(time.Minute)
		c.MaxWaiting = 1
	})
	t, replayed, err := f.s.Create(f.ctx(), again)
	assert.NilError(f, err)
	assert.Assert(f, replayed)
	assert.DeepEqual(f, t, f.get(first.ID))
	_, err = f.s.Get(f.ctx(), again.ID)
	assert.ErrorIs(f, err, task.ErrNotFound)
	if f.h.Volatile {
		return
	}
	f.reopen()
	_, replayed, err = f.s.Create(f.ctx(), again)
	assert.NilError(f, err)
	assert.Assert(f, replayed)
}

func keyConflicts(f *fixture) {
	f.create(func(c *task.Creation) { c.Key = keyed("p", "k", "body") })
	for _, body := range []string{"other", "", "body "} {
		_, _, err := f.s.Create(f.ctx(), creation(func(c *task.Creation) { c.Key = keyed("p", "k", body) }))
		assert.ErrorIs(f, err, task.ErrConflict)
	}
}

func keysApart(f *fixture) {
	for _, k := range []*task.IdempotencyKey{keyed("p", "k", "a"), keyed("q", "k", "b"), keyed("p", "l", "c"), keyed("pk", "", "d"), keyed("", "pk", "e"), nil, nil} {
		f.create(func(c *task.Creation) { c.Key = k })
	}
}

func keyRace(f *fixture) {
	const clients = 16
	for round := range 5 {
		ids := make([]task.ID, clients)
		made := make([]bool, clients)
		var all sync.WaitGroup
		for i := range clients {
			all.Go(func() {
				t, replayed, err := f.s.Create(f.ctx(), creation(func(c *task.Creation) { c.Key = keyed("p", string(rune('a'+round)), "body") }))
				assert.Check(f, err)
				ids[i], made[i] = t.ID, !replayed
			})
		}
		all.Wait()
		count := 0
		for i := range clients {
			assert.Equal(f, ids[i], ids[0])
			if made[i] {
				count++
			}
		}
		assert.Equal(f, count, 1, "made more than once")
	}
}

func maxWaiting(f *fixture) {
	const most = 3
	limited := func(c *task.Creation) { c.MaxWaiting = most }
	var ids []task.ID
	for range most {
		ids = append(ids, f.create(limited).ID)
	}
	f.create(func(c *task.Creation) { c.Where = task.LocationLocal }) // does not wait
	full := func() {
		f.Helper()
		_, _, err := f.s.Create(f.ctx(), creation(limited))
		assert.Equal(f, task.CodeOf(err), task.CodeResourceUnavailable)
	}
	full()
	f.do(ids[0], offer("x")) // no longer waits
	ids = append(ids, f.create(limited).ID)
	full()
	f.do(ids[0], task.Release{Execution: "x", ReadyAt: start.Add(time.Hour)}) // waits again: one more than may
	f.do(ids[1], task.Cancel{})
	full()
	f.do(ids[2], task.Cancel{})
	f.create(limited)
	full()
	if !f.h.Volatile {
		f.reopen()
		full()
	}
	f.create(nil) // without a limit
}

func maxWaitingRace(f *fixture) {
	const most, clients = 10, 40
	var mu sync.Mutex
	made := 0
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			_, _, err := f.s.Create(f.ctx(), creation(func(c *task.Creation) { c.MaxWaiting = most }))
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				made++
				return
			}
			assert.Check(f, task.CodeOf(err) == task.CodeResourceUnavailable, "%v", err)
		})
	}
	all.Wait()
	assert.Equal(f, made, most)
}

func createSharesNothing(f *fixture) {
	c := creation(func(c *task.Creation) { c.Spec = fullSpec() })
	t, _, err := f.s.Create(f.ctx(), c)
	assert.NilError(f, err)
	scribble := func(s *task.Spec) {
		s.Metadata["k"] = "changed"
		s.Config.Skills[0] = "changed"
		s.Environment[0] = 'X'
		s.Config.MCPServers["x"][0] = 'X'
		*s.Config.IdleTimeoutMinutes = 99
		s.Attachments[0].FileName = "changed"
	}
	scribble(&c.Spec)
	assert.DeepEqual(f, t.Spec, fullSpec())
	scribble(&t.Spec)
	got := f.get(c.ID)
	assert.DeepEqual(f, got.Spec, fullSpec())
	scribble(&got.Spec)
	assert.DeepEqual(f, f.get(c.ID).Spec, fullSpec())
}
