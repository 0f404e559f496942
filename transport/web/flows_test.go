package web_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp/kb"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
	"github.com/oz-platform/cloudagents/transport/web/internal/browser"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/github"
	"github.com/oz-platform/cloudagents/trigger/github/githubsim"
	"github.com/oz-platform/cloudagents/trigger/gitlab"
	"github.com/oz-platform/cloudagents/trigger/integration"
	"github.com/oz-platform/cloudagents/trigger/linear"
)

// onBoth runs a flow at a desk in daylight and on a phone in the dark.
func onBoth(t *testing.T, opts *browser.Options, flow func(t *testing.T, e *browser.Env, tab *browser.Tab)) {
	for name, view := range map[string]*browser.View{"desk": {}, "phone": {Width: 390, Height: 844, Dark: true}} {
		t.Run(name, func(t *testing.T) {
			o := browser.Options{}
			if opts != nil {
				o = *opts
			}
			e := browser.Start(t, &o)
			flow(t, e, e.Tab(t, view))
		})
	}
}

// refused waits for what the server says about the control of a label: it has
// the focus, the next step is said, and the request's ID. The page is accessible
// and fits as it is then.
func refused(t *testing.T, tab *browser.Tab, label, part string) {
	t.Helper()
	refusal(tab, label, part)
	tab.Wait(control(label) + " === document.activeElement")
	tab.Wait(`[...document.querySelectorAll("dialog[open] .refused")].pop()?.innerText.match(/Mend the field[^]*Request \S{8}/)`)
	tab.Save(strings.ReplaceAll(t.Name(), "/", "_") + "_" + label)
	assert.Check(t, browser.Eval[bool](tab, "document.documentElement.scrollWidth <= document.documentElement.clientWidth"), "the page scrolls sideways")
	tab.Accessible()
}

// TestMemberPages adds somebody to the team, whose first key works, gives them
// another role, and removes them; the last owner cannot be let go.
func TestMemberPages(t *testing.T) {
	onBoth(t, nil, func(t *testing.T, e *browser.Env, tab *browser.Tab) {
		admin := e.Client(t, transporttest.AdminKey)
		teams, err := admin.Teams(t.Context())
		assert.NilError(t, err)
		team := teams[0].UID
		role := func(name string) access.Role {
			_, members, err := admin.Team(t.Context(), team)
			assert.NilError(t, err)
			for _, m := range members {
				if m.User.DisplayName == name {
					return m.Role
				}
			}
			return ""
		}
		tab.Allow("/oz/teams/") // what is refused
		tab.Goto("/settings/team")
		tab.ClickName("Add a member")
		fill(tab, "E-mail address", "mary@one@two")
		browser.Eval[bool](tab, "(() => { "+control("E-mail address")+".form.noValidate = true; return true; })()") // the browser would stop it
		tab.ClickName("Add")
		refused(t, tab, "E-mail address", "")
		fill(tab, "E-mail address", "zoe@acme.example")
		fill(tab, "Name", "Zoe")
		tab.ClickName("Make a first key for them For somebody who is new here and cannot sign in through your provider.")
		tab.ClickName("Add")
		tab.WaitText("it is not shown again")
		key := tab.Text(".once code")
		tab.ClickName("Done")
		closed(tab)
		assert.Assert(t, !strings.Contains(browser.Eval[string](tab, "document.documentElement.outerHTML"), key))
		_, err = e.Client(t, key).List(t.Context(), task.Query{})
		assert.NilError(t, err)
		assert.Equal(t, role("Zoe"), access.Role("member"))

		pick(tab, "Role of Zoe", "Admin")
		tab.WaitText("The role is changed.")
		assert.Equal(t, role("Zoe"), access.Role("admin"))
		pick(tab, "Role of Admin", "Member")
		tab.Wait(`document.querySelector(".toast.bad")?.innerText.match(/owner[^]*Request \S{8}/)`)
		tab.ClickName("Close this message")
		tab.Wait(control("Role of Admin") + `.value === "owner"`) // as it is
		assert.Equal(t, role("Admin"), access.Role("owner"))

		tab.ClickName("Remove Zoe")
		tab.ClickName("Remove")
		closed(tab)
		tab.Wait(`!document.querySelector("table").innerText.includes("Zoe")`)
		assert.Equal(t, role("Zoe"), access.Role(""))
	})
}

