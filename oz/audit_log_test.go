package oz_test

import (
	"context"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/secrets/sealed"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
)

// records reads the bodies that a caller may see, in order.
func records(t testing.TB, c *oz.Client) (list []oz.AuditRecord) {
	t.Helper()
	for e, err := range c.AuditEntries(context.Background(), 0) {
		assert.NilError(t, err)
		if e.Body == nil {
			continue
		}
		var r oz.AuditRecord
		assert.NilError(t, json.Unmarshal(e.Body, &r))
		list = append(list, r)
	}
	return list
}

// since leaves out what was there before.
func since(list []oz.AuditRecord, n int) (lines []string) {
	for _, r := range list[n:] {
		words := []string{r.Actor.UID, string(r.Action), r.Object.Type, r.Details["act"], string(r.Outcome), string(r.Code)}
		lines = append(lines, strings.Join(strings.Fields(strings.Join(words, " ")), " "))
	}
	return lines
}

// withSecrets makes a platform that keeps secrets.
func withSecrets(t testing.TB, opts *oz.Options) (*oz.Platform, *sqlitestore.Store) {
	t.Helper()
	store := openStore(t)
	keys, err := sealed.OpenKeys(filepath.Join(t.TempDir(), "secrets.key"))
	assert.NilError(t, err)
	opts.Sealed = sealed.New(store, keys, nil)
	p, err := oz.New(store, opts)
	assert.NilError(t, err)
	return p, store
}

func TestAuditTellsWhoDidWhat(t *testing.T) {
	const value = "k3J9-xQ2m-Zp7v-Rt5w"
	p, _ := withSecrets(t, &oz.Options{})
	all, ctx := people(t, p), access.WithOrigin(t.Context(), access.Origin{RequestID: "req-1", Remote: "192.0.2.7"})
	ann, bob, cid := all["ann"], all["bob"], all["cid"]
	before := len(records(t, p.Client))
	_, err := ann.CreateSecret(ctx, oz.SecretInput{Name: "TOKEN", Value: value})
	assert.NilError(t, err)
	_, err = bob.UpdateSecret(ctx, "TOKEN", nil, oz.SecretChange{Description: ptr("x")})
	assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized)
	env, err := bob.CreateEnvironment(ctx, environment.Config{Name: "demo"}, nil)
	assert.NilError(t, err)
	assert.ErrorIs(t, cid.DeleteEnvironment(ctx, env.UID), task.ErrNotFound)
	_, err = bob.UpdateEnvironment(ctx, env.UID, environment.Config{Name: "demo"}, 7)
	assert.ErrorIs(t, err, task.ErrConflict)
	raw, key, err := p.Registry().CreateKey(ctx, ann.Caller(), access.KeySpec{Name: "ci"})
	assert.NilError(t, err)
	assert.NilError(t, p.Registry().RevokeKey(ctx, ann.Caller(), key.UID))
	_, err = p.Authenticate(ctx, raw)
	assert.Equal(t, task.CodeOf(err), task.CodeAuthenticationRequired)
	run := submit(t, bob, oz.Request{Prompt: "work"})
	assert.NilError(t, bob.FollowUp(ctx, run.ID, oz.Message{Text: "hurry"}))
	assert.NilError(t, bob.Transcript(ctx, run.ID, io.Discard, ""))
	assert.NilError(t, ann.Cancel(ctx, run.ID))
	assert.DeepEqual(t, since(records(t, p.Client), before), []string{
		"ann secret.create secret create begun", "ann secret.create secret create done",
		"bob secret.manage denied not_authorized",
		"bob environment.create environment begun", "bob environment.create environment done",
		"cid environment.manage environment denied resource_not_found",
		"bob environment.manage environment update begun", "bob environment.manage environment update failed conflict",
		"ann key.create key create begun", "ann key.create key create done",
		"ann key.manage key revoke begun", "ann key.manage key revoke done",
		"account.sign_in server denied authentication_required",
		"bob run.steer run begun", "bob run.steer run done",
		"bob run.view transcript download done",
		"ann run.cancel run begun", "ann run.cancel run done",
	})

	list := records(t, p.Client)[before:]
	assert.DeepEqual(t, list[1].Object, oz.AuditObject{Type: "secret", ID: "TOKEN", Owner: "Team:red"})
	assert.Equal(t, list[4].Object.ID, env.UID, "known once it is made")
	assert.Equal(t, list[8].Object.ID, key.UID)
	assert.Equal(t, list[1].RequestID+" "+list[1].Remote, "req-1 192.0.2.7")
	for i, r := range list {
		if r.Outcome != oz.AuditBegun && r.Of > 0 {
			assert.Equal(t, r.Of, int64(before+i), "the entry right before")
		}
	}
	for e, err := range p.AuditEntries(t.Context(), 0) {
		assert.NilError(t, err)
		assert.Assert(t, !strings.Contains(string(e.Body), value) && !strings.Contains(string(e.Body), raw), "%s", e.Body)
	}
}

