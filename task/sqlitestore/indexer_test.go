package sqlitestore_test

import (
	"bufio"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
)

// crashPath tells the test below that it is the process to be killed.
const crashPath = "OZ_SQLITESTORE_CRASH_PATH"

// TestSearchFindsWhatWasJustCreated asks for a run right after it was created,
// after the process was killed, after the store was opened again, and after the
// run entered the index.
func TestSearchFindsWhatWasJustCreated(t *testing.T) {
	if path := os.Getenv(crashPath); path != "" {
		s := open(t, path, sqlitestore.Unhurried())
		createTitled(t, s, "Mend the xylophone")
		fmt.Println("created")
		_, _ = io.Copy(io.Discard, os.Stdin) // until killed
		return
	}
	path := filepath.Join(t.TempDir(), "oz.db")
	killAfterCreating(t, path)
	s, err := sqlitestore.Open(t.Context(), path, sqlitestore.Unhurried())
	assert.NilError(t, err)
	assert.Equal(t, len(searched(t, s, "xylophone")), 1)
	createTitled(t, s, "Tune the xylophone")
	assert.Equal(t, len(searched(t, s, "xylophone")), 2)
	assert.NilError(t, s.Close())

	s = open(t, path, sqlitestore.Unhurried())
	fresh, idle, err := s.Unindexed(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, fresh, 2)
	assert.Equal(t, idle, 2)
	assert.Equal(t, len(searched(t, s, "xylophone")), 2)
	assert.NilError(t, s.IndexAll(t.Context()))
	assert.Equal(t, len(searched(t, s, "xylophone")), 2)
	assert.Equal(t, len(searched(t, s, "tune xyl")), 1)
	assert.Equal(t, len(searched(t, s, "mend tune")), 0)
}

