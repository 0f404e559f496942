package runner_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"maps"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/github"
	"github.com/oz-platform/cloudagents/trigger/github/githubsim"
	"github.com/oz-platform/cloudagents/trigger/integration"
)

// movable is the machine's clock and a lead that tests add to.
type movable struct {
	mu   sync.Mutex
	lead time.Duration
}

func (c *movable) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.lead)
}

func (c *movable) After(d time.Duration) <-chan time.Time { return time.After(d) }

func (c *movable) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lead += d
}

// forge is a GitHub with a private repository behind a real git server, which
// lets in who shows a good token of the app's.
type forge struct {
	*rig
	sim   *githubsim.Server
	app   githubsim.App
	clock movable
	host  string // of the git server
	env   string
	ann   *oz.Client
	store *integration.Store
	// decided are the deliveries that count, as they are decided.
	decided chan task.Delivery
	origin  *github.Origin

	mu     sync.Mutex
	tokens map[string]int // that were shown, and how often
	// cloned is called once a clone has read everything.
	cloned func()
	// public lets everybody read.
	public bool
}

func newForge(t *testing.T, s setup) *forge {
	t.Helper()
	f := &forge{tokens: map[string]int{}, cloned: func() {}, decided: make(chan task.Delivery, 100)}
	f.sim = githubsim.New(&githubsim.Options{Clock: &f.clock})
	f.sim.AddRepo("acme/app", true)
	f.app = f.sim.AddApp("oz-agent")
	api := httptest.NewServer(f.sim)
	t.Cleanup(api.Close)
	web := httptest.NewServer(http.HandlerFunc(f.serveGit))
	t.Cleanup(web.Close)
	f.host = strings.TrimPrefix(web.URL, "http://")
	more := s.platform
	s.platform = func(o *oz.Options) {
		o.Triggers = trigger.Options{Poll: 20 * time.Millisecond, OnDelivery: func(d task.Delivery) {
			if d.Outcome != task.OutcomeIgnored {
				f.decided <- d
			}
		}}
		o.Integrations = func(store *integration.Store) []trigger.Origin {
			f.store = store
			f.origin = github.NewOrigin(store, &github.Options{APIURL: api.URL, GitHost: f.host, HTTPClient: api.Client(), Clock: &f.clock, RepairEvery: -1})
			return []trigger.Origin{f.origin}
		}
		if more != nil {
			more(o)
		}
	}
	f.rig = newRig(t, s)
	f.git(f.remote, "config", "http.receivepack", "true")
	assert.NilError(t, os.Mkdir(filepath.Join(f.dir, "acme"), 0o755))
	assert.NilError(t, os.Symlink(f.remote, filepath.Join(f.dir, "acme", "app.git")))
	f.people()
	t.Cleanup(api.Client().CloseIdleConnections)
	return f
}

// people makes a team with ann, and an environment over the repository.
func (f *forge) people() {
	f.t.Helper()
	ctx, r := f.t.Context(), f.Registry()
	assert.NilError(f.t, r.PutTeam(ctx, access.Team{UID: "red", Name: "red"}))
	assert.NilError(f.t, r.PutUser(ctx, access.User{UID: "ann", DisplayName: "Ann", Teams: []access.Membership{{UID: "red", Role: access.RoleOwner}}}))
	caller, err := r.Caller(ctx, "ann")
	assert.NilError(f.t, err)
	f.ann = f.As(caller)
	team := true
	env, err := f.ann.CreateEnvironment(ctx, environment.Config{Name: "app",
		Repos: []environment.Repo{{Owner: "acme", Name: "app", URL: "http://" + f.host + "/acme/app.git"}}}, &team)
	assert.NilError(f.t, err)
	f.env = env.UID
	who := strconv.FormatInt(f.sim.User("ann").ID, 10)
	assert.NilError(f.t, f.store.SetLink(ctx, integration.Link{Provider: integration.GitHub, Account: who, Name: "ann", Person: caller.Principal}))
}

// integrate sets the app up, and its hook.
func (f *forge) integrate(trust integration.Trust, change func(*github.Settings)) {
	f.t.Helper()
	s := github.Settings{Handle: "oz-agent", AppID: f.app.ID, InstallationID: f.app.InstallationID}
	if change != nil {
		change(&s)
	}
	raw, err := json.Marshal(s)
	assert.NilError(f.t, err)
	in, err := f.ann.CreateIntegration(f.t.Context(), oz.IntegrationInput{Provider: integration.GitHub,
		Spec:    integration.Spec{Name: "acme's GitHub", Enabled: true, Trust: trust, Settings: raw, Config: task.Config{EnvironmentID: f.env}},
		Secrets: map[string]string{github.SecretSigning: "a signing secret", github.SecretPrivateKey: string(f.app.PrivateKey)}})
	assert.NilError(f.t, err)
	f.sim.AddHook("a signing secret", func(d githubsim.Delivery) error {
		_, err := f.Triggers().Receive(context.WithoutCancel(f.t.Context()), "github", trigger.Request{Path: in.UID, Header: d.Header, Body: d.Body, Time: f.clock.Now()})
		return err
	})
}

