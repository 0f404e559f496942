package web_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/environment/skill/bundled"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
	"github.com/oz-platform/cloudagents/transport/web/internal/browser"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/integration"
	"github.com/oz-platform/cloudagents/trigger/jira"
	"github.com/oz-platform/cloudagents/trigger/schedule"
)

// control is the control of a label, in the topmost dialog if one is open.
func control(label string) string {
	return fmt.Sprintf(`[...([...document.querySelectorAll("dialog[open]")].pop() ?? document).querySelectorAll("input, select, textarea")]
		.find((e) => e.labels?.[0]?.innerText.replace("(required)", "").trim() === %[1]s || e.getAttribute("aria-label") === %[1]s)`, quoted(label))
}

// fill types into the control of a label, in the place of what was there.
func fill(tab *browser.Tab, label, text string) {
	// A pane is there before it is open and takes the focus.
	tab.Wait("(() => { const e = " + control(label) + "; if (!e?.checkVisibility()) return false; e.scrollIntoView({ block: 'center' }); e.focus(); e.select?.(); return document.activeElement === e; })()")
	if text == "" {
		tab.Press(kb.Delete)
		return
	}
	tab.Press(text)
}

// pick takes the option of a select that has a text.
func pick(tab *browser.Tab, label, option string) {
	tab.Wait(fmt.Sprintf(`[...(%s)?.options ?? []].some((o) => o.text === %s)`, control(label), quoted(option)))
	browser.Eval[bool](tab, fmt.Sprintf(`(() => { const e = %s; e.value = [...e.options].find((o) => o.text === %s).value; e.dispatchEvent(new Event("change", { bubbles: true })); return true; })()`, control(label), quoted(option)))
}

// refusal waits for what the server says about the control of a label.
func refusal(tab *browser.Tab, label, part string) {
	tab.Wait(fmt.Sprintf(`(() => { const e = %s; return e?.getAttribute("aria-invalid") === "true" && e.getAttribute("aria-describedby").split(" ").some((id) => document.getElementById(id)?.innerText.includes(%s)); })()`,
		control(label), quoted(part)))
}

// closed waits until no dialog is open.
func closed(tab *browser.Tab) { tab.Wait(`!document.querySelector("dialog[open]")`) }

// TestSchedulePages makes a schedule by mouse, with a bad expression first,
// pauses it, runs it and deletes it.
func TestSchedulePages(t *testing.T) {
	e := browser.Start(t, &browser.Options{Options: transporttest.Options{Idle: true}})
	admin := e.Client(t, transporttest.AdminKey)
	tab := e.Tab(t, nil)
	tab.Allow("/oz/schedule-preview") // a bad expression is refused, as it should be
	tab.Goto("/schedules")
	tab.WaitText("No schedules yet")
	tab.ClickName("New schedule")
	fill(tab, "Name", "Weekly look")
	pick(tab, "How often", "Custom expression")
	fill(tab, "Expression", "0 25 * * *")
	refusal(tab, "Expression", "25 is not within 0 to 23")
	fill(tab, "Expression", "30 9 * * MON")
	fill(tab, "Time zone", "Europe/Berlin")
	tab.WaitText("At 09:30 on Monday")
	tab.Wait(`document.querySelectorAll(".preview li time").length === 4`)
	fill(tab, "Prompt", "Look")
	tab.ClickName("Create schedule")
	closed(tab)
	tab.WaitText("Weekly look")

	list, err := admin.Schedules(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, len(list), 1)
	s := list[0]
	assert.Equal(t, s.Cron, "30 9 * * MON")
	assert.Equal(t, s.Timing.TimeZone, "Europe/Berlin")
	assert.Equal(t, s.Prompt, "Look")
	assert.Equal(t, s.Owner.Type, task.ScopeTeam)

	tab.ClickName("Weekly look")
	tab.Wait(`location.pathname.startsWith("/schedules/")`)
	tab.WaitText("It has not ticked yet")
	tab.ClickName("Pause")
	tab.WaitText("is paused")
	got, err := admin.Schedule(t.Context(), s.ID)
	assert.NilError(t, err)
	assert.Assert(t, !got.Enabled)
	tab.ClickName("Run now")
	tab.WaitText("It starts at once")
	tab.ClickName("Run now")
	tab.Wait(`location.pathname.startsWith("/runs/")`)
	runs, err := admin.List(t.Context(), task.Query{})
	assert.NilError(t, err)
	assert.Equal(t, runs.Tasks[0].Source, task.SourceWebApp)

	tab.Goto("/schedules/" + s.ID)
	tab.WaitText("All runs of it")
	tab.ClickName("Delete")
	tab.ClickName("Delete schedule")
	tab.WaitText("No schedules yet")
	_, err = admin.Schedule(t.Context(), s.ID)
	assert.Equal(t, task.CodeOf(err), task.CodeNotFound)
}

