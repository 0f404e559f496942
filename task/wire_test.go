package task_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
)

// payloads has one payload of each type, with every field set.
func payloads() []task.Payload {
	return []task.Payload{
		&task.StateChanged{From: task.StateQueued, To: task.StatePending, Status: task.Status{Message: "m", ErrorCode: task.CodeInternal, Retryable: true}, Worker: "w", Reason: "r"},
		&task.Phase{Name: task.PhaseSetup, Status: task.PhaseDone, Detail: "d", DurationMS: 1},
		&task.Input{Text: "t", Key: "k", Mode: task.ModePlan, Question: "q", Choice: "c", Approves: "a", From: task.Principal{Type: task.PrincipalUser, UID: "u", DisplayName: "d", Email: "e"},
			Attachments: []task.Attachment{{FileName: "f", MIMEType: "m", SizeBytes: 1, Blob: "b"}}},
		&task.Delivered{Inputs: []int64{1, 2}},
		&task.TurnStarted{Turn: 1},
		&task.TurnEnded{Turn: 1, Model: "m", StopReason: "s", RequestID: "r", DurationMS: 1},
		&task.Message{ID: "i", Text: "<b>&\u2028\x00", More: true},
		&task.Reasoning{ID: "i", Text: "t", More: true, Opaque: json.RawMessage(`{"signature":"a<b&c"}`)},
		&task.ToolCall{ID: "i", Name: "n", Category: task.CategoryFiles, Input: json.RawMessage(`{"a":1.0}`)},
		&task.ToolOutput{CallID: "c", Text: "t"},
		&task.ToolResult{CallID: "c", Name: "n", Category: task.CategorySearch, State: task.ToolDenied, Content: "c", Output: json.RawMessage(`[]`), DurationMS: 1},
		&task.Todos{Items: []task.Todo{{Title: "t", Description: "d", Done: true}}},
		&task.UsageReport{Category: "c", Model: "m", Provider: "p", Tokens: task.TokenCount{Input: 1, CacheRead: 2, CacheWrite: 3, Output: 4},
			Cost: task.CostUSD{Input: 0.1, CacheRead: 0.2, CacheWrite: 0.3, Output: 0.4}, Priced: true, Calls: 1,
			WebSearches: 5, WebSearchUSD: 0.5, Custom: true, CallID: "7"},
		&task.ArtifactReported{Artifact: task.Artifact{UID: "u", Type: task.ArtifactReference, CreatedAt: epoch, Title: "t", Description: "d", URL: "u", Branch: "b",
			ReferenceType: "r", Metadata: json.RawMessage(`{}`), Path: "p", MIMEType: "m", SizeBytes: 1, Blob: "b"}},
		&task.Effect{Key: "k", Kind: "k", State: task.EffectSettled, Detail: json.RawMessage(`{}`)},
		&task.Compaction{UpTo: 1, Summary: "s"},
		&task.Notice{Text: "t", Key: "k"},
		&task.Shared{By: task.Principal{Type: task.PrincipalUser, UID: "u"}, Sharing: task.Sharing{Visibility: task.VisibilityLink, LinkRole: task.RoleEditor,
			Grants: []task.Grant{{To: task.Scope{Type: task.ScopeTeam, UID: "t"}, Role: task.RoleViewer}}}},
		&task.ErrorReported{Code: task.CodeInternal, Message: "m", Fatal: true, Provider: "p"},
	}
}

func TestPayloadRoundTrip(t *testing.T) {
	seen := map[task.EventType]bool{}
	for i, p := range payloads() {
		v := reflect.ValueOf(p).Elem()
		for f := range v.NumField() {
			assert.Assert(t, !v.Field(f).IsZero(), "%T.%s is not set: the case shows nothing", p, v.Type().Field(f).Name)
		}
		typ, data, err := task.MarshalPayload(p)
		assert.NilError(t, err)
		assert.Equal(t, typ, p.Type())
		seen[typ] = true
		got, err := task.UnmarshalPayload(typ, data)
		assert.NilError(t, err)
		assert.DeepEqual(t, got, p)

		event := task.Event{Seq: int64(i + 1), TaskID: "run", ExecutionID: "x", Time: epoch, Payload: p}
		data, err = json.Marshal(event)
		assert.NilError(t, err)
		var back task.Event
		assert.NilError(t, json.Unmarshal(data, &back))
		if r, ok := p.(*task.Reasoning); ok { // the outer encoder may spell <, > and & differently
			assert.Assert(t, jsonEqual(t, back.Payload.(*task.Reasoning).Opaque, r.Opaque))
			continue
		}
		assert.DeepEqual(t, back, event)
	}
	assert.Equal(t, len(seen), 19, "every type of event")
}

func jsonEqual(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	assert.NilError(t, json.Unmarshal(a, &x))
	assert.NilError(t, json.Unmarshal(b, &y))
	return reflect.DeepEqual(x, y)
}