func killAfterCreating(t *testing.T, path string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestSearchFindsWhatWasJustCreated$", "-test.count=1")
	cmd.Env = append(os.Environ(), crashPath+"="+path)
	stdin, err := cmd.StdinPipe()
	assert.NilError(t, err)
	defer func() { _ = stdin.Close() }()
	stdout, err := cmd.StdoutPipe()
	assert.NilError(t, err)
	assert.NilError(t, cmd.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	assert.Check(t, err)
	assert.Check(t, line == "created\n", "%q", line)
	assert.Check(t, cmd.Process.Kill())
	assert.ErrorContains(t, cmd.Wait(), "killed")
}

func createTitled(t *testing.T, s task.Store, title string) {
	t.Helper()
	_, _, err := s.Create(t.Context(), task.Creation{ID: task.NewID(), Now: time.Now(), Spec: task.Spec{Title: title}})
	assert.NilError(t, err)
}

// searched gives all runs that a text finds, page by page.
func searched(t *testing.T, s task.Store, text string) []task.ID {
	t.Helper()
	return listed(t, s, task.Query{Text: text, Limit: 30})
}

func listed(t *testing.T, s task.Store, q task.Query) (ids []task.ID) {
	t.Helper()
	for {
		page, err := s.List(t.Context(), q)
		assert.NilError(t, err)
		for _, r := range page.Tasks {
			ids = append(ids, r.ID)
		}
		if page.Next == nil {
			return ids
		}
		q.After = page.Next
	}
}

// TestSearchGivesTheSamePagesEitherWay searches words that all, many and few
// of many runs have, so that pages come from walking the runs and from looking
// the words up, while none, some and all of the runs are in the index.
func TestSearchGivesTheSamePagesEitherWay(t *testing.T) {
	const runs = 1500
	s := open(t, filepath.Join(t.TempDir(), "oz.db"), sqlitestore.Unhurried())
	want := map[string][]task.ID{} // newest first
	words := map[string]int{"common": 1, "third": 3, "rare": 29, "seldom": 300, "once": runs}
	add := func(from, to int) {
		var all sync.WaitGroup
		for i := from; i < to; i++ {
			c := task.Creation{ID: task.NewID(), Now: noon.Add(time.Duration(i) * time.Second), Spec: task.Spec{Owner: teamOne}}
			for w, every := range words {
				if i%every == 0 {
					c.Spec.Title += w + " "
					want[w] = slices.Insert(want[w], 0, c.ID)
				}
			}
			all.Go(func() {
				_, _, err := s.Create(context.Background(), c)
				assert.Check(t, err)
			})
		}
		all.Wait()
	}
	check := func() {
		t.Helper()
		for w, ids := range want {
			for _, sort := range []task.SortKey{task.SortUpdatedAt, task.SortCreatedAt} {
				assert.DeepEqual(t, listed(t, s, task.Query{Text: w, Sort: sort, Limit: 40, Owners: []task.Scope{teamOne}}), ids)
			}
			assert.Equal(t, len(listed(t, s, task.Query{Text: w, Owners: []task.Scope{userTwo}})), 0)
		}
		assert.Equal(t, len(searched(t, s, "common rare third")), (runs+28)/29/3+1)
		assert.Equal(t, len(searched(t, s, "common never")), 0)
	}
	add(0, runs/2)
	assert.NilError(t, s.IndexAll(t.Context()))
	add(runs/2, runs)
	check()
	assert.NilError(t, s.IndexAll(t.Context()))
	check()
}

// TestCreatedBeforeFindsLongLives compares with a plain filter: runs that were
// created before a moment and changed after it are listed in their place,
// however long they lived.
func TestCreatedBeforeFindsLongLives(t *testing.T) {
	clock := &fixedClock{Clock: task.SystemClock()}
	s := open(t, filepath.Join(t.TempDir(), "oz.db"), &sqlitestore.Options{Clock: clock})
	random := rand.New(rand.NewPCG(1, 2))
	var runs []task.Task
	for i := range 300 {
		id := task.NewID()
		_, _, err := s.Create(t.Context(), task.Creation{ID: id, Now: noon.Add(time.Duration(i) * time.Minute), Spec: task.Spec{Title: "t", Owner: teamOne}})
		assert.NilError(t, err)
		// From below a second to above a year, at and around the bounds of classes.
		clock.now = noon.Add(time.Duration(i)*time.Minute + time.Second<<(3*random.IntN(9)) + time.Duration(random.IntN(3)-1))
		_, err = s.Do(t.Context(), id, task.Cancel{})
		assert.NilError(t, err)
		r, err := s.Get(t.Context(), id)
		assert.NilError(t, err)
		runs = append(runs, r)
	}
	slices.SortFunc(runs, func(a, b task.Task) int { return b.UpdatedAt.Compare(a.UpdatedAt) })
	check := func() {
		t.Helper()
		for _, minutes := range []int{0, 1, 20, 150, 299, 1000, 200000} {
			before := noon.Add(time.Duration(minutes) * time.Minute)
			var want []task.ID
			for _, r := range runs {
				if r.CreatedAt.Before(before) {
					want = append(want, r.ID)
				}
			}
			for _, owners := range [][]task.Scope{nil, {teamOne, userTwo}} {
				assert.DeepEqual(t, listed(t, s, task.Query{CreatedBefore: before, Owners: owners, Limit: 17}), want)
			}
		}
	}
	check()
	assert.NilError(t, s.IndexAll(t.Context()))
	check()
}

// fixedClock tells the time that the test says.
type fixedClock struct {
	task.Clock
	now time.Time
}

func (c *fixedClock) Now() time.Time { return c.now }

// TestIndexesWaitForRoom fills the disk: no write fails because of what has to
// be indexed, and it is indexed once there is room.
func TestIndexesWaitForRoom(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "oz.db"), sqlitestore.Unhurried())
	for i := range 200 {
		createTitled(t, s, fmt.Sprintf("run %d %s", i, strings.Repeat("word ", i)))
	}
	assert.NilError(t, s.Exec(t.Context(), `PRAGMA max_page_count = 1`)) // what it has now
	assert.ErrorContains(t, s.IndexAll(t.Context()), "could not be indexed")
	assert.Equal(t, len(searched(t, s, "run")), 200)
	_, err := s.PutRecord(t.Context(), task.Record{Kind: "k", Key: "small"})
	assert.NilError(t, err)
	assert.NilError(t, s.Exec(t.Context(), `PRAGMA max_page_count = 1000000`))
	assert.NilError(t, s.IndexAll(t.Context()))
	assert.Equal(t, len(searched(t, s, "run")), 200)
	assert.Equal(t, len(listed(t, s, task.Query{})), 200)
}