// TestScheduleByKeyboard changes a schedule without a mouse, and leaves the
// pane with Escape: the focus is back where it was.
func TestScheduleByKeyboard(t *testing.T) {
	e := browser.Start(t, nil)
	house := e.Furnish(t)
	tab := e.Tab(t, nil)
	tab.Goto("/schedules/" + house.Schedule)
	to := func(name string) {
		t.Helper()
		for range 60 {
			if tab.Focused() == name {
				return
			}
			tab.Press(kb.Tab)
		}
		t.Fatalf("%q cannot be reached by Tab", name)
	}
	to("Edit")
	tab.Press(kb.Enter)
	tab.Wait(control("Name") + " === document.activeElement") // the pane takes the focus
	tab.Press(kb.Escape)
	closed(tab)
	tab.Wait(`document.activeElement?.innerText?.trim() === "Edit"`)
	tab.Press(kb.Enter)
	tab.Wait(control("Name") + " === document.activeElement")
	tab.Press(kb.End + " too" + kb.Enter)
	closed(tab)
	tab.Wait(`document.querySelector("h1").innerText === "Nightly dependency check too"`)
}

// TestEnvironmentPages makes, changes and deletes an environment, and shows
// hostile names as the text that they are.
func TestEnvironmentPages(t *testing.T) {
	e := browser.Start(t, nil)
	admin := e.Client(t, transporttest.AdminKey)
	evil := "<img src=x onerror=alert(1)>\u202egpj"
	_, err := admin.CreateEnvironment(t.Context(), environment.Config{Name: "evil", Description: evil}, nil)
	assert.NilError(t, err)
	tab := e.Tab(t, browser.Phone())
	tab.Allow("/oz/environments") // what is refused
	tab.Goto("/environments")
	tab.ClickName("New environment")
	fill(tab, "Name", "shop")
	fill(tab, "Image", "not an image")
	tab.ClickName("Create environment")
	refusal(tab, "Image", "")
	fill(tab, "Image", "golang:1.26")
	fill(tab, "Repository 1", "acme/shop")
	tab.ClickName("Add a repository")
	fill(tab, "Repository 2", "https://git.example.com/team/web.git")
	fill(tab, "Branch, tag or commit of repository 2", "next")
	fill(tab, "Setup commands", "make deps")
	tab.ClickName("Create environment")
	closed(tab)
	env := func() oz.EnvironmentItem {
		list, err := admin.Environments(t.Context())
		assert.NilError(t, err)
		for _, x := range list {
			if x.Config.Name == "shop" {
				return x
			}
		}
		return oz.EnvironmentItem{}
	}
	c := env().Config
	assert.DeepEqual(t, c.SetupCommands, []string{"make deps"})
	assert.Equal(t, len(c.Repos), 2)
	assert.Equal(t, c.Repos[0].Owner+"/"+c.Repos[0].Name, "acme/shop")
	assert.Equal(t, c.Repos[1].URL, "https://git.example.com/team/web.git")
	assert.Equal(t, c.Repos[1].Ref, "next")
	assert.Assert(t, c.Secrets == nil, "all of the owner's")

	tab.ClickName("shop")
	tab.ClickName("Edit")
	pick(tab, "Secrets", "Only those ticked here")
	tab.WaitText("it gets none")
	tab.ClickName("Save")
	closed(tab)
	tab.Wait(`!document.querySelector(".loading")`)
	c = env().Config
	assert.Assert(t, c.Secrets != nil && len(*c.Secrets) == 0, "none, and not all")
	assert.Equal(t, len(c.Repos), 2)

	tab.ClickName("evil")
	tab.WaitText("<img src=x onerror=alert(1)>⟨U+202E⟩gpj")
	assert.Equal(t, tab.Count("dialog img"), 0)
	tab.ClickName("Delete")
	tab.ClickName("Delete environment")
	closed(tab)
	list, err := admin.Environments(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, len(list), 1)
}

