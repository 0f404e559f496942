package task_test

import (
	"encoding/json"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
)

func TestWhoGetsMail(t *testing.T) {
	l := task.Letter{From: "a", To: []task.ID{"b"}, Subject: "s", Body: "b"}
	remote := func(s task.State) task.Head { return task.Head{State: s, Where: task.LocationRemote} }
	local := remote(task.StateBlocked)
	local.Where = task.LocationLocal
	pruned := remote(task.StateBlocked)
	pruned.PrunedTo = 7
	tests := []struct {
		name   string
		head   task.Head
		unread int
		wake   bool
		code   task.Code
	}{
		{"queued", remote(task.StateQueued), 0, false, ""},
		{"working", remote(task.StateInProgress), task.MaxUnread - 1, false, ""},
		{"full", remote(task.StateInProgress), task.MaxUnread, false, task.CodeResourceUnavailable},
		{"blocked", remote(task.StateBlocked), 0, true, ""},
		{"blocked where it was started", local, 0, false, ""},
		{"blocked, without its transcript", pruned, 0, false, ""},
		{"succeeded", remote(task.StateSucceeded), 0, false, task.CodeOperationNotSupported},
		{"failed", remote(task.StateFailed), 0, false, task.CodeOperationNotSupported},
		{"error", remote(task.StateError), 0, false, task.CodeOperationNotSupported},
		{"cancelled", remote(task.StateCancelled), 0, false, task.CodeOperationNotSupported},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wake, err := l.Admit("b", tt.head, tt.unread)
			assert.Equal(t, task.CodeOf(err), tt.code, "%v", err)
			assert.Equal(t, wake, tt.wake)
		})
	}
}

// TestJournalHashes holds the chain against values that another program gave:
// whoever verifies a log must come to the same.
func TestJournalHashes(t *testing.T) {
	chain := task.Chain(task.JournalEntry{}, []byte("one"), []byte("two"))
	assert.Equal(t, chain[0].BodyHash.String(), "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed")
	assert.Equal(t, chain[0].Hash.String(), "c7e3347570821fed43690c2125ce36b1fb0ca7787ba0f219b8e75ee0fc7b4644")
	assert.Equal(t, chain[1].Hash.String(), "b88f3f290fe4ac11da329c5515b418b937de9be1abffb4ff40de976ef83a28ee")
	assert.Equal(t, chain[1].Seq, int64(2))

	text, err := json.Marshal(chain[1].Hash)
	assert.NilError(t, err)
	var back task.Hash
	assert.NilError(t, json.Unmarshal(text, &back))
	assert.Equal(t, back, chain[1].Hash)
	for _, bad := range []string{``, `zz`, back.String()[2:], back.String() + "00"} {
		assert.ErrorIs(t, back.UnmarshalText([]byte(bad)), task.ErrInvalid)
	}
}
