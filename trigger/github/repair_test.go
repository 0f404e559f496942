package github_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/trigger/github"
	"github.com/oz-platform/cloudagents/trigger/github/githubsim"
)

// gap is an app whose webhook may be out of order.
type gap struct {
	*bench
	app githubsim.App
	c   *clock

	mu   sync.Mutex
	line func(githubsim.Delivery) error // what becomes of a delivery
}

func newGap(t *testing.T) *gap {
	t.Helper()
	g := &gap{c: &clock{now: time.Now()}}
	g.bench, g.app = newApp(t, with{clock: g.c, still: true, repair: 5 * time.Millisecond})
	g.looked() // with no hook there is nothing to do
	g.hook("https://oz.example.com" + g.in.Path())
	return g
}

func (g *gap) hook(url string) {
	g.sim.AddAppHook(g.app.ID, url, secret, func(d githubsim.Delivery) error {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.line != nil {
			return g.line(d)
		}
		return g.deliver(d)
	})
}

// cut says what becomes of deliveries from now on; nil is as it should be.
func (g *gap) cut(line func(githubsim.Delivery) error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.line = line
}

func lost(githubsim.Delivery) error { return errors.New("connection refused") }

// looked waits until the deliveries were looked through, which happens once in
// each time that the clock has: the note is written when that begins and ends.
func (g *gap) looked() {
	g.t.Helper()
	var was int64
	until(g.t, func() bool {
		n, err := g.store.Note(g.t.Context(), g.in)
		assert.NilError(g.t, err)
		was = n.Revision
		return was > 0 && was%2 == 0
	})
}

// pass lets time pass, and the deliveries be looked through.
func (g *gap) pass(d time.Duration) {
	g.t.Helper()
	before, err := g.store.Note(g.t.Context(), g.in)
	assert.NilError(g.t, err)
	g.c.add(d)
	until(g.t, func() bool {
		n, err := g.store.Note(g.t.Context(), g.in)
		assert.NilError(g.t, err)
		return n.Revision >= before.Revision+2
	})
	g.looked()
}

// again counts what was sent again.
func (g *gap) again() (n int) {
	for _, d := range g.sim.Deliveries() {
		if d.Redelivery {
			n++
		}
	}
	return n
}

func (g *gap) asked(what string) (n int) {
	for _, r := range g.sim.Requests() {
		if strings.HasPrefix(r, what) {
			n++
		}
	}
	return n
}

// TestDeliveriesThatNeverArrived: what GitHub sent while nobody listened is
// taken once, also when only the answer was lost.
func TestDeliveriesThatNeverArrived(t *testing.T) {
	g := newGap(t)
	a := g.sim.OpenIssue(repo, "carol", "x", "y")
	b := g.sim.OpenIssue(repo, "carol", "x", "y")
	g.cut(lost)
	g.sim.Comment(repo, a, "bob", "@oz-agent do it")
	g.cut(func(d githubsim.Delivery) error { return errors.Join(g.deliver(d), errors.New("timeout")) })
	g.sim.Comment(repo, b, "bob", "@oz-agent do that")
	g.cut(nil)
	g.Settle()
	assert.Equal(t, len(g.Runs()), 1)
	g.pass(10 * time.Second)
	assert.Equal(t, g.again(), 0, "too early: GitHub may be sending yet")
	g.pass(2 * time.Minute)
	g.Settle()
	assert.Equal(t, len(g.Runs()), 2)
	assert.Equal(t, g.again(), 2)
	for range 5 {
		g.pass(4 * time.Hour)
	}
	g.Settle()
	assert.Equal(t, g.again(), 2)
	assert.Equal(t, len(g.Runs()), 2)
	assert.Equal(t, len(g.comments(a, "oz-agent[bot]")), 1)
}

// TestLongGap: while nothing arrives it is asked for less and less, and taken in
// the end; what never arrives is given up.
func TestLongGap(t *testing.T) {
	g := newGap(t)
	n := g.sim.OpenIssue(repo, "carol", "x", "y")
	g.cut(lost)
	g.sim.Comment(repo, n, "bob", "@oz-agent do it")
	g.pass(2 * time.Minute)
	assert.Equal(t, g.again(), 1)
	g.pass(time.Minute)
	assert.Equal(t, g.again(), 1, "the second try waits longer")
	g.pass(2 * time.Minute)
	assert.Equal(t, g.again(), 2)
	for range 16 {
		g.pass(4 * time.Hour)
	}
	assert.Equal(t, g.again(), 12)
	g.cut(nil)
	g.pass(4 * time.Hour)
	g.Settle()
	assert.Equal(t, len(g.Runs()), 0)

	g.cut(lost)
	g.sim.Comment(repo, n, "bob", "@oz-agent do it now")
	for range 6 {
		g.pass(4 * time.Hour)
	}
	g.cut(nil)
	g.pass(4 * time.Hour)
	g.Settle()
	contains(t, g.one().Prompt, "do it now")
}

