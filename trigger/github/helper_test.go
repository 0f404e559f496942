package github_test

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/secrets/sealed"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/github"
	"github.com/oz-platform/cloudagents/trigger/github/githubsim"
	"github.com/oz-platform/cloudagents/trigger/integration"
	"github.com/oz-platform/cloudagents/trigger/triggertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	red = task.Scope{Type: task.ScopeTeam, UID: "red"}
	ann = task.Principal{Type: task.PrincipalUser, UID: "ann"}
	bob = task.Principal{Type: task.PrincipalUser, UID: "bob"}
)

const (
	repo   = "acme/app"
	secret = "a signing secret"
)

// bench is a GitHub with a repository, an integration on it, and an engine.
// Bob is linked as "bob", nobody else.
type bench struct {
	*triggertest.Rig
	t      testing.TB
	sim    *githubsim.Server
	web    *httptest.Server
	store  *integration.Store
	in     integration.Integration
	origin *github.Origin
}

// with is how a bench differs from the usual one.
type with struct {
	settings github.Settings
	spec     integration.Spec
	secrets  map[string]string
	private  bool
	clock    task.Clock
	sim      *githubsim.Server
	options  *trigger.Options
	// still leaves all to the test that the hook would do.
	still bool
	// repair is how often deliveries are looked through that never arrived; 0 is
	// never.
	repair time.Duration
}

func (w with) repairEvery() time.Duration {
	if w.repair == 0 {
		return -1
	}
	return w.repair
}

func newStore(t testing.TB) *sqlitestore.Store {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "oz-github-")
	if err != nil {
		dir = t.TempDir()
	}
	store, err := sqlitestore.Open(context.Background(), filepath.Join(dir, "oz.db"), nil)
	assert.NilError(t, err)
	t.Cleanup(func() {
		assert.Check(t, store.Close())
		assert.Check(t, os.RemoveAll(dir))
	})
	return store
}

func newBench(t testing.TB, w with) *bench {
	t.Helper()
	b := &bench{t: t, sim: w.sim}
	if b.sim == nil {
		b.sim = githubsim.New(&githubsim.Options{Clock: w.clock})
	}
	b.sim.AddRepo(repo, w.private)
	b.web = httptest.NewServer(b.sim)
	t.Cleanup(b.web.Close)
	t.Cleanup(b.web.Client().CloseIdleConnections)
	store := newStore(t)
	keys, err := sealed.OpenKeys(filepath.Join(t.TempDir(), "keys", "secrets.json"))
	assert.NilError(t, err)
	b.store = integration.NewStore(store, sealed.New(store, keys, nil), &integration.Options{PublicURL: "https://oz.example.com"})
	b.integrate(w)
	b.origin = github.NewOrigin(b.store, &github.Options{APIURL: b.web.URL, HTTPClient: b.web.Client(), Clock: w.clock, RepairEvery: w.repairEvery()})
	b.Rig = triggertest.New(t, store, []trigger.Origin{b.origin}, w.options)
	if !w.still {
		b.sim.AddHook(secret, b.deliver)
	}
	return b
}

func (b *bench) integrate(w with) {
	b.t.Helper()
	if w.settings.Handle == "" {
		w.settings.Handle = "oz-agent"
	}
	if w.secrets == nil {
		w.secrets = map[string]string{github.SecretToken: b.sim.AddToken("oz-agent")}
	}
	w.secrets[github.SecretSigning] = secret
	raw, err := json.Marshal(w.settings)
	assert.NilError(b.t, err)
	assert.NilError(b.t, github.Check(raw))
	w.spec.Name, w.spec.Enabled, w.spec.Settings = "acme's GitHub", true, raw
	b.in, err = b.store.Create(b.t.Context(), integration.GitHub, red, ann, w.spec, w.secrets)
	assert.NilError(b.t, err)
	who := b.sim.User("bob")
	assert.NilError(b.t, b.store.SetLink(b.t.Context(), integration.Link{Provider: integration.GitHub, Account: key(who), Name: "bob", Person: bob}))
}

func key(u githubsim.User) string { return strconv.FormatInt(u.ID, 10) }

// deliver is the hook: what the server's /webhooks/github/<uid> does.
func (b *bench) deliver(d githubsim.Delivery) error {
	_, err := b.Post("github", b.in.UID, d.Header, d.Body)
	return err
}

// comments waits until all is told, and gives what an account has written.
func (b *bench) comments(number int, login string) (list []githubsim.Comment) {
	b.t.Helper()
	b.Settle()
	for _, c := range b.sim.Comments(repo, number) {
		if c.Login == login {
			list = append(list, c)
		}
	}
	return list
}

// one is the only run there is.
func (b *bench) one() task.Task {
	b.t.Helper()
	b.Settle()
	runs := b.Runs()
	assert.Equal(b.t, len(runs), 1)
	return runs[0]
}

func (b *bench) outcomes() (list []string) {
	b.t.Helper()
	b.Settle()
	found, err := b.Store.Deliveries(b.t.Context(), task.DeliveryQuery{Source: b.in.Source(), Limit: 100})
	assert.NilError(b.t, err)
	for i := range found {
		d := found[len(found)-1-i]
		list = append(list, d.Event+" "+string(d.Outcome))
	}
	return list
}

func file(t testing.TB, s trigger.Start, name string) string {
	t.Helper()
	for _, f := range s.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	t.Fatalf("there is no file %s", name)
	return ""
}

func contains(t testing.TB, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		assert.Assert(t, strings.Contains(text, p), "%q is not in:\n%s", p, text)
	}
}

// clock is one that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func (*clock) After(d time.Duration) <-chan time.Time { return time.After(d) }

func refuseAll(trigger.Start) error {
	return task.Errorf(task.CodeNotFound, "the environment is gone")
}

var fast = &trigger.Options{Poll: 5 * time.Millisecond, Grace: 20 * time.Millisecond}