// receiver is a program that is told of runs, and refuses to listen first.
func receiver(t *testing.T) (address string, got func() int, accept func()) {
	var mu sync.Mutex
	n, willing := 0, false
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if !willing || r.Header.Get("Webhook-Signature") == "" {
			w.WriteHeader(http.StatusGone) // it is not to be tried again
			return
		}
		n++
	}))
	t.Cleanup(s.Close)
	return s.URL, func() int { mu.Lock(); defer mu.Unlock(); return n }, func() { mu.Lock(); defer mu.Unlock(); willing = true }
}

// TestSubscriptionPages tells a program of runs: a bad address is refused beside
// its field, the secret is shown once, what could not be delivered is in the log
// with the reason and is replayed, and the subscription is deleted.
func TestSubscriptionPages(t *testing.T) {
	onBoth(t, &browser.Options{Options: transporttest.Options{Idle: true, Platform: oz.Options{PrivateSubscriptions: true}}}, func(t *testing.T, e *browser.Env, tab *browser.Tab) {
		address, got, accept := receiver(t)
		admin := e.Client(t, transporttest.AdminKey)
		tab.Allow("/oz/subscriptions") // what is refused
		tab.Goto("/integrations?tab=subscriptions")
		tab.WaitText("No subscriptions yet")
		tab.ClickName("New subscription")
		fill(tab, "Name", "ledger")
		fill(tab, "Address", "ftp://example.com/x")
		tab.ClickName("Create subscription")
		refused(t, tab, "Address", "http")
		fill(tab, "Address", address)
		tab.ClickName("Is cancelled")
		tab.ClickName("Create subscription")
		tab.WaitText("it is not shown again")
		secret := tab.Text(".once code")
		tab.ClickName("Go on")
		tab.Wait(`location.pathname.startsWith("/integrations/subscriptions/")`)
		tab.WaitText("Nothing has been sent yet")
		assert.Assert(t, !strings.Contains(browser.Eval[string](tab, "document.documentElement.outerHTML"), secret))

		run, err := admin.Submit(t.Context(), oz.Request{Prompt: "Count"})
		assert.NilError(t, err)
		assert.NilError(t, admin.Cancel(t.Context(), run.ID))
		wait := func(text string) {
			t.Helper()
			for !browser.Eval[bool](tab, fmt.Sprintf(`(document.querySelector("tbody") ?? document.createElement("p")).innerText.includes(%q)`, text)) {
				assert.Assert(t, t.Context().Err() == nil)
				tab.ClickName("Refresh")
				tab.Settled()
			}
		}
		wait("410")
		accept()
		tab.Goto(tab.Path())
		if tab.Count(`h2 + .failure, .failure`) > 0 { // who answers 410 is told nothing more until it is switched on again
			tab.ClickName("Enable")
			tab.WaitText("It is switched on.")
		}
		tab.Click("tbody button")
		tab.WaitText("It is sent once more.")
		wait("Sent")
		assert.Assert(t, got() >= 1)
		tab.ClickName("Delete")
		tab.ClickName("Delete subscription")
		tab.WaitText("No subscriptions yet")
	})
}

// TestBudgetPages bounds what the team may spend, changes it, and takes it back.
func TestBudgetPages(t *testing.T) {
	onBoth(t, nil, func(t *testing.T, e *browser.Env, tab *browser.Tab) {
		admin := e.Client(t, transporttest.AdminKey)
		tab.Allow("/oz/budgets") // what is refused
		tab.Goto("/usage?tab=budgets")
		tab.WaitText("No budgets")
		tab.ClickName("New budget")
		tab.ClickName("Save")
		refused(t, tab, "At most, US dollars", "")
		fill(tab, "At most, US dollars", "12.5")
		pick(tab, "Each", "Day")
		tab.ClickName("Save")
		closed(tab)
		tab.WaitText("of $12.50")
		list, err := admin.Budgets(t.Context())
		assert.NilError(t, err)
		assert.Equal(t, *list[0].LimitUSD, 12.5)
		tab.ClickName("Change budget of Team default")
		fill(tab, "At most, tokens", "1000")
		tab.ClickName("Save")
		closed(tab)
		tab.WaitText("of 1,000")
		tab.ClickName("Delete budget of Team default")
		tab.ClickName("Delete budget")
		tab.WaitText("No budgets")
	})
}

