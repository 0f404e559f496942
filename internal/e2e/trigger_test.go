package e2e_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	_ "modernc.org/sqlite" // the server's database

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/internal/crashpoint"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/gitlab"
	"github.com/oz-platform/cloudagents/trigger/gitlab/gitlabsim"
	"github.com/oz-platform/cloudagents/trigger/integration"
)

// TestCrashPointsOfTriggers kills the server at every named point of triggers,
// once, while a comment on GitLab starts a run and another goes on with it. One
// run must come of it, which is told both and answers once.
func TestCrashPointsOfTriggers(t *testing.T) {
	for _, point := range crashpoint.Triggers() {
		t.Run(string(point), func(t *testing.T) {
			t.Parallel()
			mark := filepath.Join(t.TempDir(), "died")
			sim := gitlabsim.New(t, nil)
			address, cert := overTLS(t, sim.URL, nil)
			r := newRig(t, patient(), "OZ_CRASH_AT="+string(point), "OZ_CRASH_MARK="+mark, "SSL_CERT_FILE="+cert)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			ann := sim.Person("ann")
			r.link(ctx, gitlab.AccountKey(address, ann.ID))
			r.serve()
			uid := r.integrate(ctx, sim, address, r.environment(ctx), integration.TrustLinked)
			sim.SendTo(insistent{r, ctx}, uid)

			issue := sim.Open(ann, gitlabsim.Thing{Title: "The greeting is wrong"})
			sim.Comment(ann, gitlabsim.Note{On: issue.ID, Discussion: "one", Body: "@oz-agent " + prompt})
			id := r.oneRun(ctx) // which knows nothing of what comes
			second := sim.Comment(ann, gitlabsim.Note{On: issue.ID, Discussion: "one", Body: "@oz-agent " + quickly})
			run, events := r.await(ctx, id)
			r.awaitMark(ctx, mark)
			assert.Equal(t, run.State, task.StateSucceeded, "%s\n%s", describe(events), r.log.String())
			r.awaitAnswers(ctx, sim, issue.ID)

			told := 0
			for _, e := range events {
				if in, ok := e.Payload.(*task.Input); ok && strings.Contains(in.Text, quickly) {
					told++
				}
			}
			assert.Equal(t, told, 1, "times that the run was told the comment %d", second.ID)
			assert.Equal(t, git(t, r.remote, "rev-list", "--count", "main.."+branch), "1", "commits on the branch")
			assert.Equal(t, r.oneRun(ctx), id)
			r.checkQuiet(ctx)
		})
	}
}

// quickly is what the second comment says.
const quickly = "and be quick."

// patient is the mender who does not end before he was told the second comment.
func patient() scripted.Script {
	s := mender()
	// Each time it says something else: an agent that repeats itself without effect is stopped.
	waits := scripted.Step{Text: "I wait.", Match: func(q *scripted.Request) bool { return did("git_push", "")(q) && promptCount(*q, quickly) == 0 },
		ToolCalls: []scripted.ToolCall{{Name: "run_command", Input: map[string]any{"command": "sleep 0.2; date +%N"}}}}
	s.Steps = append([]scripted.Step{waits}, s.Steps...)
	return s
}

// overTLS gives an address at which a server is reached by HTTPS, and the file
// of its certificate. git answers for repositories, unless nil.
func overTLS(t *testing.T, target string, git http.Handler) (address, cert string) {
	t.Helper()
	to, err := url.Parse(target)
	assert.NilError(t, err)
	api := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(to) }}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if git != nil && strings.Contains(q.URL.Path, ".git/") {
			git.ServeHTTP(w, q)
			return
		}
		api.ServeHTTP(w, q)
	}))
	t.Cleanup(server.Close)
	cert = filepath.Join(t.TempDir(), "ca.pem")
	assert.NilError(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	return server.URL, cert
}

// integrate connects the GitLab at an address, whose events start runs in an
// environment as trust says.
func (r *rig) integrate(ctx context.Context, sim *gitlabsim.Sim, address, env string, trust integration.Trust) (uid string) {
	r.t.Helper()
	settings, err := json.Marshal(gitlab.Settings{URL: address, Handle: sim.Agent.Username, NoClone: true})
	assert.NilError(r.t, err)
	r.insist(ctx, func() error {
		made, err := r.client.CreateIntegration(ctx, oz.IntegrationInput{Provider: integration.GitLab,
			Spec: integration.Spec{Name: "gitlab", Enabled: true, Trust: trust, Settings: settings,
				Config: task.Config{EnvironmentID: env}},
			Secrets: map[string]string{gitlab.SecretToken: sim.Token(), gitlab.SecretSigning: sim.Secret()}})
		uid = made.UID
		return err
	})
	return uid
}

