package web_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
	"github.com/oz-platform/cloudagents/transport/web/internal/browser"
)

// work is a run whose runner the test plays.
type work struct {
	t    testing.TB
	e    *browser.Env
	id   task.ID
	link *client.Link
	sent int64
}

// begin makes a run of the admin's and begins to work at it.
func begin(t testing.TB, e *browser.Env, r oz.Request) *work {
	t.Helper()
	run, err := e.Client(t, transporttest.AdminKey).Submit(t.Context(), r)
	assert.NilError(t, err)
	return &work{t: t, e: e, id: run.ID, link: takeUp(t, e)}
}

// takeUp takes the next execution that the platform gives away.
func takeUp(t testing.TB, e *browser.Env) *client.Link {
	t.Helper()
	link, err := client.NewLink(e.Claimed(), nil)
	assert.NilError(t, err)
	assert.NilError(t, link.Begin(t.Context()))
	return link
}

// add appends to the run's log.
func (w *work) add(payloads ...task.Payload) {
	w.t.Helper()
	list := make([]task.Event, 0, len(payloads))
	for _, p := range payloads {
		list = append(list, task.Event{Payload: p})
	}
	assert.NilError(w.t, w.link.Append(w.t.Context(), w.sent, list))
	w.sent += int64(len(payloads))
}

// end ends the execution; what was written meanwhile has been read.
func (w *work) end(s task.State, status task.Status) {
	w.t.Helper()
	beat, err := w.link.Heartbeat(w.t.Context())
	assert.NilError(w.t, err)
	assert.NilError(w.t, w.link.End(w.t.Context(), task.End{State: s, Status: status, SeenInput: beat.LastInput}))
}

func (w *work) path() string { return "/runs/" + string(w.id) }

// lastInput is the number of the newest message of a person.
func (w *work) lastInput() int64 {
	w.t.Helper()
	beat, err := w.link.Heartbeat(w.t.Context())
	assert.NilError(w.t, err)
	return beat.LastInput
}

// share makes the run visible to whom it names and to few others.
func (w *work) share(v task.Visibility, viewers ...string) {
	w.t.Helper()
	s := task.Sharing{Visibility: v}
	for _, uid := range viewers {
		s.Grants = append(s.Grants, task.Grant{To: task.Scope{Type: task.ScopeUser, UID: uid}, Role: task.RoleViewer})
	}
	_, err := w.e.Client(w.t, transporttest.AdminKey).Share(w.t.Context(), w.id, s)
	assert.NilError(w.t, err)
}

func encoded(v any) json.RawMessage { data, _ := json.Marshal(v); return data }

// command is a command that an agent has run.
func command(id, line, output string, code int) []task.Payload {
	state := task.ToolCompleted
	if code != 0 {
		state = task.ToolFailed
	}
	return []task.Payload{
		&task.ToolCall{ID: id, Name: "run_command", Category: task.CategoryCommand, Input: encoded(map[string]string{"command": line})},
		&task.ToolOutput{CallID: id, Text: output},
		&task.ToolResult{CallID: id, Name: "run_command", Category: task.CategoryCommand, State: state, Content: fmt.Sprintf("exit code %d", code), Output: encoded(map[string]int{"exit_code": code}), DurationMS: 12},
	}
}