// serveGit is git's own server behind the token.
func (f *forge) serveGit(w http.ResponseWriter, q *http.Request) {
	user, token, _ := q.BasicAuth()
	reads := strings.HasSuffix(q.URL.Path, "/git-upload-pack") || q.URL.Query().Get("service") == "git-upload-pack"
	if in := user == "x-access-token" && f.sim.Valid(token); !in && !(f.public && reads && token == "") {
		w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	f.mu.Lock()
	if token != "" {
		f.tokens[token]++
	}
	f.mu.Unlock()
	q.Header.Del("Authorization")
	program, err := exec.LookPath("git")
	if !assert.Check(f.t, err) {
		return
	}
	backend := &cgi.Handler{Path: program, Args: []string{"http-backend"}, Dir: f.dir,
		Env: []string{"GIT_PROJECT_ROOT=" + f.dir, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=" + user, "GIT_CONFIG_NOSYSTEM=1"}}
	backend.ServeHTTP(w, q)
	if strings.HasSuffix(q.URL.Path, "/git-receive-pack") {
		refs, err := os.ReadDir(filepath.Join(f.remote, "refs", "heads", "oz"))
		assert.Check(f.t, err == nil || os.IsNotExist(err), "%v", err)
		for _, ref := range refs {
			f.sim.Push("acme/app", "oz/"+ref.Name())
		}
	}
	if strings.HasSuffix(q.URL.Path, "/git-upload-pack") && q.Method == http.MethodPost {
		f.mu.Lock()
		done := f.cloned
		f.cloned = func() {}
		f.mu.Unlock()
		done()
	}
}

// shown are the tokens that got in.
func (f *forge) shown() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Keys(f.tokens))
}

// run is the one that the next delivery makes, followed to its end.
func (f *forge) run() (task.Task, []task.Event) {
	f.t.Helper()
	d := f.delivery()
	assert.Equal(f.t, d.Outcome, task.OutcomeStarted, d.Reason)
	return f.finish(d.Runs[0])
}

// delivery is the next one that was decided.
func (f *forge) delivery() task.Delivery {
	f.t.Helper()
	select {
	case d := <-f.decided:
		return d
	case <-time.After(patience):
		f.t.Fatal("nothing was decided")
	}
	return task.Delivery{}
}

// nowhere looks for the tokens in the run's log, in what the model was sent,
// and in every file, the workspace's too.
func (f *forge) nowhere(events []task.Event) {
	f.t.Helper()
	tokens := f.shown()
	check := func(where string, data []byte) {
		for _, token := range tokens {
			if bytes.Contains(data, []byte(token)) {
				f.t.Errorf("%s has a token of GitHub's", where)
			}
		}
	}
	for _, e := range events {
		raw, err := e.MarshalJSON()
		assert.NilError(f.t, err)
		check("the log", raw)
	}
	for _, q := range f.model.Requests() {
		check("a request to the model", q.Body)
	}
	assert.NilError(f.t, filepath.WalkDir(f.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		check(path, data)
		return err
	}))
}

// TestGitHubLendsItsToken: a run that a comment on GitHub made clones the
// private repository and pushes to it with installation tokens of the app. Those
// are made on demand, a new one when the first has run out, and are nowhere
// kept; the agent's commands cannot borrow them.
func TestGitHubLendsItsToken(t *testing.T) {
	t.Parallel()
	script := mender()
	peek := command("env; cat .git/config; git ls-remote origin 2>&1; cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep -a ghs_; echo looked; exit 3")
	peek.Match = func(q *scripted.Request) bool { return len(q.Messages) == 1 } // its exit code is no check's
	script.Steps = append([]scripted.Step{peek}, script.Steps...)
	f := newForge(t, setup{script: script})
	f.cloned = func() { f.clock.add(2 * time.Hour) }
	f.integrate("", nil)
	issue := f.sim.OpenIssue("acme/app", "ann", "The greeting is wrong", "See greeting.txt.")
	f.sim.Comment("acme/app", issue, "ann", "@oz-agent "+prompt)
	run, events := f.run()
	assert.Equal(t, run.State, task.StateSucceeded, "%s\n%s", run.Status.Message, describe(events))
	assert.Equal(t, f.git(f.remote, "show", branch+":greeting.txt"), "hello world")
	assert.Equal(t, len(f.shown()), 2, "tokens: one to clone, and one to push two hours later")
	assert.Assert(t, strings.Contains(describe(events), "looked"))
	f.nowhere(events)
}