func TestPayloadRefusals(t *testing.T) {
	_, err := task.UnmarshalPayload("unheard", []byte(`{}`))
	assert.ErrorIs(t, err, task.ErrInvalid)
	for _, data := range []string{"", "{", "[]", `"x"`, `{"text":1}`} {
		_, err := task.UnmarshalPayload(task.TypeMessage, []byte(data))
		assert.ErrorIs(t, err, task.ErrInvalid, "%q", data)
	}
	_, _, err = task.MarshalPayload(&task.ToolCall{Input: json.RawMessage(`{`)})
	assert.Assert(t, err != nil)
	_, err = json.Marshal(task.Event{Seq: 1})
	assert.Assert(t, err != nil)
	var e task.Event
	assert.Assert(t, json.Unmarshal([]byte(`{"seq":1,"type":"unheard","data":{}}`), &e) != nil)
}

func FuzzUnmarshalPayload(f *testing.F) {
	for _, p := range payloads() {
		typ, data, err := task.MarshalPayload(p)
		assert.NilError(f, err)
		f.Add(string(typ), data)
	}
	f.Fuzz(func(t *testing.T, typ string, data []byte) {
		p, err := task.UnmarshalPayload(task.EventType(typ), data)
		if err != nil {
			assert.ErrorIs(t, err, task.ErrInvalid)
			return
		}
		again, encoded, err := task.MarshalPayload(p)
		assert.NilError(t, err)
		assert.Equal(t, string(again), typ)
		q, err := task.UnmarshalPayload(again, encoded)
		assert.NilError(t, err)
		_, twice, err := task.MarshalPayload(q)
		assert.NilError(t, err)
		assert.Equal(t, string(twice), string(encoded), "encoding is stable")
	})
}

func TestCursor(t *testing.T) {
	for _, c := range []task.Cursor{
		{Sort: task.SortUpdatedAt, Key: epoch.Format(time.RFC3339Nano), ID: "run"},
		{Sort: task.SortTitle, Asc: true, Key: "a\"\u2028ö", ID: "run"},
	} {
		got, err := task.ParseCursor(c.String(), c.Sort, c.Asc)
		assert.NilError(t, err)
		assert.DeepEqual(t, *got, c)
		for _, other := range []struct {
			sort task.SortKey
			asc  bool
		}{{task.SortAgent, c.Asc}, {c.Sort, !c.Asc}} {
			_, err := task.ParseCursor(c.String(), other.sort, other.asc)
			assert.ErrorIs(t, err, task.ErrInvalid)
		}
	}
	for _, bad := range []string{"", "!", "e30", "bnVsbA", strings.Repeat("A", 10000), task.Cursor{Sort: task.SortTitle}.String()} {
		_, err := task.ParseCursor(bad, task.SortTitle, false)
		assert.ErrorIs(t, err, task.ErrInvalid, "%.20q", bad)
	}
}

func FuzzParseCursor(f *testing.F) {
	f.Add(task.Cursor{Sort: task.SortTitle, Key: "k", ID: "run"}.String())
	f.Add("e30")
	f.Add("!")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := task.ParseCursor(s, task.SortTitle, false)
		if err != nil {
			assert.ErrorIs(t, err, task.ErrInvalid)
			return
		}
		again, err := task.ParseCursor(c.String(), task.SortTitle, false)
		assert.NilError(t, err)
		assert.DeepEqual(t, again, c)
	})
}

func TestToken(t *testing.T) {
	id := task.NewExecutionID()
	token, hash := task.NewToken(id)
	other, _ := task.NewToken(id)
	assert.Assert(t, token != other)
	got, ok := task.ParseToken(token)
	assert.Assert(t, ok)
	assert.Equal(t, got, id)
	x := task.Execution{ID: id, State: task.ExecutionWorking, TokenHash: hash}
	assert.Assert(t, x.VerifyToken(token))
	assert.Assert(t, !x.VerifyToken(other))
	assert.Assert(t, !x.VerifyToken(""))
	x.State = task.ExecutionEnded
	assert.Assert(t, !x.VerifyToken(token), "an ended execution's token is worth nothing")
	assert.Assert(t, !task.Execution{ID: id}.VerifyToken(""), "no hash, no token")
	for _, bad := range []string{"", "ozr_", "ozr_.x", "ozr_abc", "oz_" + string(id) + ".x", "Bearer " + token} {
		_, ok := task.ParseToken(bad)
		assert.Assert(t, !ok, "%q", bad)
	}
}

func FuzzParseToken(f *testing.F) {
	token, _ := task.NewToken("x")
	f.Add(token)
	f.Add("ozr_.")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		id, ok := task.ParseToken(s)
		assert.Assert(t, !ok || (id != "" && strings.HasPrefix(s, "ozr_"+string(id)+".")))
	})
}

