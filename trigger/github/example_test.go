package github_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/oz-platform/cloudagents/secrets/sealed"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/github"
	"github.com/oz-platform/cloudagents/trigger/github/githubsim"
	"github.com/oz-platform/cloudagents/trigger/integration"
	"github.com/oz-platform/cloudagents/trigger/triggertest"
)

// An automation of one's own under test: what happens on a simulated GitHub
// makes a run, whose end the pull request hears of. A test has *testing.T where
// this has an example's stand-in.
func Example() {
	t := &tb{}
	defer t.cleanUp()
	ctx := context.Background()
	store := must(sqlitestore.Open(ctx, filepath.Join(t.TempDir(), "oz.db"), nil))
	t.Cleanup(func() { _ = store.Close() })
	keys := must(sealed.OpenKeys(filepath.Join(t.TempDir(), "keys", "secrets.json")))
	all := integration.NewStore(store, sealed.New(store, keys, nil), nil)

	hub := githubsim.New(nil)
	hub.AddRepo("acme/app", false)
	web := httptest.NewServer(hub)
	t.Cleanup(web.Close)

	settings := must(json.Marshal(github.Settings{Handle: "oz-agent", Automations: []github.Automation{{
		Name: "review", On: []github.Kind{github.PullOpened}, Filter: github.Filter{BaseBranches: []string{"main"}}, Prompt: "Review this pull request.",
	}}}))
	ann := task.Principal{Type: task.PrincipalUser, UID: "ann"}
	in := must(all.Create(ctx, integration.GitHub, task.Scope{Type: task.ScopeTeam, UID: "acme"}, ann,
		integration.Spec{Name: "GitHub", Enabled: true, Settings: settings},
		map[string]string{github.SecretSigning: "sesame", github.SecretToken: hub.AddToken("oz-agent")}))
	_ = all.SetLink(ctx, integration.Link{Provider: integration.GitHub, Account: strconv.FormatInt(hub.User("ann").ID, 10), Name: "ann", Person: ann})

	origin := github.NewOrigin(all, &github.Options{APIURL: web.URL, HTTPClient: web.Client()})
	rig := triggertest.New(t, store, []trigger.Origin{origin}, nil)
	hub.AddHook("sesame", func(d githubsim.Delivery) error {
		_, err := rig.Post("github", in.UID, d.Header, d.Body)
		return err
	})

	n := hub.OpenPull("acme/app", "ann", "Faster parser", "No more regular expressions.", githubsim.Pull{Base: "main"})
	hub.OpenPull("acme/app", "ann", "Not ready", "", githubsim.Pull{Base: "next"})
	rig.Settle()
	for _, run := range rig.Runs() {
		fmt.Println(run.Title)
		rig.Finish(run.ID, task.StateSucceeded, task.Status{Message: "Looks good."})
	}
	rig.Settle()
	fmt.Println(len(hub.Comments("acme/app", n)), "comments")
	// Output:
	// acme/app#1: Faster parser
	// 2 comments
}

// tb is what an example has in place of a *testing.T.
type tb struct {
	testing.TB
	undo []func()
}

func (t *tb) Helper()          {}
func (t *tb) Cleanup(f func()) { t.undo = append(t.undo, f) }
func (t *tb) Errorf(format string, args ...any) {
	fmt.Printf(format+"\n", args...)
}
func (t *tb) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func (t *tb) TempDir() string {
	dir := must(os.MkdirTemp("", "oz-example-"))
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (t *tb) cleanUp() {
	for i := len(t.undo) - 1; i >= 0; i-- {
		t.undo[i]()
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
