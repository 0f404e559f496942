package github_test

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/github"
	"github.com/oz-platform/cloudagents/trigger/github/githubsim"
	"github.com/oz-platform/cloudagents/trigger/integration"
)

// TestWhatIsCloned: the event's repository, at the head of a pull request; what a
// fork changes only where there are no secrets, and a private repository only
// where somebody lends the run its credential.
func TestWhatIsCloned(t *testing.T) {
	const head = "0123456789012345678901234567890123456789"
	none := trigger.Repository{}
	at := func(commit string) trigger.Repository {
		return trigger.Repository{Owner: "acme", Name: "app", URL: "https://github.com/acme/app.git", Commit: commit}
	}
	for name, tt := range map[string]struct {
		w       with
		who     string
		issue   bool
		fork    string
		want    trigger.Repository
		advice  bool
		refused bool
	}{
		"issue":                            {who: "bob", issue: true, want: at("")},
		"pull request":                     {who: "bob", want: at(head)},
		"private":                          {who: "bob", w: with{private: true}, want: at(head)},
		"private, nothing is lent":         {who: "bob", w: with{private: true, settings: github.Settings{NoGitAccess: true}}, want: none},
		"public, nothing is lent":          {who: "bob", w: with{settings: github.Settings{NoGitAccess: true}}, want: at(head)},
		"fork":                             {who: "bob", fork: "mallory/app", want: at(""), advice: true},
		"fork, a stranger asks":            {who: "mallory", fork: "mallory/app", w: with{spec: integration.Spec{Trust: integration.TrustUntrusted}}, want: at(head)},
		"private, a stranger asks":         {who: "mallory", w: with{private: true, spec: integration.Spec{Trust: integration.TrustUntrusted}}, want: none},
		"left to the environment":          {who: "bob", w: with{settings: github.Settings{NoClone: true}}, want: none},
		"a stranger who may start nothing": {who: "mallory", refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, tt.w)
			var n int
			if tt.issue {
				n = b.sim.OpenIssue(repo, "carol", "It crashes", "")
			} else {
				n = b.sim.OpenPull(repo, "carol", "Faster", "", githubsim.Pull{Head: "fast", Fork: tt.fork, SHA: head})
			}
			b.sim.Comment(repo, n, tt.who, "@oz-agent look")
			b.Settle()
			if tt.refused {
				assert.Equal(t, len(b.Runs()), 0)
				return
			}
			run := b.one()
			s, _ := b.Host.Started(run.ID)
			got := none
			if s.Repository != nil {
				got = *s.Repository
			}
			assert.Equal(t, got, tt.want)
			assert.Equal(t, strings.Contains(run.Prompt, "comes from a fork"), tt.advice, run.Prompt)
		})
	}
}

// TestChecksAreClonedWhereTheyFailed: at the commit that failed.
func TestChecksAreClonedWhereTheyFailed(t *testing.T) {
	s := github.Settings{Automations: []github.Automation{{Name: "mend", On: []github.Kind{github.WorkflowCompleted}, Prompt: "Mend it."}}}
	b := newBench(t, with{settings: s})
	b.sim.EndWorkflow(repo, githubsim.Workflow{Name: "ci", File: "ci.yml", Branch: "main", Conclusion: "failure"})
	start, ok := b.Host.Started(b.one().ID)
	assert.Assert(t, ok)
	assert.Assert(t, start.Repository != nil && len(start.Repository.Commit) == 40, "%+v", start.Repository)
}
