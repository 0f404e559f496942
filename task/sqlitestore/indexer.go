package sqlitestore

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

const (
	// indexPiece is how many runs one transaction indexes, when writes may be
	// waiting: about 20 ms.
	indexPiece = 512
	// maxUnindexedBytes bounds the words that are kept in memory: 16 MiB.
	maxUnindexedBytes = 16 << 20
	// retryDelay is how long the indexes wait after they could not be written.
	retryDelay = time.Second
)

// indexer knows the runs that are stored but do not stand in the indexes yet.
// Everything but fresh belongs to the writer.
type indexer struct {
	max   int           // see Options.maxUnindexed
	delay time.Duration // see Options.indexDelay

	mu    sync.Mutex
	fresh []freshRun // not in the search index yet, in order of n

	bytes int                // of the words in fresh
	queue []idleRun          // candidates for the list indexes, oldest first
	idle  map[int64]struct{} // those of queue that are still idle
	due   time.Time          // when the next piece is to be done, unless there are too many
	retry time.Time          // not before, since the last piece failed

	pending []indexing // of this transaction
}

// freshRun is a run that the search finds by looking at its words.
type freshRun struct {
	n     int64
	words string // see searchText
}

type idleRun struct {
	n  int64
	id task.ID
}

// indexing says what a transaction means to the indexes: that a run is made
// (words is not empty) and whether it is idle.
type indexing struct {
	idleRun
	words string
	idle  bool
}

// changed takes note of a run that left the list indexes.
func (x *indexer) changed(n int64, id task.ID, h task.Head) {
	x.pending = append(x.pending, indexing{idleRun: idleRun{n, id}, idle: h.Execution == ""})
}

// made takes note of a new run.
func (x *indexer) made(n int64, id task.ID, h task.Head, words string) {
	x.changed(n, id, h)
	x.pending[len(x.pending)-1].words = words
}