// TestSecretPages stores and replaces a secret: its value is in no page and no
// address, and bad ones are refused beside the field.
func TestSecretPages(t *testing.T) {
	e := browser.Start(t, nil)
	tab := e.Tab(t, nil)
	tab.Allow("/oz/secrets") // what is refused
	tab.Goto("/secrets")
	tab.ClickName("New secret")
	fill(tab, "Name", "DEPLOY_KEY")
	fill(tab, "Value", "aaaaaaaa")
	tab.ClickName("Store secret")
	refusal(tab, "Value", "easily guessed")
	const value = "k3J9-xQ2m-Zp7v"
	fill(tab, "Value", value)
	tab.ClickName("Store secret")
	closed(tab)
	tab.WaitText("DEPLOY_KEY")
	holds := browser.Eval[bool](tab, "document.documentElement.outerHTML.includes("+quoted(value)+") || JSON.stringify({...localStorage}).includes("+quoted(value)+")")
	assert.Assert(t, !holds, "the value is still in the page")
	list, err := e.Client(t, transporttest.AdminKey).Secrets(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, list[0].Name, "DEPLOY_KEY")

	tab.ClickName("Replace DEPLOY_KEY")
	tab.Wait(control("Value") + "?.checkVisibility()")
	assert.Equal(t, browser.Eval[string](tab, control("Value")+".value"), "")
	fill(tab, "Value", "W7pq-Lr4z-Xb1n")
	tab.ClickName("Save")
	closed(tab)
	again, err := e.Client(t, transporttest.AdminKey).Secrets(t.Context())
	assert.NilError(t, err)
	assert.Assert(t, again[0].UpdatedAt.After(list[0].UpdatedAt))
	for _, r := range tab.Requests() {
		assert.Assert(t, !strings.Contains(r.URL, value), r.URL)
	}
	tab.ClickName("Delete DEPLOY_KEY")
	tab.ClickName("Delete secret")
	tab.WaitText("No secrets yet")
}

// TestAgentPages makes an agent, changes it, finds it, and deletes it.
func TestAgentPages(t *testing.T) {
	e := browser.Start(t, nil)
	e.Furnish(t)
	admin := e.Client(t, transporttest.AdminKey)
	tab := e.Tab(t, nil)
	tab.Goto("/agents")
	tab.ClickName("New agent")
	fill(tab, "Name", "Keeper")
	fill(tab, "Standing instructions", "Keep")
	pick(tab, "Environment", "tally")
	tab.ClickName("Secrets, tools and memory")
	tab.ClickName("DEPLOY_TOKEN")
	pick(tab, "Learns from its conversations", "Yes: into a memory of its own")
	tab.ClickName("Create agent")
	closed(tab)
	find := func() access.Agent {
		list, err := admin.Agents(t.Context())
		assert.NilError(t, err)
		for _, a := range list {
			if strings.HasPrefix(a.Name, "Keeper") {
				return a
			}
		}
		return access.Agent{}
	}
	a := find()
	assert.Equal(t, a.Config.BasePrompt, "Keep")
	assert.Assert(t, a.Config.EnvironmentID != "" && a.AutoMemory != "")
	learns := func(a access.Agent) (uids []string) {
		var stores []struct {
			UID     string
			Extract bool
		}
		if len(a.Config.MemoryStores) > 0 {
			assert.NilError(t, json.Unmarshal(a.Config.MemoryStores, &stores))
		}
		for _, s := range stores {
			if s.Extract {
				uids = append(uids, s.UID)
			}
		}
		return uids
	}
	assert.DeepEqual(t, learns(a), []string{a.AutoMemory})
	fill(tab, "Search agents", "keep")
	tab.Wait(`document.querySelectorAll(".card").length === 1`)
	tab.ClickName("Keeper")
	tab.ClickName("Edit")
	fill(tab, "Name", "Keeper of books")
	tab.ClickName("Save")
	closed(tab)
	b := find()
	assert.Equal(t, b.Name, "Keeper of books")
	assert.DeepEqual(t, learns(b), learns(a))
	a.Config.MemoryStores, b.Config.MemoryStores = nil, nil
	assert.DeepEqual(t, b.Config, a.Config)
	tab.ClickName("Keeper of books")
	tab.ClickName("Edit")
	pick(tab, "Learns from its conversations", "No")
	tab.ClickName("Save")
	closed(tab)
	assert.Equal(t, len(learns(find())), 0)
	tab.ClickName("Keeper of books")
	tab.ClickName("Delete")
	tab.ClickName("Delete agent")
	closed(tab)
	assert.Equal(t, find().UID, "")
}