// strangers gives the options of a server with GitHub, and what connects it, lets
// a stranger write comments there, and shows them to a tab as they wait for a
// person.
func strangers(t *testing.T) (*browser.Options, func(t *testing.T, e *browser.Env, tab *browser.Tab, comments ...string)) {
	hub := githubsim.New(nil)
	hub.AddRepo("acme/app", false)
	api := httptest.NewServer(hub)
	t.Cleanup(api.Close)
	token := hub.AddToken("oz-agent")
	opts := &browser.Options{Options: transporttest.Options{Idle: true, Platform: oz.Options{Integrations: func(s *integration.Store) []trigger.Origin {
		return []trigger.Origin{github.NewOrigin(s, &github.Options{APIURL: api.URL, HTTPClient: api.Client()})}
	}}}}
	return opts, func(t *testing.T, e *browser.Env, tab *browser.Tab, comments ...string) {
		in, err := e.Client(t, transporttest.AdminKey).CreateIntegration(t.Context(), oz.IntegrationInput{Provider: integration.GitHub, Spec: integration.Spec{Name: "GitHub", Enabled: true, Trust: integration.TrustHold, Settings: json.RawMessage(`{"handle":"oz-agent"}`)},
			Secrets: map[string]string{github.SecretSigning: "open-sesame-1", github.SecretToken: token}})
		assert.NilError(t, err)
		n := hub.OpenIssue("acme/app", "stranger", "It is slow", "Very.")
		hub.AddHook("open-sesame-1", func(d githubsim.Delivery) error {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.URL+"/webhooks/github/"+in.UID, strings.NewReader(string(d.Body)))
			if err != nil {
				return err
			}
			r.Header = d.Header.Clone()
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				return err
			}
			return resp.Body.Close()
		})
		for _, c := range comments {
			hub.Comment("acme/app", n, "stranger", c)
		}
		tab.Goto("/integrations/github/" + in.UID)
		for browser.Eval[int](tab, `[...document.querySelectorAll("tbody .badge")].filter((b) => b.innerText === "Held").length`) < len(comments) {
			assert.Assert(t, t.Context().Err() == nil)
			tab.ClickName("Refresh")
			tab.Settled()
		}
	}
}

// openHeld opens the newest delivery that waits for a person.
func openHeld(tab *browser.Tab) {
	tab.Wait(`(() => { const r = [...document.querySelectorAll("tbody tr")].find((r) => r.querySelector(".badge")?.innerText === "Held"); r?.querySelector("a.row-link").click(); return Boolean(r); })()`)
	tab.WaitText("Let it through")
}

// runCount says how many runs there are.
func runCount(t *testing.T, e *browser.Env) int {
	t.Helper()
	page, err := e.Client(t, transporttest.AdminKey).List(t.Context(), task.Query{})
	assert.NilError(t, err)
	return len(page.Tasks)
}

// TestHeldDeliveryPages lets a stranger's comment through, that was held; and
// repeats it.
func TestHeldDeliveryPages(t *testing.T) {
	opts, arrive := strangers(t)
	onBoth(t, opts, func(t *testing.T, e *browser.Env, tab *browser.Tab) {
		arrive(t, e, tab, "@oz-agent make it fast")
		assert.Equal(t, runCount(t, e), 0)
		openHeld(tab)
		tab.WaitText("@oz-agent make it fast")
		tab.Save(strings.ReplaceAll(t.Name(), "/", "_"))
		tab.Accessible()
		tab.ClickName("Let it through")
		tab.WaitText("It is let through.")
		// It goes on with the new delivery, and follows that until it is decided.
		tab.Wait(`document.querySelector("dialog[open] dl a[href^='/runs/']")`)
		assert.Equal(t, runCount(t, e), 1)
		tab.ClickName("Repeat")
		tab.WaitText("It is decided once more, as a new delivery.")
		tab.WaitText("Repeats")
		tab.Press(kb.Escape)
		closed(tab)
		tab.Wait(`document.querySelectorAll("tbody tr").length >= 3`)
	})
}

