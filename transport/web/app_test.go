package web_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
	"github.com/oz-platform/cloudagents/transport/web/internal/browser"
)

// stranger is a view of somebody without a session, whose page may be told so.
func stranger() *browser.View { return &browser.View{Stranger: true, Allow: []string{"401"}} }

// TestSignInByKey goes from a page that needs a session over the sign-in to
// that page, by keyboard alone; the key stays nowhere.
func TestSignInByKey(t *testing.T) {
	e := browser.Start(t, nil)
	tab := e.Open(t, "/schedules?x=1", stranger())
	tab.WaitText("Sign in to Oz")
	tab.Wait(`document.activeElement?.name === "key"`) // one can type at once
	tab.Press("not a key" + kb.Enter)
	tab.WaitText("this API key is unknown")
	assert.Equal(t, browser.Eval[string](tab, `document.querySelector("input").getAttribute("aria-invalid")`), "true")
	tab.Type(`input[type="password"]`, transporttest.AdminKey+kb.Enter)
	tab.Wait(`document.querySelector("nav#nav")`)
	assert.Equal(t, tab.Path(), "/schedules?x=1", "one goes on where one was")
	kept := browser.Eval[string](tab, `JSON.stringify(localStorage) + JSON.stringify(sessionStorage) + document.cookie + document.documentElement.outerHTML`)
	assert.Assert(t, !strings.Contains(kept, transporttest.AdminKey) && !strings.Contains(kept, "ozs_"), "no script can read a key or a session")

	tab.ClickName("Sign out")
	tab.WaitText("Sign in to Oz")
	tab.Load("/runs")
	tab.WaitText("Sign in to Oz")
}

// TestSignInByLink: the link that the server prints works once, and its code
// stays neither in the address nor in the history.
func TestSignInByLink(t *testing.T) {
	e := browser.Start(t, nil)
	code, err := e.Platform.Registry().NewSignInCode(t.Context(), access.DefaultUser)
	assert.NilError(t, err)
	tab := e.Tab(t, stranger())
	tab.Load("/#sign-in=" + code)
	tab.Wait(`document.querySelector("nav#nav")`)
	assert.Equal(t, browser.Eval[string](tab, "location.href"), e.URL+"/")

	second := e.Tab(t, stranger())
	second.Load("/#sign-in=" + code)
	second.WaitText("this sign-in link was used or has expired")
	second.WaitText("Sign in to Oz")
}

// TestForeignPages: a page of another origin changes nothing with a person's
// session, and signs nobody in.
func TestForeignPages(t *testing.T) {
	e := browser.Start(t, nil)
	tab := e.Open(t, "/", &browser.View{Allow: []string{"403", "401", "415", "CORS"}})
	evil := foreignPage(t)
	tab.Do(navigate(evil))
	send := `fetch(TARGET, { method: "POST", credentials: "include", mode: "no-cors", headers: { "Content-Type": "text/plain" }, body: BODY }).then(() => true, () => false)`
	for target, body := range map[string]string{"/api/v1/agent/runs": `{"prompt":"theirs"}`, "/api/v1/oz/auth/session": `{"key":"` + e.Member + `"}`, "/api/v1/oz/auth/logout": "{}"} {
		browser.Eval[bool](tab, strings.NewReplacer("TARGET", quoted(e.URL+target), "BODY", quoted(body)).Replace(send))
	}
	// A form is a navigation: the browser may send cookies along.
	browser.Eval[bool](tab, `(() => { const f = document.createElement("form"); f.method = "POST"; f.action = `+quoted(e.URL+"/api/v1/agent/runs")+`; f.enctype = "text/plain";
		const i = document.createElement("input"); i.name = '{"prompt":"theirs","x":"'; i.value = '"}'; f.append(i); document.body.append(f); f.submit(); return true; })()`)
	tab.Wait(`location.origin === ` + quoted(e.URL))
	tab.Goto("/")
	a := e.Call(transporttest.AdminKey, http.MethodGet, "/agent/runs", nil)
	assert.Assert(t, !strings.Contains(string(a.Body), "theirs"), "%s", a.Body)
	tab.Wait(`document.querySelector("nav#nav").innerText.includes("Admin")`) // and is still who they were
}