// TestNewSkill has an agent write a skill into a repository, by the skill that
// came with the server for it; a server without it does not offer that.
func TestNewSkill(t *testing.T) {
	without := browser.Start(t, &browser.Options{Options: transporttest.Options{Idle: true}})
	tab := without.Tab(t, nil)
	tab.Goto("/skills")
	tab.WaitText("No skills in your environments")
	assert.Assert(t, !strings.Contains(tab.Text("main"), "New skill\n"))

	skills, err := bundled.Skills()
	assert.NilError(t, err)
	e := browser.Start(t, &browser.Options{Options: transporttest.Options{Idle: true, Platform: oz.Options{Suggested: skills}}})
	env, err := e.Client(t, transporttest.AdminKey).CreateEnvironment(t.Context(), environment.Config{Name: "tally"}, nil)
	assert.NilError(t, err)
	tab = e.Tab(t, nil)
	tab.Goto("/skills")
	tab.ClickName("New skill")
	fill(tab, "What shall be done?", "Cut a release as we do.")
	pick(tab, "Environment", "tally")
	tab.ClickName("Start run")
	tab.Wait(`location.pathname.startsWith("/runs/")`)
	run, err := e.Client(t, transporttest.AdminKey).Get(t.Context(), task.ID(strings.TrimPrefix(tab.Path(), "/runs/")))
	assert.NilError(t, err)
	assert.Equal(t, run.Skill.BundledID, "add-skill")
	assert.Equal(t, run.Config.EnvironmentID, env.UID)
	assert.Equal(t, run.Prompt, "Cut a release as we do.")
}

// TestWebhookPages makes a webhook, whose secret is shown once, sends to it,
// and reads in the log what became of it.
func TestWebhookPages(t *testing.T) {
	e := browser.Start(t, &browser.Options{Options: transporttest.Options{Idle: true}})
	tab := e.Tab(t, nil)
	tab.Goto("/integrations?tab=webhooks")
	tab.ClickName("New webhook")
	fill(tab, "Name", "alerts")
	fill(tab, "Prompt", "Look")
	tab.ClickName("Which events count")
	fill(tab, "Filter, as JSON", `{"level": [`)
	tab.ClickName("Create webhook")
	refusal(tab, "Filter, as JSON", "no JSON")
	fill(tab, "Filter, as JSON", `{"level":["error"]}`)
	tab.ClickName("Create webhook")
	tab.WaitText("it is not shown again")
	secret := tab.Text(".once code")
	assert.Assert(t, len(secret) > 20, "secret %q", secret)
	tab.ClickName("Go on")
	tab.Wait(`location.pathname.startsWith("/integrations/webhooks/")`)
	tab.WaitText("Nothing has arrived yet")
	assert.Assert(t, !strings.Contains(browser.Eval[string](tab, "document.documentElement.outerHTML"), secret))
	uid := strings.TrimPrefix(browser.Eval[string](tab, "location.pathname"), "/integrations/webhooks/")

	send := func(body string) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.URL+"/webhooks/w/"+uid, strings.NewReader(body))
		assert.NilError(t, err)
		r.Header.Set("Authorization", "Bearer "+secret)
		resp, err := http.DefaultClient.Do(r)
		assert.NilError(t, err)
		assert.NilError(t, resp.Body.Close())
		assert.Equal(t, resp.StatusCode, http.StatusAccepted)
	}
	send(`{"level":"error","text":"<script>alert(1)</script>"}`)
	send(`{"level":"info"}`)
	for end := time.Now().Add(browser.Patience); tab.Count("tbody tr") < 2; {
		assert.Assert(t, time.Now().Before(end), "the log does not show both deliveries")
		tab.ClickName("Refresh")
		tab.Settled()
	}
	tab.Click("tbody tr:last-child .row-link")
	tab.WaitText("<script>alert(1)</script>")
	tab.ClickName("Rehearse")
	tab.WaitText("If it came now")
	tab.Press(kb.Escape)
	closed(tab)
	tab.ClickName("Test")
	fill(tab, "Payload, as JSON", `{"level":"info"}`)
	tab.Click("dialog[open] button[type=submit]")
	tab.WaitText("It would start nothing")
	tab.Press(kb.Escape)
	closed(tab)
	tab.ClickName("Rotate")
	tab.ClickName("Replace it")
	tab.WaitText("The new secret")
	assert.Assert(t, tab.Text(".once code") != secret)
}