// decidedAs waits until the delivery that is open shows an outcome and a part of
// why, and the buttons of what is held are gone, with the focus at the outcome.
func decidedAs(tab *browser.Tab, outcome, why string) {
	tab.Wait(fmt.Sprintf(`(() => { const d = [...document.querySelectorAll("dialog[open]")].pop(), at = document.activeElement; return at.matches("dd") && at.innerText === %s && d.querySelector("dl").innerText.includes(%s)
		&& ![...d.querySelectorAll("button")].some((b) => ["Let it through", "Turn down"].includes(b.innerText.trim())); })()`, quoted(outcome), quoted(why)))
}

// TestHeldDeliveryIsTurnedDown turns a stranger's comment down by keyboard, for
// a reason. Where the buttons of what was decided elsewhere are still there, they
// are refused, and the delivery is shown as it is.
func TestHeldDeliveryIsTurnedDown(t *testing.T) {
	opts, arrive := strangers(t)
	onBoth(t, opts, func(t *testing.T, e *browser.Env, tab *browser.Tab) {
		arrive(t, e, tab, "@oz-agent make it fast", "@oz-agent buy a watch")
		late := e.Tab(t, nil)
		tab.Allow("/oz/deliveries/") // what is refused
		late.Allow("/oz/deliveries/")
		follow := func() {
			late.Goto(browser.Eval[string](tab, "location.pathname + location.search"))
			late.WaitText("Let it through")
		}
		button := `[...document.querySelectorAll("dialog[open] button")].find((b) => b.innerText.trim() === "Turn down")`
		press := func() {
			tab.Wait(`(() => { const b = ` + button + `; b?.focus(); return b && document.activeElement === b; })()`)
			tab.Press(kb.Enter)
		}

		openHeld(tab)
		follow()
		press()
		tab.Wait(control("Reason") + " === document.activeElement")
		tab.Save(strings.ReplaceAll(t.Name(), "/", "_"))
		tab.Accessible()
		tab.Press(kb.Escape) // it is thought over
		tab.Wait(button + " === document.activeElement")
		press()
		tab.Wait(control("Reason") + " === document.activeElement")
		browser.Eval[bool](tab, "(() => { const e = "+control("Reason")+fmt.Sprintf(`; e.value = "x".repeat(%d); return e.dispatchEvent(new Event("input", { bubbles: true })); })()`, trigger.MaxReviewReason+1))
		tab.Press(kb.Enter)
		refused(t, tab, "Reason", "1024")
		fill(tab, "Reason", "an advertisement")
		tab.Press(kb.Enter)
		tab.WaitText("It is turned down.")
		decidedAs(tab, "Turned down", "turned down by Admin: an advertisement")
		tab.Save(strings.ReplaceAll(t.Name(), "/", "_") + "_done")
		tab.Accessible()
		assert.Equal(t, runCount(t, e), 0)

		late.ClickName("Let it through")
		late.Wait(`document.querySelector(".toast.bad")?.innerText.match(/turned down already[^]*Request \S{8}/)`)
		decidedAs(late, "Turned down", "turned down by Admin: an advertisement")
		assert.Equal(t, runCount(t, e), 0)

		tab.Press(kb.Escape)
		closed(tab)
		pick(tab, "Outcome", "Turned down")
		tab.Wait(`document.querySelectorAll("tbody tr").length === 1 && document.querySelector("tbody tr").innerText.match(/Turned down[^]*by Admin: an advertisement/)`)
		tab.Save(strings.ReplaceAll(t.Name(), "/", "_") + "_list")
		pick(tab, "Outcome", "Any outcome")

		openHeld(tab)
		follow()
		late.ClickName("Turn down")
		fill(late, "Reason", "too late")
		tab.ClickName("Let it through")
		tab.Wait(`document.querySelector("dialog[open] dl a[href^='/runs/']")`)
		late.ClickName("Turn it down")
		late.Wait(`[...document.querySelectorAll("dialog[open]")].pop().querySelector(".failure")?.innerText.match(/let through already[^]*Request/)`)
		late.ClickName("Cancel")
		decidedAs(late, "Let through", "let through by Admin")
		assert.Equal(t, runCount(t, e), 1)
	})
}