func TestArtifactValidate(t *testing.T) {
	good := []task.Artifact{
		{UID: "u", Type: task.ArtifactPlan},
		{UID: strings.Repeat("u", 64), Type: task.ArtifactPullRequest, Branch: "b", URL: "https://example.com/pr/1"},
		{UID: "u", Type: task.ArtifactReference, ReferenceType: task.ReferenceBranch, URL: "https://example.com", Metadata: json.RawMessage(`{"a":1}`)},
		{UID: "u", Type: task.ArtifactFile, Path: "p", SizeBytes: 1},
		{UID: "u", Type: task.ArtifactScreenshot, Path: "p"},
	}
	for _, a := range good {
		assert.NilError(t, a.Validate(), "%+v", a)
	}
	reference := good[2]
	bad := map[string]func(a *task.Artifact){
		"no UID":              func(a *task.Artifact) { a.UID = "" },
		"long UID":            func(a *task.Artifact) { a.UID = strings.Repeat("u", 65) },
		"type":                func(a *task.Artifact) { a.Type = "plan" },
		"long title":          func(a *task.Artifact) { a.Title = strings.Repeat("t", 5000) },
		"UTF-8":               func(a *task.Artifact) { a.Title = "\xff" },
		"no URL":              func(a *task.Artifact) { a.URL = "" },
		"relative URL":        func(a *task.Artifact) { a.URL = "/x" },
		"URL with a password": func(a *task.Artifact) { a.URL = "https://me:secret@example.com" },
		"long URL":            func(a *task.Artifact) { a.URL = "https://example.com/" + strings.Repeat("u", 2048) },
		"no reference type":   func(a *task.Artifact) { a.ReferenceType = "" },
		"metadata":            func(a *task.Artifact) { a.Metadata = json.RawMessage(`[]`) },
		"large metadata":      func(a *task.Artifact) { a.Metadata = json.RawMessage(`{"a":"` + strings.Repeat("a", 64<<10) + `"}`) },
		"long path":           func(a *task.Artifact) { a.Path = strings.Repeat("p", 5000) },
		"PR without a branch": func(a *task.Artifact) { a.Type = task.ArtifactPullRequest },
	}
	for name, spoil := range bad {
		a := reference
		spoil(&a)
		err := a.Validate()
		assert.ErrorIs(t, err, task.ErrInvalid, name)
		assert.Assert(t, !strings.Contains(err.Error(), "secret"), name)
	}
}

func TestErrors(t *testing.T) {
	cause := errors.New("cause")
	err := fmt.Errorf("layer: %w", task.Errorf(task.CodeNotFound, "no run: %w", cause))
	assert.ErrorIs(t, err, task.ErrNotFound)
	assert.ErrorIs(t, err, cause)
	assert.Assert(t, !errors.Is(err, task.ErrConflict))
	assert.Equal(t, task.CodeOf(err), task.CodeNotFound)
	assert.Equal(t, task.CodeOf(cause), task.CodeInternal)
	assert.Equal(t, task.CodeOf(nil), task.Code(""))
	assert.Equal(t, task.CodeOf(&task.Error{Code: "unheard"}), task.CodeInternal)
	assert.Error(t, task.Invalid("title", "is %d long", 3), "title: is 3 long")
	assert.Equal(t, task.CodeBudgetExceeded.EndState(), task.StateFailed)
	assert.Equal(t, task.CodeInternal.EndState(), task.StateError)
	assert.Assert(t, !task.Code("unheard").Known() && task.CodeNotFound.Known())
	assert.Equal(t, task.CodeConflict.HTTPStatus(), 409)
}

func TestUsage(t *testing.T) {
	var u task.Usage
	r := task.UsageReport{Category: "c", Model: "m", Calls: 1, Priced: true, Tokens: task.TokenCount{Input: 1, CacheRead: 2, CacheWrite: 3, Output: 4}, Cost: task.CostUSD{Input: 1, CacheRead: 2, CacheWrite: 3, Output: 4}}
	one := u.Add(r)
	assert.Equal(t, len(u.Models), 0, "the receiver is not changed")
	assert.Equal(t, len(u.Add(task.UsageReport{Category: "c", Model: "m", CallID: "1"}).Models), 0, "a call without an answer")
	unpriced := r
	unpriced.Priced, unpriced.Model = false, "n"
	two := one.Add(r).Add(unpriced)
	assert.Equal(t, one.Models[0].Calls, 1)
	assert.Equal(t, two.Models[0].Calls, 2)
	assert.Equal(t, two.Tokens().Total(), int64(30))
	cost, complete := two.Cost()
	assert.Equal(t, cost.Total(), 30.0)
	assert.Assert(t, !complete)
	_, complete = one.Cost()
	assert.Assert(t, complete)
}

// TestUsageIsBounded: a run's usage is part of every write to it, and the
// names of models come from far away.
func TestUsageIsBounded(t *testing.T) {
	var u task.Usage
	for i := range 3 * task.MaxUsageModels {
		u = u.Add(task.UsageReport{Category: fmt.Sprint(i % 7), Model: fmt.Sprint("m", i), Calls: 1, Tokens: task.TokenCount{Input: 2}})
	}
	u = u.Add(task.UsageReport{Category: "0", Model: "m0", Calls: 1})
	assert.Equal(t, len(u.Models), task.MaxUsageModels)
	assert.Equal(t, u.Models[0].Calls, 2)
	last := u.Models[task.MaxUsageModels-1]
	assert.Equal(t, last.Model, task.UsageOther)
	assert.Equal(t, last.Calls, 2*task.MaxUsageModels+1)
	assert.Equal(t, u.Tokens().Total(), int64(6*task.MaxUsageModels), "nothing is left out of the sum")
}