// TestRunIsWatchedAndSteered follows a run from its first event to a follow-up
// after its end, by keyboard where a person writes.
func TestRunIsWatchedAndSteered(t *testing.T) {
	e := browser.Start(t, patient())
	w := begin(t, e, oz.Request{Title: "Mend the parser", Prompt: "Mend the *parser*"})
	tab := e.Open(t, w.path(), nil)
	tab.WaitText("In progress")
	tab.WaitText("Mend the parser")
	tab.Wait(`document.querySelector(".ev-input em")`)

	w.add(&task.Message{ID: "m", Text: "I read the ", More: true})
	tab.Wait(`document.querySelector(".ev-message .typing")`)
	w.add(&task.Message{ID: "m", Text: "**tests** first."})
	tab.Wait(`document.querySelector(".ev-message strong")?.innerText === "tests" && !document.querySelector(".typing")`)
	w.add(command("c1", "go test ./...", "\x1b[31mFAIL\x1b[0m parser\n", 1)...)
	tab.Wait(`document.querySelector(".ev-tool .screen .fc1")?.innerText === "FAIL"`) // what failed is unfolded
	w.add(&task.Todos{Items: []task.Todo{{Title: "Find it", Done: true}, {Title: "Mend it"}}})
	tab.Wait(`document.querySelector(".run-side .todos li.done")?.innerText.includes("Find it")`)

	// A message steers: it is queued until the agent has it.
	tab.Type(".composer textarea", "Look at the lexer, too")
	tab.Press(kb.Enter, chromedp.ModifierCtrl)
	tab.Wait(`[...document.querySelectorAll(".ev-input")].at(-1).innerText.includes("Queued")`)
	tab.Wait(`document.querySelector(".composer textarea").value === ""`)
	w.add(&task.Delivered{Inputs: []int64{w.lastInput()}})
	tab.Wait(`[...document.querySelectorAll(".ev-input")].at(-1).querySelector(".delivered")`)

	w.end(task.StateSucceeded, task.Status{Message: "The parser is mended."})
	tab.WaitText("What came of it")
	tab.Wait(`document.querySelector(".composer textarea").placeholder.includes("new execution")`)

	// A follow-up after the end makes a new execution, which the same page shows.
	tab.Type(".composer textarea", "Now the docs")
	tab.ClickName("Follow up")
	w = &work{t: t, e: e, id: w.id, link: takeUp(t, e)}
	tab.WaitText("In progress")
	w.add(&task.Message{ID: "m2", Text: "The docs are next."})
	tab.WaitText("The docs are next.")
	tab.WaitText("A new execution begins")

	// A draft outlives the page.
	tab.Type(".composer textarea", "half a thought")
	tab.Goto(w.path())
	tab.Wait(`document.querySelector(".composer textarea")?.value === "half a thought"`)
	tab.ClickName("Cancel the run")
	tab.WaitText("Cancel this run?")
	tab.ClickName("Cancel the run")
	tab.WaitText("It was cancelled")
}

// TestQuestionIsAnswered: the choices of a question are buttons, and an answer
// takes the run on.
func TestQuestionIsAnswered(t *testing.T) {
	e := browser.Start(t, patient())
	w := begin(t, e, oz.Request{Prompt: "Deploy"})
	w.add(&task.Message{ID: "m", Text: "I need to know where."})
	w.end(task.StateBlocked, task.Status{Message: "Where?", Question: &task.Question{ID: "q1", Kind: task.QuestionPerson, Text: "Where shall it **go**?", Choices: []string{"staging", "production"}, ExpiresAt: time.Now().Add(time.Hour)}})
	tab := e.Open(t, w.path(), browser.Phone())
	tab.Wait(`document.querySelector(".ask strong")?.innerText === "go"`)
	tab.ClickName("staging")
	takeUp(t, e)
	tab.Wait(`[...document.querySelectorAll(".ev-input")].at(-1)?.innerText.includes("staging")`)
	tab.Wait(`!document.querySelector(".ask")`)
}

