package slack

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
)

func TestText(t *testing.T) {
	name := func(string) string { return "Ann" }
	for in, want := range map[string]string{
		"<@U1> hi": "@Ann hi", "<@U1|bob>": "@bob", "<#C1|general>": "#general", "<#C1>": "#C1", "<!here>": "@here",
		"<!subteam^S1|@crew>": "@crew", "<!date^1^x|today>": "today", "<https://a.b|x>": "x (https://a.b)", "<https://a.b>": "https://a.b",
		"a &lt;b&gt; &amp;lt;": "a <b> &lt;", "1 < 2": "1 < 2", "<>": "",
	} {
		assert.Equal(t, plain(in, name), want, in)
	}
	for in, want := range map[string]string{
		"# A **b** #": "*A **b*", "- x\n  * y": "• x\n  • y", "**a** __b__": "*a* *b*", "[x](https://a.b/?c=d&e=f)": "<https://a.b/?c=d&amp;e=f|x>",
		"<!channel> <@U1>": "&lt;!channel&gt; &lt;@U1&gt;", "```go\n**a**\n```": "```\n**a**\n```", "```\nopen": "```\nopen\n```",
		"[x](javascript:alert)": "[x](javascript:alert)", "[a|b](https://c.d)": "<https://c.d|a¦b>",
	} {
		assert.Equal(t, mrkdwn(in), want, in)
	}
	assert.Equal(t, withoutMention("  <@UBOT>, do it", "UBOT"), "do it")
	assert.Equal(t, withoutMention("<@UBOTTOM> do it", "UBOT"), "<@UBOTTOM> do it")
	assert.Equal(t, withoutMention("do <@UBOT> it", "UBOT"), "do <@UBOT> it")
	long := sections(strings.Repeat(strings.Repeat("x", 99)+"\n", 400))
	assert.Equal(t, len(long), maxSections)
	for _, part := range long {
		assert.Assert(t, len(part) <= 3000)
	}
	assert.Equal(t, len(sections(strings.Repeat("ü", 5000))), 4)
}

func TestSettings(t *testing.T) {
	for _, good := range []string{"", "null", "{}", `{"team_id":"T1","app_id":"A1","channels":["C1","G2"],"replies_need_mention":true}`} {
		assert.NilError(t, Check(json.RawMessage(good)), good)
	}
	for _, bad := range []string{"[]", "x", `{"team":"T1"}`, `{"team_id":"U1"}`, `{"team_id":"t1"}`, `{"app_id":"T1"}`, `{"channels":["general"]}`, `{} {}`,
		`{"channels":[` + strings.TrimSuffix(strings.Repeat(`"C1",`, 501), ",") + `]}`} {
		assert.ErrorIs(t, Check(json.RawMessage(bad)), task.ErrInvalid, bad)
	}
}

// FuzzParse: whatever comes is refused with the right code, or understood in a
// way that can be kept.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`{"type":"url_verification","challenge":"x"}`,
		`{"type":"event_callback","event_id":"Ev1","team_id":"T1","authorizations":[{"user_id":"U9","is_bot":true}],"event":{"type":"app_mention","user":"U1","channel":"C1","ts":"1.1","thread_ts":"1.0","text":"<@U9> x","files":[{"name":"a"}]}}`,
		`{"type":"event_callback","event_id":"Ev1","event":{"type":"message","subtype":"message_changed","channel":{"id":"C1"},"message":{}}}`,
		`{"type":"event_callback","event_id":"Ev1","event":{"type":"app_uninstalled"}}`,
		"command=%2Foz&trigger_id=1.2&user_id=U1&channel_id=C1&text=a+b", "ssl_check=1", "%zz",
		`payload={"type":"block_actions","trigger_id":"1","user":{"id":"U1"},"channel":{"id":"C1"},"message":{"ts":"1.1"},"actions":[{"action_id":"oz_stop","value":"{\"r\":\"a\",\"e\":\"f\",\"s\":true}"}]}`,
		`payload=%7B%22type%22%3A%22block_actions%22%2C%22trigger_id%22%3A%221%22%2C%22user%22%3A%7B%22id%22%3A%22U1%22%7D%2C%22channel%22%3A%7B%22id%22%3A%22C1%22%7D%2C%22message%22%3A%7B%22ts%22%3A%221.1%22%7D%2C%22actions%22%3A%5B%7B%22action_id%22%3A%22oz_answer_0%22%2C%22value%22%3A%22%7B%5C%22r%5C%22%3A%5C%22a%5C%22%2C%5C%22q%5C%22%3A%5C%22b%5C%22%2C%5C%22c%5C%22%3A%5C%22d%5C%22%2C%5C%22e%5C%22%3A%5C%22f%5C%22%7D%22%7D%5D%7D`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		q, err := parse(body)
		if err != nil {
			assert.ErrorIs(t, err, task.ErrInvalid)
			return
		}
		if q.Challenge != "" || q.Ping {
			return
		}
		assert.Assert(t, q.ID != "" && len(q.ID) <= maxShort && !strings.ContainsRune(q.ID, 0) && utf8.ValidString(q.ID), "%q", q.ID)
		assert.Assert(t, q.Kind != "" && utf8.ValidString(q.Text) && !strings.ContainsRune(q.Text, 0))
		if (q.Kind == kindMention || q.Kind == kindCommand || q.Kind == kindAction) && !q.Program && q.Subtype == "" {
			assert.NilError(t, q.check())
		}
		data, err := json.Marshal(q.event)
		assert.NilError(t, err)
		var back event
		assert.NilError(t, json.Unmarshal(data, &back))
		assert.DeepEqual(t, back, q.event)
	})
}

// FuzzText: an agent's words call nobody, and fit into blocks.
func FuzzText(f *testing.F) {
	f.Add("# a **b** <!channel> [x](https://a.b) ```c")
	f.Add("<@U1|x> &lt;!here&gt; <https://a.b|c>")
	f.Fuzz(func(t *testing.T, s string) {
		out := mrkdwn(s)
		for _, m := range marks.FindAllStringSubmatch(out, -1) {
			assert.Assert(t, strings.HasPrefix(m[1], "http://") || strings.HasPrefix(m[1], "https://"), "%q makes %q", s, out)
		}
		for _, part := range sections(out) {
			assert.Assert(t, len(part) <= 3000 && strings.TrimSpace(part) != "")
		}
		_ = plain(s, func(user string) string { return user })
		_ = withoutMention(s, "U1")
	})
}

// FuzzSettings: what is taken is taken again, and all else is refused with the
// field.
func FuzzSettings(f *testing.F) {
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"team_id":"T1"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := parseSettings(raw)
		if err != nil {
			assert.ErrorIs(t, err, task.ErrInvalid)
			return
		}
		again, err := json.Marshal(s)
		assert.NilError(t, err)
		assert.NilError(t, Check(again))
	})
}
