package sqlitestore_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp/cmpopts"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
)

// TestUsageOfOldDatabases takes the sums away and lets the migration make them
// anew from the runs, as it does for databases of programs without sums.
func TestUsageOfOldDatabases(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "oz.db"), nil)
	team := task.Scope{Type: task.ScopeTeam, UID: "red"}
	for i := range 7 {
		c := task.Creation{ID: task.NewID(), Now: noon.Add(time.Duration(i) * time.Hour), Spec: task.Spec{Title: "t", Owner: team,
			Creator: task.Principal{Type: task.PrincipalUser, UID: fmt.Sprint("u", i%2)}, Executor: task.Principal{Type: task.PrincipalServiceAccount, UID: "bot"}}}
		_, _, err := s.Create(t.Context(), c)
		assert.NilError(t, err)
		exec := task.NewExecutionID()
		var events []task.Event
		for j := range i { // the first run uses nothing
			events = append(events, task.Event{Payload: &task.UsageReport{Category: fmt.Sprint("c", j%2), Model: fmt.Sprint("m", j%3), Calls: 1, Priced: j != 4,
				Tokens: task.TokenCount{Input: int64(i), CacheRead: 2, CacheWrite: 3, Output: int64(j)}, Cost: task.CostUSD{Input: 0.25, Output: float64(j)}}})
		}
		for _, cmd := range []task.Command{task.Offer{Execution: exec, Worker: "w"}, task.Begin{Execution: exec},
			task.Append{Execution: exec, Events: events}, task.End{Execution: exec, State: task.StateFailed}} {
			_, err := s.Do(t.Context(), c.ID, cmd)
			assert.NilError(t, err)
		}
	}
	sums := func() (out []any) {
		for _, g := range []task.UsageGroup{task.UsageTotal, task.UsageByDay, task.UsageByUser, task.UsageByTeam, task.UsageByModel, task.UsageByAgent, task.UsageBySource} {
			rows, err := s.SumUsage(t.Context(), task.UsageQuery{Group: g})
			assert.NilError(t, err)
			out = append(out, rows)
		}
		for _, scope := range []task.Scope{team, {Type: task.ScopeUser, UID: "u1"}} {
			spent, err := s.Spent(t.Context(), scope, time.Time{})
			assert.NilError(t, err)
			out = append(out, spent)
		}
		return out
	}
	want := sums()
	text, err := os.ReadFile("migrations/00002_usage.sql")
	assert.NilError(t, err)
	for _, statement := range append([]string{`DELETE FROM usage`, `DELETE FROM spending`}, strings.SplitAfter(string(text), ";\n")...) {
		if at := strings.Index(statement, "INSERT INTO"); at >= 0 || strings.HasPrefix(statement, "DELETE") {
			assert.NilError(t, s.Exec(t.Context(), statement[max(at, 0):]))
		}
	}
	assert.DeepEqual(t, sums(), want, cmpopts.EquateApprox(0, 1e-9))
}
