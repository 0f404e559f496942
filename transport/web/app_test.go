package web_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"
	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/op"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/oz/access/oidc"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
	"github.com/oz-platform/cloudagents/transport/rest"
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
	assert.Equal(t, browser.Eval[string](tab, "location.href"), e.URL+"/welcome", "a new server shows its first steps")

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

// TestSignInAtAProvider goes to a real OpenID Connect provider and comes back
// to the page that one wanted.
func TestSignInAtAProvider(t *testing.T) {
	issuer, register := provider(t)
	p, err := oidc.New(&oidc.Options{Issuer: issuer, ClientID: "oz", ClientSecret: "client-secret-1"})
	assert.NilError(t, err)
	signIn := &rest.SignIn{Provider: p, Policy: access.SignInPolicy{Domains: []string{"zitadel.ch"}, Team: access.DefaultTeam}, Name: "Example ID"}
	e := browser.Start(t, &browser.Options{Options: transporttest.Options{Idle: true, Rest: rest.Options{SignIn: signIn}}})
	register(e.URL + "/api/v1/oz/auth/callback")
	// The provider's own page is not ours to judge.
	tab := e.Tab(t, &browser.View{Stranger: true, Allow: []string{"401", "favicon", "localhost"}})
	tab.Load("/runs?view=mine")
	tab.WaitText("Sign in with Example ID")
	tab.Accessible()
	tab.ClickName("Sign in with Example ID")
	tab.Type(`input[name="username"]`, "test-user@localhost")
	tab.Type(`input[name="password"]`, "verysecure"+kb.Enter)
	tab.Wait(`location.pathname + location.search === "/runs?view=mine" && document.querySelector("nav#nav")`)
	assert.Assert(t, strings.Contains(tab.Text("nav#nav"), "Test User"), tab.Text("nav#nav"))
}

// provider is a real OpenID Connect provider.
func provider(t *testing.T) (issuer string, register func(redirect string)) {
	t.Helper()
	var handler http.Handler
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(s.Close)
	issuer = strings.Replace(s.URL, "127.0.0.1", "localhost", 1)
	return issuer, func(redirect string) {
		storage.RegisterClients(storage.WebClient("oz", "client-secret-1", redirect))
		handler = exampleop.SetupServer(issuer, storage.NewStorage(storage.NewUserStore(issuer)), nil, false, op.WithAllowInsecure())
	}
}

// TestGuessedLink: whoever guesses a link to a run learns nothing, and is told
// what to do.
func TestGuessedLink(t *testing.T) {
	e := browser.Start(t, nil)
	h := e.Furnish(t)
	tab := e.Tab(t, &browser.View{Stranger: true, Allow: []string{"401", "404"}})
	tab.Load("/runs/" + string(h.Runs[task.StateSucceeded]) + "#link=ozl_" + strings.Repeat("guess", 9))
	tab.Wait(`document.querySelector("h1, .failure, [role=alert]")`)
	tab.Wait(`!location.hash.includes("ozl_")`)
	tab.Wait(`document.body.innerText.trim().length > 20`)
	assert.Assert(t, !strings.Contains(tab.Text("body"), "refund"), tab.Text("body"))
}
