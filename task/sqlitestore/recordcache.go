package sqlitestore

import (
	"bytes"
	"sync"

	"github.com/oz-platform/cloudagents/task"
)

const (
	// maxCachedRecords bounds the records that are kept in memory, and
	// maxCachedBytes the data of each: 8 MiB at most together.
	maxCachedRecords = 2048
	maxCachedBytes   = 4 << 10
)

// recordName names a record.
type recordName struct{ kind, key string }

// cachedRecord is a record as it is stored, or that there is none.
type cachedRecord struct {
	record task.Record
	exists bool
}

// recordCache holds records as the last commit left them: with each request
// some are asked for, such as the caller's key and the limits of a team, which
// hardly ever change and often are not there. Only the writer changes them, so
// what it holds is true.
type recordCache struct {
	mu         sync.Mutex
	byName     map[recordName]cachedRecord
	generation int  // of the changes: one more before and after each commit with any
	committing bool // such a commit is under way

	pending []recordName // changed in this transaction; belongs to the writer
}

// find gives what is known of a record. Without ok the database has to be
// asked; a later keep wants the generation then.
func (c *recordCache) find(n recordName) (r cachedRecord, ok bool, generation int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r, ok = c.byName[n]; ok {
		r.record.Data = bytes.Clone(r.record.Data)
		return r, true, 0
	}
	if c.committing {
		return r, false, -1 // it may be read as it was or as it will be
	}
	return r, false, c.generation
}

// keep remembers what was read, unless there was a change meanwhile.
func (c *recordCache) keep(n recordName, r cachedRecord, generation int) {
	if len(r.record.Data) > maxCachedBytes {
		return
	}
	r.record.Data = bytes.Clone(r.record.Data)
	c.mu.Lock()
	defer c.mu.Unlock()
	if generation != c.generation {
		return
	}
	if c.byName == nil || len(c.byName) >= maxCachedRecords {
		c.byName = map[recordName]cachedRecord{}
	}
	c.byName[n] = r
}

// changed takes note of a write.
func (c *recordCache) changed(kind, key string) {
	c.pending = append(c.pending, recordName{kind, key})
}

// begin forgets what the commit under way changes.
func (c *recordCache) begin() {
	if len(c.pending) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.generation++
	c.committing = true
	for _, n := range c.pending {
		delete(c.byName, n)
	}
}

// end says that the transaction is over, committed or not.
func (c *recordCache) end() {
	if len(c.pending) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.generation++
	c.committing = false
	clear(c.pending)
	c.pending = c.pending[:0]
}
