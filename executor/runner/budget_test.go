package runner_test

import (
	"context"
	"sync"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// team owns the runs of the rig.
var team = task.Scope{Type: task.ScopeTeam, UID: access.DefaultTeam}

func (r *rig) budget(tokens int64) {
	r.t.Helper()
	assert.NilError(r.t, r.Registry().PutTeam(r.t.Context(), access.Team{UID: team.UID, Name: "Default"}))
	_, err := r.PutBudget(r.t.Context(), oz.Budget{Scope: team, LimitTokens: &tokens})
	assert.NilError(r.t, err)
}

func (r *rig) budgetStatus() oz.BudgetStatus {
	r.t.Helper()
	list, err := r.Budgets(r.t.Context())
	assert.NilError(r.t, err)
	assert.Equal(r.t, len(list), 1)
	return list[0]
}

// TestBudgetOfTheTeamPausesARun: a run whose team has not enough left is
// BLOCKED and says by which budget, its files stay, and once the budget is
// raised a message lets it end its work.
func TestBudgetOfTheTeamPausesARun(t *testing.T) {
	t.Parallel()
	r := newRig(t, setup{script: mender()})
	r.budget(23_000)
	run, events := r.finish(r.limited(task.Limits{MaxTurns: 50}))
	assert.Equal(t, run.State, task.StateBlocked, "%s", describe(events))
	assert.Equal(t, run.Head.Status.ErrorCode, task.CodeBudgetExceeded)
	assert.Assert(t, is.Contains(run.Head.Status.Message, `the budget of team "`+team.UID+`" for this month`))
	assert.Assert(t, is.Contains(run.Head.Status.Message, "1 files in greeting are changed and not committed"))
	text, err := readFile(r, run, "greeting.txt")
	assert.NilError(t, err)
	assert.Equal(t, text, "hello world\n")
	checkLog(t, events)
	status := r.budgetStatus()
	assert.Equal(t, status.Spent.Tokens, run.Usage.Tokens().Total())
	assert.Assert(t, status.Spent.Tokens > 0 && status.Spent.Tokens <= 23_000)
	assert.Equal(t, status.Reserved, task.Spending{}, "nothing is left behind")

	r.budget(1_000_000)
	assert.NilError(t, r.FollowUp(t.Context(), run.ID, oz.Message{Text: "Go on."}))
	run, events = r.finish(run.ID)
	assert.Equal(t, run.State, task.StateSucceeded, "%s", describe(events))
	assert.Equal(t, r.git(r.remote, "show", branch+":greeting.txt"), "hello world")
	status = r.budgetStatus()
	assert.Equal(t, status.Spent.Tokens, run.Usage.Tokens().Total())
	assert.Equal(t, status.Reserved, task.Spending{})
}

// waiting answers the first reservation that it has to wait.
type waiting struct {
	executor.Link
	mu   sync.Mutex
	asks []executor.Reservation
}

func (w *waiting) Reserve(ctx context.Context, r executor.Reservation) (executor.Reserved, error) {
	w.mu.Lock()
	w.asks = append(w.asks, r)
	first := len(w.asks) == 1
	w.mu.Unlock()
	if first {
		return executor.Reserved{WaitMS: 1}, nil
	}
	return w.Link.Reserve(ctx, r)
}

// TestCallsWaitForWhatOthersHold: a call that would fit if others used less
// than they may is not refused, but asked for again.
func TestCallsWaitForWhatOthersHold(t *testing.T) {
	t.Parallel()
	var link *waiting
	r := newRig(t, setup{script: mender(), link: func(_ task.ExecutionID, l executor.Link) executor.Link {
		link = &waiting{Link: l}
		return link
	}})
	r.budget(1_000_000)
	run, events := r.finish(r.limited(task.Limits{}))
	assert.Equal(t, run.State, task.StateSucceeded, "%s", describe(events))
	link.mu.Lock()
	defer link.mu.Unlock()
	assert.Assert(t, len(link.asks) > 2)
	assert.Equal(t, link.asks[0].Call, link.asks[1].Call)
	assert.Assert(t, link.asks[0].Tokens > 0 && link.asks[0].CostUSD != nil, "the model has a price")
}

// TestNoBudgetNoQuestion: a run without a budget beyond its own asks nothing.
func TestNoBudgetNoQuestion(t *testing.T) {
	t.Parallel()
	var link *waiting
	r := newRig(t, setup{script: mender(), link: func(_ task.ExecutionID, l executor.Link) executor.Link {
		link = &waiting{Link: l}
		return link
	}})
	run, events := r.finish(r.limited(task.Limits{MaxTokens: 1_000_000}))
	assert.Equal(t, run.State, task.StateSucceeded, "%s", describe(events))
	link.mu.Lock()
	defer link.mu.Unlock()
	assert.Equal(t, len(link.asks), 0)
	for _, e := range events {
		if u, ok := e.Payload.(*task.UsageReport); ok {
			assert.Equal(t, u.CallID, "")
			assert.Assert(t, u.Custom, "the script is at no vendor's address")
		}
	}
}