// TestThingPages makes, changes and deletes one of each kind that runs can name:
// what the server refuses is said beside the field.
func TestThingPages(t *testing.T) {
	onBoth(t, &browser.Options{Options: transporttest.Options{Idle: true}}, func(t *testing.T, e *browser.Env, tab *browser.Tab) {
		admin := e.Client(t, transporttest.AdminKey)
		tab.Allow("/oz/") // what is refused
		gone := func(what, name string) {
			t.Helper()
			tab.ClickName(name)
			tab.ClickName("Delete this " + what)
			tab.ClickName("Delete " + what)
			closed(tab)
		}

		tab.Goto("/settings/prompts")
		tab.ClickName("New prompt")
		fill(tab, "Name", "triage")
		fill(tab, "Prompt", strings.Repeat(" ", 3))
		tab.ClickName("Create prompt")
		refused(t, tab, "Prompt", "")
		fill(tab, "Prompt", "Triage what is new")
		tab.ClickName("Create prompt")
		closed(tab)
		tab.ClickName("triage")
		fill(tab, "Prompt", "Triage it all")
		tab.ClickName("Save")
		closed(tab)
		prompts, err := admin.Prompts(t.Context())
		assert.NilError(t, err)
		assert.Equal(t, prompts[0].Prompt, "Triage it all")
		gone("prompt", "triage")
		tab.WaitText("No prompts yet")

		tab.Goto("/settings/mcp")
		tab.ClickName("New MCP server")
		fill(tab, "Name", "tracker")
		fill(tab, "Address", "ftp://mcp.example.com")
		tab.ClickName("Create MCP server")
		refused(t, tab, "Address", "")
		fill(tab, "Address", "https://mcp.example.com/mcp")
		fill(tab, "Headers, as JSON", `{"Authorization": `)
		tab.ClickName("Create MCP server")
		refusal(tab, "Headers, as JSON", "no JSON")
		fill(tab, "Headers, as JSON", `{"Authorization": "Bearer {{TRACKER}}"}`)
		tab.ClickName("Create MCP server")
		closed(tab)
		servers, err := admin.MCPServers(t.Context())
		assert.NilError(t, err)
		assert.Assert(t, strings.Contains(string(servers[0].Config), `"Bearer {{TRACKER}}"`), "%s", servers[0].Config)
		gone("MCP server", "tracker")

		tab.Goto("/settings/runners")
		tab.ClickName("New runner")
		fill(tab, "Name", "large")
		fill(tab, "Processors", "3")
		fill(tab, "Memory, GB", "-1")
		browser.Eval[bool](tab, "(() => { "+control("Name")+".form.noValidate = true; return true; })()") // the browser would stop it
		tab.ClickName("Create runner")
		refused(t, tab, "Memory, GB", "")
		fill(tab, "Processors", "4")
		fill(tab, "Memory, GB", "16")
		tab.ClickName("Create runner")
		closed(tab)
		tab.WaitText("4 processors, 16 GB")
		gone("runner", "large")

		tab.Goto("/settings/profiles")
		tab.ClickName("New profile")
		fill(tab, "Name", "careful")
		fill(tab, "Commands that are never run", "rm(")
		tab.ClickName("Create profile")
		refused(t, tab, "Commands that are never run", "")
		fill(tab, "Commands that are never run", "rm .*")
		pick(tab, "Change files", "Always asks")
		tab.ClickName("Create profile")
		closed(tab)
		tab.WaitText("careful")
		profiles, err := admin.Profiles(t.Context())
		assert.NilError(t, err)
		assert.Assert(t, len(profiles) >= 2)
		gone("profile", "careful")

		tab.Goto("/settings/models")
		tab.ClickName("New endpoint")
		fill(tab, "Name", "own")
		fill(tab, "Address", "https://llm.example.com/v1?key=1")
		fill(tab, "Models", "llama-3.3-70b")
		tab.ClickName("Create endpoint")
		refused(t, tab, "Address", "")
		fill(tab, "Address", "https://llm.example.com/v1")
		tab.ClickName("Create endpoint")
		closed(tab)
		tab.WaitText("llama-3.3-70b")
		gone("endpoint", "own")
	})
}

