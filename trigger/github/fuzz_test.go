package github_test

import (
	"net/http"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/github"
	"github.com/oz-platform/cloudagents/trigger/github/githubsim"
)

// FuzzPayloads: whatever GitHub, or who has its secret, sends: it is refused as
// invalid, or kept and planned without harm.
func FuzzPayloads(f *testing.F) {
	s := githubsim.New(nil)
	s.AddRepo(repo, false)
	s.AddHook(secret, func(d githubsim.Delivery) error { f.Add(d.Event, d.Body); return nil })
	n := s.OpenIssue(repo, "bob", "x", "@oz-agent", "bug")
	s.Comment(repo, n, "bob", "@oz-agent do it")
	p := s.OpenPull(repo, "bob", "x", "@oz-agent", githubsim.Pull{})
	c := s.Review(repo, p, "bob", "a.go", "@@ -1 +1 @@", "@oz-agent", 0)
	s.Review(repo, p, "bob", "a.go", "@@ -1 +1 @@", "@oz-agent", c)
	s.RequestReview(repo, p, "bob", "team:core")
	s.EndChecks(repo, "main", "failure", p)
	s.EndWorkflow(repo, githubsim.Workflow{Name: "CI", File: "ci.yml", Branch: "x", Conclusion: "failure", Pulls: []int{p}})
	f.Add("issue_comment", []byte(`{"action":"created","issue":{"number":1},"comment":null,"repository":{"id":1,"full_name":"a/b"},"sender":{"id":1,"login":"x"}}`))
	b := newBench(f, with{still: true, settings: github.Settings{Automations: []github.Automation{{Name: "all", On: github.Kinds(), Prompt: "x"}}}})
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		h := http.Header{"X-Github-Event": {kind}, "X-Github-Delivery": {"x"}}
		h.Set("X-Hub-Signature-256", githubsim.Sign(secret, kind, body).Header.Get("X-Hub-Signature-256"))
		a, err := b.origin.Accept(t.Context(), trigger.Request{Path: b.in.UID, Header: h, Body: body})
		if err != nil {
			assert.ErrorIs(t, err, task.ErrInvalid)
			return
		}
		if a.Reply != nil {
			return
		}
		assert.Assert(t, a.Key != "" && len(a.Key) <= task.MaxDeliveryKey && a.Event != "" && len(a.Event) <= task.MaxDeliveryEvent+50)
		d := task.Delivery{ID: "d", Source: a.Source, Key: a.Key, Event: a.Event, Body: a.Body, Header: []byte(`{"fields":{"event":"` + a.Header["event"] + `"}}`), Attempts: 9}
		plan, err := b.origin.Plan(t.Context(), d)
		if err != nil {
			_, err = b.origin.Report(t.Context(), trigger.News{Type: trigger.NewsRefused, Delivery: d, Err: err, Key: "k"})
			assert.NilError(t, err)
			return
		}
		for _, s := range plan.Starts {
			assert.Assert(t, s.Prompt != "" && len(s.Title) <= 200)
		}
	})
}

func FuzzSettings(f *testing.F) {
	f.Add([]byte(`{"handle":"oz","automations":[{"name":"a","on":["issue_created"],"prompt":"x","filter":{"repos":["a/*"]}}]}`))
	f.Add([]byte(`{"handle":"oz","app_id":1,"installation_id":2,"repositories":["acme/*"]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if err := github.Check(raw); err != nil {
			assert.ErrorIs(t, err, task.ErrInvalid)
		}
	})
}
