package web_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/web/internal/browser"
)

// hostile are texts by which an agent, or whoever it has read, could try to act
// in the page of a person: each calls canary() if it does, asks another origin,
// or reads as what it is not.
func hostile() []string {
	list := []string{
		// HTML with scripts.
		`<script>canary()</script>`, `<script src="https://evil.example/x.js"></script>`, `<script type="module">canary()</script>`, `</script><script>canary()</script>`, `<scr<script>ipt>canary()</scr</script>ipt>`,
		`<SCRIPT>canary()</SCRIPT>`, `<script\x20type="text/javascript">canary();</script>`, "<script\n>canary()</script\n>", `<svg><script>canary()</script></svg>`, `<math><mtext><script>canary()</script></mtext></math>`,
		`<template><script>canary()</script></template>`, `<noscript><p title="</noscript><img src=x onerror=canary()>">`, `<!--><img src=x onerror=canary()>-->`, `<![CDATA[<script>canary()</script>]]>`, `<?xml version="1.0"?><script>canary()</script>`,
		// Event handlers.
		`<img src=x onerror=canary()>`, `<img src=x onerror="canary()">`, `<img/src=x/onerror=canary()>`, `<img src=x:x onerror=canary()//`, `<body onload=canary()>`, `<svg onload=canary()>`, `<svg/onload=canary()>`, `<input autofocus onfocus=canary()>`,
		`<select autofocus onfocus=canary()>`, `<textarea autofocus onfocus=canary()>`, `<details open ontoggle=canary()>`, `<video><source onerror=canary()></video>`, `<audio src=x onerror=canary()>`, `<marquee onstart=canary()>`, `<div onmouseover=canary()>hover</div>`,
		`<a onclick=canary() href=#>x</a>`, `<p style="animation:x" onanimationstart=canary()>`, `<form onsubmit=canary()><button>x</button></form>`, `<object data=x onerror=canary()>`, `<iframe onload=canary()></iframe>`, `<div onpointerrawupdate=canary()>`, `<dialog open onclose=canary()>`,
		`<img src=x onerror=&#99;anary()>`, `<img src=x onerror=eval(atob('Y2FuYXJ5KCk='))>`, "<img src=x onerror=\u0009canary()>", `<x onbeforematch=canary() hidden=until-found>`,
		// Frames, objects, styles, bases, forms.
		`<iframe src="javascript:parent.canary()"></iframe>`, `<iframe srcdoc="<script>parent.canary()</script>"></iframe>`, `<iframe src="https://evil.example"></iframe>`, `<object data="javascript:canary()"></object>`, `<embed src="javascript:canary()">`,
		`<base href="https://evil.example/">`, `<meta http-equiv="refresh" content="0;url=https://evil.example">`, `<meta http-equiv="refresh" content="0;url=javascript:canary()">`, `<link rel=stylesheet href=https://evil.example/x.css>`, `<link rel=prefetch href=https://evil.example/x>`,
		`<style>@import "https://evil.example/x.css";</style>`, `<style>*{background:url(https://evil.example/x)}</style>`, `<div style="background:url(https://evil.example/x)">`, `<div style="position:fixed;inset:0;z-index:9999">over all</div>`, `<form action="https://evil.example"><input name=key></form>`,
		`<button formaction="javascript:canary()" form=x>x</button>`, `<isindex action="javascript:canary()" type=submit>`, `<portal src="https://evil.example"></portal>`, `<frameset onload=canary()>`, `<applet code="x">`,
		// Vector images.
		`<svg><animate onbegin=canary() attributeName=x dur=1s>`, `<svg><a xlink:href="javascript:canary()"><text y=20>x</text></a></svg>`, `<svg><use href="https://evil.example/x.svg#a"/></svg>`, `<svg><foreignObject><iframe src="javascript:parent.canary()"></iframe></foreignObject></svg>`,
		`<svg><set attributeName=onmouseover to=canary()>`, `<svg><image href="https://evil.example/x.png"/></svg>`, `<math href="javascript:canary()">x</math>`, `<svg><style><img src=x onerror=canary()></style></svg>`,
		// Names that scripts of a page use.
		`<a id=CSS></a><a id=history></a>`, `<form id=document><input name=cookie></form>`, `<img name=currentScript>`, `<a id=app href=x></a>`, `<div id="main">x</div>`,
		// Links of Markdown.
		`[click](javascript:canary())`, `[click](JaVaScRiPt:canary())`, "[click](java\tscript:canary())", "[click](java\nscript:canary())", `[click](&#106;avascript:canary())`, `[click](&#x6A;avascript&colon;canary())`, `[click](javascript&#58;canary())`, `[click](<javascript:canary()>)`,
		`[click]( javascript:canary())`, "[click](\x01javascript:canary())", `[click](vbscript:canary())`, `[click](data:text/html,<script>parent.canary()</script>)`, `[click](data:text/html;base64,PHNjcmlwdD5jYW5hcnkoKTwvc2NyaXB0Pg==)`, `[click](blob:https://evil.example/x)`, `[click](file:///etc/passwd)`,
		`[click](ftp://evil.example)`, `[click](filesystem:https://evil.example/x)`, `[click](view-source:https://evil.example)`, `[click](about:blank)`, `[click](chrome://settings)`, `[click](intent://x#Intent;end)`, `[click](//evil.example)`, `[click](\\evil.example)`, `[click](/api/v1/oz/auth/logout)`,
		`[click](?x=1)`, `[click](#main)`, `[x]: javascript:canary()` + "\n\n[x]", `[x][y]` + "\n\n" + `[y]: JAVASCRIPT:canary() "t"`, `<javascript:canary()>`, `<data:text/html,x>`, `[a](https://evil.example "onmouseover=canary()")`, `[a](https://evil.example" onmouseover="canary())`, `[<img src=x onerror=canary()>](https://evil.example)`,
		`[click](javascript://https://example.com/%0acanary())`, `[![x](javascript:canary())](javascript:canary())`, `[click](https://good.example@evil.example)`, `[https://good.example](https://evil.example)`, `[good.example](https://evil.example/good.example)`, `[click](https://goоd.example)`, `[click](http://2130706433/)`,
		// Images, which tell who looks.
		`![x](https://evil.example/pixel.png)`, `![x](//evil.example/pixel.png)`, `![x](javascript:canary())`, `![x](data:image/svg+xml,<svg onload=canary()>)`, `![x" onerror="canary()](https://evil.example/x.png)`, `![][z]` + "\n\n[z]: https://evil.example/pixel.png", `<img src="https://evil.example/pixel.png">`,
		`<img srcset="https://evil.example/pixel.png 1x">`, `<picture><source srcset=https://evil.example/p.png></picture>`, `<video poster=https://evil.example/p.png>`, `<input type=image src=https://evil.example/p.png>`,
		// Other ways through Markdown.
		"```html\n<script>canary()</script>\n```", "```\"><script>canary()</script>\nx\n```", "```js onerror=canary()\nx\n```", "`<script>canary()</script>`", "    <script>canary()</script>", "| <script>canary()</script> | b |\n|---|---|\n| <img src=x onerror=canary()> | c |",
		"# <img src=x onerror=canary()>", "> <script>canary()</script>", "- [ ] <script>canary()</script>", "1. <svg onload=canary()>", "***<script>canary()</script>***", "~~<img src=x onerror=canary()>~~", `<div>` + "\n\n*x*\n\n" + `</div><script>canary()</script>`, "\\<script>canary()\\</script>", `&lt;script&gt;canary()&lt;/script&gt;`,
		`&#60;script&#62;canary()&#60;/script&#62;`, "[^1]: <script>canary()</script>\n\n[^1]", "$$\\href{javascript:canary()}{x}$$", "```mermaid\ngraph TD; A-->B; click A canary\n```", "www.evil.example", "mailto:x@evil.example?body=<script>canary()</script>", `"><script>canary()</script>`, `'-canary()-'`, `${canary()}`, `{{constructor.constructor('canary()')()}}`, `<%= canary() %>`,
		// Terminal escapes.
		"\x1b]0;title\x07x", "\x1b]2;<script>canary()</script>\x1b\\x", "\x1b]8;;javascript:canary()\x1b\\click\x1b]8;;\x1b\\", "\x1b]8;;https://evil.example\x1b\\https://good.example\x1b]8;;\x1b\\", "\x1b]52;c;Y2FuYXJ5KCk=\x07", "rm -rf /\x1b[2K\rls", "ok\x1b[1A\x1b[2Kfine", "\x1b[8mhidden\x1b[0m",
		"\x1b[30;40mblack on black\x1b[0m", "\x1b[38;2;12;17;18mas the ground\x1b[0m", "\x1b[?1049h\x1b[2J\x1b[H", "\x1b[6n\x1b[c", "\x1bP$qm\x1b\\", "\x1b]1337;File=inline=1:AAAA\x07", "\x1b[38;5;<img src=x onerror=canary()>m", "\x1b[31;url(https://evil.example)mx", "\x9b31mx\x9d0;t\x9c", "a\bb\b\b\bc", "\x00\x01\x02\x7f", "\x1b",
		// Texts that read as what they are not.
		"if (admin\u202e \u2066// check\u2069 \u2066) {", "\u202egpj.exe", "pay\u200bpal.com", "\u2066\u2067\u2068x\u2069", "a\u00adb\u2060c\ufeffd", "\U000e0041\U000e0042", "\u061c\u200f\u200e", "x\u2028y\u2029z", "e" + strings.Repeat("\u0301", 5000), strings.Repeat("\u202e", 3000), "[\u202emoc.elgoog](https://evil.example)",
		// Much of it.
		strings.Repeat("x", 300_000), strings.Repeat("<", 40_000), strings.Repeat("> ", 4000) + "x", strings.Repeat("- ", 4000) + "x", strings.Repeat("*", 20_000), strings.Repeat("[", 20_000), strings.Repeat("[a](", 8000), strings.Repeat("`", 20_001), strings.Repeat("![", 9000), strings.Repeat("**a *b ", 5000),
		strings.Repeat("<b>", 9000), strings.Repeat("| a ", 3000) + "\n" + strings.Repeat("|---", 3000), strings.Repeat("\n", 50_000), strings.Repeat("a_", 20_000), strings.Repeat("\\", 30_000), strings.Repeat("&#x41;", 10_000), strings.Repeat("https://a.example ", 3000), strings.Repeat("\x1b[31m", 20_000) + "x", strings.Repeat("\x1b]0;", 10_000), strings.Repeat("a\n", 30_000),
		strings.Repeat("1. ", 3000), strings.Repeat("_(", 9000), strings.Repeat("<!--", 9000), strings.Repeat("[x]: y\n", 4000), strings.Repeat("~", 20_000), strings.Repeat("#", 9000), strings.Repeat("  ", 9000) + "- x", strings.Repeat("a@", 9000), strings.Repeat("![a][b]", 4000), strings.Repeat("\"", 30_000),
	}
	return list
}