// TestAutomationForms says in a form what starts runs by itself: what the server
// refuses is beside its field, also in a rule that is folded, and who prefers
// the JSON edits that.
func TestAutomationForms(t *testing.T) {
	opts := &browser.Options{Options: transporttest.Options{Idle: true, Platform: oz.Options{Integrations: func(s *integration.Store) []trigger.Origin {
		return []trigger.Origin{github.NewOrigin(s, nil), gitlab.NewOrigin(s, nil), linear.NewOrigin(s, nil)}
	}}}}
	onBoth(t, opts, func(t *testing.T, e *browser.Env, tab *browser.Tab) {
		admin := e.Client(t, transporttest.AdminKey)
		agent, err := admin.CreateAgent(t.Context(), oz.AgentInput{Name: ptr("Mender")})
		assert.NilError(t, err)
		tab.Allow("/oz/integrations") // what is refused
		tab.Goto("/integrations?new=github")
		fill(tab, "Handle", "oz-agent")
		fill(tab, "Signing secret", "q8Zr-2Lpx-77Vn")
		fill(tab, "Token of the account", "ghp_q8Zr2Lpx77Vn")
		tab.ClickName("Add an automation")
		tab.ClickName("Checks completed")
		fill(tab, "Name of the automation", "Red Checks")
		tab.ClickName("Connect GitHub")
		refused(t, tab, "Name of the automation", "a to z")
		fill(tab, "Name of the automation", "red-checks")
		tab.ClickName("Connect GitHub")
		refused(t, tab, "What to do", "must have 1")
		fill(tab, "What to do", "Find out why, and mend it")
		pick(tab, "Carried out by", "Mender")
		fill(tab, "Conclusions", "failure"+kb.Enter+"timed_out")
		fill(tab, "In repositories", "acme/[x]")
		// The second is refused where it is folded away.
		tab.Click("details.rule summary")
		tab.Wait(`!document.querySelector("details.rule").open`)
		tab.ClickName("Connect GitHub")
		tab.Wait(`document.querySelector("details.rule").open && document.querySelector("details.rule .field-error").checkVisibility()`)
		assert.Assert(t, browser.Eval[bool](tab, `document.activeElement.getAttribute("aria-invalid") === "true" && document.activeElement.value === "acme/[x]"`))
		browser.Eval[bool](tab, `(() => { document.activeElement.select(); return true; })()`)
		tab.Press("acme/*")
		tab.WaitText("Checks completed; in repositories: acme/*; conclusions: failure, timed_out")
		tab.ClickName("Connect GitHub")
		tab.Wait(`location.pathname.startsWith("/integrations/github/")`)
		tab.WaitText("red-checks Checks completed; in repositories: acme/*; conclusions: failure, timed_out")
		settings := func() (s github.Settings) {
			list, err := admin.Integrations(t.Context())
			assert.NilError(t, err)
			s, err = github.Parse(list[0].Settings)
			assert.NilError(t, err)
			return s
		}
		assert.DeepEqual(t, settings().Automations, []github.Automation{{Name: "red-checks", On: []github.Kind{github.CheckSuiteCompleted}, Prompt: "Find out why, and mend it", AgentUID: agent.UID,
			Filter: github.Filter{Repos: []string{"acme/*"}, Conclusions: []string{"failure", "timed_out"}}}})

		tab.ClickName("Edit")
		tab.ClickName("Edit as JSON")
		tab.Wait(control("Automations, as JSON") + `?.value.includes('"red-checks"')`)
		fill(tab, "Automations, as JSON", `[{"name": "a", "on": ["issue_eaten"], "prompt": "p"}]`)
		tab.ClickName("Save")
		refused(t, tab, "Automations, as JSON", "issue_eaten")
		fill(tab, "Automations, as JSON", `{"name": "a"}`)
		tab.ClickName("Back to the form")
		refusal(tab, "Automations, as JSON", "must be a list")
		fill(tab, "Automations, as JSON", `[{"name": "a", "on": ["issue_labeled"], "filter": {"labels": ["bug"]}, "prompt": "p", "quiet": true}]`)
		tab.ClickName("Back to the form")
		tab.Wait(`document.querySelector("dialog[open] details.rule summary")?.innerText.includes("Issue labelled; labels: bug")`)
		tab.ClickName("Save")
		closed(tab)
		assert.DeepEqual(t, settings().Automations, []github.Automation{{Name: "a", On: []github.Kind{github.IssueLabeled}, Filter: github.Filter{Labels: []string{"bug"}}, Prompt: "p", Quiet: true}})
		tab.WaitText("a Issue labelled; labels: bug")
		tab.ClickName("Edit")
		tab.Click("dialog[open] details.rule summary")
		tab.ClickName("Remove a")
		tab.Wait(`document.activeElement.innerText.trim() === "Add an automation"`)
		tab.ClickName("Save")
		closed(tab)
		assert.Equal(t, len(settings().Automations), 0)

		tab.Goto("/integrations?new=linear")
		fill(tab, "Access token or API key", "lin_api_q8Zr2Lpx77Vn")
		tab.ClickName("Add a rule")
		pick(tab, "When", "State of an issue changed")
		fill(tab, "Teams", strings.Repeat("x", 101))
		tab.ClickName("Connect Linear")
		refused(t, tab, "Teams", "an ID has 1 to 100 bytes")
		fill(tab, "Teams", "9cfb482a-81e3-4154-b5b9-2c805e70a02d")
		tab.ClickName("Connect Linear")
		tab.Wait(`location.pathname.startsWith("/integrations/linear/")`)
		tab.WaitText("State of an issue changed; teams: 9cfb482a-81e3-4154-b5b9-2c805e70a02d")
	})
}