// TestRefusedDeliveriesStay: what was refused for what it is, or starts nothing,
// is not asked for; a proxy's error is.
func TestRefusedDeliveriesStay(t *testing.T) {
	for _, c := range []struct{ status, again int }{{400, 0}, {401, 0}, {403, 0}, {413, 0}, {422, 0}, {404, 1}, {429, 1}, {500, 1}, {502, 1}, {503, 1}} {
		t.Run(fmt.Sprint(c.status), func(t *testing.T) {
			g := newGap(t)
			g.cut(func(githubsim.Delivery) error { return githubsim.StatusError(c.status) })
			g.sim.OpenIssue(repo, "bob", "x", "y")
			g.cut(nil)
			g.pass(2 * time.Minute)
			assert.Equal(t, g.again(), c.again)
		})
	}
}

// TestRepairKeepsToLimits: GitHub is left alone for as long as it asks, and a
// search that was broken off is made good.
func TestRepairKeepsToLimits(t *testing.T) {
	g := newGap(t)
	n := g.sim.OpenIssue(repo, "carol", "x", "y")
	g.cut(lost)
	g.sim.Comment(repo, n, "bob", "@oz-agent do it")
	g.cut(nil)
	g.sim.Fail(githubsim.Fault{Path: "/attempts", Status: 403, Header: map[string]string{"Retry-After": "3600"}, Message: "You have exceeded a secondary rate limit"})
	g.pass(2 * time.Minute)
	asked := g.asked("GET /app/hook/deliveries")
	assert.Equal(t, asked, 1)
	note, err := g.store.Note(t.Context(), g.in)
	assert.NilError(t, err)
	var next struct {
		At time.Time `json:"next_at"`
	}
	assert.NilError(t, json.Unmarshal(note.Data, &next))
	assert.Equal(t, next.At.Sub(g.c.Now()), time.Hour)
	g.c.add(58 * time.Minute)
	g.sim.Fail(githubsim.Fault{Path: "/app/hook/deliveries", Status: 502})
	g.pass(3 * time.Minute)
	g.Settle()
	assert.Equal(t, len(g.Runs()), 0)
	g.pass(time.Minute)
	assert.Equal(t, g.again(), 1)
	g.one()
}

// TestRepairOfLongLists: a search is bounded, and the next goes on with it.
func TestRepairOfLongLists(t *testing.T) {
	g := newGap(t)
	n := g.sim.OpenIssue(repo, "carol", "x", "y")
	g.cut(lost)
	g.sim.Comment(repo, n, "bob", "@oz-agent do it")
	g.cut(func(githubsim.Delivery) error { return nil })
	for range 1050 {
		g.sim.OpenIssue(repo, "carol", "x", "y")
	}
	g.cut(nil)
	g.pass(2 * time.Minute)
	assert.Equal(t, g.asked("GET /app/hook/deliveries"), 10)
	assert.Equal(t, g.again(), 0)
	g.pass(time.Minute)
	assert.Equal(t, g.asked("GET /app/hook/deliveries"), 11)
	assert.Equal(t, g.again(), 1)
	g.one()
	g.pass(time.Minute) // from the missing one on
	g.pass(time.Minute)
	g.pass(time.Hour)
	was := g.asked("GET /app/hook/deliveries")
	g.pass(time.Hour)
	assert.Equal(t, g.asked("GET /app/hook/deliveries"), was+1, "what was looked through is not looked through again")
	assert.Equal(t, g.again(), 1)
}

// TestRepairElsewhere: a webhook that goes elsewhere is not touched, and an
// account's token has no list to look at.
func TestRepairElsewhere(t *testing.T) {
	g := newGap(t)
	g.hook("https://other.example.com/hooks")
	g.cut(lost)
	g.sim.OpenIssue(repo, "bob", "x", "y")
	g.pass(2 * time.Minute)
	g.pass(2 * time.Minute)
	assert.Assert(t, g.asked("GET /app/hook/config") >= 2)
	assert.Equal(t, g.asked("GET /app/hook/deliveries"), 0)

	b := newBench(t, with{})
	o := github.NewOrigin(b.store, &github.Options{APIURL: b.web.URL, HTTPClient: b.web.Client(), RepairEvery: time.Millisecond})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	assert.NilError(t, o.Run(ctx))
	assert.Equal(t, len(b.sim.Requests()), 0)
}