// TestOldDatabase opens one that the first version has written: twelve runs,
// an hour apart, of which each fourth waits and the one behind it works.
func TestOldDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "oz.db")
	unpack(t, "testdata/version1.db.gz", path)
	s := open(t, path, nil)
	assert.Equal(t, len(listed(t, s, task.Query{})), 12)
	assert.Equal(t, len(searched(t, s, "parser")), 12)
	assert.Equal(t, len(listed(t, s, task.Query{States: []task.State{task.StateInProgress}})), 3)
	assert.Equal(t, len(listed(t, s, task.Query{Metadata: map[string]string{"ticket": "1"}, Sort: task.SortTitle})), 4)
	assert.Equal(t, len(listed(t, s, task.Query{ArtifactType: task.ArtifactPlan, CreatedBefore: noon.Add(6 * time.Hour)})), 4)
	fresh, idle, err := s.Unindexed(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, fresh+idle, 0, "what stood in the indexes still does")
	live, err := s.Live(context.Background())
	assert.NilError(t, err)
	assert.Equal(t, len(live), 3)
	for _, x := range live {
		_, err := s.Do(t.Context(), x.TaskID, task.End{Execution: x.ID, State: task.StateSucceeded, SeenInput: 2})
		assert.NilError(t, err)
	}
	createTitled(t, s, "a new parser")
	assert.NilError(t, s.IndexAll(t.Context()))
	assert.Equal(t, len(searched(t, s, "parser")), 13)
	old, err := s.Prunable(t.Context(), time.Now().Add(time.Hour), 20)
	assert.NilError(t, err)
	assert.Equal(t, len(old), 9)
}

func unpack(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	assert.NilError(t, err)
	defer func() { assert.Check(t, in.Close()) }()
	unzipped, err := gzip.NewReader(in)
	assert.NilError(t, err)
	data, err := io.ReadAll(unzipped)
	assert.NilError(t, err)
	assert.NilError(t, os.WriteFile(to, data, 0o600))
}

// TestCommitsWriteFewPages counts what the log of a database grows by: the
// indexes of lists and of the search stay out of commits.
func TestCommitsWriteFewPages(t *testing.T) {
	const runs = 100
	path := filepath.Join(t.TempDir(), "oz.db")
	s := open(t, path, sqlitestore.Unhurried())
	pages := func() int64 {
		info, err := os.Stat(path + "-wal")
		assert.NilError(t, err)
		return info.Size() / 4096
	}
	ids := make([]task.ID, runs)
	before := pages()
	for i := range ids {
		ids[i] = task.NewID()
		_, _, err := s.Create(t.Context(), task.Creation{ID: ids[i], Now: time.Now(), Spec: benchSpec()})
		assert.NilError(t, err)
	}
	created := pages()
	for _, id := range ids {
		_, err := s.Do(t.Context(), id, task.Cancel{})
		assert.NilError(t, err)
	}
	t.Logf("%.1f pages for a creation, %.1f for a change", float64(created-before)/runs, float64(pages()-created)/runs)
	assert.Assert(t, created-before <= 9*runs, "%d pages for %d creations", created-before, runs)
	assert.Assert(t, pages()-created <= 8*runs, "%d pages for %d changes", pages()-created, runs)
}