func ptr[T any](v T) *T { return &v }

// TestAutomationFormsOfferWhatThereIs: the forms name each kind of event that
// the server knows and no other, and offer a filter for just those that have it.
func TestAutomationFormsOfferWhatThereIs(t *testing.T) {
	type rules struct {
		Kinds   []string
		Filters map[string][]string // the kinds that each is offered for
	}
	offered := scripted[rules](t, "assets/js/manage/providers.js", `(({ kinds, filters }) => ({ Kinds: kinds.map(([k]) => k), Filters: Object.fromEntries(filters.map(([name, , , fits]) => [name, kinds.map(([k]) => k).filter((k) => fits.test(k))])) }))(m.providers[text].rules)`,
		"", []string{"github", "gitlab", "linear"})
	setting := func(kind, filter string) json.RawMessage {
		return json.RawMessage(fmt.Sprintf(`{"handle":"oz","automations":[{"name":"a","on":[%q],"prompt":"p","filter":{%q:["a/b"]}}]}`, kind, filter))
	}
	rule := func(kind, filter string) json.RawMessage {
		return json.RawMessage(fmt.Sprintf(`{"rules":[{"kind":%q,%q:["x"]}]}`, kind, filter))
	}
	for i, of := range []struct {
		kinds   []string
		filters any
		setting func(kind, filter string) json.RawMessage
		check   func(json.RawMessage) error
	}{{texts(github.Kinds()), github.Filter{}, setting, github.Check}, {texts(gitlab.Kinds()), gitlab.Filter{}, setting, gitlab.Check}, {texts(linear.Kinds()), linear.Rule{}, rule, linear.Check}} {
		slices.Sort(of.kinds)
		kinds := slices.Sorted(slices.Values(offered[i].Kinds))
		assert.DeepEqual(t, kinds, of.kinds)
		shape := reflect.TypeOf(of.filters)
		n := 0
		for f := range shape.NumField() {
			name, _, _ := strings.Cut(shape.Field(f).Tag.Get("json"), ",")
			if name == "kind" {
				continue
			}
			n++
			for _, kind := range kinds {
				assert.Check(t, slices.Contains(offered[i].Filters[name], kind) == (of.check(of.setting(kind, name)) == nil), "%s of %s", name, kind)
			}
		}
		assert.Equal(t, len(offered[i].Filters), n)
	}
}

func texts[S ~string](list []S) (all []string) {
	for _, s := range list {
		all = append(all, string(s))
	}
	return all
}