// everywhere shows a text in each part of a transcript that a stranger can fill.
func everywhere(i int, text string) []task.Payload {
	id := fmt.Sprint("h", i)
	short := text
	if len(short) > 3000 {
		short = strings.ToValidUTF8(short[:3000], "")
	}
	all := []task.Payload{
		&task.Message{ID: id, Text: text},
		&task.ToolCall{ID: id, Name: cut(short, 60), Category: task.CategoryCommand, Input: encoded(map[string]string{"command": short, "cwd": cut(short, 200)})},
		&task.ToolOutput{CallID: id, Text: text},
		&task.ToolResult{CallID: id, Name: "x", Category: task.CategoryCommand, State: task.ToolFailed, Content: short, Output: encoded(map[string]any{"exit_code": 1})},
	}
	switch i % 4 { // one of these for each text is enough
	case 0:
		all = append(all, &task.ErrorReported{Code: task.CodeInternal, Message: short}, &task.Notice{Text: short}, &task.Phase{Name: task.PhaseSetup, Status: task.PhaseFailed, Detail: short})
	case 1:
		all = append(all, &task.ToolCall{ID: id + "d", Name: "edit_files", Category: task.CategoryFiles, Input: encoded(map[string]any{"path": short})},
			&task.ToolResult{CallID: id + "d", Name: "edit_files", Category: task.CategoryFiles, State: task.ToolCompleted, Content: short, Output: encoded(map[string]any{"diff": "--- a/" + short + "\n+++ b/" + short + "\n@@ -1 +1 @@\n-" + strings.ReplaceAll(short, "\n", " ") + "\n+" + strings.ReplaceAll(short, "\n", " ") + "\n"})})
	case 2:
		all = append(all, &task.ToolCall{ID: id + "m", Name: cut(short, 40), Category: task.CategoryIntegration, Input: encoded(map[string]any{cut(short, 100): short})},
			&task.ToolResult{CallID: id + "m", Name: "x", Category: task.CategoryIntegration, State: task.ToolFailed, Content: short})
	case 3:
		all = append(all, &task.Reasoning{ID: id, Text: short, More: true}, &task.Effect{Key: id, Kind: cut(short, 40), State: task.EffectIntended, Detail: encoded(map[string]string{cut(short, 60): short})})
	}
	return all
}

