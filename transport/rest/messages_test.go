package rest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
)

// family is a parent at work and its two children, of which the first works.
func family(t *testing.T, e *transporttest.Env) (parent, child executor.Handshake, idle task.ID) {
	t.Helper()
	begin := func(h executor.Handshake) executor.Handshake {
		link, err := client.NewLink(h, nil)
		assert.NilError(t, err)
		assert.NilError(t, link.Begin(t.Context()))
		return h
	}
	root, err := e.Platform.Submit(t.Context(), oz.Request{Prompt: "lead"})
	assert.NilError(t, err)
	parent = begin(e.Claimed())
	assert.Equal(t, parent.TaskID, root.ID)
	_, err = e.Platform.Submit(t.Context(), oz.Request{Prompt: "help", ParentRunID: root.ID})
	assert.NilError(t, err)
	child = begin(e.Claimed())
	second, err := e.Platform.Submit(t.Context(), oz.Request{Prompt: "help, too", ParentRunID: root.ID})
	assert.NilError(t, err)
	return parent, child, second.ID
}

func sdk(t *testing.T, e *transporttest.Env, key string) *client.Client {
	t.Helper()
	c, err := client.New(e.URL, &client.Options{APIKey: key})
	assert.NilError(t, err)
	return c
}

// TestMessagesBetweenRuns is the story of a child that reports to its parent,
// each by its run token alone, through the SDK.
func TestMessagesBetweenRuns(t *testing.T) {
	e := transporttest.Start(t, nil)
	parent, child, sibling := family(t, e)
	mine, theirs := sdk(t, e, parent.Token.Reveal()), sdk(t, e, child.Token.Reveal())
	ids, err := theirs.SendMail(t.Context(), task.Letter{From: child.TaskID, To: []task.ID{parent.TaskID, sibling}, Subject: "done", Body: "all tests pass"})
	assert.NilError(t, err)
	assert.Equal(t, len(ids), 2)
	seq, err := theirs.ReportSignal(t.Context(), child.TaskID, oz.SignalReport{Type: task.SignalSucceeded, Ref: "r1"})
	assert.NilError(t, err)
	again, err := theirs.ReportSignal(t.Context(), child.TaskID, oz.SignalReport{Type: task.SignalSucceeded})
	assert.NilError(t, err)
	assert.Equal(t, again, seq)

	signals, err := mine.Signals(t.Context(), task.SignalQuery{Tasks: []task.ID{child.TaskID, parent.TaskID}})
	assert.NilError(t, err)
	var seen []string
	for _, s := range signals {
		seen = append(seen, string(s.Type))
	}
	assert.Equal(t, strings.Join(seen, " "), "run_in_progress run_in_progress new_message run_succeeded")
	assert.Equal(t, signals[2].Ref, string(ids[0]))
	assert.Equal(t, signals[3].Seq, seq)
	assert.Equal(t, signals[3].Ref, "r1")
	assert.Equal(t, signals[3].Execution, child.ExecutionID)

	list, err := mine.Mails(t.Context(), task.MailQuery{To: parent.TaskID, Unread: true})
	assert.NilError(t, err)
	assert.Equal(t, len(list), 1)
	assert.Equal(t, list[0].From, child.TaskID)
	assert.NilError(t, mine.MailDelivered(t.Context(), ids[0]))
	m, err := mine.ReadMail(t.Context(), ids[0])
	assert.NilError(t, err)
	assert.Equal(t, m.Body, "all tests pass")
	assert.Assert(t, !m.ReadAt.IsZero() && !m.DeliveredAt.IsZero())
	list, err = mine.Mails(t.Context(), task.MailQuery{To: parent.TaskID, Unread: true})
	assert.NilError(t, err)
	assert.Equal(t, len(list), 0)
	_, err = mine.ReadMail(t.Context(), ids[1])
	assert.ErrorIs(t, err, task.ErrNotFound, "a sibling's copy")

	_, err = mine.SendMail(t.Context(), task.Letter{From: parent.TaskID, To: []task.ID{sibling, child.TaskID}, Subject: "more", Body: "x"})
	assert.Equal(t, task.CodeOf(err), task.CodeOperationNotSupported, "%v", err)
	list, err = sdk(t, e, transporttest.AdminKey).Mails(t.Context(), task.MailQuery{To: sibling})
	assert.NilError(t, err)
	assert.Equal(t, len(list), 1, "none of a letter that one cannot get")
}