// TestGitLabLendsItsToken: a run that a comment on GitLab made, and a person let
// through, clones a private project and pushes to it with the integration's
// token, and has the platform open a merge request. The token travels from the
// server to the runner over the run's own link, and stands nowhere.
func TestGitLabLendsItsToken(t *testing.T) {
	t.Parallel()
	const token = "glpat-cnry-3Kd8Wq5Zx7Lm"
	sim := gitlabsim.New(t, &gitlabsim.Options{Token: token, Path: "group/remote"})
	var r *rig
	var pushed atomic.Int32
	repositories := http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if strings.HasSuffix(q.URL.Path, "/git-receive-pack") {
			pushed.Add(1)
		}
		http.StripPrefix("/group", r.gitBackend("oauth2", token)).ServeHTTP(w, q)
	})
	address, cert := overTLS(t, sim.URL, repositories)
	script := mender()
	script.Steps = append([]scripted.Step{{Text: "I open it.", ToolCalls: []scripted.ToolCall{{Name: "open_pull_request", Input: map[string]any{"title": "Mend the greeting"}}},
		Match: func(q *scripted.Request) bool { return did("git_push", "")(q) && !did("open_pull_request", "")(q) }}}, script.Steps...)
	r = newRig(t, script, "SSL_CERT_FILE="+cert, "GIT_SSL_CAINFO="+cert)
	r.configure("worker: {env: [GIT_SSL_CAINFO]}\n")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r.serve()
	var env string
	r.insist(ctx, func() error {
		made, err := r.client.CreateEnvironment(ctx, environment.Config{Name: "project",
			Repos: []environment.Repo{{Owner: "group", Name: "remote", URL: address + "/group/remote.git"}}}, nil)
		env = made.UID
		return err
	})
	uid := r.integrate(ctx, sim, address, env, integration.TrustHold)
	sim.SendTo(insistent{r, ctx}, uid)
	ann := sim.Person("ann")
	issue := sim.Open(ann, gitlabsim.Thing{Title: "The greeting is wrong"})
	sim.Comment(ann, gitlabsim.Note{On: issue.ID, Discussion: "one", Body: "@oz-agent " + prompt})
	r.letThrough(ctx)
	run, events := r.await(ctx, r.oneRun(ctx))
	assert.Equal(t, run.State, task.StateSucceeded, "%s\n%s\n%s", run.Head.Status.Message, describe(events), r.log.String())
	assert.Equal(t, git(t, r.remote, "show", branch+":greeting.txt"), "hello world")
	assert.Assert(t, pushed.Load() > 0)
	merges := sim.Merges()
	assert.Equal(t, len(merges), 1, "%s", describe(events))
	assert.Equal(t, merges[0].Source+" "+merges[0].Target+" "+merges[0].Title, branch+" main Mend the greeting")
	assert.Assert(t, slices.ContainsFunc(run.Artifacts, func(a task.Artifact) bool {
		return a.Type == task.ArtifactPullRequest && a.Branch == branch && a.URL == "https://gitlab.com/group/remote/-/merge_requests/1"
	}), "%+v", run.Artifacts)
	r.checkQuiet(ctx)
	s := newScanOf(t, map[string]string{"GitLab's token": token})
	r.scanDisk(s)
	s.look("the server's log", []byte(r.log.String()))
	s.look("the run's log", []byte(describe(events)))
}

// link says, before the server's first start, that an account on GitLab is the
// administrator's.
func (r *rig) link(ctx context.Context, account string) {
	r.t.Helper()
	dir := filepath.Join(r.dir, "data")
	assert.NilError(r.t, os.MkdirAll(dir, 0o700))
	store, err := sqlitestore.Open(ctx, filepath.Join(dir, "oz.db"), nil)
	assert.NilError(r.t, err)
	links := integration.NewStore(store, nil, nil)
	assert.NilError(r.t, links.SetLink(ctx, integration.Link{Provider: integration.GitLab, Account: account, Name: "ann",
		Person: task.Principal{Type: task.PrincipalUser, UID: access.DefaultUser}}))
	assert.NilError(r.t, store.Close())
}