func cut(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "")
}

// watchful runs before any script of a page: it remembers what must not happen.
const watchful = `window.harm = [];
window.canary = () => { harm.push("a script ran"); };
for (const f of ["alert", "confirm", "prompt", "open"]) window[f] = () => { harm.push(f); return null; };
document.addEventListener("securitypolicyviolation", (e) => harm.push("the policy had to stop " + e.violatedDirective + " " + e.blockedURI));`

// inspect looks at all that is drawn of the transcript and beside it, and tells
// what should not be there.
const inspect = `(() => {
	const bad = [...harm], root = document.querySelector(".run-page");
	const allowed = new Set("A ARTICLE ASIDE BLOCKQUOTE BR BUTTON CODE DD DEL DIV DL DT EM FORM H1 H2 H3 HEADER HR I INPUT KBD LABEL LI OL OPTION P PRE SECTION SELECT SPAN STRONG TABLE TBODY TD TEXTAREA TH THEAD TIME TR UL svg path".split(" "));
	for (const e of root.querySelectorAll("*")) {
		if (!allowed.has(e.tagName)) bad.push("an element " + e.outerHTML.slice(0, 200));
		for (const a of e.attributes) {
			if (/^on/i.test(a.name) || a.name === "srcdoc" || a.name === "formaction") bad.push("an attribute " + a.name + " " + e.outerHTML.slice(0, 200));
			if (a.name === "src" || a.name === "srcset" || a.name === "xlink:href") bad.push("it loads " + a.value);
		}
		if (e.tagName === "A" && e.hasAttribute("href")) {
			if (!/^(https?:\/\/|mailto:|\/|#e\d)/.test(e.getAttribute("href")) || e.protocol === "javascript:" || e.protocol === "data:") bad.push("a link to " + e.getAttribute("href"));
			if (e.closest(".md") && e.origin === location.origin) bad.push("a stranger's link into this app: " + e.getAttribute("href"));
			if (e.closest(".md") && e.protocol !== "mailto:") {
				const text = e.textContent.trim(), after = e.nextElementSibling;
				if (text !== e.href && text + "/" !== e.href && text !== e.getAttribute("title") && !(after?.className === "target" && after.textContent.includes(e.host))) bad.push("a link that hides where it leads: " + e.outerHTML.slice(0, 200));
			}
		}
		if (getComputedStyle(e).position === "fixed") bad.push("over the page: " + e.outerHTML.slice(0, 200));
	}
	const walk = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
	for (let n = walk.nextNode(); n; n = walk.nextNode()) {
		const m = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]|[\u{e0000}-\u{e007f}]/u.exec(n.data);
		if (m) bad.push("an unseen character U+" + m[0].codePointAt(0).toString(16) + " in " + JSON.stringify(n.data.slice(Math.max(0, m.index - 20), m.index + 20)));
	}
	for (const e of root.querySelectorAll(".screen span")) if (!/^\s*$/.test(e.textContent) && getComputedStyle(e).color === getComputedStyle(e).backgroundColor) bad.push("unreadable: " + e.outerHTML.slice(0, 200));
	if (!document.title.endsWith(" · Oz")) bad.push("the title became " + document.title);
	if (document.documentElement.scrollWidth > innerWidth) bad.push("it scrolls sideways");
	return [...new Set(bad)];
})()`

