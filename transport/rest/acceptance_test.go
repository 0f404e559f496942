package rest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
)

// queue makes a run and asks that it is there at once, before any worker is.
func queue(t *testing.T, e *transporttest.Env, body string) string {
	t.Helper()
	a := e.Call(transporttest.AdminKey, "POST", "/agent/runs", body)
	assert.Equal(t, a.Status, 200, "%s", a.Body)
	var made struct {
		RunID string `json:"run_id"`
		State string `json:"state"`
	}
	a.JSON(e, &made)
	assert.Equal(t, made.State, "QUEUED")
	return made.RunID
}

func listed(t *testing.T, e *transporttest.Env, query string) []string {
	t.Helper()
	a := e.Call(transporttest.AdminKey, "GET", "/agent/runs?"+query, nil)
	assert.Equal(t, a.Status, 200, "%s", a.Body)
	var p page
	a.JSON(e, &p)
	ids := []string{}
	for _, r := range p.Runs {
		ids = append(ids, r.RunID)
	}
	slices.Sort(ids)
	return ids
}

// TestTaskInParts shards a task into one run for each directory, and fans
// another one out over several targets: each lot is found as a whole.
func TestTaskInParts(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	root := queue(t, e, `{"prompt":"tidy up every directory"}`)
	var below []string
	for _, dir := range []string{"api", "web", "docs"} {
		below = append(below, queue(t, e, fmt.Sprintf(`{"prompt":"tidy up %s","parent_run_id":%q}`, dir, root)))
	}
	slices.Sort(below)
	assert.DeepEqual(t, listed(t, e, "ancestor_run_id="+root), below)

	var lot []string
	for _, target := range []string{"linux", "darwin", "windows"} {
		lot = append(lot, queue(t, e, fmt.Sprintf(`{"prompt":"build for %s","config":{"name":"port"}}`, target)))
	}
	slices.Sort(lot)
	assert.DeepEqual(t, listed(t, e, "name=port"), lot)
	assert.Equal(t, len(listed(t, e, "state=QUEUED")), 1+len(below)+len(lot))
}

// TestLargestSecret: what would make the entry of the environment, NAME=value
// and a NUL, larger than 131,072 bytes is refused when it is stored.
func TestLargestSecret(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	value := strings.Repeat("k3-Vq8Zk2Lm9Tx_W", 131072/16)
	put := func(name string, entry int) transporttest.Answer {
		return e.Call(transporttest.AdminKey, "POST", "/oz/secrets", fmt.Sprintf(`{"name":%q,"value":%q}`, name, value[:entry-len(name)-2]))
	}
	taken := put("LARGEST", 131072)
	assert.Equal(t, taken.Status, 201, "%s", taken.Body)
	refused := put("TOO_LARGE", 131073)
	assert.Equal(t, refused.Status, 400, "%s", refused.Body)
	assert.Assert(t, strings.Contains(string(refused.Body), "131072"), "%s", refused.Body)
	assert.Assert(t, !strings.Contains(string(refused.Body), "k3-Vq8"), "the value is shown")
}