// TestAuditShowsOnlyOnesOwn looks at one log through four callers.
func TestAuditShowsOnlyOnesOwn(t *testing.T) {
	p, _ := withSecrets(t, &oz.Options{})
	all := people(t, p)
	for _, name := range []string{"ann", "bob", "cid", "dan"} {
		_, err := all[name].CreateEnvironment(t.Context(), environment.Config{Name: "of " + name}, nil)
		assert.NilError(t, err)
	}
	sees := func(c *oz.Client) string {
		seen := map[string]bool{}
		for _, r := range records(t, c) {
			if r.Action == access.EnvironmentCreate {
				seen[r.Actor.UID] = true
			}
		}
		var out []string
		for _, name := range []string{"ann", "bob", "cid", "dan"} {
			if seen[name] {
				out = append(out, name)
			}
		}
		return strings.Join(out, " ")
	}
	assert.Equal(t, sees(p.Client), "ann bob cid dan")
	assert.Equal(t, sees(all["ann"]), "ann bob", "leads team red")
	assert.Equal(t, sees(all["bob"]), "bob", "a member")
	assert.Equal(t, sees(all["cid"]), "cid")
	assert.Equal(t, sees(all["dan"]), "dan", "on no team")
	want, err := oz.VerifyAudit(p.AuditEntries(t.Context(), 0), oz.AuditHead{})
	assert.NilError(t, err)
	got, err := oz.VerifyAudit(all["dan"].AuditEntries(t.Context(), 0), oz.AuditHead{})
	assert.NilError(t, err)
	assert.Equal(t, got, want, "hashes are enough to verify")
	_, _, err = p.As(access.Caller{}).AuditLog(t.Context(), 0, 0)
	assert.Equal(t, task.CodeOf(err), task.CodeAuthenticationRequired)
	for _, limit := range []int{-1, oz.MaxAuditEntries + 1} {
		_, _, err = p.AuditLog(t.Context(), 0, limit)
		assert.ErrorIs(t, err, task.ErrInvalid)
	}
}

// fullJournal is a store whose journal takes no more entries.
type fullJournal struct {
	*sqlitestore.Store
	full atomic.Bool
}

func (f *fullJournal) AppendJournal(ctx context.Context, bodies ...[]byte) ([]task.JournalEntry, error) {
	if f.full.Load() {
		return nil, errors.New("disk full")
	}
	return f.Store.AppendJournal(ctx, bodies...)
}

// TestNothingIsDoneUnaudited: an act that cannot be written down is refused, so
// that it may be repeated, and not done.
func TestNothingIsDoneUnaudited(t *testing.T) {
	store := &fullJournal{Store: openStore(t)}
	p, err := oz.New(store, nil)
	assert.NilError(t, err)
	run := submit(t, p, oz.Request{Prompt: "work"})
	env, err := p.CreateEnvironment(t.Context(), environment.Config{Name: "demo"}, nil)
	assert.NilError(t, err)
	eve := access.Caller{Principal: task.Principal{Type: task.PrincipalUser, UID: "eve"}}
	store.full.Store(true)
	for _, err := range []error{p.Cancel(t.Context(), run.ID), p.DeleteEnvironment(t.Context(), env.UID)} {
		assert.Equal(t, task.CodeOf(err), task.CodeInternal)
		assert.Assert(t, task.CodeOf(err).Retryable())
		assert.ErrorContains(t, err, "audit log")
	}
	_, _, err = p.Registry().CreateKey(t.Context(), eve, access.KeySpec{Name: "ci"})
	assert.ErrorContains(t, err, "audit log")
	store.full.Store(false)
	got, err := p.Get(t.Context(), run.ID)
	assert.NilError(t, err)
	assert.Equal(t, got.State, task.StateQueued)
	_, err = p.Environment(t.Context(), env.UID)
	assert.NilError(t, err)
	assert.NilError(t, p.Cancel(t.Context(), run.ID))
}