// TestStrangersEffectsWait: what somebody asks for who is not linked, where that
// is allowed, is worked on without any credential; its push waits until a person
// of the team approves it, and is not done after a no.
func TestStrangersEffectsWait(t *testing.T) {
	t.Parallel()
	for _, choice := range []string{task.ChoiceApprove, task.ChoiceReject} {
		t.Run(choice, func(t *testing.T) {
			t.Parallel()
			f := newForge(t, setup{script: cautious()})
			f.public = true
			f.integrate(integration.TrustUntrusted, nil)
			issue := f.sim.OpenIssue("acme/app", "ann", "The greeting is wrong", "See greeting.txt.")
			f.sim.Comment("acme/app", issue, "stranger", "@oz-agent "+prompt)
			d := f.delivery()
			assert.Equal(t, d.Outcome, task.OutcomeStarted, d.Reason)
			id := d.Runs[0]
			f.until(id, func(e task.Event) bool {
				c, ok := e.Payload.(*task.StateChanged)
				return ok && c.To == task.StateBlocked
			})
			run, err := f.Get(t.Context(), id)
			assert.NilError(t, err)
			q := run.Open()
			assert.Assert(t, q != nil, "%+v", run.Status)
			assert.Assert(t, strings.Contains(q.Text, branch), q.Text)
			assert.Equal(t, len(f.shown()), 0, "it had no token so far")
			assert.Equal(t, f.git(f.remote, "for-each-ref", "--format=%(refname)"), "refs/heads/main")

			assert.NilError(t, f.ann.Answer(t.Context(), id, oz.Answer{QuestionID: q.ID, Choice: choice}))
			run, events := f.finish(id)
			if choice == task.ChoiceReject {
				assert.Equal(t, run.State, task.StateFailed, "%s\n%s", run.Status.Message, describe(events))
				assert.Equal(t, run.Status.Message, "I was not allowed to push.")
				assert.Equal(t, len(f.shown()), 0)
				assert.Equal(t, f.git(f.remote, "for-each-ref", "--format=%(refname)"), "refs/heads/main")
				return
			}
			assert.Equal(t, run.State, task.StateSucceeded, "%s\n%s", run.Status.Message, describe(events))
			assert.Equal(t, f.git(f.remote, "show", branch+":greeting.txt"), "hello world")
			assert.Equal(t, len(f.shown()), 1)
			f.nowhere(events)
		})
	}
}

// cautious is the mender who tries again once a person has answered, and gives
// up after a no.
func cautious() scripted.Script {
	s := mender()
	said := func(text string) func(*scripted.Request) bool {
		return func(q *scripted.Request) bool {
			for _, m := range q.Messages {
				for _, b := range m.Blocks {
					if strings.Contains(b.Text, text) {
						return true
					}
				}
			}
			return false
		}
	}
	no := call("finish", object{"outcome": "failure", "summary": "I was not allowed to push."})
	no.Match = said("A person has refused this.")
	again := call("git_push", object{})
	again.Match = func(q *scripted.Request) bool {
		return said("A person must approve this first")(q) && !said("Branch "+branch+" is at")(q)
	}
	s.Steps = append([]scripted.Step{no, again}, s.Steps...)
	return s
}

// TestPullRequestIsCheckedOut: a run that a comment on a pull request has made
// works on its newest commit.
func TestPullRequestIsCheckedOut(t *testing.T) {
	t.Parallel()
	peek := command("git rev-parse HEAD; cat topic.txt; git status --short --branch")
	peek.Match = func(q *scripted.Request) bool { return len(q.Messages) == 1 }
	end := call("finish", object{"outcome": "success", "summary": "Looked."})
	end.Match = func(*scripted.Request) bool { return true }
	f := newForge(t, setup{script: play(peek, end)})
	f.integrate("", nil)
	work := filepath.Join(f.dir, "topic")
	f.git(f.dir, "clone", "-q", f.remote, work)
	f.git(work, "checkout", "-q", "-b", "topic")
	assert.NilError(t, os.WriteFile(filepath.Join(work, "topic.txt"), []byte("of the topic"), 0o600))
	f.git(work, "add", ".")
	f.git(work, "-c", "user.name=ann", "-c", "user.email=ann@example.com", "commit", "-q", "-m", "topic")
	f.git(work, "push", "-q", "origin", "topic")
	head := f.git(work, "rev-parse", "HEAD")
	n := f.sim.OpenPull("acme/app", "ann", "The greeting", "", githubsim.Pull{Head: "topic", SHA: head})
	f.sim.Comment("acme/app", n, "ann", "@oz-agent look")
	run, events := f.run()
	assert.Equal(t, run.State, task.StateSucceeded, "%s\n%s", run.Status.Message, describe(events))
	log := describe(events)
	assert.Assert(t, strings.Contains(log, head) && strings.Contains(log, "of the topic") && strings.Contains(log, "HEAD (no branch)"), log)
}