// TestRepairByReplicas: of several, one looks at a time.
func TestRepairByReplicas(t *testing.T) {
	g := newGap(t)
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for range 3 {
		o := github.NewOrigin(g.store, &github.Options{APIURL: g.web.URL, HTTPClient: g.web.Client(), Clock: g.c, RepairEvery: 5 * time.Millisecond})
		group.Go(func() { assert.Check(t, o.Run(ctx)) })
	}
	n := g.sim.OpenIssue(repo, "carol", "x", "y")
	g.cut(lost)
	g.sim.Comment(repo, n, "bob", "@oz-agent do it")
	g.cut(nil)
	for i := range 3 {
		g.pass(2 * time.Minute)
		assert.Equal(t, g.asked("GET /app/hook/deliveries"), i+1)
	}
	cancel()
	group.Wait()
	assert.Equal(t, g.again(), 1)
	g.one()
}

// newHookGap is an account whose integration names its repositories, with the
// webhook of one, or of the organisation, at an address.
func newHookGap(t *testing.T, place, admin, address string, repositories ...string) *gap {
	t.Helper()
	g := &gap{c: &clock{now: time.Now()}}
	g.bench = newBench(t, with{clock: g.c, still: true, repair: 5 * time.Millisecond, settings: github.Settings{Repositories: repositories}})
	if address == "" {
		address = "https://oz.example.com" + g.in.Path()
	}
	g.sim.AddHookOf(place, admin, address, secret, func(d githubsim.Delivery) error {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.line != nil {
			return g.line(d)
		}
		return g.deliver(d)
	})
	g.looked()
	return g
}

// TestHooksOfRepositories: what the webhook of a repository, or of its
// organisation, could not be given is found with the account's token, and taken
// once.
func TestHooksOfRepositories(t *testing.T) {
	for place, settings := range map[string][]string{repo: {"acme/other", "acme/app"}, "acme": {"other/app", "acme/*"}} {
		g := newHookGap(t, place, "oz-agent", "", settings...)
		n := g.sim.OpenIssue(repo, "carol", "x", "y")
		g.cut(lost)
		g.sim.Comment(repo, n, "bob", "@oz-agent do it")
		g.cut(nil)
		g.pass(10 * time.Second)
		assert.Equal(t, g.again(), 0, "too early: GitHub may be sending yet")
		g.sim.Fail(githubsim.Fault{Path: "/attempts", Status: 502})
		g.pass(2 * time.Minute)
		assert.Equal(t, g.again(), 0)
		g.pass(2 * time.Minute)
		assert.Equal(t, g.again(), 1)
		g.one()
		for range 4 {
			g.pass(4 * time.Hour)
		}
		assert.Equal(t, g.again(), 1)
		assert.Equal(t, len(g.comments(n, "oz-agent")), 1)
	}
}

// TestHooksThatAreLeftAlone: those that go elsewhere, those that the account may
// not see, and those of repositories that the settings do not name by their name.
func TestHooksThatAreLeftAlone(t *testing.T) {
	for name, g := range map[string]*gap{
		"elsewhere": newHookGap(t, repo, "oz-agent", "https://other.example.com/webhooks/github/other", repo),
		"not seen":  newHookGap(t, repo, "carol", "", repo, "*/app", "acme/a*"),
	} {
		g.cut(lost)
		g.sim.OpenIssue(repo, "bob", "x", "@oz-agent do it")
		g.pass(2 * time.Minute)
		g.pass(2 * time.Minute)
		assert.Equal(t, g.again(), 0, name)
		assert.Assert(t, g.asked("GET /repos/acme/app/hooks") >= 2, name)
		for _, r := range g.sim.Requests() {
			assert.Equal(t, r, "GET /repos/acme/app/hooks", name)
		}
	}
}

// TestHooksKeepToLimits: GitHub is left alone for as long as it asks.
func TestHooksKeepToLimits(t *testing.T) {
	g := newHookGap(t, repo, "oz-agent", "", repo)
	g.sim.Fail(githubsim.Fault{Path: "/deliveries", Status: 403, Header: map[string]string{"Retry-After": "3600"}, Message: "You have exceeded a secondary rate limit"})
	g.pass(2 * time.Minute)
	note, err := g.store.Note(t.Context(), g.in)
	assert.NilError(t, err)
	var next struct {
		At time.Time `json:"next_at"`
	}
	assert.NilError(t, json.Unmarshal(note.Data, &next))
	assert.Equal(t, next.At.Sub(g.c.Now()), time.Hour)
}