// TestRefusalsDoNotFillTheDisk tries the same again and again.
func TestRefusalsDoNotFillTheDisk(t *testing.T) {
	clock := &handClock{}
	clock.at.Store(time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC).UnixNano())
	p, _ := newPlatform(t, &oz.Options{Clock: clock})
	all := people(t, p)
	run := submit(t, all["ann"], oz.Request{Prompt: "work"})
	before := len(records(t, p.Client))
	try := func(times int) {
		for range times {
			assert.ErrorContains(t, all["bob"].Cancel(t.Context(), run.ID), "run.cancel")
		}
	}
	try(50)
	assert.Equal(t, len(records(t, p.Client)), before+1)
	assert.ErrorIs(t, all["cid"].Cancel(t.Context(), run.ID), task.ErrNotFound)
	assert.Equal(t, len(records(t, p.Client)), before+2, "another caller")
	clock.at.Add(int64(time.Minute))
	try(3)
	list := records(t, p.Client)[before:]
	assert.Equal(t, len(list), 3)
	assert.Equal(t, list[1].LeftOut, 49)
	assert.Equal(t, list[2].LeftOut, 0)
	for i := range 500 {
		ctx := access.WithOrigin(t.Context(), access.Origin{Remote: "192.0.2." + string(rune('0'+i))})
		_, err := p.Authenticate(ctx, "wrong")
		assert.Equal(t, task.CodeOf(err), task.CodeAuthenticationRequired)
	}
	assert.Equal(t, len(records(t, p.Client)), before+2+100, "so many in a minute, whoever asks")
}

// handClock is moved by hand.
type handClock struct{ at atomic.Int64 }

func (c *handClock) Now() time.Time                         { return time.Unix(0, c.at.Load()).UTC() }
func (c *handClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// TestVerifyAuditFindsChanges changes the log in its database, as whoever owns
// the file can.
func TestRefusedSignInsAreAudited(t *testing.T) {
	p, _ := newPlatform(t, nil)
	before := len(records(t, p.Client))
	ctx := access.WithOrigin(t.Context(), access.Origin{Remote: "192.0.2.7"})
	id := access.Identity{Issuer: "https://id.example.com", Subject: "7", Email: strings.Repeat("m", 2000) + "@example.com", EmailVerified: true}
	_, err := p.Registry().SignIn(ctx, id, access.SignInPolicy{})
	assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized)
	list := records(t, p.Client)[before:]
	assert.Equal(t, len(list), 1)
	assert.Equal(t, list[0].Action, oz.ActionSignIn)
	assert.Equal(t, list[0].Outcome, oz.AuditDenied)
	assert.Equal(t, list[0].Remote, "192.0.2.7")
	assert.Assert(t, list[0].Object.Owner != "" && len(list[0].Object.ID) <= 256)
}

// TestLongNamesDoNotFillTheDisk asks for what is refused, by a long name.
func TestLongNamesDoNotFillTheDisk(t *testing.T) {
	p, _ := newPlatform(t, nil)
	all := people(t, p)
	before := len(records(t, p.Client))
	_, _, err := all["bob"].CreateKey(t.Context(), access.KeySpec{Type: access.KeyTeam, Name: strings.Repeat("k", 1<<20)})
	assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized)
	list := records(t, p.Client)[before:]
	assert.Equal(t, len(list), 1)
	assert.Assert(t, len(list[0].Details["name"]) <= 256, len(list[0].Details["name"]))
}

