package linear

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger/integration"
)

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{"type":"Comment","action":"create","actor":{"id":"u","type":"user"},"data":{"id":"c","body":"@oz","userId":"u","issueId":"i","issue":{"id":"i","labels":[{"id":"l"}]}}}`,
		`{"type":"Issue","action":"update","actor":{"id":"u"},"data":{"id":"i","labelIds":["a","b"],"stateId":"s","updatedAt":"t"},"updatedFrom":{"labelIds":["a"],"stateId":"x"}}`,
		`{"type":"Issue","action":"create","data":{"id":"i","labels":{"nodes":[{"id":"l"}]},"assignee":{"id":"u"}}}`,
		`{"type":"AgentSessionEvent","action":"created","agentSession":{"id":"s","issueId":"i","creator":{"id":"u"},"comment":{"id":"c","body":"go"}}}`,
		`{"type":"AgentSessionEvent","action":"prompted","agentSession":{"id":"s","issueId":"i"},"agentActivity":{"id":"a","content":{"body":"x"},"signal":"stop"}}`,
		`{"type":"Issue","action":"update","data":null,"updatedFrom":{"labelIds":3}}`, `[]`, `{`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		e, reason, err := parse(body)
		if key := keyOf(body); len(key) != 64 {
			t.Fatalf("the key is %q", key)
		}
		switch name := eventName(body, e); {
		case len(name) > task.MaxDeliveryEvent || !utf8.ValidString(name):
			t.Fatalf("the event's name is %q", name)
		case err != nil:
			assert.ErrorIs(t, err, task.ErrInvalid)
			return
		case reason != "":
			return
		}
		if len(e.kinds) == 0 || e.issue.ID == "" {
			t.Fatalf("%s is an event about nothing: %+v", body, e)
		}
		j := judged{e: e}
		s, err := j.start(integration.Admission{}, e.issue)
		assert.NilError(t, err)
		assert.Assert(t, json.Valid(s.Address) && s.Title == strings.ToValidUTF8(s.Title, "") && len(s.Title) <= 200)
		for _, r := range (Settings{}).rules() {
			r.fits(facts{kinds: e.kinds, issue: e.issue, added: e.added, agent: "agent", mentioned: func(id string) bool { return names(e.text, id) }})
		}
	})
}

func FuzzSettings(f *testing.F) {
	f.Add([]byte(`{"agent_sessions":true,"rules":[{"kind":"issue_labeled","label_ids":["a"]}]}`))
	f.Add([]byte(`{"rules":[{"kind":"x"}]}`))
	f.Add([]byte(`{"rules":null}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := ParseSettings(raw)
		if err != nil {
			assert.ErrorIs(t, err, task.ErrInvalid)
			return
		}
		if len(s.rules()) > maxRules+1 {
			t.Fatalf("there are %d rules", len(s.rules()))
		}
	})
}