// end takes over what is pending, if the commit has succeeded.
func (x *indexer) end(committed bool) {
	defer func() {
		clear(x.pending)
		x.pending = x.pending[:0]
	}()
	if !committed || len(x.pending) == 0 {
		return
	}
	if x.empty() {
		x.due = time.Now().Add(x.delay)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, p := range x.pending {
		if p.words != "" {
			x.fresh = append(x.fresh, freshRun{p.n, p.words})
			x.bytes += len(p.words)
		}
		x.setIdle(p.idleRun, p.idle)
	}
}

func (x *indexer) setIdle(r idleRun, idle bool) {
	if !idle {
		delete(x.idle, r.n)
		return
	}
	if x.idle == nil {
		x.idle = map[int64]struct{}{}
	}
	if _, ok := x.idle[r.n]; !ok {
		x.idle[r.n] = struct{}{}
		x.queue = append(x.queue, r)
	}
}

func (x *indexer) empty() bool { return len(x.fresh) == 0 && len(x.idle) == 0 }

// overdue reports that writes have to wait for the next piece.
func (x *indexer) overdue() bool {
	tooMany := len(x.fresh) > x.max || len(x.idle) > x.max || x.bytes > maxUnindexedBytes
	return tooMany && (x.retry.IsZero() || time.Now().After(x.retry))
}

// find gives the runs outside the search index that have all patterns.
func (x *indexer) find(patterns []string) (found []int64) {
	x.mu.Lock()
	fresh := x.fresh // what it holds is never written again
	x.mu.Unlock()
	for _, r := range fresh {
		if containsAll(r.words, patterns) {
			found = append(found, r.n)
		}
	}
	return found
}

func containsAll(words string, patterns []string) bool {
	for _, p := range patterns {
		if !strings.Contains(words, p) {
			return false
		}
	}
	return true
}

// next gives the runs of the next piece.
func (x *indexer) next() (fresh []freshRun, idle []idleRun) {
	fresh = x.fresh[:min(len(x.fresh), indexPiece)]
	for i := 0; i < len(x.queue) && len(idle) < indexPiece; i++ {
		if _, ok := x.idle[x.queue[i].n]; ok {
			idle = append(idle, x.queue[i])
		}
	}
	return fresh, idle
}

// done takes away what stands in the indexes now.
func (x *indexer) done(fresh []freshRun, idle []idleRun) {
	for _, r := range fresh {
		x.bytes -= len(r.words)
	}
	x.mu.Lock()
	x.fresh = x.fresh[len(fresh):]
	if len(x.fresh) == 0 {
		x.fresh = nil // gives the words back
	}
	x.mu.Unlock()
	for _, r := range idle {
		delete(x.idle, r.n)
	}
	i := 0
	for i < len(x.queue) {
		if _, ok := x.idle[x.queue[i].n]; ok {
			break
		}
		i++
	}
	if x.queue = x.queue[i:]; len(x.queue) == 0 {
		x.queue = nil
	}
}

// The statements of the indexer.
const (
	indexSearch = `INSERT INTO run_text (rowid, words) VALUES (?, ?)`
	indexRuns   = `UPDATE runs SET idle_at = updated_at WHERE n IN (SELECT value FROM json_each(?))`
	indexTags   = `UPDATE tags SET idle_at = (SELECT r.idle_at FROM runs r WHERE r.n = tags.n) WHERE n IN (SELECT value FROM json_each(?))`
	selectFresh = `SELECT n, spec FROM specs WHERE n > (SELECT n FROM searched) ORDER BY n`
	selectIdle  = `SELECT n, id FROM runs INDEXED BY runs_live WHERE idle_at IS NULL
		AND coalesce(CAST(head AS TEXT) ->> '$.execution', '') = '' ORDER BY n`
)

// index writes the next piece of the indexes in a transaction of its own. An
// error, such as a full disk, only delays it: nothing of what the store
// promises depends on it.
func (w *writer) index() {
	fresh, idle := w.indexer.next()
	if err := w.writeIndex(fresh, idle); err != nil {
		_, _ = w.c.exec(`ROLLBACK`) // fails when SQLite has rolled back itself
		w.indexer.retry = time.Now().Add(retryDelay)
		w.indexer.due = w.indexer.retry
		return
	}
	w.indexer.retry = time.Time{}
	w.indexer.done(fresh, idle)
	for _, r := range idle {
		if e, ok := w.heads.byID[r.id]; ok {
			e.indexed = true
			w.heads.byID[r.id] = e
		}
	}
}

func (w *writer) writeIndex(fresh []freshRun, idle []idleRun) error {
	if _, err := w.c.exec(`BEGIN IMMEDIATE`); err != nil {
		return err
	}
	for _, r := range fresh {
		if _, err := w.c.exec(indexSearch, r.n, r.words); err != nil {
			return err
		}
	}
	if len(fresh) > 0 {
		if _, err := w.c.exec(`UPDATE searched SET n = ?`, fresh[len(fresh)-1].n); err != nil {
			return err
		}
	}
	if len(idle) > 0 {
		numbers := make([]int64, len(idle))
		for i, r := range idle {
			numbers[i] = r.n
		}
		list := numberList(numbers)
		for _, text := range []string{indexRuns, indexTags} {
			if _, err := w.c.exec(text, list); err != nil {
				return err
			}
		}
	}
	_, err := w.c.exec(`COMMIT`)
	return err
}

// loadIndexer finds what an earlier process left to be indexed.
func (w *writer) loadIndexer() error {
	x := &w.indexer
	x.due = time.Now().Add(x.delay)
	err := w.c.each(func(vals []any) error {
		var spec task.Spec
		if err := json.Unmarshal(vals[1].([]byte), &spec); err != nil {
			return fmt.Errorf("decode run %d: %w", vals[0], err)
		}
		r := freshRun{vals[0].(int64), searchText(spec)}
		x.fresh = append(x.fresh, r)
		x.bytes += len(r.words)
		return nil
	}, selectFresh)
	if err != nil {
		return err
	}
	return w.c.each(func(vals []any) error {
		x.setIdle(idleRun{vals[0].(int64), task.ID(vals[1].(string))}, true)
		return nil
	}, selectIdle)
}
