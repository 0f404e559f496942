package gitlab

import (
	"encoding/json"
	"net/http"
	"testing"
	"unicode/utf8"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/integration"
	"github.com/oz-platform/cloudagents/trigger/internal/forge"
)

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{"object_kind":"note","user":{"id":1,"username":"a"},"project":{"id":7,"path_with_namespace":"g/p"},"object_attributes":{"id":1,"note":"@oz go","noteable_type":"Issue","discussion_id":"d"},"issue":{"id":1,"iid":1}}`,
		`{"object_kind":"merge_request","user":{"id":1,"username":"a"},"project":{"id":7,"path_with_namespace":"g/p"},"object_attributes":{"id":1,"iid":2,"action":"update","oldrev":"x"},"changes":{"labels":{"current":[{"title":"bug"}]}}}`,
		`{"object_kind":"pipeline","user":{"id":1,"username":"a"},"project":{"id":7,"path_with_namespace":"g/p"},"object_attributes":{"id":1,"status":"failed","sha":"x"},"merge_request":{"id":1,"iid":3}}`,
		`[]`, `{`,
	} {
		f.Add([]byte(s))
	}
	all := Settings{URL: DefaultURL, Handle: "oz", CommitStatus: true}
	for _, k := range Kinds() {
		all.Automations = append(all.Automations, Automation{Name: string(k), On: []Kind{k}, Prompt: "p"})
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for hook, kind := range counted {
			a, err := arrival(trigger.Arrival{}, trigger.Request{Header: http.Header{"X-Gitlab-Event": {hook}}, Body: body})
			if err != nil {
				assert.ErrorIs(t, err, task.ErrInvalid)
				continue
			}
			if a.Key == "" || len(a.Key) > task.MaxDeliveryKey || len(a.Event) > task.MaxDeliveryEvent {
				t.Fatalf("the key is %q, the event %q", a.Key, a.Event)
			}
			e, err := parse(kind, body)
			assert.NilError(t, err)
			x := occasion{event: e, settings: all}
			for _, auto := range x.matches().automations {
				s, err := x.start(&auto, integration.Admission{}, nil)
				assert.NilError(t, err)
				assert.Assert(t, (s.Address == nil || json.Valid(s.Address)) && utf8.ValidString(s.Title) && len(s.Title) <= forge.MaxTitle)
			}
		}
	})
}

func FuzzSettings(f *testing.F) {
	f.Add([]byte(`{"handle":"oz","projects":["g/*"],"automations":[{"name":"a","on":["issue_created"],"prompt":"p","filter":{"labels":["x"]}}]}`))
	f.Add([]byte(`{"handle":"oz","url":"https://u@h"}`))
	f.Add([]byte(`{"handle":"oz"}{}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := Parse(raw)
		if err != nil {
			assert.ErrorIs(t, err, task.ErrInvalid)
			return
		}
		again, err := json.Marshal(s)
		assert.NilError(t, err)
		assert.NilError(t, Check(again), "what was taken is taken again")
	})
}