// TestIntegrationSetup connects Jira with what was copied from there: the
// server's refusals are beside the fields, and the steps are said.
func TestIntegrationSetup(t *testing.T) {
	e := browser.Start(t, &browser.Options{Options: transporttest.Options{Idle: true, Platform: oz.Options{Integrations: func(s *integration.Store) []trigger.Origin { return []trigger.Origin{jira.NewOrigin(s, nil)} }}}})
	tab := e.Tab(t, nil)
	tab.Allow("/oz/integrations") // what is refused
	tab.Goto("/integrations")
	tab.ClickName("Connect Jira")
	tab.WaitText("First, in Jira")
	fill(tab, "Site", "http://x")
	fill(tab, "Signing secret", "q8Zr-2Lpx-77Vn")
	fill(tab, "API token", "ATATT-9fXk2-11")
	tab.ClickName("Connect Jira")
	refusal(tab, "Site", "atlassian.net")
	fill(tab, "Site", "https://acme.atlassian.net")
	fill(tab, "E-mail address of the account", "bot@acme.example")
	tab.ClickName("Connect Jira")
	tab.Wait(`location.pathname.startsWith("/integrations/jira/")`)
	tab.WaitText("In Jira")
	tab.WaitText("/webhooks/jira/")
	assert.Assert(t, !strings.Contains(browser.Eval[string](tab, "document.documentElement.outerHTML"), "ATATT"))
	tab.ClickName("Disable")
	tab.WaitText("Disabled")
}

// TestKeyPages makes a key, which is shown once and works, and revokes it.
func TestKeyPages(t *testing.T) {
	e := browser.Start(t, nil)
	tab := e.Tab(t, browser.Phone())
	tab.Goto("/settings/keys")
	tab.ClickName("New API key")
	fill(tab, "Name", "ci")
	tab.ClickName("Create key")
	tab.WaitText("it is not shown again")
	key := tab.Text(".once code")
	_, err := e.Client(t, key).List(t.Context(), task.Query{})
	assert.NilError(t, err)
	tab.ClickName("I have copied it")
	closed(tab)
	assert.Assert(t, !strings.Contains(browser.Eval[string](tab, "document.documentElement.outerHTML"), key))
	tab.ClickName("Revoke ci")
	tab.ClickName("Revoke key")
	closed(tab)
	_, err = e.Client(t, key).List(t.Context(), task.Query{})
	assert.Equal(t, task.CodeOf(err), task.CodeAuthenticationRequired)
}

// TestSettingsPages looks at the tabs of the settings on a phone, and at panes
// of all kinds at a desk.
func TestSettingsPages(t *testing.T) {
	e := browser.Start(t, nil)
	e.Furnish(t)
	tab := e.Tab(t, &browser.View{Width: 390, Height: 844, Dark: true})
	tab.Allow("/oz/push/key") // a server that pushes nothing
	for _, id := range []string{"team", "admin", "audit", "models", "appearance", "notifications"} {
		look(t, tab, "/settings/"+id, "phone")
	}
	tab = e.Tab(t, nil)
	for _, pane := range []string{"/settings/profiles?open=default", "/schedules?open=new", "/agents?open=new", "/integrations?new=github",
		"/integrations?tab=webhooks&new=webhook", "/usage?tab=budgets&open=new", "/workers?open=local"} {
		look(t, tab, pane, "desk")
	}
}

