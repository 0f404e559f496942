package runner_test

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger/github"
)

// byHand starts a run of the team's as a person does, and follows it.
func (f *forge) byHand() (task.Task, []task.Event) {
	f.t.Helper()
	f.sim.OpenIssue("acme/app", "ann", "The greeting is wrong", "See greeting.txt.") // number 1, nobody is mentioned
	team := true
	run, err := f.ann.Submit(f.t.Context(), oz.Request{Prompt: prompt, Team: &team, Config: task.Config{EnvironmentID: f.env}})
	assert.NilError(f.t, err)
	return f.finish(run.ID)
}

// TestAllRunsBorrow: a run that a person started clones the private repository,
// pushes to it and opens one pull request with the token that an integration
// lends to all runs, also when its runner dies before the platform was asked for
// the pull request, or before it is written down.
func TestAllRunsBorrow(t *testing.T) {
	t.Parallel()
	for _, dies := range []string{"never", "before", "after"} {
		t.Run(dies, func(t *testing.T) {
			t.Parallel()
			spent := dies == "never"
			f := newForge(t, setup{script: opener(), public: "https://oz.example.com",
				link: func(_ task.ExecutionID, l executor.Link) executor.Link {
					return &pullLink{Link: l, GitLender: l.(executor.GitLender), before: dies == "before", spent: &spent}
				}})
			f.integrate("", func(s *github.Settings) { s.LendToAllRuns, s.Repositories = true, []string{"acme/*"} })
			run, events := f.byHand()
			assert.Assert(t, spent)
			f.checkPull(run, events)
			assert.Equal(t, f.git(f.remote, "show", branch+":greeting.txt"), "hello world")
			assert.Assert(t, len(f.shown()) > 0)
			f.nowhere(events)
		})
	}
}

// TestAllRunsBorrowNothingElse: the private repository is not cloned with the
// token of an integration that lends to its own runs only, or for others.
func TestAllRunsBorrowNothingElse(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*github.Settings){
		"its own runs":       nil,
		"other repositories": func(s *github.Settings) { s.LendToAllRuns, s.Repositories = true, []string{"acme/other", "app/*"} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newForge(t, setup{script: opener()})
			f.integrate("", change)
			run, events := f.byHand()
			assert.Assert(t, run.State == task.StateFailed || run.State == task.StateError, "%s\n%s", run.State, describe(events))
			assert.Assert(t, strings.Contains(run.Status.Message, "app"), run.Status.Message)
			assert.Equal(t, len(f.shown()), 0)
			assert.Equal(t, len(f.sim.Pulls("acme/app")), 0)
		})
	}
}
