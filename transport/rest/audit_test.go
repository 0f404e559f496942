package rest_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
)

// auditOf reads the records that a key may see, over HTTP.
func auditOf(t *testing.T, e *transporttest.Env, key string) (list []oz.AuditRecord) {
	t.Helper()
	for entry, err := range sdk(t, e, key).AuditEntries(t.Context(), 0) {
		assert.NilError(t, err)
		if entry.Body == nil {
			continue
		}
		var r oz.AuditRecord
		assert.NilError(t, json.Unmarshal(entry.Body, &r))
		list = append(list, r)
	}
	return list
}

// find gives the records of an action with an outcome.
func find(list []oz.AuditRecord, a access.Action, o oz.AuditOutcome) (out []oz.AuditRecord) {
	for _, r := range list {
		if r.Action == a && r.Outcome == o {
			out = append(out, r)
		}
	}
	return out
}

func TestAuditOverHTTP(t *testing.T) {
	e := transporttest.Start(t, nil)
	th, _ := makeThings(t, e)
	a := e.Call(e.Member, http.MethodDelete, "/oz/secrets/"+th.secret, nil, "X-Request-Id", "req-7")
	assert.Equal(t, a.Status, http.StatusForbidden, "%s", a.Body)
	assert.Equal(t, e.Call("wrong", http.MethodGet, "/oz/whoami", nil).Status, http.StatusUnauthorized)
	assert.Equal(t, e.Call(transporttest.AdminKey, http.MethodGet, "/agent/artifacts/"+th.artifact, nil).Status, http.StatusOK)
	a = e.Call(transporttest.AdminKey, http.MethodGet, "/agent/runs/"+th.run+"/transcript", nil)
	assert.Equal(t, a.Status, http.StatusFound, "%s", a.Body)
	assert.Equal(t, e.Call("", http.MethodGet, strings.TrimPrefix(a.Header.Get("Location"), e.URL), nil).Status, http.StatusOK)
	a = e.Call(transporttest.AdminKey, http.MethodPost, "/agent/runs/"+th.run+"/cancel", nil)
	assert.Equal(t, a.Status, http.StatusOK, "%s", a.Body)

	list := auditOf(t, e, transporttest.AdminKey)
	refused := find(list, access.SecretManage, oz.AuditDenied)
	assert.Equal(t, len(refused), 1)
	assert.Equal(t, refused[0].Actor.UID, "mary")
	assert.Assert(t, refused[0].Actor.Key != "")
	assert.Equal(t, refused[0].RequestID, "req-7")
	assert.Equal(t, refused[0].Remote, "127.0.0.1")
	assert.Equal(t, len(find(list, oz.ActionSignIn, oz.AuditDenied)), 1, "of the server, whose team the admin leads")
	downloads := find(list, access.RunView, oz.AuditDone)
	assert.Equal(t, len(downloads), 2, "by their links, once: %v", downloads)
	assert.Equal(t, downloads[0].Object.ID+" "+downloads[1].Object.ID, th.artifact+" "+th.run)
	assert.Equal(t, len(find(list, access.RunCancel, oz.AuditDone)), 1)
	assert.Equal(t, len(find(list, access.RunCreate, oz.AuditBegun)), 0, "the run's log has it")
	for _, action := range []access.Action{access.SecretCreate, access.EnvironmentCreate, access.KeyCreate, access.MCPCreate, access.PromptCreate, access.RunnerCreate} {
		assert.Assert(t, len(find(list, action, oz.AuditDone)) > 0, "%s", action)
	}

	for _, r := range auditOf(t, e, e.Outsider) {
		theirs := r.Object.Owner == "User:oscar" || r.Object.Owner == "Team:others"
		assert.Assert(t, r.Actor.UID == "oscar" || theirs, "%v", r)
	}
	assert.Equal(t, len(find(auditOf(t, e, e.Member), access.SecretManage, oz.AuditDenied)), 1, "one's own")
	assert.Equal(t, len(find(auditOf(t, e, e.Member), access.SecretCreate, oz.AuditDone)), 0)
}

// TestAuditIsVerifiedByAnybody checks the chain with a stranger's key, before
// and after more was done.
func TestAuditIsVerifiedByAnybody(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	stranger := sdk(t, e, e.Outsider)
	head, err := oz.VerifyAudit(stranger.AuditEntries(t.Context(), 0), oz.AuditHead{})
	assert.NilError(t, err)
	assert.Assert(t, head.Seq > 0)
	_, err = sdk(t, e, transporttest.AdminKey).CreateEnvironment(t.Context(), environment.Config{Name: "demo"}, nil)
	assert.NilError(t, err)
	next, err := oz.VerifyAudit(stranger.AuditEntries(t.Context(), head.Seq-1), head)
	assert.NilError(t, err)
	assert.Equal(t, next.Seq, head.Seq+2)
	head.Hash[0]++
	_, err = oz.VerifyAudit(stranger.AuditEntries(t.Context(), head.Seq-1), head)
	assert.ErrorContains(t, err, "not the entry that was there before")

	page, newest, err := stranger.AuditLog(t.Context(), next.Seq-1, 1)
	assert.NilError(t, err)
	assert.Equal(t, newest, next.Seq)
	assert.Equal(t, len(page), 1)
	for _, query := range []string{"limit=0", "limit=1001", "limit=x", "after=-1", "after=x"} {
		a := e.Call(e.Outsider, http.MethodGet, "/oz/audit?"+query, nil)
		assert.Equal(t, a.Status, http.StatusBadRequest, "%s: %s", query, a.Body)
		field, _, _ := strings.Cut(query, "=")
		assert.Equal(t, a.Problem()["field"], field)
	}
	assert.Equal(t, e.Call(transporttest.AdminKey, http.MethodGet, "/oz/audit?after=9999999", nil).Code(), task.Code(""))
}