// TestAdminPage switches links to a team's runs off and on again by keyboard.
// Who does not lead the team sees how it is set and cannot change it.
func TestAdminPage(t *testing.T) {
	e := browser.Start(t, nil)
	admin := e.Client(t, transporttest.AdminKey)
	off := func() bool {
		team, _, err := admin.Team(t.Context(), access.DefaultTeam)
		assert.NilError(t, err)
		return team.NoLinks
	}
	tab := e.Tab(t, nil)
	tab.Goto("/settings/admin")
	tab.WaitText("kept for good")
	box := `document.querySelector("main input[type=checkbox]")`
	tab.Wait(box + `.checked`)
	tab.Wait(`(` + box + `.focus(), document.activeElement === ` + box + `)`)
	tab.Press(" ")
	tab.WaitText("runs are closed.")
	tab.Wait(`!` + box + `.checked`)
	assert.Assert(t, off())
	tab.Wait(box + `.getAttribute("aria-busy") !== "true"`)
	tab.Press(" ")
	tab.WaitText("Runs can be shared by link.")
	tab.Wait(box + `.checked`)
	assert.Assert(t, !off())
	look(t, tab, "/settings/admin", "desk")

	tab = e.Tab(t, &browser.View{Width: 390, Height: 844, Key: e.Member})
	tab.Goto("/settings/admin")
	tab.WaitText("Only admins and owners of the team change this.")
	tab.Wait(box + `.disabled`)
}

// TestRegistryPages keeps a rule, a memory store and what it holds, as all
// kinds of the settings are kept.
func TestRegistryPages(t *testing.T) {
	e := browser.Start(t, nil)
	admin := e.Client(t, transporttest.AdminKey)
	tab := e.Tab(t, nil)
	tab.Goto("/settings/rules")
	tab.ClickName("New rule")
	fill(tab, "Name", "style")
	fill(tab, "Rule", "Plain words")
	tab.ClickName("Create rule")
	closed(tab)
	tab.ClickName("style")
	fill(tab, "Rule", "Plain words only")
	tab.ClickName("Save")
	closed(tab)
	rules, err := admin.Rules(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, rules[0].Rule, "Plain words only")

	tab.Goto("/settings/memory")
	tab.ClickName("New memory store")
	fill(tab, "Name", "facts")
	tab.ClickName("Create memory store")
	closed(tab)
	tab.ClickName("facts")
	tab.ClickName("Add")
	fill(tab, "What to remember", "The port is 8080")
	fill(tab, "Why", "Asked twice")
	tab.ClickName("Remember")
	tab.WaitText("version 1")
	stores, err := admin.MemoryStores(t.Context())
	assert.NilError(t, err)
	held, err := admin.Memories(t.Context(), stores[0].UID)
	assert.NilError(t, err)
	assert.Equal(t, held[0].Content, "The port is 8080")
}

// TestNotAllowed: what is somebody else's is said not to be shared, with the
// request's ID and a next step; the audit log of a member has their own entries.
func TestNotAllowed(t *testing.T) {
	e := browser.Start(t, nil)
	mine := false
	s, err := e.Client(t, transporttest.AdminKey).CreateSchedule(t.Context(), oz.ScheduleInput{Team: &mine, Spec: schedule.Spec{Name: "private", Cron: "0 0 * * *", Prompt: "x"}})
	assert.NilError(t, err)
	tab := e.Tab(t, &browser.View{Key: e.Member})
	tab.Allow("/agent/schedules/")
	tab.Goto("/schedules/" + s.ID)
	tab.WaitText("not shared with you")
	tab.WaitText("Request ")
	tab.Goto("/settings/audit")
	tab.WaitText("of others")
}