// TestMessageWireShapes reads answers as other programs' clients see them.
func TestMessageWireShapes(t *testing.T) {
	e := transporttest.Start(t, nil)
	parent, _, sibling := family(t, e)
	body := map[string]any{"to": []string{string(sibling)}, "subject": "s", "body": "b", "sender_run_id": string(parent.TaskID)}
	a := e.Call(transporttest.AdminKey, http.MethodPost, "/agent/messages", body)
	assert.Equal(t, a.Status, http.StatusOK, "%s", a.Body)
	var sent struct {
		IDs []string `json:"message_ids"`
	}
	a.JSON(e, &sent)
	a = e.Call(transporttest.AdminKey, http.MethodGet, "/agent/messages/"+string(sibling), nil)
	var headers []map[string]any
	a.JSON(e, &headers)
	assert.Equal(t, len(headers), 1)
	for _, field := range []string{"message_id", "sender_run_id", "subject", "sent_at", "delivered_at", "read_at"} {
		_, there := headers[0][field]
		assert.Assert(t, there, "%s in %s", field, a.Body)
	}
	a = e.Call(transporttest.AdminKey, http.MethodPost, "/agent/messages/"+sent.IDs[0]+"/delivered", nil)
	assert.Equal(t, a.Status, http.StatusNoContent)
	a = e.Call(transporttest.AdminKey, http.MethodGet, "/agent/messages/"+string(parent.TaskID), nil)
	assert.Equal(t, strings.TrimSpace(string(a.Body)), "[]")

	for _, query := range []string{"run_ids=%s&run_ids=%s", "run_ids[]=%s&run_ids[]=%s", "run_ids=%s,%s"} {
		a = e.Call(transporttest.AdminKey, http.MethodGet, "/agent/events?limit=500&"+fmt.Sprintf(query, parent.TaskID, sibling), nil)
		var events []map[string]json.RawMessage
		a.JSON(e, &events)
		assert.Equal(t, len(events), 2, "%s", a.Body)
		assert.Equal(t, string(events[0]["ref_id"]), "null")
		assert.Equal(t, string(events[1]["execution_id"]), "null")
		assert.Equal(t, string(events[1]["event_type"]), `"new_message"`)
	}
}

