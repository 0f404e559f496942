package ozagent

import (
	"encoding/json"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
)

// TestPushCutOffIsRemembered: a push that a restart cut off stays on the
// agent's account until its branch arrives; another branch does not settle it.
func TestPushCutOffIsRemembered(t *testing.T) {
	c := newConversation(nil, "x", task.ModeNormal)
	seq := int64(0)
	fold := func(payloads ...task.Payload) {
		for _, p := range payloads {
			seq++
			c.fold(task.Event{Seq: seq, ExecutionID: "x", Payload: p})
		}
	}
	turns := 0
	use := func(id, tool string, state task.ToolState, content string, output any) {
		raw, err := json.Marshal(output)
		assert.NilError(t, err)
		turns++
		fold(&task.TurnStarted{Turn: turns}, &task.ToolCall{ID: id, Name: tool, Input: []byte(`{}`)}, &task.TurnEnded{Turn: turns},
			&task.ToolResult{CallID: id, Name: tool, State: state, Content: content, Output: raw})
	}
	commit := func(id, branch, sha string) {
		use(id, toolGitCommit, task.ToolCompleted, "Committed", pushRecord{Repo: "r", Branch: branch, Commit: sha})
	}
	settle := func(branch, sha string) {
		detail, err := json.Marshal(pushRecord{Repo: "r", Branch: branch, Commit: sha})
		assert.NilError(t, err)
		fold(&task.Effect{Key: sha, Kind: effectPush, State: task.EffectSettled, Detail: detail})
	}

	commit("c1", "one", "aaaa")
	use("p1", toolGitPush, task.ToolFailed, outcomeUnknown, nil)
	assert.Equal(t, len(c.adrift), 1)
	assert.Equal(t, c.adrift[0].Branch, "one")

	commit("c2", "two", "bbbb")
	settle("two", "bbbb")
	use("p2", toolGitPush, task.ToolCompleted, "Branch two is there", nil)
	assert.Equal(t, c.pushLost, "")
	assert.Equal(t, len(c.adrift), 1, "another branch does not settle it")

	commit("c3", "one", "cccc") // done anew
	settle("one", "cccc")
	assert.Equal(t, len(c.adrift), 0)

	commit("c4", "three", "dddd") // had arrived before the restart, as the log says
	settle("three", "dddd")
	use("p4", toolGitPush, task.ToolFailed, outcomeUnknown, nil)
	assert.Equal(t, len(c.adrift), 0)
}
