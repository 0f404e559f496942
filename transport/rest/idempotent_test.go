package rest_test

import (
	"net/http"
	"sync"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
)

// TestThousandCreatesWithOneKey sends the same create a thousand times, many
// at once: there is one run, and every answer names it.
func TestThousandCreatesWithOneKey(t *testing.T) {
	const creates, atOnce = 1000, 50
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	answers := make([]transporttest.Answer, creates)
	var all sync.WaitGroup
	for first := range atOnce {
		all.Go(func() {
			for i := first; i < creates; i += atOnce {
				answers[i] = e.Call(transporttest.AdminKey, http.MethodPost, "/agent/runs", map[string]any{"prompt": "only once"}, "Idempotency-Key", "one")
			}
		})
	}
	all.Wait()
	ids := map[string]int{}
	for _, a := range answers {
		assert.Equal(t, a.Status, http.StatusOK, "%s", a.Body)
		var run struct {
			ID string `json:"run_id"`
		}
		a.JSON(e, &run)
		ids[run.ID]++
	}
	assert.Equal(t, len(ids), 1, "%v", ids)
	page, err := e.Platform.List(t.Context(), task.Query{})
	assert.NilError(t, err)
	assert.Equal(t, len(page.Tasks), 1)
}