// letThrough waits for a delivery that is held, and approves it, again if the
// answer was lost.
func (r *rig) letThrough(ctx context.Context) {
	r.t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(r.dir, "data", "oz.db")+"?mode=ro")
	assert.NilError(r.t, err)
	defer db.Close()
	r.insist(ctx, func() error {
		var id string
		if err := db.QueryRowContext(ctx, `SELECT id FROM deliveries WHERE outcome IN ('held', 'released')`).Scan(&id); err != nil {
			return err
		}
		_, err := r.client.ApproveDelivery(ctx, task.DeliveryID(id))
		return err
	})
}

// insistent sends webhooks to the server until it takes them, as a service does
// that gets no answer.
type insistent struct {
	r   *rig
	ctx context.Context
}

// Post implements gitlabsim.Receiver.
func (s insistent) Post(path, rest string, h http.Header, body []byte) (reply trigger.Reply, err error) {
	for s.ctx.Err() == nil {
		reply, err = s.post(path, rest, h, body)
		if err == nil {
			return reply, nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-s.ctx.Done():
		}
	}
	return reply, err
}

func (s insistent) post(path, rest string, h http.Header, body []byte) (reply trigger.Reply, err error) {
	req, err := http.NewRequestWithContext(s.ctx, http.MethodPost, "http://"+s.r.addr+"/webhooks/"+path+"/"+rest, strings.NewReader(string(body)))
	if err != nil {
		return reply, err
	}
	req.Header = h.Clone()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return reply, err
	}
	defer resp.Body.Close()
	if reply.Body, err = io.ReadAll(resp.Body); err != nil {
		return reply, err
	}
	if reply.Status = resp.StatusCode; reply.Status >= 300 {
		return reply, errors.New(string(reply.Body))
	}
	return reply, nil
}

// oneRun waits for a run, and gives the only one.
func (r *rig) oneRun(ctx context.Context) (id task.ID) {
	r.t.Helper()
	r.insist(ctx, func() error {
		page, err := r.client.List(ctx, task.Query{Limit: 10})
		if err != nil {
			return err
		}
		if len(page.Tasks) == 0 {
			return errors.New("there is no run yet")
		}
		assert.Equal(r.t, len(page.Tasks), 1, "runs")
		id = page.Tasks[0].ID
		return nil
	})
	return id
}

// awaitAnswers waits until the run has said how it ended, and nothing is to be
// sent any more: then each answer must be there once.
func (r *rig) awaitAnswers(ctx context.Context, sim *gitlabsim.Sim, issue int64) {
	r.t.Helper()
	said := func() (status, results []string) {
		for _, n := range sim.Notes(issue) {
			switch {
			case n.Author != sim.Agent:
			case strings.Contains(n.Body, "The greeting is mended."):
				results = append(results, n.Body)
			default:
				status = append(status, n.Body)
			}
		}
		return status, results
	}
	r.insist(ctx, func() error {
		status, results := said()
		if len(status) == 0 || len(results) == 0 || !strings.Contains(status[0], "**Done.**") {
			return errors.New("GitLab was not told yet")
		}
		return nil
	})
	r.settle(ctx)
	status, results := said()
	assert.Equal(r.t, len(status), 1, "%q", status)
	assert.Assert(r.t, strings.Contains(status[0], "**Done.**"), "what is told late does not hide how it ended: %q", status)
	assert.Equal(r.t, len(results), 1, "%q", results)
	assert.Equal(r.t, len(sim.Awards()), 2, "%q", sim.Awards())
}

// settle waits until nothing is to be decided or told any more, by a look at the server's
// database: a message whose sender was killed waits for its lease to end.
func (r *rig) settle(ctx context.Context) {
	r.t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(r.dir, "data", "oz.db")+"?mode=ro")
	assert.NilError(r.t, err)
	defer db.Close()
	r.insist(ctx, func() error {
		var undecided, untold int
		if err := db.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM deliveries WHERE outcome = ''), (SELECT count(*) FROM outgoing WHERE state <> 'sent')`).
			Scan(&undecided, &untold); err != nil {
			return err
		}
		if undecided > 0 || untold > 0 {
			return fmt.Errorf("%d deliveries and %d messages wait", undecided, untold)
		}
		return nil
	})
}