// through scrolls a transcript from its end to its begin and gives what each
// window of it says of itself.
const through = `(async () => {
	const v = document.querySelector(".vlist"), bad = new Set(), seen = new Set();
	const frame = () => new Promise((r) => requestAnimationFrame(() => setTimeout(r)));
	for (let still = 0; still < 40;) {
		for (const e of v.querySelectorAll(".vrow")) seen.add(e.dataset.key);
		for (const b of ` + inspect + `) bad.add(b);
		const before = v.scrollTop;
		v.scrollTop -= v.clientHeight * 2;
		await frame();
		still = v.scrollTop === before && document.querySelector(".edge").innerText.includes("begins here") ? still + 10 : v.scrollTop === before ? still + 0.05 : 0;
	}
	return { Bad: [...bad], Seen: seen.size, Rows: Number(v.dataset.rows) };
})()`

// TestHostileOutput: nothing that an agent prints acts in the page of who looks
// at it, asks another server, or reads as what it is not. The policy of the page
// is not needed for that: it stops nothing, because nothing is tried.
func TestHostileOutput(t *testing.T) {
	texts := hostile()
	assert.Assert(t, len(texts) >= 150, "%d texts", len(texts))
	e := browser.Start(t, patient())
	w := begin(t, e, oz.Request{Title: "<img src=x onerror=canary()>\u202egnp", Prompt: texts[0] + texts[15] + "\n\n" + "[x](javascript:canary())"})
	rows := 0
	for i, text := range texts {
		payloads := everywhere(i, text)
		w.add(payloads...)
		rows += 3 // and more
	}
	tab := e.Tab(t, nil)
	tab.Do(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: watchful})
		return err
	}))
	tab.Goto(w.path())
	tab.Wait(`document.querySelector(".vrow")`)
	got := browser.Eval[struct {
		Bad  []string
		Seen int
		Rows int
	}](tab, through)
	for _, bad := range got.Bad {
		t.Error(bad)
	}
	assert.Assert(t, got.Rows >= rows && got.Seen >= got.Rows, "%d of %d rows were drawn, of at least %d", got.Seen, got.Rows, rows)
	for _, r := range tab.Requests() {
		assert.Check(t, strings.HasPrefix(r.URL, e.URL), "the page asked %s", r.URL)
	}
	assert.Equal(t, browser.Eval[string](tab, "location.pathname"), w.path())
}