// TestDashboard follows what happens without being loaded anew, and starts
// things in panes.
func TestDashboard(t *testing.T) {
	e := browser.Start(t, &browser.Options{Options: transporttest.Options{Idle: true}})
	admin := e.Client(t, transporttest.AdminKey)
	tab := e.Tab(t, nil)
	tab.Goto("/")
	tab.WaitText("Nothing is at work.")
	tab.WaitText("New here?")
	run, err := admin.Submit(t.Context(), oz.Request{Prompt: "Count the stars"})
	assert.NilError(t, err)
	tab.WaitText("Count the stars")
	err = admin.Cancel(t.Context(), run.ID)
	assert.NilError(t, err)
	tab.WaitText("Nothing is at work.")
	tab.ClickName("New environment Repositories, image, set-up")
	tab.Wait(control("Image") + "?.checkVisibility()")
	tab.Press(kb.Escape)
	closed(tab)
	tab.Goto("/welcome")
	tab.ClickName("Build an app Start and follow runs from a program of yours, by the API or in Go.")
	tab.WaitText("Make an API key")
	tab.WaitText("What this server has")
}

// TestUsageAddress keeps range and grouping in the address, and says the
// figures in a table, too.
func TestUsageAddress(t *testing.T) {
	e := browser.Start(t, nil)
	e.Furnish(t)
	tab := e.Tab(t, nil)
	tab.Goto("/usage")
	pick(tab, "Time", "Last 7 days")
	pick(tab, "Group by", "By trigger")
	tab.Wait(`location.search === "?range=7&by=source"`)
	tab.Settled()
	tab.WaitText("API")
	tab.Click(".chart summary")
	tab.Wait(`document.querySelector('.chart table[aria-label="Runs by outcome"]').checkVisibility()`)
	succeeded := browser.Eval[int](tab, `[...document.querySelectorAll('.chart table[aria-label="Runs by outcome"] tbody tr')].reduce((n, r) => n + Number(r.cells[1].innerText), 0)`)
	assert.Equal(t, succeeded, 1)
}

// TestServiceWorker: the policy of the pages lets the one service worker be
// registered, which runs, and nothing else of its kind.
func TestServiceWorker(t *testing.T) {
	e := browser.Start(t, nil)
	tab := e.Tab(t, nil)
	tab.Allow("oz-worker", "other", "Policy", "policy", "TrustedScriptURL")
	tab.Goto("/settings/appearance")
	running := browser.Eval[string](tab, `(async () => { const p = trustedTypes.createPolicy("oz-worker", { createScriptURL: (u) => u });
		await navigator.serviceWorker.register(p.createScriptURL("/sw.js"), { scope: "/" }); return (await navigator.serviceWorker.ready).active.scriptURL; })()`)
	assert.Equal(t, running, e.URL+"/sw.js")
	for _, forbidden := range []string{`trustedTypes.createPolicy("other", { createScriptURL: (u) => u })`, `navigator.serviceWorker.register("/sw.js")`, `trustedTypes.createPolicy("oz-worker", { createHTML: (h) => h })`} {
		refused := browser.Eval[bool](tab, `(async () => { try { await `+forbidden+`; return false; } catch (e) { return true; } })()`)
		assert.Assert(t, refused, forbidden)
	}
	browser.Eval[bool](tab, `navigator.serviceWorker.getRegistration("/").then((r) => r.unregister())`)
}

// TestNotificationPages reads the mailbox: all, unread and errors; one is read,
// then all, and the count beside the bell follows.
func TestNotificationPages(t *testing.T) {
	e := browser.Start(t, nil)
	e.Furnish(t)
	tab := e.Tab(t, nil)
	tab.Goto("/notifications")
	tab.Wait(`document.querySelectorAll(".note.unread").length >= 3`)
	unread := tab.Count(".note.unread")
	tab.Wait(fmt.Sprintf(`document.querySelector('a[href="/notifications"] .count')?.innerText === "%d"`, unread))
	tab.Click(".note.unread button")
	tab.Wait(fmt.Sprintf(`document.querySelectorAll(".note.unread").length === %d`, unread-1))
	tab.Click("[role=tab]:nth-child(3)")
	tab.Wait(`location.search === "?filter=errors" && document.querySelectorAll(".note").length > 0 && [...document.querySelectorAll(".note .badge")].every((b) => b.innerText === "Error")`)
	tab.ClickName("Mark all as read")
	tab.Wait(`!document.querySelector('a[href="/notifications"] .count')`)
	tab.Click("[role=tab]:nth-child(2)")
	tab.WaitText("All is read")
}