func TestVerifyAuditFindsChanges(t *testing.T) {
	tests := []struct {
		name, change string
		breaks       int64
		headOnly     bool // found by a kept head alone
	}{
		{"an entry says something else", `UPDATE journal SET body = CAST(replace(CAST(body AS TEXT), 'env', 'key') AS BLOB) WHERE seq = 5`, 5, false},
		{"and its hash fits", `UPDATE journal SET body_hash = (SELECT body_hash FROM journal WHERE seq = 6), body = (SELECT body FROM journal WHERE seq = 6) WHERE seq = 5`, 5, false},
		{"an entry is missing", `DELETE FROM journal WHERE seq = 4`, 4, false},
		{"the first is missing", `DELETE FROM journal WHERE seq = 1`, 1, false},
		{"two change places", `UPDATE journal SET seq = CASE seq WHEN 3 THEN -4 ELSE -3 END WHERE seq IN (3, 4)`, 3, false},
		{"the last is missing", `DELETE FROM journal WHERE seq = (SELECT max(seq) FROM journal)`, 12, true},
		{"all is gone", `DELETE FROM journal`, 12, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "oz.db")
			store, err := sqlitestore.Open(t.Context(), path, nil)
			assert.NilError(t, err)
			p, err := oz.New(store, nil)
			assert.NilError(t, err)
			for range 6 {
				_, err := p.CreateEnvironment(t.Context(), environment.Config{Name: "demo"}, nil)
				assert.NilError(t, err)
			}
			kept, err := oz.VerifyAudit(p.AuditEntries(t.Context(), 0), oz.AuditHead{})
			assert.NilError(t, err)
			assert.Equal(t, kept.Seq, int64(12))
			again, err := oz.VerifyAudit(p.AuditEntries(t.Context(), kept.Seq-1), kept)
			assert.NilError(t, err)
			assert.Equal(t, again, kept)
			assert.NilError(t, store.Close())
			tamper(t, path, tt.change)

			store, err = sqlitestore.Open(t.Context(), path, nil)
			assert.NilError(t, err)
			defer func() { assert.NilError(t, store.Close()) }()
			p, err = oz.New(store, nil)
			assert.NilError(t, err)
			var broken *oz.AuditBreak
			_, err = oz.VerifyAudit(p.AuditEntries(t.Context(), 0), oz.AuditHead{})
			assert.Equal(t, errors.As(err, &broken), !tt.headOnly, "%v", err)
			if tt.headOnly {
				_, err = oz.VerifyAudit(p.AuditEntries(t.Context(), kept.Seq-1), kept)
				assert.Assert(t, errors.As(err, &broken), "%v", err)
			}
			assert.Equal(t, broken.Seq, tt.breaks, "%v", broken)
		})
	}
}

// unaudited are the methods of Client that change nothing, or whose change the
// log of the run, the registry of accounts or the message itself records.
var unaudited = regexp.MustCompile(`^(Allow|Caller|Entitled|Get|List|Events|EventsOf|Executions|Watch|Follow|Submitted|Submit|Models|ModelEndpoints?|WorkerList|Usage|Budgets|` +
	`Environments?|Secrets|Skills|Conversation|Artifact|PlanVersions|HandoffFiles|OpenHandoffFile|AddFile|` +
	`MemoryStores?|MemoryStoreAgents|Memories|MemoryVersions|Webhooks?|WebhookDeliveries|TestWebhook|Deliver(y|ies)|RehearseDelivery|` +
	`Integrations?|IntegrationDeliveries|Links|Subscriptions?|SubscriptionMessages|` +
	`MCPServers?|Prompts?|Profiles?|Rules?|Runners?|Agents?|MayManageAgent|Sharing|Keys|CreateKey|RevokeKey|Teams?|CreateTeam|RenameTeam|SetTeamLinks|AddMember|SetRole|RemoveMember|` +
	`Schedules?|ScheduleTicks|PreviewSchedule|SendMail|Mails|ReadMail|MailDelivered|Signals|ReportSignal|AuditLog|AuditEntries|` +
	`EditRequests|Presence|Rights|RunLinks|MayOpenTerminal|Stats|FollowRuns|WatchRuns|Notifications|NotificationsAfter|ReadNotification|ReadAllNotifications|PushKey|PushSubscriptions)$`)

// TestEveryActIsAudited reads the source: a method that is added to Client is
// audited, or somebody has decided that it need not be.
func TestEveryActIsAudited(t *testing.T) {
	files, err := filepath.Glob("*.go")
	assert.NilError(t, err)
	seen := 0
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		assert.NilError(t, err)
		for _, d := range parsed.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Recv == nil || !f.Name.IsExported() || !isClient(f.Recv.List[0].Type) {
				continue
			}
			seen++
			assert.Check(t, audits(f.Body) || unaudited.MatchString(f.Name.Name), "%s: Client.%s is not audited", file, f.Name.Name)
		}
	}
	assert.Assert(t, seen > 40, "only %d methods found", seen)
}

func isClient(e ast.Expr) bool {
	star, ok := e.(*ast.StarExpr)
	if !ok {
		return false
	}
	name, ok := star.X.(*ast.Ident)
	return ok && name.Name == "Client"
}

// audits reports that a body calls what writes to the audit log.
func audits(body *ast.BlockStmt) (found bool) {
	ast.Inspect(body, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		name := ""
		switch f := call.Fun.(type) {
		case *ast.Ident:
			name = f.Name
		case *ast.SelectorExpr:
			name = f.Sel.Name
		}
		switch name {
		case "audited", "doing", "noted", "add", "update", "remove", "changeSchedule", "CheckDownload", "writeMemory", "letThrough": // some of them by a shelf
			found = true
		}
		return true
	})
	return found
}