// TestMessagesRefuseBadInput names the field that is wrong.
func TestMessagesRefuseBadInput(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	run, err := e.Platform.Submit(t.Context(), oz.Request{Prompt: "x"})
	assert.NilError(t, err)
	id := string(run.ID)
	good := func(change map[string]any) map[string]any {
		b := map[string]any{"to": []string{id}, "subject": "s", "body": "b", "sender_run_id": id}
		for k, v := range change {
			b[k] = v
		}
		return b
	}
	var many []string
	for range task.MaxRecipients + 1 {
		many = append(many, string(task.NewID()))
	}
	for _, tt := range []struct {
		method, path, field string
		body                any
		status              int
	}{
		{"POST", "/agent/messages", "to", good(map[string]any{"to": []string{}}), 400},
		{"POST", "/agent/messages", "to", good(map[string]any{"to": []string{id, id}}), 400},
		{"POST", "/agent/messages", "to", good(map[string]any{"to": many}), 400},
		{"POST", "/agent/messages", "to", good(map[string]any{"to": 7}), 400},
		{"POST", "/agent/messages", "subject", good(map[string]any{"subject": strings.Repeat("x", task.MaxSubject+1)}), 400},
		{"POST", "/agent/messages", "subject", good(map[string]any{"subject": ""}), 400},
		{"POST", "/agent/messages", "body", good(map[string]any{"body": strings.Repeat("x", task.MaxBodyBytes+1)}), 400},
		{"POST", "/agent/messages", "sender_run_id", good(map[string]any{"sender_run_id": ""}), 400},
		{"POST", "/agent/messages", "", good(map[string]any{"sender_run_id": many[0]}), 404},
		{"POST", "/agent/messages", "", good(map[string]any{"to": many[:1]}), 404},
		{"GET", "/agent/messages/" + id + "?limit=101", "limit", nil, 400},
		{"GET", "/agent/messages/" + id + "?limit=0", "limit", nil, 400},
		{"GET", "/agent/messages/" + id + "?since=yesterday", "since", nil, 400},
		{"GET", "/agent/messages/" + many[0], "", nil, 404},
		{"POST", "/agent/messages/" + many[0] + "/read", "", nil, 404},
		{"POST", "/agent/messages/" + many[0] + "/delivered", "", nil, 404},
		{"GET", "/agent/events", "run_ids", nil, 400},
		{"GET", "/agent/events?run_ids=" + strings.Join(many, ","), "run_ids", nil, 400},
		{"GET", "/agent/events?run_ids=" + id + "&since=-1", "since", nil, 400},
		{"GET", "/agent/events?run_ids=" + id + "&limit=501", "limit", nil, 400},
		{"GET", "/agent/events?run_ids=" + id + "&limit=0", "limit", nil, 400},
		{"GET", "/agent/events?run_ids=" + id + "," + many[0], "", nil, 404},
		{"POST", "/agent/events/" + id, "event_type", map[string]any{"event_type": "new_message"}, 400},
		{"POST", "/agent/events/" + id, "event_type", map[string]any{}, 400},
		{"POST", "/agent/events/" + id, "ref_id", map[string]any{"event_type": "run_failed", "ref_id": strings.Repeat("x", 257)}, 400},
		{"POST", "/agent/events/" + id, "", map[string]any{"event_type": "run_failed"}, 422},
	} {
		a := e.Call(transporttest.AdminKey, tt.method, tt.path, tt.body)
		assert.Equal(t, a.Status, tt.status, "%s %s %v: %s", tt.method, tt.path, tt.field, a.Body)
		field, _ := a.Problem()["field"].(string)
		assert.Equal(t, field, tt.field, "%s", a.Body)
	}
	full := good(map[string]any{"subject": strings.Repeat("ü", task.MaxSubject), "body": strings.Repeat("\n", task.MaxBodyBytes)})
	a := e.Call(transporttest.AdminKey, http.MethodPost, "/agent/messages", full)
	assert.Equal(t, a.Status, http.StatusOK, "%s", a.Body)
}

// TestReportsOfLocalRuns carries a run out with nothing but its key.
func TestReportsOfLocalRuns(t *testing.T) {
	e := transporttest.Start(t, nil)
	owner, other := sdk(t, e, transporttest.AdminKey), e.Member
	run, _, err := owner.StartLocal(t.Context(), oz.Request{Prompt: "by hand"})
	assert.NilError(t, err)
	path := "/agent/events/" + string(run.ID)
	a := e.Call(other, http.MethodPost, path, map[string]any{"event_type": "run_in_progress"})
	assert.Equal(t, a.Status, http.StatusForbidden, "neither its creator nor a leader: %s", a.Body)
	for _, typ := range []task.SignalType{task.SignalInProgress, task.SignalErrored} {
		_, err := owner.ReportSignal(t.Context(), run.ID, oz.SignalReport{Type: typ})
		assert.NilError(t, err)
	}
	got, err := owner.Get(t.Context(), run.ID)
	assert.NilError(t, err)
	assert.Equal(t, got.State, task.StateError)
	assert.Equal(t, got.Status.ErrorCode, task.CodeAgentProcessFailed)
	a = e.Call(transporttest.AdminKey, http.MethodPost, path, map[string]any{"event_type": "run_succeeded"})
	assert.Equal(t, a.Status, http.StatusConflict)
	assert.Equal(t, a.Code(), task.CodeConflict)
	assert.Equal(t, a.Problem()["retryable"], false)
	assert.Equal(t, a.Header.Get("x-should-retry"), "false")
	a = e.Call(transporttest.AdminKey, http.MethodPost, path, map[string]any{"event_type": "run_failed", "execution_id": string(task.NewExecutionID())})
	assert.Equal(t, a.Status, http.StatusNotFound)
}
