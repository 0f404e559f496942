package jira

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger/integration"
	"github.com/oz-platform/cloudagents/trigger/internal/tracker"
)

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{"webhookEvent":"jira:issue_created","timestamp":1,"user":{"accountId":"a"},"issue":{"id":"1","key":"WEB-1","fields":{"labels":["warp-agent"]}}}`,
		`{"webhookEvent":"jira:issue_updated","issue":{"id":"1","key":"WEB-1"},"changelog":{"id":"9","items":[{"field":"labels","fromString":"a","toString":"a b"}]}}`,
		`{"webhookEvent":"comment_created","issue":{"id":"1","key":"WEB-1"},"comment":{"id":"2","body":"[~accountid:x] go","author":{"accountId":"a"}}}`,
		`{"webhookEvent":"comment_created","issue":{"id":"1","key":"W"},"comment":{"id":"2","body":{"type":"doc","content":[{"type":"mention","attrs":{"id":"x"}}]}}}`,
		`[]`, `{`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		e, reason, err := parse(body)
		if key := keyOf(body); len(key) != 64 {
			t.Fatalf("the key is %q", key)
		}
		if err != nil {
			assert.ErrorIs(t, err, task.ErrInvalid)
			return
		}
		if reason != "" {
			return
		}
		if e.issue == "" || e.key == "" {
			t.Fatalf("%s is an event about nothing", body)
		}
		s, err := start(integration.Integration{}, integration.Admission{}, Settings{}, e, item{})
		assert.NilError(t, err)
		assert.Assert(t, json.Valid(s.Address) && utf8.ValidString(s.Title) && len(s.Title) <= 200)
	})
}

func FuzzText(f *testing.F) {
	f.Add([]byte(`{"type":"doc","content":[{"type":"bulletList","content":[{"type":"listItem","content":[{"type":"codeBlock","content":[{"text":"a\nb"}]}]}]}]}`))
	f.Add([]byte(`{"content":[{"type":"table","content":[{"content":[{"content":[{"type":"text","text":"x"}]}]}]}]}`))
	f.Add([]byte(`"text"`))
	f.Add([]byte(strings.Repeat(`{"content":[`, 200)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		text := Text(raw)
		if len(text) > maxRead+len(raw)*(maxDepth+1)*8 {
			t.Fatalf("%d bytes became %d", len(raw), len(text))
		}
	})
}

// FuzzDocument: whatever is answered is a document that Jira takes.
func FuzzDocument(f *testing.F) {
	f.Add("a\n\nb\nc\n```\ncode\n```", "choice", "https://p")
	f.Add("```", "", "")
	f.Fuzz(func(t *testing.T, text, choice, page string) {
		var check func(n node)
		check = func(n node) {
			if n.Type == "text" && n.Text == "" || (n.Type == "codeBlock" || n.Type == "listItem" || n.Type == "doc") && len(n.Content) == 0 {
				t.Fatalf("%q makes an empty %s", text, n.Type)
			}
			for _, c := range n.Content {
				check(c)
			}
		}
		check(document(tracker.Answer{Text: text, Choices: []string{choice}, Page: page}))
	})
}

// FuzzSettings: what is taken is taken again, and all else is refused with the
// field.
func FuzzSettings(f *testing.F) {
	assert.ErrorIs(f, Check([]byte(`{"site":"https://acme.atlassian.net","email":"a@b.c"}{}`)), task.ErrInvalid)
	f.Add([]byte(`{"site":"https://acme.atlassian.net","email":"a@b.c","label":"go","projects":["WEB"]}`))
	f.Add([]byte(`{"site":"https://acme.atlassian.net","cloud_id":"6f0c4b0e-0000-4000-8000-000000000000","proof":"jwt"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := ParseSettings(raw)
		if err != nil {
			assert.ErrorIs(t, err, task.ErrInvalid)
			return
		}
		again, err := json.Marshal(s)
		assert.NilError(t, err)
		assert.NilError(t, Check(again))
	})
}
