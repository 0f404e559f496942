package executor

import (
	"context"

	"github.com/oz-platform/cloudagents/task"
)

// Access to a memory store (Oz API, MemoryStoreRef).
const (
	MemoryReadOnly  = "read_only"
	MemoryReadWrite = "read_write"
)

// MemoryStore is a memory store that the run's agent has.
type MemoryStore struct {
	UID  string `json:"uid"`
	Name string `json:"name"`
	// Access is MemoryReadOnly or MemoryReadWrite.
	Access string `json:"access"`
	// Instructions say what the store is for.
	Instructions string `json:"instructions"`
	// Extract says that the store learns from the conversation when it has ended.
	Extract bool `json:"extract,omitempty"`
	// Memories are those that seem to matter for the run, the likeliest first;
	// More says that there are others.
	Memories []task.Memory `json:"memories,omitempty"`
	More     bool          `json:"more,omitempty"`
}

// Rememberer is a Link whose platform keeps memories. Like all of a Link, its
// methods fail with task.ErrFenced once the execution has ended.
type Rememberer interface {
	// Recall finds memories of the run's stores, the likeliest first. It fails
	// with task.ErrInvalid.
	Recall(ctx context.Context, r Recall) ([]task.Memory, error)
	// Remember keeps something in one of the run's stores. With a key that has
	// been used before by the run it gives what was kept then. It fails with
	// task.ErrInvalid, with task.ErrNotFound for a memory that is to be replaced
	// and is not there, and with task.CodeNotAuthorized for a store that is
	// read-only.
	Remember(ctx context.Context, r Remembering) (task.Memory, error)
}

// MaxRecalled bounds what one Recall gives.
const MaxRecalled = 50

// Recall asks for memories.
type Recall struct {
	// Query says in words what they are about; "" asks for the newest.
	Query string `json:"query,omitempty"`
	// Limit is at most MaxRecalled; 0 is 10.
	Limit int `json:"limit,omitempty"`
}

// Remembering asks to keep something.
type Remembering struct {
	// Key names it among what the run keeps: 1 to 128 bytes.
	Key string `json:"key"`
	// Store is the uid of a store of the run. Default: the first that may be
	// written to.
	Store string `json:"store_uid,omitempty"`
	// Content and Reason are as in task.Memory.
	Content string `json:"content"`
	Reason  string `json:"reason,omitempty"`
	// Replaces is the uid of a memory that this is a new version of.
	Replaces string `json:"replaces,omitempty"`
}
