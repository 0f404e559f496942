package sqlitestore

import (
	"encoding/json"
	"fmt"

	"github.com/oz-platform/cloudagents/task"
)

// maxHeads bounds the heads that the writer keeps in memory: about 1 KiB each.
const maxHeads = 4096

// entry is what the writer knows of a run: its head and present execution.
type entry struct {
	n    int64
	head task.Head
	exec task.Execution // zero when none may write
	// indexed says that the run stands in the list indexes.
	indexed bool
}

// over reports that hardly anything will be written to the run any more.
func (e entry) over() bool {
	return e.head.State.Ended() && e.head.Execution == "" && !e.head.SandboxRunning
}

// heads remembers the runs at work that were written to lately, and none that
// is over: they would be the most by far, and memory would grow with them. Only the writer changes runs,
// so what it remembers is true until a transaction is rolled back.
type heads struct{ byID map[task.ID]entry }

func (h *heads) forget() { clear(h.byID) }

func (h *heads) put(id task.ID, e entry) {
	if e.over() {
		delete(h.byID, id)
		return
	}
	if h.byID == nil {
		h.byID = map[task.ID]entry{}
	}
	for old := range h.byID { // any will do
		if len(h.byID) < maxHeads {
			break
		}
		delete(h.byID, old)
	}
	h.byID[id] = e
}

// head gives a run's entry, from memory or the database.
func (w *writer) head(id task.ID) (entry, error) {
	if e, ok := w.heads.byID[id]; ok {
		return e, nil
	}
	vals, err := w.row(`SELECT n, head, idle_at IS NOT NULL FROM runs WHERE id = ?`, string(id))
	if err != nil {
		return entry{}, err
	}
	if vals == nil {
		return entry{}, noRun(id)
	}
	e := entry{n: vals[0].(int64), indexed: vals[2].(int64) != 0}
	if err := json.Unmarshal(vals[1].([]byte), &e.head); err != nil {
		return entry{}, fmt.Errorf("decode head of run %s: %w", id, err)
	}
	if e.head.Execution != "" {
		if e.exec, err = w.execution(id, e.n, e.head.Execution); err != nil {
			return entry{}, err
		}
	}
	w.heads.put(id, e)
	return e, nil
}

// execution gives an execution of a run, zero when the run has none such.
func (w *writer) execution(id task.ID, n int64, exec task.ExecutionID) (x task.Execution, err error) {
	vals, err := w.row(`SELECT data FROM executions WHERE id = ? AND n = ?`, string(exec), n)
	if err != nil || vals == nil {
		return x, err
	}
	if err := json.Unmarshal(vals[0].([]byte), &x); err != nil {
		return x, fmt.Errorf("decode execution %s of run %s: %w", exec, id, err)
	}
	return x, nil
}

func noRun(id task.ID) error {
	return task.Errorf(task.CodeNotFound, "there is no run %q", string(id))
}
