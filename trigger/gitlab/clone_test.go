package gitlab_test

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/gitlab"
	"github.com/oz-platform/cloudagents/trigger/gitlab/gitlabsim"
	"github.com/oz-platform/cloudagents/trigger/integration"
)

// TestWhatIsCloned: the event's repository, at the newest commit of a merge
// request; what a fork changes only where there are no secrets, and one that is
// not public only where somebody lends the run its credential.
func TestWhatIsCloned(t *testing.T) {
	const head = "0123456789012345678901234567890123456789"
	at := func(commit string) trigger.Repository {
		return trigger.Repository{Owner: "group", Name: "project", URL: "https://gitlab.com/group/project.git", Commit: commit}
	}
	none := trigger.Repository{}
	strangers := func(s *integration.Spec, _ *gitlab.Settings) { s.Trust = integration.TrustUntrusted }
	for name, tt := range map[string]struct {
		private, issue, fork, stranger bool
		change                         func(*integration.Spec, *gitlab.Settings)
		want                           trigger.Repository
	}{
		"issue":                    {issue: true, want: at("")},
		"merge request":            {want: at(head)},
		"private":                  {private: true, want: at(head)},
		"private, nothing is lent": {private: true, change: func(_ *integration.Spec, s *gitlab.Settings) { s.NoGitAccess = true }, want: none},
		"left to the environment":  {change: func(_ *integration.Spec, s *gitlab.Settings) { s.NoClone = true }, want: none},
		"fork":                     {fork: true, want: at("")},
		"fork, a stranger asks":    {fork: true, stranger: true, change: strangers, want: at(head)},
		"private, a stranger asks": {private: true, stranger: true, change: strangers, want: none},
	} {
		t.Run(name, func(t *testing.T) {
			opts := &gitlabsim.Options{Visibility: 20}
			if tt.private {
				opts.Visibility = 0
			}
			b := newBench(t, opts, tt.change)
			on := b.sim.Open(b.eve, gitlabsim.Thing{Title: "x", Merge: !tt.issue, Source: "topic", Target: "main", Fork: tt.fork, Commit: head})
			who := b.ann
			if tt.stranger {
				who = b.eve
			}
			b.sim.Comment(who, gitlabsim.Note{On: on.ID, Body: "Look, @oz-agent."})
			b.Settle()
			runs := b.Runs()
			assert.Equal(t, len(runs), 1)
			s, _ := b.Host.Started(runs[0].ID)
			got := none
			if s.Repository != nil {
				got = *s.Repository
			}
			assert.Equal(t, got, tt.want)
			assert.Equal(t, strings.Contains(s.Prompt, "merge-requests/1/head"), tt.fork && !tt.stranger, s.Prompt)
		})
	}
}