// TestViewerAsksToEdit: a viewer is told why they cannot type, asks, and may
// once the owner has agreed, without loading the page anew.
func TestViewerAsksToEdit(t *testing.T) {
	e := browser.Start(t, patient())
	w := begin(t, e, oz.Request{Prompt: "Work"})
	w.share(task.VisibilityPrivate, "oscar")
	viewer := e.Open(t, w.path(), &browser.View{Key: e.Outsider})
	viewer.WaitText("You may look on")
	assert.Equal(t, viewer.Count(".composer textarea"), 0)
	viewer.ClickName("Ask to edit")
	viewer.Wait(`document.activeElement?.matches("dialog[open] textarea")`) // the pane takes the focus
	viewer.Type("dialog textarea", "I know that code")
	viewer.Wait(`document.querySelector("dialog textarea").value === "I know that code"`)
	viewer.ClickName("Ask")
	viewer.WaitText("Asked")

	owner := e.Open(t, w.path(), nil)
	owner.Wait(`document.querySelector(".presence")?.getAttribute("aria-label").includes("Oscar")`)
	owner.Click(".presence")
	owner.WaitText("I know that code")
	owner.ClickName("Approve")
	viewer.Wait(`document.querySelector(".composer textarea")`)
	viewer.Type(".composer textarea", "Here I am")
	viewer.ClickName("Send")
	owner.Wait(`[...document.querySelectorAll(".ev-input")].at(-1).innerText.includes("Here I am")`)
}

// TestGuestByLink: who has a link comes in without an account, sees the run and
// nothing else, and is out when the link is revoked.
func TestGuestByLink(t *testing.T) {
	e := browser.Start(t, &browser.Options{Options: transporttest.Options{Platform: oz.Options{GuestLinks: true, Lease: time.Hour, Heartbeat: time.Minute}}})
	w := begin(t, e, oz.Request{Title: "Shown around", Prompt: "Work"})
	w.add(&task.Message{ID: "m", Text: "For all to see"})
	owner := e.Open(t, w.path(), nil)
	owner.ClickName("Share")
	owner.ClickName("Make a link")
	owner.Wait(`document.querySelector("dialog .status code")?.innerText.includes("#link=ozl_")`)
	address := browser.Eval[string](owner, `document.querySelector("dialog .status code").innerText`)

	guest := e.Tab(t, &browser.View{Stranger: true, Allow: []string{"401"}})
	guest.Load(strings.TrimPrefix(address, e.URL))
	guest.WaitText("For all to see")
	guest.WaitText("You came by a link")
	assert.Assert(t, !strings.Contains(browser.Eval[string](guest, "location.href + JSON.stringify(sessionStorage)"), "ozl_"), "the secret stays nowhere")
	assert.Equal(t, guest.Count("nav"), 0)
	guest.Goto(w.path()) // and comes in again
	guest.WaitText("For all to see")
	guest.Accessible()

	guest.Allow("403", "404")
	owner.ClickName("Revoke")
	guest.WaitText("You may not see this run any more")
	guest.WaitText("For all to see") // what was shown is not taken away
}

// TestChildRuns: a run that the agent has started unfolds where it was started,
// with its own transcript, as it happens.
func TestChildRuns(t *testing.T) {
	e := browser.Start(t, patient())
	w := begin(t, e, oz.Request{Title: "Parent", Prompt: "Share the work"})
	child := begin(t, e, oz.Request{Title: "The child", Prompt: "Do a part"})
	child.add(&task.Message{ID: "m", Text: "I do my part"})
	w.add(&task.ToolCall{ID: "s", Name: "spawn_run", Category: task.CategoryIntegration, Input: encoded(map[string]string{"title": "The child"})},
		&task.ToolResult{CallID: "s", Name: "spawn_run", Category: task.CategoryIntegration, State: task.ToolCompleted, Content: "started", Output: encoded(map[string]string{"run_id": string(child.id)})})
	tab := e.Open(t, w.path(), nil)
	tab.Wait(`document.querySelector(".child")?.innerText.includes("In progress")`)
	tab.ClickName("The child")
	tab.Wait(`document.querySelector(".vlist.nested")?.innerText.includes("I do my part")`)
	child.add(&task.Message{ID: "m2", Text: "and then some"})
	tab.Wait(`document.querySelector(".vlist.nested")?.innerText.includes("and then some")`)
	tab.Accessible()
	tab.Click(".child a")
	tab.Wait(`location.pathname.endsWith("` + string(child.id) + `") && document.querySelector("h1")?.innerText === "The child"`)
}
